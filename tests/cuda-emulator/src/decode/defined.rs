//! Registers that are used where they may not have been written.
//!
//! Of nearly all registers it can be seen that every way to a use leads through a write. The others are tracked while
//! the kernel runs, lane by lane. Moves carry "not written" along without complaint, as compilers move undefined values
//! around that nobody uses; anything else that reads one is a fault.

use super::flow::Graph;
use super::kernel::Draft;
use crate::exec::fault::Kind;
use crate::exec::machine::Machine;
use crate::exec::program::{Class, Code, Flow, Handler, Program, Step};
use std::collections::HashMap;

/// What to do around an instruction that touches tracked registers, which are numbered.
pub struct Tracked {
    /// Index of the instruction.
    pub pc: usize,
    /// Its own handler.
    run: Handler,
    /// Its guard, with its name in the text, if that is tracked.
    guard: Option<(usize, String)>,
    /// Registers that it must find written, with their names.
    uses: Vec<(usize, String)>,
    /// Registers that it writes.
    writes: Vec<usize>,
    /// Whether it is a move, of these registers.
    moves: Option<Vec<usize>>,
}

type Bits = Vec<u64>;

fn has(bits: &Bits, r: usize) -> bool {
    bits[r / 64] >> (r % 64) & 1 != 0
}

fn set(bits: &mut Bits, r: usize, value: bool) {
    bits[r / 64] = bits[r / 64] & !(1 << (r % 64)) | u64::from(value) << (r % 64);
}

/// Registers that are certainly written before each block.
fn written_before(drafts: &[Draft], graph: &Graph, registers: usize, from_start: &[usize]) -> Vec<Bits> {
    let words = registers.div_ceil(64);
    let mut before = vec![vec![u64::MAX; words]; graph.len()];
    if let Some(first) = before.first_mut() {
        first.fill(0);
        from_start.iter().for_each(|&r| set(first, r, true));
    }
    let mut changed = true;
    while changed {
        changed = false;
        for block in 0..graph.len() {
            let mut now = before[block].clone();
            drafts[graph.starts[block]..graph.starts[block + 1]].iter().for_each(|d| pass(d, &mut now));
            for &next in graph.next[block].iter().filter(|&&n| n < graph.len()) {
                for word in 0..words {
                    let meet = before[next][word] & now[word];
                    changed |= meet != before[next][word];
                    before[next][word] = meet;
                }
            }
        }
    }
    before
}

fn is_move(draft: &Draft) -> bool {
    draft.code.class == Class::Move && draft.code.flow == Flow::Next
}

fn reads(draft: &Draft) -> impl Iterator<Item = usize> + '_ {
    draft.slots.iter().filter(|s| !s.written).map(|s| s.register)
}

fn writes(draft: &Draft) -> impl Iterator<Item = usize> + '_ {
    draft.slots.iter().filter(|s| s.written).map(|s| s.register)
}

/// What an instruction changes about what is written.
fn pass(draft: &Draft, now: &mut Bits) {
    let value = !is_move(draft) || reads(draft).all(|r| has(now, r));
    for register in writes(draft).collect::<Vec<_>>() {
        if draft.guard.is_none() {
            set(now, register, value);
        } else if !value {
            set(now, register, false);
        }
    }
}

/// Finds the registers to track, and puts the tracking around the instructions that touch them.
pub fn track(
    drafts: &mut [Draft],
    graph: &Graph,
    names: &[String],
    registers: usize,
    from_start: &[usize],
    program: &mut Program,
) {
    let before = written_before(drafts, graph, registers, from_start);
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    for block in 0..graph.len() {
        let mut now = before[block].clone();
        for draft in &drafts[graph.starts[block]..graph.starts[block + 1]] {
            for register in reads(draft).chain(draft.guard).filter(|&r| !has(&now, r)) {
                let next = numbers.len();
                numbers.entry(register).or_insert(next);
            }
            pass(draft, &mut now);
        }
    }
    program.tracked_registers = numbers.len();
    if numbers.is_empty() {
        return;
    }
    let name = |register: usize| names.get(register).cloned().unwrap_or_default();
    for (pc, draft) in drafts.iter_mut().enumerate() {
        let moves = is_move(draft);
        let read: Vec<usize> = reads(draft).filter(|r| numbers.contains_key(r)).collect();
        let guard = draft.guard.filter(|r| numbers.contains_key(r)).map(|r| (numbers[&r], name(r)));
        let uses = if moves { Vec::new() } else { read.iter().map(|&r| (numbers[&r], name(r))).collect() };
        let writes: Vec<usize> = writes(draft).filter_map(|r| numbers.get(&r).copied()).collect();
        if guard.is_none() && uses.is_empty() && writes.is_empty() {
            continue;
        }
        draft.code.guard_tracked = guard.is_some();
        let moves = moves.then(|| read.iter().map(|r| numbers[r]).collect());
        program.tracked.push(Tracked { pc, run: draft.code.run, guard, uses, writes, moves });
        draft.code.run = tracked;
    }
}

fn entry<'p>(m: &Machine<'p>) -> Option<&'p Tracked> {
    let all = &m.program.tracked;
    all.binary_search_by_key(&m.pc, |t| t.pc).ok().map(|at| &all[at])
}

fn check(m: &Machine<'_>, (number, name): &(usize, String), mask: u32) -> Step {
    let missing = mask & !m.written[*number];
    if missing == 0 {
        return Ok(());
    }
    let text = format!("register {name} is used before it is written");
    Err(m.fault(Kind::UninitialisedRegister, Some(missing.trailing_zeros()), text))
}

/// Checks the tracked guard of the current instruction, which every active lane reads.
///
/// # Errors
/// A lane has not written it.
pub fn check_guard(m: &Machine<'_>) -> Step {
    match entry(m).and_then(|t| t.guard.as_ref()) {
        Some(guard) => check(m, guard, m.active),
        None => Ok(()),
    }
}

fn tracked(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let Some(entry) = entry(m) else { return Ok(()) };
    for used in &entry.uses {
        check(m, used, mask)?;
    }
    (entry.run)(m, c, mask)?;
    let value = match &entry.moves {
        Some(from) => from.iter().fold(u32::MAX, |all, &number| all & m.written[number]),
        None => u32::MAX,
    };
    for &number in &entry.writes {
        m.written[number] = m.written[number] & !mask | value & mask;
    }
    Ok(())
}
