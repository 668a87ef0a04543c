//! The block's barriers.

use super::fault::Kind;
use super::lanes::ALL;
use super::machine::Machine;
use super::program::{Code, Step};
use super::warp::Warp;

/// All warps have stopped, the one of index `first` at a barrier: they may go on if all stand at the same one.
///
/// # Errors
/// A thread of the block will not come.
pub fn pass(m: &mut Machine<'_>, warps: &mut [Warp], first: usize) -> Step {
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
