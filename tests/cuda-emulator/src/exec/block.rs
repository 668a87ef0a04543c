//! One block: its warps one after the other, each up to the next barrier.
//!
//! Lanes that part at a branch meet again at the branch's join, the first instruction that all their ways share. A stack
//! of (next instruction, join, lanes) keeps those that wait.

use super::barrier;
use super::fault::Kind;
use super::machine::{Machine, lanes_of};
use super::program::{Code, Flow, NONE, Step};
use super::warp::{Entry, Warp};
use crate::decode::defined::check_guard;
use crate::memory::region::Region;

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
        barrier::pass(m, warps, first)?;
    }
    m.drop_pending(warps.iter_mut().map(|w| &mut w.copies));
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
