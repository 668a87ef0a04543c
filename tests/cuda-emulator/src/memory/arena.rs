//! A device's memory: one reserved stretch of addresses, in which buffers lie with gaps between them.
//!
//! Addresses of freed buffers are used again only when the stretch is used up, oldest first, so that a stale pointer is
//! found for as long as possible. Pages and their shadow are given back when a buffer is freed.

use super::region::Region;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Mutex;

/// Buffers start on a page, and an unused page follows each.
const PAGE: u64 = 4096;
/// Addresses of one device.
const SPAN: u64 = 64 << 30;
/// Address of the first device's first byte.
const FIRST: u64 = 0x7f00_0000_0000;

/// One buffer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Buffer {
    /// First address.
    pub address: u64,
    /// Size in bytes, as asked for.
    pub bytes: u64,
    /// Which allocation of this device it was, from 1.
    pub serial: u64,
    /// Whether the program asked for it (else a module did).
    pub from_program: bool,
}

impl Buffer {
    fn reserved(&self) -> u64 {
        self.bytes.next_multiple_of(PAGE) + PAGE
    }
}

#[derive(Default)]
struct State {
    live: BTreeMap<u64, Buffer>,
    freed: VecDeque<Buffer>,
    end: u64,
    used: u64,
    serial: u64,
}

/// The memory of one device.
pub struct Arena {
    /// All its addresses.
    pub region: Region,
    /// Records of the race check: two for each word.
    pub races: *mut u64,
    limit: u64,
    state: Mutex<State>,
}

// SAFETY: the pointers are to mappings that live as long as the process.
unsafe impl Send for Arena {}
// SAFETY: as above; the lists are behind a mutex.
unsafe impl Sync for Arena {}

fn reserve(bytes: u64) -> *mut u8 {
    // SAFETY: a fresh private mapping; its pages come into being, zeroed, when they are first written.
    let at = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes as usize,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    assert!(at != libc::MAP_FAILED, "the emulator cannot reserve {bytes} bytes of addresses");
    at.cast()
}

impl Arena {
    /// The memory of device number `device`, of which at most `limit` bytes can be used at a time.
    #[must_use]
    pub fn new(device: usize, limit: u64) -> Self {
        Self::with_span(device, limit, SPAN)
    }

    fn with_span(device: usize, limit: u64, span: u64) -> Self {
        let region = Region {
            data: reserve(span),
            shadow: reserve(span / 4),
            start: FIRST + device as u64 * 2 * SPAN,
            bytes: span,
        };
        let races = reserve(span / 4 * 16).cast();
        Arena { region, races, limit, state: Mutex::new(State::default()) }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A new buffer, uninitialised; `None` when `bytes` is more than is left. A size of zero is the caller's error.
    pub fn allocate(&self, bytes: u64, from_program: bool) -> Option<u64> {
        let mut state = self.state();
        // What a real driver takes: 512-byte granules.
        if bytes.checked_next_multiple_of(512)? > self.limit - state.used {
            return None;
        }
        state.serial += 1;
        let mut buffer = Buffer { address: 0, bytes, serial: state.serial, from_program };
        if buffer.reserved() <= self.region.bytes - state.end {
            buffer.address = self.region.start + state.end;
            state.end += buffer.reserved();
        } else {
            let place = state.freed.iter().position(|old| old.reserved() >= buffer.reserved())?;
            let old = state.freed.remove(place)?;
            buffer.address = old.address;
        }
        state.used += bytes.next_multiple_of(512);
        self.region.mark(buffer.address, bytes, true, false);
        let address = buffer.address;
        state.live.insert(address, buffer);
        Some(address)
    }

    /// Frees the buffer that starts at `address`; false if there is none.
    pub fn free(&self, address: u64) -> bool {
        let mut state = self.state();
        let Some(buffer) = state.live.remove(&address) else { return false };
        state.used -= buffer.bytes.next_multiple_of(512);
        let offset = address - self.region.start;
        let bytes = buffer.bytes.next_multiple_of(PAGE);
        // Sixteen shadow pages' worth of data share one page of shadow with their neighbours: zero, then give back.
        self.region.mark(address, bytes, false, false);
        let give_back = |base: *mut u8, from: u64, to: u64| {
            let (from, to) = (from.next_multiple_of(PAGE), to / PAGE * PAGE);
            if from < to {
                // SAFETY: whole pages of this buffer alone, inside the mapping.
                unsafe { libc::madvise(base.add(from as usize).cast(), (to - from) as usize, libc::MADV_DONTNEED) };
            }
        };
        give_back(self.region.data, offset, offset + bytes);
        give_back(self.region.shadow, offset / 4, (offset + bytes) / 4);
        give_back(self.races.cast(), offset * 4, (offset + bytes) * 4);
        state.freed.push_back(buffer);
        true
    }

    /// The live buffer in which `address` lies.
    #[must_use]
    pub fn buffer(&self, address: u64) -> Option<Buffer> {
        let state = self.state();
        let (_, buffer) = state.live.range(..=address).next_back()?;
        (address < buffer.address + buffer.bytes).then(|| buffer.clone())
    }

    /// Whether the device owns `address` at all.
    #[must_use]
    pub fn owns(&self, address: u64) -> bool {
        address.wrapping_sub(self.region.start) < self.region.bytes
    }

    /// What lies at or near an address where nothing may be accessed.
    #[must_use]
    pub fn describe(&self, address: u64) -> String {
        let state = self.state();
        let name = |b: &Buffer| format!("buffer {} of {} bytes at {:#x}", b.serial, b.bytes, b.address);
        if let Some(b) = state.freed.iter().rev().find(|b| address.wrapping_sub(b.address) < b.bytes) {
            return format!("{} bytes into {}, which was freed", address - b.address, name(b));
        }
        match state.live.range(..=address).next_back() {
            Some((_, b)) if address < b.address + b.bytes => {
                format!("{} bytes into {}", address - b.address, name(b))
            }
            Some((_, b)) if address - b.address < b.reserved() + (1 << 20) => {
                format!("{} bytes past the end of {}", address - b.address - b.bytes, name(b))
            }
            _ => match state.live.range(address..).next() {
                Some((_, b)) if b.address - address < 1 << 20 => {
                    format!("{} bytes before {}", b.address - address, name(b))
                }
                _ => "in no buffer".to_string(),
            },
        }
    }

    /// Bytes free and bytes in total.
    #[must_use]
    pub fn info(&self) -> (u64, u64) {
        (self.limit - self.state().used, self.limit)
    }

    /// Buffers that the program has not freed.
    #[must_use]
    pub fn leaks(&self) -> Vec<Buffer> {
        self.state().live.values().filter(|b| b.from_program).cloned().collect()
    }

    /// Clears the race records: launches are about to be numbered anew.
    pub fn forget_races(&self) {
        let bytes = (self.state().end * 4) as usize;
        // SAFETY: the records' own mapping.
        unsafe { libc::madvise(self.races.cast(), bytes, libc::MADV_DONTNEED) };
    }

    /// Frees everything, as the end of a context does.
    pub fn clear(&self) {
        let all: Vec<u64> = self.state().live.keys().copied().collect();
        all.into_iter().for_each(|address| {
            self.free(address);
        });
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the three mappings made in `new`.
        unsafe {
            let span = self.region.bytes as usize;
            libc::munmap(self.region.data.cast(), span);
            libc::munmap(self.region.shadow.cast(), span / 4);
            libc::munmap(self.races.cast(), span * 4);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_come_and_go() {
        let arena = Arena::new(0, 1 << 20);
        let a = arena.allocate(100, true).unwrap();
        assert!(arena.region.check(a + 96, 4, false).is_ok());
        assert!(arena.region.check(a + 100, 4, false).is_err());
        assert!(arena.describe(a + 100).contains("0 bytes past the end of buffer 1 of 100 bytes"));
        assert_eq!(arena.info(), ((1 << 20) - 512, 1 << 20));
        assert!(arena.free(a) && !arena.free(a));
        assert!(arena.region.check(a, 4, false).is_err());
        assert!(arena.describe(a + 8).contains("which was freed"));
        let b = arena.allocate(100, true).unwrap();
        assert_ne!(a, b, "a stale pointer must not meet the next buffer");
        assert!(arena.region.check(b, 4, true).is_err(), "fresh memory holds no value");
        assert_eq!(arena.leaks().len(), 1);
    }

    #[test]
    fn memory_is_limited_and_addresses_are_used_again() {
        let arena = Arena::with_span(1, 1 << 20, 8 << 20);
        assert!(arena.allocate((1 << 20) + 1, true).is_none());
        for _ in 0..200 {
            let a = arena.allocate(1 << 20, true).unwrap();
            assert!(arena.region.check(a, 4, true).is_err());
            assert!(arena.region.check(a, 4, false).is_ok());
            assert!(arena.free(a));
        }
    }
}
