//! A warp's registers and what it does next.

use super::lanes::ALL;
use super::launch::Launch;
use super::machine::AsyncCopies;
use super::program::{Initial, LaneMask, Program, Row, Special};

/// No join: the lanes never meet again.
pub const NEVER: u32 = u32::MAX;

/// Lanes that wait, or run.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub pc: u32,
    pub join: u32,
    pub mask: u32,
}

/// A warp between two turns.
pub struct Warp {
    pub(super) rows: Vec<Row>,
    pub(super) predicates: Vec<u32>,
    pub(super) stack: Vec<Entry>,
    pub(super) alive: u32,
    pub(super) lanes: u32,
    pub(super) epoch: u32,
    pub(super) local: Vec<u8>,
    pub(super) local_shadow: Vec<u8>,
    pub(super) copies: AsyncCopies,
    pub(super) written: Vec<u32>,
    pub(super) jumps: u64,
    /// Instruction of the barrier at which it waits.
    pub(super) barrier: Option<u32>,
}

impl Warp {
    /// Room for a warp of a program.
    #[must_use]
    pub fn new(program: &Program) -> Self {
        let local = program.local_bytes as usize * 32;
        Warp {
            rows: vec![Row([0; 32]); program.rows],
            predicates: vec![0; program.predicates],
            stack: Vec::new(),
            alive: 0,
            lanes: 0,
            epoch: 0,
            local: vec![0; local],
            local_shadow: vec![0; local / 4],
            copies: AsyncCopies::default(),
            written: vec![0; program.tracked_registers],
            jumps: 0,
            barrier: None,
        }
    }

    /// Sets it to the start of warp `index` of a block.
    pub(super) fn start(&mut self, program: &Program, launch: &Launch<'_>, index: u32, block: [u32; 3]) {
        let threads = launch.threads();
        self.lanes = if threads - index * 32 >= 32 { ALL } else { (1 << (threads - index * 32)) - 1 };
        self.alive = self.lanes;
        self.stack.clear();
        self.stack.push(Entry { pc: 0, join: NEVER, mask: self.lanes });
        // Accessible, and nothing in it.
        self.local_shadow.fill(0xf0);
        self.copies = AsyncCopies::default();
        self.written.fill(0);
        (self.jumps, self.barrier) = (0, None);
        for &(register, initial) in &program.initial {
            let lane_value = |lane: u32| match initial {
                Initial::Const32(value) => value,
                Initial::Const64(_) => 0,
                Initial::Special(special) => special_value(special, launch, block, index, lane),
            };
            let row = &mut self.rows[register as usize].0;
            if let Initial::Const64(value) = initial {
                let halves = [value as u32, (value >> 32) as u32];
                for half in 0..2 {
                    let row = &mut self.rows[register as usize + half].0;
                    // Two rows are one array of 32 64-bit values: lanes 0 to 15, then 16 to 31.
                    row.iter_mut().enumerate().for_each(|(k, v)| *v = halves[k % 2]);
                }
            } else {
                row.iter_mut().enumerate().for_each(|(lane, v)| *v = lane_value(lane as u32));
            }
        }
    }
}

fn special_value(special: Special, launch: &Launch<'_>, block: [u32; 3], warp: u32, lane: u32) -> u32 {
    match special {
        Special::Tid(axis) => launch.thread(warp * 32 + lane)[axis as usize],
        Special::Ntid(axis) => launch.block[axis as usize],
        Special::Ctaid(axis) => block[axis as usize],
        Special::Nctaid(axis) => launch.grid[axis as usize],
        Special::LaneId => lane,
        Special::WarpId => warp,
        Special::WarpCount => launch.threads().div_ceil(32),
        Special::LaneMask(which) => {
            let below = (1u32 << lane) - 1;
            match which {
                LaneMask::Eq => 1 << lane,
                LaneMask::Lt => below,
                LaneMask::Le => below | 1 << lane,
                LaneMask::Gt => !(below | 1 << lane),
                LaneMask::Ge => !below,
            }
        }
        Special::DynamicShared => launch.dynamic_shared as u32,
        Special::TotalShared => launch.shared_end() as u32,
    }
}
