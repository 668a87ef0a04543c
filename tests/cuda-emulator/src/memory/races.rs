//! Races: two threads at one place, at least one writing, and no order between them.
//!
//! Each 4-byte word has two 64-bit records: its last writer and its last readers. Within a block, barriers make the
//! order: accesses in different intervals between barriers cannot race. In shared memory, lanes of one warp are ordered
//! by `bar.warp.sync` (the warp's epoch). In global memory, lanes of one warp count as ordered, and blocks are ordered
//! only by an atomic operation that follows a fence (see `exec/order.rs`). Of a word's several writers of single bytes
//! only the last is remembered, so a race over bytes can go unseen; none is reported that is not there.

/// What an access does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Loads.
    Read,
    /// Loads of global memory that have an order (`volatile`, `relaxed`, `acquire`): no race with atomics.
    OrderedRead,
    /// Stores.
    Write,
    /// Reads and writes in one step; atomics do not race with each other.
    Atomic,
}

impl Access {
    /// As it is told.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Access::Read | Access::OrderedRead => "read",
            Access::Write => "write",
            Access::Atomic => "atomic operation",
        }
    }

    /// Whether it loads and does nothing else.
    #[must_use]
    pub const fn reads_only(self) -> bool {
        matches!(self, Access::Read | Access::OrderedRead)
    }
}

/// Bit of a record: it was an atomic operation, or loads that were all ordered.
const ATOMIC: u64 = 1 << 4;
/// Bit of a shared record: an asynchronous copy is on its way to the word.
const PENDING: u64 = 1 << 5;

/// Records of one block's shared memory. Intervals never repeat on a host thread, so nothing is cleared.
#[derive(Default)]
pub struct SharedRaces {
    records: Vec<[u64; 2]>,
}

/// Who does a shared-memory access, and when.
#[derive(Clone, Copy)]
pub struct SharedActor {
    /// Interval between barriers.
    pub interval: u32,
    /// Epoch of the warp.
    pub epoch: u32,
    /// Thread in the block.
    pub thread: u32,
    /// Whether it stands for several lanes of its warp that read the same.
    pub several: bool,
}

/// `thread` of a record: several threads of the warp in the low bits.
const SEVERAL_LANES: u64 = 0x800;
/// `thread` of a record: threads of several warps.
const SEVERAL_WARPS: u64 = 0xfff;

/// What a shared-memory access met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedConflict {
    /// An access of this thread (`None`: of several) in the same interval.
    Race(Option<u32>, Access),
    /// A copy that has not been waited for.
    Pending,
}

impl SharedRaces {
    /// Makes room for `bytes` of shared memory.
    pub fn resize(&mut self, bytes: u64) {
        self.records.resize(bytes.div_ceil(4) as usize, [0; 2]);
    }

    fn pack(actor: SharedActor, bits: u64, flags: u64) -> u64 {
        u64::from(actor.interval) << 32
            | u64::from(actor.epoch & 0x3fff) << 18
            | u64::from(actor.thread) << 6
            | flags
            | bits
    }

    /// Checks and records an access to the bytes `bits` of word `word`.
    ///
    /// # Errors
    /// The conflict found.
    #[inline(always)]
    pub fn access(&mut self, word: usize, bits: u64, actor: SharedActor, access: Access) -> Result<(), SharedConflict> {
        let record = &mut self.records[word];
        let [write, read] = *record;
        let me = u64::from(actor.thread);
        if write & PENDING != 0 {
            return Err(SharedConflict::Pending);
        }
        if write >> 32 == u64::from(actor.interval) && write >> 6 & 0xfff != me {
            let atomics = access == Access::Atomic && write & ATOMIC != 0;
            if write & bits != 0 && !atomics && unordered(write, actor) {
                let other = if write & ATOMIC != 0 { Access::Atomic } else { Access::Write };
                return Err(SharedConflict::Race(Some((write >> 6 & 0x3ff) as u32), other));
            }
        }
        let same_interval = read >> 32 == u64::from(actor.interval);
        if access.reads_only() {
            let mut new = Self::pack(actor, bits, 0);
            if actor.several {
                new = new & !(0xfff << 6) | (SEVERAL_LANES | me >> 5 << 5) << 6;
            }
            if same_interval && read >> 6 & 0xfff != me {
                let same_warp = read >> 6 & 0xfff != SEVERAL_WARPS && read >> 11 & 0x1f == me >> 5;
                let who = if same_warp { SEVERAL_LANES | me >> 5 << 5 } else { SEVERAL_WARPS };
                new = new & !(0xfff << 6) | who << 6 | read & 15;
            }
            record[1] = new;
            return Ok(());
        }
        if same_interval && read >> 6 & 0xfff != me && read & bits != 0 && unordered(read, actor) {
            let who = (read >> 6 & 0xfff < SEVERAL_LANES).then_some((read >> 6 & 0x3ff) as u32);
            return Err(SharedConflict::Race(who, Access::Read));
        }
        record[0] = Self::pack(actor, bits, if access == Access::Atomic { ATOMIC } else { 0 });
        Ok(())
    }

    /// Notes that a copy to the word is on its way, or no more.
    pub fn set_pending(&mut self, word: usize, pending: bool) {
        self.records[word][0] = self.records[word][0] & !PENDING | if pending { PENDING } else { 0 };
    }
}

/// Whether the record's thread, of the same interval and not the actor, is not ordered before it.
fn unordered(record: u64, actor: SharedActor) -> bool {
    let who = record >> 6 & 0xfff;
    let same_warp = who != SEVERAL_WARPS && who >> 5 & 0x1f == u64::from(actor.thread) >> 5;
    !same_warp || record >> 18 & 0x3fff == u64::from(actor.epoch & 0x3fff)
}

/// Launches told apart before the records must be cleared.
pub const LAUNCHES: u32 = (1 << 15) - 1;
/// Blocks told apart; larger grids are not checked.
pub const BLOCKS: u32 = (1 << 24) - 1;
const SEVERAL_BLOCKS: u64 = BLOCKS as u64;
/// Intervals told apart within a block; later ones are not checked.
const INTERVALS: u64 = (1 << 14) - 1;
const WARPS: u64 = 63;

/// Who does a global-memory access, and when.
#[derive(Clone, Copy)]
pub struct GlobalActor {
    record: u64,
}

/// What a global-memory access met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GlobalConflict {
    /// The other block; `None` for several.
    pub block: Option<u32>,
    /// The other warp, if it is of the same block.
    pub warp: Option<u32>,
    /// What the other did.
    pub access: Access,
}

impl GlobalActor {
    /// An actor of launch `launch` (from 1 to `LAUNCHES`).
    #[must_use]
    pub fn new(launch: u32, block: u32, interval: u32, warp: u32) -> Self {
        let interval = u64::from(interval).min(INTERVALS);
        let record = u64::from(launch) << 49 | u64::from(block) << 25 | interval << 11 | u64::from(warp) << 5;
        GlobalActor { record }
    }
}

/// Checks and records an access to the bytes `bits` of the word whose two records are at `place`. Returns whether it is
/// the launch's first one of the word, of loads or of the others.
///
/// Several host threads may be here for one word at a time, which is a race of the program; the records are read and
/// written whole, so that no access sees half of one.
///
/// # Safety
/// `place` points to two records.
///
/// # Errors
/// The conflict found; the records stay as they were.
#[inline(always)]
pub unsafe fn global_access(
    place: *mut u64,
    bits: u64,
    actor: GlobalActor,
    access: Access,
) -> Result<bool, GlobalConflict> {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
    // SAFETY: the caller's.
    let (write, read) = unsafe { (AtomicU64::from_ptr(place), AtomicU64::from_ptr(place.add(1))) };
    let (w, r) = (write.load(Relaxed), read.load(Relaxed));
    let me = actor.record;
    if w >> 49 == me >> 49 && w >> 5 != me >> 5 {
        let atomics = matches!(access, Access::Atomic | Access::OrderedRead) && w & ATOMIC != 0;
        if w & bits != 0 && !atomics && global_unordered(w, me) {
            return Err(global_conflict(w, me, if w & ATOMIC != 0 { Access::Atomic } else { Access::Write }));
        }
    }
    let same_launch = r >> 49 == me >> 49;
    if access.reads_only() {
        // Ordered only as long as every reader is.
        let ordered = access == Access::OrderedRead && (!same_launch || r & ATOMIC != 0 || r & 15 == 0);
        let me = me | if ordered { ATOMIC } else { 0 };
        let mut new = me | bits;
        if same_launch && r >> 5 != me >> 5 {
            if r >> 25 != me >> 25 {
                new = me & !(SEVERAL_BLOCKS << 25) | SEVERAL_BLOCKS << 25 | r & 15 | bits;
            } else if r >> 11 == me >> 11 {
                new = me & !(WARPS << 5) | WARPS << 5 | r & 15 | bits;
            }
        }
        if new != r {
            read.store(new, Relaxed);
        }
        return Ok(!same_launch);
    }
    let atomics = access == Access::Atomic && r & ATOMIC != 0;
    if same_launch && r >> 5 != me >> 5 && r & bits != 0 && !atomics && global_unordered(r, me) {
        return Err(global_conflict(r, me, Access::Read));
    }
    write.store(me | bits | if access == Access::Atomic { ATOMIC } else { 0 }, Relaxed);
    Ok(w >> 49 != me >> 49)
}

/// Records an access that was found to be ordered after what it met.
///
/// # Safety
/// `place` points to two records.
pub unsafe fn global_record(place: *mut u64, bits: u64, actor: GlobalActor, access: Access) {
    let flags = if matches!(access, Access::Atomic | Access::OrderedRead) { ATOMIC } else { 0 };
    // SAFETY: the caller's.
    unsafe { *place.add(usize::from(access.reads_only())) = actor.record | bits | flags };
}

fn global_unordered(record: u64, me: u64) -> bool {
    let same_block = record >> 25 == me >> 25;
    let interval = record >> 11 & INTERVALS;
    !same_block || record >> 11 == me >> 11 && interval != INTERVALS
}

#[cold]
fn global_conflict(record: u64, me: u64, access: Access) -> GlobalConflict {
    let (block, warp) = (record >> 25 & SEVERAL_BLOCKS, record >> 5 & WARPS);
    let same_block = record >> 25 == me >> 25;
    GlobalConflict {
        block: (block != SEVERAL_BLOCKS).then_some(block as u32),
        warp: (same_block && warp != WARPS).then_some(warp as u32),
        access,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared(steps: &[(u32, u32, u32, Access, u64)]) -> Result<(), SharedConflict> {
        let mut races = SharedRaces::default();
        races.resize(16);
        for &(interval, epoch, thread, access, bits) in steps {
            races.access(1, bits, SharedActor { interval, epoch, thread, several: false }, access)?;
        }
        Ok(())
    }

    use Access::{Atomic, Read, Write};

    #[test]
    fn shared_races_between_barriers() {
        let race = |who, access| Err(SharedConflict::Race(who, access));
        assert_eq!(shared(&[(1, 0, 5, Write, 15), (1, 0, 70, Read, 15)]), race(Some(5), Write));
        assert_eq!(shared(&[(1, 0, 5, Read, 15), (1, 0, 70, Write, 15)]), race(Some(5), Read));
        assert_eq!(shared(&[(1, 0, 5, Write, 15), (1, 0, 70, Write, 15)]), race(Some(5), Write));
        assert_eq!(shared(&[(1, 0, 5, Write, 15), (2, 0, 70, Read, 15)]), Ok(()));
        assert_eq!(shared(&[(1, 0, 5, Write, 15), (1, 0, 5, Read, 15)]), Ok(()));
        assert_eq!(shared(&[(1, 0, 5, Write, 3), (1, 0, 70, Write, 12)]), Ok(()), "different bytes");
        assert_eq!(shared(&[(1, 0, 5, Read, 15), (1, 0, 70, Read, 15), (1, 0, 5, Write, 15)]), race(None, Read));
        assert_eq!(shared(&[(1, 0, 5, Atomic, 15), (1, 0, 70, Atomic, 15)]), Ok(()));
        assert_eq!(shared(&[(1, 0, 5, Atomic, 15), (1, 0, 70, Read, 15)]), race(Some(5), Atomic));
    }

    #[test]
    fn lanes_of_a_warp_are_ordered_by_its_own_barrier() {
        assert!(shared(&[(1, 0, 5, Write, 15), (1, 0, 6, Read, 15)]).is_err());
        assert!(shared(&[(1, 0, 5, Write, 15), (1, 1, 6, Read, 15)]).is_ok());
        assert!(shared(&[(1, 0, 5, Read, 15), (1, 0, 7, Read, 15), (1, 0, 6, Write, 15)]).is_err());
        assert!(shared(&[(1, 0, 5, Read, 15), (1, 0, 7, Read, 15), (1, 1, 6, Write, 15)]).is_ok());
        assert!(shared(&[(1, 0, 5, Read, 15), (1, 0, 40, Read, 15), (1, 1, 6, Write, 15)]).is_err());
    }

    #[test]
    fn copies_on_their_way() {
        let mut races = SharedRaces::default();
        races.resize(16);
        let actor = SharedActor { interval: 1, epoch: 0, thread: 3, several: false };
        races.set_pending(2, true);
        assert_eq!(races.access(2, 15, actor, Read), Err(SharedConflict::Pending));
        races.set_pending(2, false);
        assert_eq!(races.access(2, 15, actor, Read), Ok(()));
    }

    fn global(steps: &[(u32, u32, u32, u32, Access, u64)]) -> Result<(), GlobalConflict> {
        let mut records = [0u64; 2];
        for &(launch, block, interval, warp, access, bits) in steps {
            let actor = GlobalActor::new(launch, block, interval, warp);
            // SAFETY: two records.
            unsafe { global_access(records.as_mut_ptr(), bits, actor, access)? };
        }
        Ok(())
    }

    #[test]
    fn a_word_is_first_touched_once_a_launch() {
        let mut records = [0u64; 2];
        let mut first = |launch, block, access| {
            // SAFETY: two records.
            unsafe { global_access(records.as_mut_ptr(), 15, GlobalActor::new(launch, block, 0, 0), access) }
        };
        let touches = [(1, 3, Read), (1, 4, Read), (1, 4, Read), (2, 4, Read), (2, 4, Write), (2, 4, Write), (3, 4, Write)];
        let firsts = touches.map(|(launch, block, access)| first(launch, block, access));
        assert_eq!(firsts, [Ok(true), Ok(false), Ok(false), Ok(true), Ok(true), Ok(false), Ok(true)]);
    }

    #[test]
    fn global_races_between_blocks() {
        let race = |block, access| Err(GlobalConflict { block, warp: None, access });
        assert_eq!(global(&[(1, 3, 0, 0, Write, 15), (1, 4, 9, 0, Read, 15)]), race(Some(3), Write));
        assert_eq!(global(&[(1, 3, 0, 0, Read, 15), (1, 4, 0, 0, Write, 15)]), race(Some(3), Read));
        assert_eq!(global(&[(1, 3, 0, 0, Write, 15), (2, 4, 0, 0, Read, 15)]), Ok(()), "another launch");
        assert_eq!(global(&[(1, 3, 0, 0, Write, 3), (1, 4, 0, 0, Write, 12)]), Ok(()), "different bytes");
        assert_eq!(global(&[(1, 3, 0, 0, Atomic, 15), (1, 4, 0, 0, Atomic, 15)]), Ok(()));
        assert_eq!(global(&[(1, 3, 0, 0, Atomic, 15), (1, 4, 0, 0, Write, 15)]), race(Some(3), Atomic));
        let readers = [(1, 3, 0, 0, Read, 15), (1, 4, 0, 0, Read, 15), (1, 3, 0, 0, Write, 15)];
        assert_eq!(global(&readers), race(None, Read));
    }

    #[test]
    fn global_races_within_a_block() {
        let race = |warp| Err(GlobalConflict { block: Some(3), warp, access: Write });
        assert_eq!(global(&[(1, 3, 2, 0, Write, 15), (1, 3, 2, 1, Read, 15)]), race(Some(0)));
        assert_eq!(global(&[(1, 3, 2, 0, Write, 15), (1, 3, 3, 1, Read, 15)]), Ok(()));
        assert_eq!(global(&[(1, 3, 2, 0, Write, 15), (1, 3, 2, 0, Read, 15)]), Ok(()));
    }
}
