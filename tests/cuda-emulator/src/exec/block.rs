//! One block: its warps one after the other, each up to the next barrier.
//!
//! Lanes that part at a branch meet again at the branch's join, the first instruction that all their ways share. A stack
//! of (next instruction, join, lanes) keeps those that wait.

use super::fault::Kind;
use super::lanes::ALL;
use super::launch::Launch;
use super::machine::{AsyncCopies, Machine, lanes_of};
use super::program::{Code, Flow, Initial, LaneMask, NONE, Program, Row, Special, Step};
use crate::decode::defined::check_guard;
use crate::memory::region::Region;

/// No join: the lanes never meet again.
pub const NEVER: u32 = u32::MAX;

#[derive(Clone, Copy)]
struct Entry {
    pc: u32,
    join: u32,
    mask: u32,
}

/// A warp between two turns.
pub struct Warp {
    rows: Vec<Row>,
    predicates: Vec<u32>,
    stack: Vec<Entry>,
    alive: u32,
    lanes: u32,
    epoch: u32,
    local: Vec<u8>,
    local_shadow: Vec<u8>,
    copies: AsyncCopies,
    written: Vec<u32>,
    jumps: u64,
    /// Instruction of the barrier at which it waits.
    barrier: Option<u32>,
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

    fn start(&mut self, program: &Program, launch: &Launch<'_>, index: u32, block: [u32; 3]) {
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

/// Runs block number `number`.
///
/// # Errors
/// The first fault.
pub fn run(m: &mut Machine<'_>, warps: &mut [Warp], number: u32) -> Step {
    m.block_number = number;
    m.block = m.launch.block(number);
    m.interval += 1;
    m.first_interval = m.interval;
    m.acquired.clear();
    m.watch_shared = m.launch.races.watches(number);
    // The shared memory of a new block holds nothing.
    let bytes = m.launch.shared_end() - m.shared.start;
    m.shared.mark(m.shared.start, bytes, true, false);
    for (index, warp) in warps.iter_mut().enumerate() {
        warp.start(m.program, m.launch, index as u32, m.block);
    }
    loop {
        for (index, warp) in warps.iter_mut().enumerate() {
            if warp.alive != 0 {
                turn(m, warp, index as u32)?;
            }
        }
        let Some(first) = warps.iter().position(|w| w.alive != 0) else { break };
        pass_barrier(m, warps, first)?;
    }
    m.drop_pending(warps.iter_mut().map(|w| &mut w.copies));
    Ok(())
}

/// All warps have stopped: they may go on if all stand at the same barrier.
fn pass_barrier(m: &mut Machine<'_>, warps: &mut [Warp], first: usize) -> Step {
    let at = warps[first].barrier.unwrap_or_default();
    m.warp = first as u32;
    m.pc = at as usize;
    let id = |pc: u32| m.program.code[pc as usize].imm;
    for (index, warp) in warps.iter().enumerate() {
        if warp.alive != warp.lanes {
            let gone = (warp.lanes & !warp.alive).trailing_zeros();
            let text = format!("a barrier waits, but thread {} of the block has ended", index as u32 * 32 + gone);
            return Err(m.fault(Kind::DivergentBarrier, None, text));
        }
        let other = warp.barrier.unwrap_or_default();
        if id(other) != id(at) {
            let text = format!("warp {first} waits at barrier {}, warp {index} at barrier {}", id(at), id(other));
            return Err(m.fault(Kind::DivergentBarrier, None, text));
        }
    }
    m.counts.barriers += 1;
    m.interval += 1;
    let reduce = warps.iter().any(|w| reduction(&m.program.code[w.barrier.unwrap_or_default() as usize]) != 0);
    if reduce {
        finish_reduction(m, warps)?;
    }
    warps.iter_mut().for_each(|w| w.barrier = None);
    Ok(())
}

/// 0: plain barrier; 1, 2, 3: `bar.red` with popc, and, or.
fn reduction(code: &Code) -> u8 {
    code.small[0]
}

fn finish_reduction(m: &mut Machine<'_>, warps: &mut [Warp]) -> Step {
    let mut count = 0;
    let kind = reduction(&m.program.code[m.pc]);
    for warp in warps.iter() {
        let c = &m.program.code[warp.barrier.unwrap_or_default() as usize];
        if reduction(c) != kind {
            return Err(m.fault(Kind::DivergentBarrier, None, "warps wait at barriers with different reductions"));
        }
        let p = warp.predicates[c.r[1] as usize] ^ if c.small[1] != 0 { ALL } else { 0 };
        count += (p & warp.lanes).count_ones();
    }
    for warp in warps.iter_mut() {
        let c = &m.program.code[warp.barrier.unwrap_or_default() as usize];
        match kind {
            1 => warp.rows[c.r[0] as usize].0 = [count; 32],
            2 => warp.predicates[c.r[0] as usize] = if count == m.launch.threads() { ALL } else { 0 },
            _ => warp.predicates[c.r[0] as usize] = if count != 0 { ALL } else { 0 },
        }
    }
    Ok(())
}

/// Runs a warp until it ends or waits.
fn turn(m: &mut Machine<'_>, warp: &mut Warp, index: u32) -> Step {
    m.warp = index;
    m.rows = warp.rows.as_mut_ptr();
    m.predicates = warp.predicates.as_mut_ptr();
    m.alive = warp.alive;
    m.warp_epoch = warp.epoch;
    m.local = Region {
        data: warp.local.as_mut_ptr(),
        shadow: warp.local_shadow.as_mut_ptr(),
        start: 0,
        bytes: warp.local.len() as u64,
    };
    std::mem::swap(&mut m.copies, &mut warp.copies);
    std::mem::swap(&mut m.written, &mut warp.written);
    let result = steps(m, warp);
    std::mem::swap(&mut m.copies, &mut warp.copies);
    std::mem::swap(&mut m.written, &mut warp.written);
    warp.epoch = m.warp_epoch;
    result
}

fn steps(m: &mut Machine<'_>, warp: &mut Warp) -> Step {
    let program = m.program;
    let code = program.code.as_slice();
    'top: while let Some(&Entry { pc, join, mask: active }) = warp.stack.last() {
        if active == 0 {
            warp.stack.pop();
            continue;
        }
        let mut pc = pc as usize;
        m.active = active;
        loop {
            if pc as u32 == join {
                warp.stack.pop();
                continue 'top;
            }
            let c = &code[pc];
            m.pc = pc;
            let mask = if c.guard == NONE {
                active
            } else {
                if c.guard_tracked {
                    check_guard(m)?;
                }
                let p = m.predicate(c.guard);
                active & if c.guard_not { !p } else { p }
            };
            let issued = &mut m.counts.issued[pc];
            issued.0 += 1;
            issued.1 += u64::from(mask.count_ones());
            match c.flow {
                Flow::Next => {
                    if mask != 0 {
                        (c.run)(m, c, mask)?;
                    }
                    pc += 1;
                }
                Flow::Branch if mask == active => {
                    jump(m, warp)?;
                    pc = c.target as usize;
                }
                Flow::Branch if mask == 0 => pc += 1,
                Flow::Branch => {
                    jump(m, warp)?;
                    part(warp, c, [(pc as u32 + 1, active & !mask), (c.target, mask)]);
                    continue 'top;
                }
                Flow::Table => {
                    jump(m, warp)?;
                    if mask != active {
                        return Err(m.fault(Kind::IllegalInstruction, None, "brx.idx under a guard that lanes differ in"));
                    }
                    (c.run)(m, c, mask)?;
                    let index = m.get::<u32>(c.r[1]);
                    let first = index[active.trailing_zeros() as usize];
                    let Some(&target) = program.tables[c.imm as usize].get(first as usize) else {
                        let text = format!("index {first} into {} branch targets", program.tables[c.imm as usize].len());
                        return Err(m.fault(Kind::OutOfBounds, Some(active.trailing_zeros()), text));
                    };
                    let same = lanes_of(active).filter(|&i| index[i] == first).fold(0, |s, i| s | 1 << i);
                    if same == active {
                        pc = target as usize;
                    } else {
                        // The others come back here for their own target.
                        part(warp, c, [(pc as u32, active & !same), (target, same)]);
                        continue 'top;
                    }
                }
                Flow::Exit => {
                    warp.alive &= !mask;
                    m.alive = warp.alive;
                    warp.stack.iter_mut().for_each(|e| e.mask &= !mask);
                    if let Some(top) = warp.stack.last_mut() {
                        top.pc = pc as u32 + 1;
                    }
                    continue 'top;
                }
                Flow::Barrier => {
                    // `bar.sync a, n` waits for n threads: here always the block.
                    let wanted = if c.small[0] == 0 { u32::from(c.small[1]) } else { 0 };
                    if wanted != 0 && wanted != m.launch.threads().div_ceil(32) {
                        let text = format!("a barrier for {wanted} of {} warps is not supported", m.launch.threads().div_ceil(32));
                        return Err(m.fault(Kind::IllegalInstruction, None, text));
                    }
                    if mask != warp.alive {
                        let text = format!("lanes {mask:#010x} of warp {} reach the barrier, lanes {:#010x} do not", m.warp, warp.alive & !mask);
                        return Err(m.fault(Kind::DivergentBarrier, None, text));
                    }
                    (c.run)(m, c, mask)?;
                    m.warp_epoch += 1;
                    warp.barrier = Some(pc as u32);
                    if let Some(top) = warp.stack.last_mut() {
                        top.pc = pc as u32 + 1;
                    }
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

fn jump(m: &Machine<'_>, warp: &mut Warp) -> Step {
    warp.jumps += 1;
    if warp.jumps > m.launch.jumps {
        return Err(m.fault(Kind::Endless, None, format!("more than {} jumps of a warp", m.launch.jumps)));
    }
    if warp.jumps.is_multiple_of(4096) && m.launch.stopped() {
        return Err(m.fault(Kind::Endless, None, "stopped, as another block failed"));
    }
    Ok(())
}

/// Lanes go two ways, the last one first; those that go straight to the join just wait there.
fn part(warp: &mut Warp, c: &Code, ways: [(u32, u32); 2]) {
    let Some(top) = warp.stack.last_mut() else { return };
    if c.join == top.join {
        warp.stack.pop();
    } else {
        top.pc = c.join;
    }
    for (pc, mask) in ways {
        if pc != c.join {
            warp.stack.push(Entry { pc, join: c.join, mask });
        }
    }
}
