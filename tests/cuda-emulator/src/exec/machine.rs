//! What an instruction sees: the registers of its warp, the memories, the counts.

use super::fault::{Fault, Kind};
use super::launch::Launch;
use super::order::Acquired;
use super::pattern::Pattern;
use super::program::{Code, Program, Row};
use crate::counts::Counts;
use crate::memory::races::SharedRaces;
use crate::memory::region::Region;

/// A copy of `cp.async` that was issued and not yet waited for.
#[derive(Clone, Copy)]
pub struct PendingCopy {
    /// Address in shared memory.
    pub to: u64,
    /// Number of bytes.
    pub bytes: u8,
    /// Thread that issued it.
    pub thread: u16,
    /// The bytes.
    pub data: [u8; 16],
}

/// Copies of one warp, as `cp.async` groups them.
#[derive(Default)]
pub struct AsyncCopies {
    /// Issued, in no group yet.
    pub open: Vec<PendingCopy>,
    /// Committed groups, oldest first.
    pub groups: std::collections::VecDeque<Vec<PendingCopy>>,
}

/// The state of the block that a host thread runs, with one of its warps in front.
pub struct Machine<'a> {
    /// The kernel.
    pub program: &'a Program,
    /// Its launch.
    pub launch: &'a Launch<'a>,
    /// Registers of the warp in front.
    pub rows: *mut Row,
    /// Predicates of the warp in front.
    pub predicates: *mut u32,
    /// Index of the warp in front.
    pub warp: u32,
    /// Its lanes that take part in the current instruction, guards aside.
    pub active: u32,
    /// Its lanes that have not ended.
    pub alive: u32,
    /// Index of the current instruction.
    pub pc: usize,
    /// Local memory of the warp in front: one frame a lane.
    pub local: Region,
    /// Copies in flight of the warp in front.
    pub copies: AsyncCopies,
    /// How often the warp in front has synchronised itself.
    pub warp_epoch: u32,
    /// Shared memory of the block.
    pub shared: Region,
    /// Lanes that have written each tracked register of the warp in front.
    pub written: Vec<u32>,
    /// Whether races in this block's shared memory are looked for.
    pub watch_shared: bool,
    /// The last shapes of addresses, by `Code::pattern`.
    pub patterns: Vec<Pattern>,
    /// Race records of the block's shared memory.
    pub shared_races: SharedRaces,
    /// Counts barriers of all blocks of this host thread, and so tells apart what lies between them.
    pub interval: u32,
    /// The interval in which the block started.
    pub first_interval: u32,
    /// What the block knows of other blocks.
    pub acquired: Acquired,
    /// The block.
    pub block: [u32; 3],
    /// Its number among all blocks.
    pub block_number: u32,
    /// Lanes with a carry, from one instruction with `.cc` to the next.
    pub carry: u32,
    /// Counts of this host thread.
    pub counts: Counts,
}

impl Machine<'_> {
    /// A fault of the current instruction; `lane` is the lane at fault, if it is one.
    #[cold]
    #[must_use]
    pub fn fault(&self, kind: Kind, lane: Option<u32>, what: impl Into<String>) -> Box<Fault> {
        let line = self.program.code[self.pc].line;
        let source = self.program.text.lines().nth(line.saturating_sub(1) as usize).unwrap_or_default();
        Box::new(Fault {
            kind,
            what: what.into(),
            kernel: self.program.name.clone(),
            line,
            source: source.to_string(),
            block: self.block,
            thread: lane.map(|lane| self.launch.thread(self.warp * 32 + lane)),
        })
    }

    /// Number in the block of a lane of the warp in front.
    #[inline(always)]
    #[must_use]
    pub fn thread(&self, lane: u32) -> u32 {
        self.warp * 32 + lane
    }

    /// The addresses of an instruction's memory operand in register `register`.
    #[inline(always)]
    #[must_use]
    pub fn addresses(&self, c: &Code, register: u16, wide: bool) -> [u64; 32] {
        let mut out = [0; 32];
        if wide {
            let base = self.get::<u64>(register);
            for i in 0..32 {
                out[i] = base[i].wrapping_add(c.imm as u64);
            }
        } else {
            let base = self.get::<u32>(register);
            for i in 0..32 {
                out[i] = u64::from(base[i].wrapping_add(c.imm as u32));
            }
        }
        out
    }
}

/// The lanes of a mask.
#[inline(always)]
pub fn lanes_of(mask: u32) -> impl Iterator<Item = usize> {
    let mut left = mask;
    std::iter::from_fn(move || {
        (left != 0).then(|| {
            let lane = left.trailing_zeros() as usize;
            left &= left - 1;
            lane
        })
    })
}
