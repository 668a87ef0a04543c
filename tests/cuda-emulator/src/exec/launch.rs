//! One launch: its blocks over the host's cores.

use super::block;
use super::fault::Fault;
use super::machine::{AsyncCopies, Machine};
use super::order::{Acquired, Order};
use super::pattern::Pattern;
use super::program::Program;
use super::warp::Warp;
use crate::counts::Counts;
use crate::memory::arena::Arena;
use crate::memory::races::{BLOCKS, SharedRaces};
use crate::memory::region::Region;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Where shared memory starts, so that address 0 is in no variable.
pub const SHARED_START: u64 = 1024;

/// How hard races are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Races {
    /// Not at all.
    Off,
    /// In global memory everywhere; in shared memory in some blocks, as all run the same code (see `watches`).
    Some,
    /// Everywhere.
    All,
}

impl Races {
    /// Whether races in the shared memory of block number `block` are looked for: the first four and every eighth.
    #[must_use]
    pub fn watches(self, block: u32) -> bool {
        match self {
            Races::Off => false,
            Races::Some => block < 4 || block.is_multiple_of(8),
            Races::All => true,
        }
    }
}

/// What all blocks of a launch share.
pub struct Launch<'a> {
    /// Device memory.
    pub arena: &'a Arena,
    /// Blocks along each axis.
    pub grid: [u32; 3],
    /// Threads along each axis.
    pub block: [u32; 3],
    /// Bytes of dynamic shared memory.
    pub dynamic_shared: u64,
    /// The parameters as the kernel reads them.
    pub parameters: Vec<u8>,
    /// How hard races are looked for.
    pub races: Races,
    /// Number of the launch, for the race records.
    pub number: u32,
    /// Jumps that a warp may take before it counts as endless.
    pub jumps: u64,
    /// Order between blocks.
    pub order: Order,
    stop: AtomicBool,
    dynamic_start: u64,
}

impl<'a> Launch<'a> {
    /// A launch with no parameters set, in which races are not looked for.
    #[must_use]
    pub fn new(program: &Program, arena: &'a Arena, grid: [u32; 3], block: [u32; 3], dynamic_shared: u64) -> Self {
        Launch {
            arena,
            grid,
            block,
            dynamic_shared,
            parameters: vec![0; program.parameter_bytes as usize],
            races: Races::Off,
            number: 1,
            jumps: 1 << 28,
            order: Order::default(),
            stop: AtomicBool::new(false),
            dynamic_start: program.dynamic_shared,
        }
    }

    /// Threads of a block.
    #[must_use]
    pub fn threads(&self) -> u32 {
        self.block.iter().product()
    }

    /// Indices of thread number `thread` of a block.
    #[must_use]
    pub fn thread(&self, thread: u32) -> [u32; 3] {
        index(thread, self.block)
    }

    /// Indices of block number `block`.
    #[must_use]
    pub fn block(&self, block: u32) -> [u32; 3] {
        index(block, self.grid)
    }

    /// Address behind the block's shared memory.
    #[must_use]
    pub fn shared_end(&self) -> u64 {
        self.dynamic_start + self.dynamic_shared
    }

    /// Whether another block has failed.
    #[must_use]
    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs every block on `workers` host threads.
    ///
    /// # Errors
    /// A fault that some block met; that of the lowest block number among those met.
    pub fn run(&self, program: &Program, workers: usize) -> Result<Counts, Box<Fault>> {
        let blocks = self.grid.iter().map(|&n| u64::from(n)).product::<u64>() as u32;
        let next = AtomicU32::new(0);
        let total = Mutex::new(Counts::new(program.code.len()));
        let failed: Mutex<Option<(u32, Box<Fault>)>> = Mutex::new(None);
        let work = || {
            let mut room = Room::new(self);
            let mut machine = room.machine(program, self);
            let mut warps: Vec<Warp> = (0..self.threads().div_ceil(32)).map(|_| Warp::new(program)).collect();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= blocks || self.stopped() {
                    break;
                }
                if let Err(fault) = block::run(&mut machine, &mut warps, number) {
                    let mut failed = failed.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                    if !self.stop.swap(true, Ordering::Relaxed) || failed.as_ref().is_some_and(|f| number < f.0 && !fault.what.starts_with("stopped")) {
                        *failed = Some((number, fault));
                    }
                }
            }
            total.lock().unwrap_or_else(std::sync::PoisonError::into_inner).add(&machine.counts);
        };
        let workers = workers.min(blocks as usize).max(1);
        if workers == 1 {
            work();
        } else {
            std::thread::scope(|scope| {
                (0..workers).for_each(|_| {
                    scope.spawn(work);
                });
            });
        }
        match failed.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner) {
            Some((_, fault)) => Err(fault),
            None => Ok(total.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)),
        }
    }

    /// Whether the grid is small enough for the race records.
    #[must_use]
    pub fn can_check_races(&self) -> bool {
        self.grid.iter().map(|&n| u64::from(n)).product::<u64>() < u64::from(BLOCKS)
    }
}

fn index(number: u32, size: [u32; 3]) -> [u32; 3] {
    [number % size[0], number / size[0] % size[1], number / size[0] / size[1]]
}

/// Shared memory of one host thread.
struct Room {
    data: Vec<u128>,
    shadow: Vec<u32>,
}

impl Room {
    fn new(launch: &Launch<'_>) -> Self {
        let bytes = (launch.shared_end() - SHARED_START).next_multiple_of(64) as usize;
        Room { data: vec![0; bytes / 16], shadow: vec![0; bytes / 16] }
    }

    fn machine<'a>(&mut self, program: &'a Program, launch: &'a Launch<'a>) -> Machine<'a> {
        let bytes = self.data.len() as u64 * 16;
        let mut shared_races = SharedRaces::default();
        if launch.races != Races::Off {
            shared_races.resize(bytes);
        }
        let none = Region { data: std::ptr::null_mut(), shadow: std::ptr::null_mut(), start: 0, bytes: 0 };
        Machine {
            program,
            launch,
            rows: std::ptr::null_mut(),
            predicates: std::ptr::null_mut(),
            warp: 0,
            active: 0,
            alive: 0,
            pc: 0,
            local: none,
            copies: AsyncCopies::default(),
            warp_epoch: 0,
            shared: Region {
                data: self.data.as_mut_ptr().cast(),
                shadow: self.shadow.as_mut_ptr().cast(),
                start: SHARED_START,
                bytes,
            },
            written: Vec::new(),
            watch_shared: false,
            patterns: vec![Pattern::default(); program.patterns],
            shared_races,
            interval: 0,
            first_interval: 0,
            acquired: Acquired::default(),
            block: [0; 3],
            block_number: 0,
            carry: 0,
            counts: Counts::new(program.code.len()),
        }
    }
}
