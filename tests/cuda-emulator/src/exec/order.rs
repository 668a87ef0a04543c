//! The race checks of the machine, and the order that fences and atomics make between blocks.
//!
//! A block that has fenced (`membar.gl`, `fence.acq_rel`, `fence.sc`) and then does an atomic operation releases what it
//! wrote, and acquires what the blocks released that did so at the same address before; so does one that fences after the
//! operation, as a lock's owner. That is how a grid's last block
//! may read what the others wrote. Only the block as a whole is followed: writes after its release count as released.

use super::fault::{Fault, Kind};
use super::launch::Races;
use super::machine::{Machine, lanes_of};
use super::pattern::Shape;
use super::program::Step;
use crate::memory::races::{Access, GlobalActor, SharedActor, SharedConflict, global_access, global_record};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};

/// For each address of a synchronising atomic: blocks by the order in which they came.
#[derive(Default)]
pub struct Order {
    arrivals: Mutex<HashMap<u64, HashMap<u32, usize>>>,
    /// Held from a block's arrival to the end of its atomic operation, so that both have one order.
    turn: Mutex<()>,
}

impl Order {
    /// Block `block` releases and acquires at `address`; how many blocks it follows.
    fn arrive(&self, address: u64, block: u32) -> usize {
        let mut all = self.arrivals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = all.entry(address).or_default();
        let count = at.len();
        at.entry(block).or_insert(count);
        at.len()
    }

    /// How many blocks have released at `address`.
    fn arrived(&self, address: u64) -> usize {
        let all = self.arrivals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        all.get(&address).map_or(0, HashMap::len)
    }

    fn before(&self, acquired: &HashMap<u64, usize>, other: u32) -> bool {
        let all = self.arrivals.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        acquired.iter().any(|(address, &count)| {
            all.get(address).and_then(|at| at.get(&other)).is_some_and(|&position| position < count)
        })
    }
}

/// What the block in front knows of others.
#[derive(Default)]
pub struct Acquired {
    /// Whether the block has fenced.
    pub fenced: bool,
    counts: HashMap<u64, usize>,
    /// What it will know after a fence.
    seen: HashMap<u64, usize>,
}

impl Acquired {
    /// For a new block.
    pub fn clear(&mut self) {
        self.fenced = false;
        self.counts.clear();
        self.seen.clear();
    }

    /// The block fences.
    pub fn fence(&mut self) {
        self.fenced = true;
        self.counts.extend(self.seen.drain());
    }
}

/// Bytes of a word that `bytes` bytes from `address` take, and how many words.
#[inline(always)]
fn extent(address: u64, bytes: u64) -> (u64, u64) {
    if bytes >= 4 { (15, bytes / 4) } else { (((1 << bytes) - 1) << (address % 4), 1) }
}

impl<'a> Machine<'a> {
    /// Before an atomic operation on these addresses of global memory: if the block has fenced, it releases and acquires
    /// there. Hold what this gives until the operation is done.
    #[must_use]
    pub fn take_turn(&mut self, addresses: &[u64; 32], mask: u32) -> Option<MutexGuard<'a, ()>> {
        if self.launch.races == Races::Off || !self.program.fences {
            return None;
        }
        let order = &self.launch.order;
        let turn = order.turn.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        for lane in lanes_of(mask) {
            if self.acquired.fenced {
                let count = order.arrive(addresses[lane], self.block_number);
                self.acquired.counts.insert(addresses[lane], count);
            } else {
                self.acquired.seen.insert(addresses[lane], order.arrived(addresses[lane]));
            }
        }
        Some(turn)
    }

    /// # Errors
    /// The first race found.
    pub fn check_shared_races(
        &mut self,
        a: &[u64; 32],
        mask: u32,
        bytes: u64,
        access: Access,
        shape: Shape,
    ) -> Step {
        let start = self.shared.start;
        // Lanes that read one address are one reader.
        let (lanes, several) = if access.reads_only() { (shape.first, shape.several) } else { (mask, 0) };
        for lane in lanes_of(lanes) {
            let (bits, words) = extent(a[lane], bytes);
            let thread = self.thread(lane as u32);
            let several = several >> lane & 1 != 0;
            let actor = SharedActor { interval: self.interval, epoch: self.warp_epoch, thread, several };
            for k in 0..words {
                let word = ((a[lane] - start) / 4 + k) as usize;
                if let Err(conflict) = self.shared_races.access(word, bits, actor, access) {
                    return Err(self.shared_race(a[lane], lane as u32, access, conflict));
                }
            }
        }
        Ok(())
    }

    #[cold]
    fn shared_race(&self, address: u64, lane: u32, access: Access, conflict: SharedConflict) -> Box<Fault> {
        let access = access.name();
        match conflict {
            SharedConflict::Pending => {
                let text = format!("{access} at shared address {address:#x}, to which a cp.async is under way");
                self.fault(Kind::AsyncCopy, Some(lane), text)
            }
            SharedConflict::Race(who, other) => {
                let who = who.map_or("several threads".into(), |t| {
                    let [x, y, z] = self.launch.thread(t);
                    format!("thread ({x}, {y}, {z})")
                });
                let text = format!("{access} at shared address {address:#x} after {} of {who} without a barrier between", other.name());
                self.fault(Kind::Race, Some(lane), text)
            }
        }
    }

    /// # Errors
    /// The first race found.
    pub fn global_races(
        &mut self,
        a: &[u64; 32],
        bytes: u64,
        access: Access,
        shape: Shape,
    ) -> Step {
        let interval = self.interval.wrapping_sub(self.first_interval);
        let actor = GlobalActor::new(self.launch.number, self.block_number, interval, self.warp);
        let (start, races) = (self.launch.arena.region.start, self.launch.arena.races);
        // Lanes of one warp do not race with each other here, so one of each address will do.
        for lane in lanes_of(shape.first) {
            let (bits, words) = extent(a[lane], bytes);
            for k in 0..words {
                // SAFETY: the address was found inside the arena; each of its words has two records.
                let place = unsafe { races.add(((a[lane] - start) / 4 + k) as usize * 2) };
                // SAFETY: as above.
                let conflict = match unsafe { global_access(place, bits, actor, access) } {
                    Ok(first) => {
                        self.counts.traffic(access).distinct += 4 * u64::from(first);
                        continue;
                    }
                    Err(conflict) => conflict,
                };
                if conflict.block.is_some_and(|b| b != self.block_number && self.launch.order.before(&self.acquired.counts, b)) {
                    // SAFETY: as above.
                    unsafe { global_record(place, bits, actor, access) };
                    continue;
                }
                let who = match (conflict.block, conflict.warp) {
                    (None, _) => "several blocks".into(),
                    (Some(_), Some(warp)) => format!("warp {warp} of the same block"),
                    (Some(block), None) if block == self.block_number => "other warps of the same block".into(),
                    (Some(block), None) => {
                        let [x, y, z] = self.launch.block(block);
                        format!("block ({x}, {y}, {z})")
                    }
                };
                let text = format!("{} at global address {:#x} ({}) and {} of {who} in the same launch, unordered",
                    access.name(), a[lane], self.launch.arena.describe(a[lane]), conflict.access.name());
                return Err(self.fault(Kind::Race, Some(lane as u32), text));
            }
        }
        Ok(())
    }
}
