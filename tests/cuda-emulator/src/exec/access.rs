//! From addresses to places in memory: bounds, alignment, initialisation, races and counts of a warp-wide access.

use super::fault::{Fault, Kind};
use super::lanes::ALL;
use super::machine::{Machine, lanes_of};
use crate::memory::races::Access;
use crate::memory::region::{Refusal, Region};
use crate::ptx::module::Space;

/// Where generic addresses of shared memory start.
pub const SHARED_WINDOW: u64 = 0x6000_0000_0000;
/// Where generic addresses of local memory start.
pub const LOCAL_WINDOW: u64 = 0x5000_0000_0000;
/// Size of either.
pub const WINDOW: u64 = 1 << 32;

/// Where the lanes' bytes are.
pub enum Places {
    /// All 32 lanes, one behind the other.
    Run(*mut u8),
    /// A place for each lane of the mask.
    Each([*mut u8; 32]),
}

impl Machine<'_> {
    /// Checks and counts an access of `bytes` bytes a lane.
    ///
    /// # Errors
    /// The first fault found.
    #[inline(always)]
    pub fn places(
        &mut self,
        space: Space,
        addresses: &[u64; 32],
        mask: u32,
        bytes: u64,
        access: Access,
    ) -> Result<Places, Box<Fault>> {
        match space {
            Space::Global | Space::Const => self.global(addresses, mask, bytes, access),
            Space::Shared => self.in_shared(addresses, mask, bytes, access),
            Space::Local => self.in_local(addresses, mask, bytes, access),
            Space::Param => self.in_parameters(addresses, mask, bytes, access),
            Space::Generic => self.generic(addresses, mask, bytes, access),
        }
    }

    fn global(&mut self, a: &[u64; 32], mask: u32, bytes: u64, access: Access) -> Result<Places, Box<Fault>> {
        let region = self.launch.arena.region;
        let places = self.within(region, a, mask, bytes, access, Space::Global)?;
        let sectors = match places {
            Places::Run(_) => (a[0] % 32 + 32 * bytes).div_ceil(32),
            Places::Each(_) => sectors(a, mask, bytes),
        };
        let traffic = match access {
            Access::Read => &mut self.counts.loads,
            Access::Write => &mut self.counts.stores,
            Access::Atomic => &mut self.counts.atomics,
        };
        traffic.requests += 1;
        traffic.bytes += bytes * u64::from(mask.count_ones());
        traffic.sectors += sectors;
        if self.launch.races {
            self.global_races(a, mask, bytes, access)?;
        }
        Ok(places)
    }

    fn in_shared(&mut self, a: &[u64; 32], mask: u32, bytes: u64, access: Access) -> Result<Places, Box<Fault>> {
        let places = self.within(self.shared, a, mask, bytes, access, Space::Shared)?;
        self.counts.shared_requests += 1;
        self.counts.shared_bytes += bytes * u64::from(mask.count_ones());
        if matches!(places, Places::Each(_)) {
            self.counts.bank_conflicts += bank_conflicts(a, mask, bytes);
        }
        if self.launch.races {
            self.check_shared_races(a, mask, bytes, access)?;
        }
        Ok(places)
    }

    #[inline(always)]
    fn within(
        &mut self,
        region: Region,
        a: &[u64; 32],
        mask: u32,
        bytes: u64,
        access: Access,
        space: Space,
    ) -> Result<Places, Box<Fault>> {
        let reads = access != Access::Write;
        if mask == ALL && bytes >= 4 && a[0] % bytes == 0 {
            let mut steps = 0;
            for i in 0..32 {
                steps |= a[i].wrapping_sub(a[0]) ^ (i as u64 * bytes);
            }
            if steps == 0 {
                if let Some(place) = region.check_run(a[0], 32 * bytes, reads) {
                    return Ok(Places::Run(place));
                }
            }
        }
        let mut out = [std::ptr::null_mut(); 32];
        for lane in lanes_of(mask) {
            match region.check(a[lane], bytes, reads) {
                Ok(place) => out[lane] = place,
                Err(refusal) => return Err(self.refused(space, a[lane], bytes, access, lane as u32, refusal)),
            }
        }
        Ok(Places::Each(out))
    }

    fn in_local(&mut self, a: &[u64; 32], mask: u32, bytes: u64, access: Access) -> Result<Places, Box<Fault>> {
        let frame = self.program.local_bytes;
        let mut out = [std::ptr::null_mut(); 32];
        for lane in lanes_of(mask) {
            let inside = a[lane] < frame && bytes <= frame - a[lane];
            let checked = if inside {
                self.local.check(a[lane] + lane as u64 * frame, bytes, access != Access::Write)
            } else {
                Err(Refusal::Outside)
            };
            match checked {
                Ok(place) => out[lane] = place,
                Err(refusal) => return Err(self.refused(Space::Local, a[lane], bytes, access, lane as u32, refusal)),
            }
        }
        Ok(Places::Each(out))
    }

    fn in_parameters(&mut self, a: &[u64; 32], mask: u32, bytes: u64, access: Access) -> Result<Places, Box<Fault>> {
        let parameters = &self.launch.parameters;
        let mut out = [std::ptr::null_mut(); 32];
        for lane in lanes_of(mask) {
            let end = a[lane].checked_add(bytes);
            let refusal = match end {
                Some(end) if end <= parameters.len() as u64 && access == Access::Read => {
                    if a[lane] % bytes == 0 {
                        out[lane] = parameters[a[lane] as usize..].as_ptr().cast_mut();
                        continue;
                    }
                    Refusal::Misaligned
                }
                _ => Refusal::Outside,
            };
            return Err(self.refused(Space::Param, a[lane], bytes, access, lane as u32, refusal));
        }
        Ok(Places::Each(out))
    }

    #[inline(never)]
    fn generic(&mut self, a: &[u64; 32], mask: u32, bytes: u64, access: Access) -> Result<Places, Box<Fault>> {
        let (mut shared, mut local, mut inner) = (0u32, 0u32, *a);
        for lane in lanes_of(mask) {
            if a[lane].wrapping_sub(SHARED_WINDOW) < WINDOW {
                shared |= 1 << lane;
                inner[lane] -= SHARED_WINDOW;
            } else if a[lane].wrapping_sub(LOCAL_WINDOW) < WINDOW {
                local |= 1 << lane;
                inner[lane] -= LOCAL_WINDOW;
            }
        }
        let global = mask & !shared & !local;
        let mut out = [std::ptr::null_mut(); 32];
        for (space, part) in [(Space::Global, global), (Space::Shared, shared), (Space::Local, local)] {
            if part == 0 {
                continue;
            }
            match self.places(space, &inner, part, bytes, access)? {
                run @ Places::Run(_) => return Ok(run),
                Places::Each(each) => lanes_of(part).for_each(|lane| out[lane] = each[lane]),
            }
        }
        Ok(Places::Each(out))
    }

    #[cold]
    #[inline(never)]
    fn refused(
        &self,
        space: Space,
        address: u64,
        bytes: u64,
        access: Access,
        lane: u32,
        refusal: Refusal,
    ) -> Box<Fault> {
        let name = match access {
            Access::Read => "read",
            Access::Write => "write",
            Access::Atomic => "atomic operation",
        };
        let place = match space {
            Space::Global | Space::Const => self.launch.arena.describe(address),
            Space::Shared => format!("shared memory of {} bytes", self.launch.shared_end()),
            Space::Local => format!("local memory of {} bytes", self.program.local_bytes),
            _ => format!("parameters of {} bytes", self.launch.parameters.len()),
        };
        let (kind, what) = match refusal {
            Refusal::Outside => (Kind::OutOfBounds, "is not accessible"),
            Refusal::Misaligned => (Kind::Misaligned, "is not aligned to its size"),
            Refusal::Uninitialised => (Kind::UninitialisedMemory, "was never written"),
        };
        let text = format!("{name} of {bytes} bytes at {space:?} address {address:#x} ({place}) {what}");
        self.fault(kind, Some(lane), text)
    }
}

/// Distinct 32-byte sectors that the lanes touch.
#[must_use]
pub fn sectors(a: &[u64; 32], mask: u32, bytes: u64) -> u64 {
    // One lane touches one sector: accesses are aligned and at most 16 bytes.
    let mut seen = [0u64; 32];
    let mut count = 0;
    for lane in lanes_of(mask) {
        let sector = a[lane] / 32;
        if count == 0 || seen[count - 1] != sector && !seen[..count].contains(&sector) {
            seen[count] = sector;
            count += 1;
        }
    }
    debug_assert!(bytes <= 32);
    count as u64
}

/// Passes through the banks beyond those that a conflict-free access of the same width takes: lanes are served in
/// groups whose bytes fill the 32 banks of 4 bytes once; equal words are read once.
#[must_use]
pub fn bank_conflicts(a: &[u64; 32], mask: u32, bytes: u64) -> u64 {
    let words = (bytes / 4).max(1) as usize;
    let group = 32 / words;
    let mut extra = 0;
    for first in (0..32).step_by(group) {
        let part = mask & ((u64::MAX >> (64 - group)) as u32) << first;
        if part == 0 {
            continue;
        }
        let mut kept = [[0u64; 32]; 32];
        let mut used = [0usize; 32];
        for lane in lanes_of(part) {
            for k in 0..words as u64 {
                let word = a[lane] / 4 + k;
                let bank = (word % 32) as usize;
                if !kept[bank][..used[bank]].contains(&word) {
                    kept[bank][used[bank]] = word;
                    used[bank] += 1;
                }
            }
        }
        extra += used.iter().max().map_or(0, |&m| m as u64 - 1);
    }
    extra
}

#[cfg(test)]
mod tests {
    use super::*;

    fn each(f: impl Fn(u64) -> u64) -> [u64; 32] {
        std::array::from_fn(|i| f(i as u64))
    }

    #[test]
    fn sectors_after_coalescing() {
        assert_eq!(sectors(&each(|i| i * 4), ALL, 4), 4);
        assert_eq!(sectors(&each(|i| 4 + i * 4), ALL, 4), 5);
        assert_eq!(sectors(&each(|i| i * 32), ALL, 4), 32);
        assert_eq!(sectors(&each(|_| 64), ALL, 4), 1);
        assert_eq!(sectors(&each(|i| i * 16), 0xff, 16), 4);
        assert_eq!(sectors(&each(|i| i % 2 * 32), ALL, 4), 2);
    }

    #[test]
    fn conflicts_of_banks() {
        assert_eq!(bank_conflicts(&each(|i| i * 4), ALL, 4), 0);
        assert_eq!(bank_conflicts(&each(|i| i * 8), ALL, 4), 1);
        assert_eq!(bank_conflicts(&each(|i| i * 128), ALL, 4), 31);
        assert_eq!(bank_conflicts(&each(|_| 12), ALL, 4), 0, "one word for all is a broadcast");
        assert_eq!(bank_conflicts(&each(|i| i * 132), ALL, 4), 0);
        assert_eq!(bank_conflicts(&each(|i| i * 16), ALL, 16), 0);
        assert_eq!(bank_conflicts(&each(|i| i * 32), ALL, 16), 4, "one in each quarter of the warp");
        assert_eq!(bank_conflicts(&each(|i| i * 8), ALL, 8), 0);
        assert_eq!(bank_conflicts(&each(|i| i * 2), ALL, 2), 0);
    }
}
