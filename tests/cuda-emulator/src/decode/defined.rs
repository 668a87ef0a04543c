//! Registers that are used where they may not have been written.
//!
//! Of nearly all registers it can be seen that every way to a use leads through a write. The others are tracked while
//! the kernel runs, lane by lane. As compilers compute ahead with undefined values that a later selection drops, what
//! is computed from an unwritten register only counts as unwritten itself; a fault is what cannot be taken back: to
//! store it, to use it as an address or as a guard. A shuffle hands it on unwritten.

use super::flow::Graph;
use super::kernel::Draft;
use crate::exec::fault::Kind;
use crate::exec::machine::Machine;
use crate::exec::program::{Class, Code, Handler, Program, Step};
use std::collections::HashMap;

/// How unwritten operands of an instruction matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Each is a fault.
    Final,
    /// They make the results unwritten.
    Pure,
    /// `selp`: only the operand that is selected matters, and the predicate.
    Select,
    /// `and.pred`: a false operand decides.
    And,
    /// `or.pred`: a true operand decides.
    Or,
    /// `shfl` of this mode: of the value the lane that it comes from matters.
    Shuffle(u8),
}

impl Role {
    /// The role of an opcode of a class.
    #[must_use]
    pub fn of(opcode: &str, class: Class) -> Role {
        match class {
            _ if opcode.starts_with("selp.") => Role::Select,
            _ if opcode == "and.pred" => Role::And,
            _ if opcode == "or.pred" => Role::Or,
            _ if opcode.starts_with("shfl.") => crate::isa::warp::mode(opcode).map_or(Role::Final, Role::Shuffle),
            Class::Integer | Class::Float32 | Class::Float64 | Class::Half | Class::Special => Role::Pure,
            Class::Convert | Class::Compare | Class::Move => Role::Pure,
            _ => Role::Final,
        }
    }
}

/// What to do around an instruction that touches tracked registers, which are numbered.
pub struct Tracked {
    /// Its own handler.
    run: Handler,
    role: Role,
    /// Its guard, with its name in the text, if that is tracked.
    guard: Option<(usize, String)>,
    /// For each register that it reads: its number if it is tracked, and its name.
    reads: Vec<(Option<usize>, String)>,
    /// Tracked registers that it writes, and whether each is its first result.
    writes: Vec<(usize, bool)>,
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

fn reads(draft: &Draft) -> impl Iterator<Item = usize> + '_ {
    draft.slots.iter().filter(|s| !s.written).map(|s| s.register)
}

fn writes(draft: &Draft) -> impl Iterator<Item = usize> + '_ {
    draft.slots.iter().filter(|s| s.written).map(|s| s.register)
}

/// What an instruction changes about what is written.
fn pass(draft: &Draft, now: &mut Bits) {
    let value = draft.role == Role::Final || reads(draft).all(|r| has(now, r));
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
    program.tracked_at = vec![u32::MAX; drafts.len()];
    if numbers.is_empty() {
        return;
    }
    let name = |register: usize| names.get(register).cloned().unwrap_or_default();
    for (pc, draft) in drafts.iter_mut().enumerate() {
        let reads: Vec<_> = reads(draft).map(|r| (numbers.get(&r).copied(), name(r))).collect();
        let guard = draft.guard.filter(|r| numbers.contains_key(r)).map(|r| (numbers[&r], name(r)));
        let numbered = |(at, r): (usize, usize)| numbers.get(&r).map(|&number| (number, at == 0));
        let writes: Vec<_> = writes(draft).enumerate().filter_map(numbered).collect();
        if guard.is_none() && writes.is_empty() && reads.iter().all(|r| r.0.is_none()) {
            continue;
        }
        draft.code.guard_tracked = guard.is_some();
        program.tracked_at[pc] = program.tracked.len() as u32;
        program.tracked.push(Tracked { run: draft.code.run, role: draft.role, guard, reads, writes });
        draft.code.run = tracked;
    }
}

fn entry<'p>(m: &Machine<'p>) -> Option<&'p Tracked> {
    m.program.tracked.get(m.program.tracked_at[m.pc] as usize)
}

fn check(m: &Machine<'_>, number: usize, name: &str, mask: u32) -> Step {
    let missing = mask & !m.written[number];
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
        Some((number, name)) => check(m, *number, name, m.active),
        None => Ok(()),
    }
}

fn tracked(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let Some(entry) = entry(m) else { return Ok(()) };
    let written = |at: usize| entry.reads[at].0.map_or(u32::MAX, |number| m.written[number]);
    let value = match entry.role {
        Role::Final => {
            for (number, name) in &entry.reads {
                if let Some(number) = number {
                    check(m, *number, name, mask)?;
                }
            }
            u32::MAX
        }
        Role::Pure => (0..entry.reads.len()).fold(u32::MAX, |all, at| all & written(at)),
        Role::Select => {
            let p = m.predicate(c.r[3]);
            written(2) & (p & written(0) | !p & written(1))
        }
        Role::And | Role::Or => {
            let flip = if entry.role == Role::And { u32::MAX } else { 0 };
            let decides = |at: usize| written(at) & (m.predicate(c.r[1 + at]) ^ flip);
            written(0) & written(1) | decides(0) | decides(1)
        }
        Role::Shuffle(mode) => {
            for (number, name) in &entry.reads[1..] {
                if let Some(number) = number {
                    check(m, *number, name, mask)?;
                }
            }
            let from = crate::isa::warp::sources(m, c, mode);
            (0..32).fold(0, |all, lane| all | (written(0) >> from[lane] & 1) << lane)
        }
    };
    (entry.run)(m, c, mask)?;
    // Whether a source lane was there does not depend on its value.
    let others = if matches!(entry.role, Role::Shuffle(_)) { u32::MAX } else { value };
    for &(number, first) in &entry.writes {
        m.written[number] = m.written[number] & !mask | if first { value } else { others } & mask;
    }
    Ok(())
}
