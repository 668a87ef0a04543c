//! The shape of a warp's addresses, apart from where they start: how many sectors they touch, how many bank conflicts
//! they make, which lanes share an address. An instruction mostly has the same shape each time, so the last one is kept.

use super::lanes::ALL;
use super::machine::{Machine, lanes_of};

/// What the shape of an access tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    /// All 32 lanes, one behind the other.
    pub run: bool,
    /// The first lane of each address.
    pub first: u32,
    /// Those of `first` whose address other lanes have too.
    pub several: u32,
    /// 32-byte sectors touched.
    pub sectors: u32,
    /// Passes through the banks beyond the fewest possible.
    pub conflicts: u32,
}

/// A shape, and the addresses it was found for.
#[derive(Clone, Copy, Default)]
pub struct Pattern {
    mask: u32,
    bytes: u32,
    /// The first lane's place within a sector, or within a word of shared memory.
    low: u32,
    relative: [u32; 32],
    shape: Shape,
}

impl Machine<'_> {
    /// The shape of an access of `bytes` bytes a lane, in shared memory or outside.
    #[inline(always)]
    pub fn shape<const SHARED: bool>(&mut self, a: &[u64; 32], mask: u32, bytes: u64) -> Shape {
        let pattern = usize::from(self.program.code[self.pc].pattern);
        self.patterns[pattern].shape::<SHARED>(a, mask, bytes)
    }

    /// The first lanes of addresses that several lanes had in the access just made.
    #[inline(always)]
    #[must_use]
    pub fn several(&self) -> u32 {
        self.patterns[usize::from(self.program.code[self.pc].pattern)].shape.several
    }
}

impl Pattern {
    /// The shape of these addresses, from memory if they differ from the last ones by one shift only.
    #[inline(always)]
    pub fn shape<const SHARED: bool>(&mut self, a: &[u64; 32], mask: u32, bytes: u64) -> Shape {
        let start = a[mask.trailing_zeros() as usize];
        // Where a shape starts decides how many sectors it touches; banks only turn with it, word by word.
        let low = (start & if SHARED { 3 } else { 31 }) as u32;
        let mut relative = [0u32; 32];
        for i in 0..32 {
            relative[i] = a[i].wrapping_sub(start) as u32;
        }
        if self.mask == mask && self.low == low && self.bytes == bytes as u32 {
            let mut differ = 0u32;
            for i in 0..32 {
                differ |= u32::from(relative[i] != self.relative[i]) << i;
            }
            if differ & mask == 0 {
                return self.shape;
            }
        }
        let shape = analyse::<SHARED>(a, mask, bytes);
        *self = Pattern { mask, bytes: bytes as u32, low, relative, shape };
        shape
    }
}

#[inline(never)]
fn analyse<const SHARED: bool>(a: &[u64; 32], mask: u32, bytes: u64) -> Shape {
    if mask == ALL && bytes >= 4 && (0..32).all(|i| a[i] == a[0].wrapping_add(i as u64 * bytes)) {
        let sectors = (a[0] % 32 + 32 * bytes).div_ceil(32) as u32;
        return Shape { run: true, first: ALL, several: 0, sectors: if SHARED { 0 } else { sectors }, conflicts: 0 };
    }
    let (mut first, mut several) = (0u32, 0u32);
    for lane in lanes_of(mask) {
        match lanes_of(first).find(|&other| a[other] == a[lane]) {
            Some(other) => several |= 1 << other,
            None => first |= 1 << lane,
        }
    }
    Shape {
        run: false,
        first,
        several,
        sectors: if SHARED { 0 } else { sectors(a, first, bytes) as u32 },
        conflicts: if SHARED { bank_conflicts(a, mask, bytes) as u32 } else { 0 },
    }
}

/// Distinct 32-byte sectors that the lanes touch. One lane touches one: accesses are aligned and at most 16 bytes; of
/// misaligned ones nothing is counted, as they fail.
#[must_use]
pub fn sectors(a: &[u64; 32], mask: u32, bytes: u64) -> u64 {
    debug_assert!(bytes <= 32);
    let mut seen = [0u64; 32];
    let mut count = 0;
    for lane in lanes_of(mask) {
        let sector = a[lane] / 32;
        if !seen[..count].contains(&sector) {
            seen[count] = sector;
            count += 1;
        }
    }
    count as u64
}

/// Passes through the banks beyond those that a conflict-free access of the same width takes: lanes are served in
/// groups whose bytes fill the 32 banks of 4 bytes once; equal words are read once.
#[must_use]
pub fn bank_conflicts(a: &[u64; 32], mask: u32, bytes: u64) -> u64 {
    let words = (bytes / 4).max(1);
    let group = 32 / words as u32;
    let lanes = (u64::MAX >> (64 - group)) as u32;
    let mut extra = 0;
    for start in (0..32).step_by(group as usize) {
        let (mut seen, mut count, mut used) = ([0u64; 32], 0, [0u8; 32]);
        for lane in lanes_of(mask & lanes << start) {
            for word in a[lane] / 4..a[lane] / 4 + words {
                if !seen[..count].contains(&word) {
                    seen[count] = word;
                    count += 1;
                    used[(word % 32) as usize] += 1;
                }
            }
        }
        extra += used.iter().max().map_or(0, |&most| u64::from(most).saturating_sub(1));
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
