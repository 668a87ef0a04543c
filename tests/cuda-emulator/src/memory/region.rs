//! A stretch of emulated memory with one shadow byte for each 4-byte word.
//!
//! The shadow's high half tells which of the word's four bytes may be accessed, the low half which hold a value.
//! So one comparison with 0xff answers for a whole word: allocated, not freed, initialised.

/// Bytes of a word.
pub const WORD: u64 = 4;

/// Why an access is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Some byte is outside every live buffer.
    Outside,
    /// The address is not a multiple of the access's size.
    Misaligned,
    /// Some byte was never written.
    Uninitialised,
}

/// Memory that starts at an emulated address. It does not own what it points to.
#[derive(Clone, Copy)]
pub struct Region {
    /// Where the bytes are.
    pub data: *mut u8,
    /// Where the shadow is; one byte a word.
    pub shadow: *mut u8,
    /// Emulated address of the first byte; a multiple of 16.
    pub start: u64,
    /// Number of bytes, a multiple of 4.
    pub bytes: u64,
}

// SAFETY: a region is a pair of pointers into memory that outlives every launch; concurrent accesses to the same
// bytes are the emulated program's races, which the race check reports.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Offset of the word of `address`, if it and `bytes` bytes from it lie inside.
    #[inline(always)]
    fn offset(&self, address: u64, bytes: u64) -> Option<u64> {
        let offset = address.wrapping_sub(self.start);
        (offset < self.bytes && bytes <= self.bytes - offset).then_some(offset)
    }

    /// Checks one access of 1, 2, 4, 8 or 16 bytes, and gives its place in `data`.
    ///
    /// # Errors
    /// Why the access is refused.
    #[inline(always)]
    pub fn check(&self, address: u64, bytes: u64, reads: bool) -> Result<*mut u8, Refusal> {
        let Some(offset) = self.offset(address, bytes) else { return Err(Refusal::Outside) };
        if address & (bytes - 1) != 0 {
            return Err(Refusal::Misaligned);
        }
        // SAFETY: offset + bytes lies inside the region, and the shadow has a byte for each of its words.
        unsafe {
            let shadow = self.shadow.add((offset / WORD) as usize);
            if bytes >= WORD {
                let words = (bytes / WORD) as usize;
                let all = (0..words).fold(0xffu8, |all, k| all & *shadow.add(k));
                if reads && all != 0xff {
                    return Err(if all & 0xf0 == 0xf0 { Refusal::Uninitialised } else { Refusal::Outside });
                }
                if !reads && all != 0xff {
                    if all & 0xf0 != 0xf0 {
                        return Err(Refusal::Outside);
                    }
                    (0..words).for_each(|k| *shadow.add(k) = 0xff);
                }
            } else {
                let bits = ((1u8 << bytes) - 1) << (offset % WORD);
                let state = atomic(shadow).load(RELAXED);
                if state >> 4 & bits != bits {
                    return Err(Refusal::Outside);
                }
                if reads && state & bits != bits {
                    return Err(Refusal::Uninitialised);
                }
                // Neighbouring blocks may write other bytes of the same word.
                if !reads && state & bits != bits {
                    atomic(shadow).fetch_or(bits, RELAXED);
                }
            }
            Ok(self.data.add(offset as usize))
        }
    }

    /// Checks `bytes` contiguous bytes, a multiple of 16 from an address that is one too; `None` when they are not
    /// all accessible (and initialised, for reads): ask `check` for the reason.
    #[inline(always)]
    pub fn check_run(&self, address: u64, bytes: u64, reads: bool) -> Option<*mut u8> {
        let offset = self.offset(address, bytes)?;
        // SAFETY: as in `check`; shadow words are read unaligned.
        unsafe {
            let shadow = self.shadow.add((offset / WORD) as usize);
            let words = (bytes / WORD) as usize;
            let all = (0..words / 4).fold(u32::MAX, |all, k| all & shadow.cast::<u32>().add(k).read_unaligned());
            if all != u32::MAX {
                if reads || all & 0xf0f0_f0f0 != 0xf0f0_f0f0 {
                    return None;
                }
                shadow.write_bytes(0xff, words);
            }
            Some(self.data.add(offset as usize))
        }
    }

    /// Sets the shadow of `bytes` bytes from `address`: accessible or not, initialised or not. Start on a word.
    pub fn mark(&self, address: u64, bytes: u64, accessible: bool, initialised: bool) {
        let first = ((address - self.start) / WORD) as usize;
        let (whole, rest) = ((bytes / WORD) as usize, bytes % WORD);
        let state = |bits: u8| if accessible { bits << 4 } else { 0 } | if initialised { bits } else { 0 };
        // SAFETY: the caller's range lies inside the region.
        unsafe {
            self.shadow.add(first).write_bytes(state(15), whole);
            if rest != 0 {
                *self.shadow.add(first + whole) = state((1 << rest) - 1);
            }
        }
    }

    /// Sets bytes as initialised, one by one: host copies start and end anywhere.
    pub fn initialise(&self, address: u64, bytes: u64) {
        let start = address - self.start;
        let (first, last) = (start.next_multiple_of(WORD), (start + bytes) / WORD * WORD);
        let one = |offset: u64| {
            // SAFETY: the caller's range lies inside the region.
            unsafe { *self.shadow.add((offset / WORD) as usize) |= 1 << (offset % WORD) };
        };
        if first >= last {
            (start..start + bytes).for_each(one);
        } else {
            (start..first).for_each(one);
            // SAFETY: as above.
            unsafe { self.shadow.add((first / WORD) as usize).write_bytes(0xff, ((last - first) / WORD) as usize) };
            (last..start + bytes).for_each(one);
        }
    }

    /// The first of `bytes` bytes from `address` that may not be read, and why.
    #[must_use]
    pub fn first_refused(&self, address: u64, bytes: u64, reads: bool) -> Option<(u64, Refusal)> {
        let Some(end) = address.checked_add(bytes) else { return Some((address, Refusal::Outside)) };
        let mut at = address;
        while at < end {
            // Sixteen bytes in one look where nothing is wrong with them.
            if at.is_multiple_of(16) && at + 16 <= end && self.check_quiet(at, reads) {
                at += 16;
                continue;
            }
            let Some(offset) = self.offset(at, 1) else { return Some((at, Refusal::Outside)) };
            // SAFETY: offset lies inside the region.
            let state = unsafe { *self.shadow.add((offset / WORD) as usize) };
            let bit = 1 << (offset % WORD);
            if state >> 4 & bit == 0 {
                return Some((at, Refusal::Outside));
            }
            if reads && state & bit == 0 {
                return Some((at, Refusal::Uninitialised));
            }
            at += 1;
        }
        None
    }

    /// Whether 16 bytes, from a multiple of 16, are accessible (and initialised, for reads).
    fn check_quiet(&self, address: u64, reads: bool) -> bool {
        let Some(offset) = self.offset(address, 16) else { return false };
        // SAFETY: four words of the region, and so four bytes of its shadow.
        let state = unsafe { self.shadow.add((offset / WORD) as usize).cast::<u32>().read_unaligned() };
        let wanted = if reads { u32::MAX } else { 0xf0f0_f0f0 };
        state & wanted == wanted
    }
}

const RELAXED: std::sync::atomic::Ordering = std::sync::atomic::Ordering::Relaxed;

/// # Safety
/// `byte` is valid.
unsafe fn atomic<'a>(byte: *mut u8) -> &'a std::sync::atomic::AtomicU8 {
    // SAFETY: the caller's.
    unsafe { std::sync::atomic::AtomicU8::from_ptr(byte) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(test: impl FnOnce(Region)) {
        let (mut data, mut shadow) = (vec![0u8; 64], vec![0u8; 16]);
        test(Region { data: data.as_mut_ptr(), shadow: shadow.as_mut_ptr(), start: 0x1000, bytes: 64 });
    }

    #[test]
    fn every_refusal_has_its_reason() {
        with(|r| {
            r.mark(0x1000, 10, true, false);
            assert_eq!(r.check(0x1000, 4, true).unwrap_err(), Refusal::Uninitialised);
            assert!(r.check(0x1000, 4, false).is_ok());
            assert!(r.check(0x1000, 4, true).is_ok());
            assert_eq!(r.check(0x1002, 4, true).unwrap_err(), Refusal::Misaligned);
            assert!(r.check(0x1008, 2, false).is_ok(), "the last two bytes of ten");
            assert_eq!(r.check(0x1008, 4, false).unwrap_err(), Refusal::Outside, "the eleventh");
            assert_eq!(r.check(0x100a, 1, false).unwrap_err(), Refusal::Outside);
            assert_eq!(r.check(0x103c, 8, false).unwrap_err(), Refusal::Outside);
            assert_eq!(r.check(0xfff, 1, true).unwrap_err(), Refusal::Outside);
            assert_eq!(r.check(0x1004, 1, true).unwrap_err(), Refusal::Uninitialised);
            assert!(r.check(0x1005, 1, false).is_ok());
            assert!(r.check(0x1005, 1, true).is_ok());
            assert_eq!(r.check(0x1004, 2, true).unwrap_err(), Refusal::Uninitialised);
        });
    }

    #[test]
    fn runs_answer_as_single_words_do() {
        with(|r| {
            r.mark(0x1000, 32, true, false);
            assert!(r.check_run(0x1000, 16, true).is_none());
            assert!(r.check_run(0x1000, 16, false).is_some());
            assert!(r.check_run(0x1000, 16, true).is_some());
            assert!(r.check_run(0x1000, 32, true).is_none());
            assert!(r.check_run(0x1010, 32, false).is_none());
            assert!(r.check_run(0x1030, 32, false).is_none());
        });
    }

    #[test]
    fn host_copies_initialise_byte_by_byte() {
        with(|r| {
            r.mark(0x1000, 64, true, false);
            r.initialise(0x1003, 6);
            assert_eq!(r.first_refused(0x1003, 6, true), None);
            assert_eq!(r.first_refused(0x1003, 7, true), Some((0x1009, Refusal::Uninitialised)));
            assert_eq!(r.first_refused(0x1002, 1, true), Some((0x1002, Refusal::Uninitialised)));
            assert_eq!(r.first_refused(0x1030, 32, false), Some((0x1040, Refusal::Outside)));
            r.initialise(0x1011, 2);
            assert_eq!(r.first_refused(0x1011, 2, true), None);
            assert!(r.first_refused(0x1010, 1, true).is_some());
        });
    }
}
