//! From addresses to places in memory: bounds, alignment, initialisation, races and counts of a warp-wide access.

use super::fault::{Fault, Kind};
use super::launch::Races;
use super::machine::{Machine, lanes_of};
use super::pattern::Shape;
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
        let shape = self.shape::<false>(a, mask, bytes);
        let places = self.within(self.launch.arena.region, a, bytes, access, Space::Global, shape)?;
        let traffic = self.counts.traffic(access);
        traffic.requests += 1;
        traffic.bytes += bytes * u64::from(mask.count_ones());
        traffic.sectors += u64::from(shape.sectors);
        if self.launch.races != Races::Off {
            self.global_races(a, bytes, access, shape)?;
        }
        Ok(places)
    }

    fn in_shared(&mut self, a: &[u64; 32], mask: u32, bytes: u64, access: Access) -> Result<Places, Box<Fault>> {
        let shape = self.shape::<true>(a, mask, bytes);
        let places = self.within(self.shared, a, bytes, access, Space::Shared, shape)?;
        self.counts.shared_requests += 1;
        self.counts.shared_bytes += bytes * u64::from(mask.count_ones());
        self.counts.bank_conflicts += u64::from(shape.conflicts);
        if self.watch_shared {
            self.check_shared_races(a, mask, bytes, access, shape)?;
        }
        Ok(places)
    }

    #[inline(always)]
    fn within(
        &mut self,
        region: Region,
        a: &[u64; 32],
        bytes: u64,
        access: Access,
        space: Space,
        shape: Shape,
    ) -> Result<Places, Box<Fault>> {
        let reads = access != Access::Write;
        if shape.run && a[0].is_multiple_of(bytes)
            && let Some(place) = region.check_run(a[0], 32 * bytes, reads) {
                return Ok(Places::Run(place));
            }
        for lane in lanes_of(shape.first) {
            if let Err(refusal) = region.check(a[lane], bytes, reads) {
                return Err(self.refused(space, a[lane], bytes, access, lane as u32, refusal));
            }
        }
        // Places of lanes outside the mask are never used.
        let mut out = [region.data; 32];
        for i in 0..32 {
            out[i] = region.data.wrapping_add(a[i].wrapping_sub(region.start) as usize);
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
        // Nearly always all lanes read one parameter.
        let mut differ = 0;
        for i in 0..32 {
            differ |= a[i] ^ a[0];
        }
        let inside = a[0] < parameters.len() as u64 && bytes <= parameters.len() as u64 - a[0];
        if differ == 0 && inside && access.reads_only() && a[0].is_multiple_of(bytes) {
            return Ok(Places::Each([parameters[a[0] as usize..].as_ptr().cast_mut(); 32]));
        }
        let mut out = [std::ptr::null_mut(); 32];
        for lane in lanes_of(mask) {
            let end = a[lane].checked_add(bytes);
            let refusal = match end {
                Some(end) if end <= parameters.len() as u64 && access.reads_only() => {
                    if a[lane].is_multiple_of(bytes) {
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
        let name = access.name();
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
