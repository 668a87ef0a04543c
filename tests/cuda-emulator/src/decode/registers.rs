//! Gives registers their rows. PTX has a register for every value; a row is used again once its value is dead, so that a
//! warp's registers stay in the cache.

use super::flow::Graph;
use super::kernel::Draft;
use crate::exec::program::{Initial, Program};
use crate::ptx::PtxError;
use crate::ptx::module::Width;
use std::collections::HashMap;

/// First and last instruction at which a register's value is needed.
type Interval = Option<(usize, usize)>;

/// Assigns rows, and writes them into the instructions and the program.
///
/// # Errors
/// A kernel with more rows than an instruction can name.
pub fn assign(
    drafts: &mut [Draft],
    graph: &Graph,
    widths: &[Width],
    initials: &HashMap<Initial, usize>,
    program: &mut Program,
) -> Result<(), PtxError> {
    let mut intervals = intervals(drafts, graph, widths.len());
    let mut initial: Vec<(usize, Initial)> = initials.iter().map(|(&i, &r)| (r, i)).collect();
    initial.sort_by_key(|&(register, _)| register);
    for &(register, _) in &initial {
        intervals[register] = Some((0, drafts.len()));
    }
    let mut order: Vec<usize> = (0..widths.len()).filter(|&r| intervals[r].is_some()).collect();
    order.sort_by_key(|&r| intervals[r]);
    let mut pools: HashMap<Width, Pool> = HashMap::new();
    let mut place = vec![0usize; widths.len()];
    let class = |w: Width| if w == Width::B16 { Width::B32 } else { w };
    for &register in &order {
        let Some((from, to)) = intervals[register] else { continue };
        place[register] = pools.entry(class(widths[register])).or_default().take(from, to);
    }
    let size = |w: Width| pools.get(&w).map_or(0, |p| p.size);
    let (singles, pairs) = (size(Width::B32), size(Width::B64));
    program.rows = singles + 2 * pairs;
    program.predicates = size(Width::Pred);
    program.live_registers = live_at_once(&intervals, widths, drafts.len(), initials);
    if program.rows >= usize::from(u16::MAX) || program.predicates >= usize::from(u16::MAX) {
        return Err(PtxError::new(drafts.first().map_or(1, |d| d.code.line), "too many registers"));
    }
    let row = |register: usize| match widths[register] {
        Width::B64 => (singles + 2 * place[register]) as u16,
        _ => place[register] as u16,
    };
    for draft in drafts.iter_mut() {
        for slot in &draft.slots {
            draft.code.r[slot.entry] = row(slot.register);
        }
        if let Some(guard) = draft.guard {
            draft.code.guard = row(guard);
        }
    }
    program.initial = initial.into_iter().map(|(register, value)| (row(register), value)).collect();
    Ok(())
}

/// Rows of one width, each with the instruction after which it is free.
#[derive(Default)]
struct Pool {
    busy: Vec<(usize, usize)>,
    free: Vec<usize>,
    size: usize,
}

impl Pool {
    fn take(&mut self, from: usize, to: usize) -> usize {
        let free = &mut self.free;
        self.busy.retain(|&(end, place)| {
            // A value read at `from` may share the row of the one written there only if the handler reads first, which
            // not all do.
            let over = end < from;
            if over {
                free.push(place);
            }
            !over
        });
        let place = self.free.pop().unwrap_or_else(|| {
            self.size += 1;
            self.size - 1
        });
        self.busy.push((to, place));
        place
    }
}

/// The stretch of instructions over which each register is live, whole blocks where it lives through them.
fn intervals(drafts: &[Draft], graph: &Graph, registers: usize) -> Vec<Interval> {
    let blocks = graph.len();
    let words = registers.div_ceil(64);
    let (mut used, mut killed) = (vec![vec![0u64; words]; blocks], vec![vec![0u64; words]; blocks]);
    let set = |bits: &mut [u64], r: usize| bits[r / 64] |= 1 << (r % 64);
    let has = |bits: &[u64], r: usize| bits[r / 64] >> (r % 64) & 1 != 0;
    for block in 0..blocks {
        for draft in &drafts[graph.starts[block]..graph.starts[block + 1]] {
            for register in reads(draft) {
                if !has(&killed[block], register) {
                    set(&mut used[block], register);
                }
            }
            // Under a guard, some lanes keep the old value.
            if draft.guard.is_none() {
                draft.slots.iter().filter(|s| s.written).for_each(|s| set(&mut killed[block], s.register));
            }
        }
    }
    let mut live_in = used.clone();
    let mut live_out = vec![vec![0u64; words]; blocks];
    let mut changed = true;
    while changed {
        changed = false;
        for block in (0..blocks).rev() {
            for &next in graph.next[block].iter().filter(|&&n| n < blocks) {
                for word in 0..words {
                    live_out[block][word] |= live_in[next][word];
                }
            }
            for word in 0..words {
                let new = used[block][word] | live_out[block][word] & !killed[block][word];
                changed |= new != live_in[block][word];
                live_in[block][word] = new;
            }
        }
    }
    let mut out: Vec<Interval> = vec![None; registers];
    let mut cover = |register: usize, at: usize| {
        let (from, to) = out[register].unwrap_or((at, at));
        out[register] = Some((from.min(at), to.max(at)));
    };
    for block in 0..blocks {
        let (start, end) = (graph.starts[block], graph.starts[block + 1]);
        for register in 0..registers {
            if has(&live_in[block], register) {
                cover(register, start);
            }
            if has(&live_out[block], register) {
                cover(register, end);
            }
        }
        for (at, draft) in drafts.iter().enumerate().take(end).skip(start) {
            draft.slots.iter().map(|s| s.register).chain(draft.guard).for_each(|r| cover(r, at));
        }
    }
    out
}

/// Registers whose old value an instruction needs.
fn reads(draft: &Draft) -> impl Iterator<Item = usize> + '_ {
    let kept = draft.guard.is_some();
    draft.slots.iter().filter(move |s| !s.written || kept).map(|s| s.register).chain(draft.guard)
}

fn live_at_once(
    intervals: &[Interval],
    widths: &[Width],
    instructions: usize,
    initials: &HashMap<Initial, usize>,
) -> usize {
    let mut change = vec![0i64; instructions + 2];
    let constants: std::collections::HashSet<usize> = initials.values().copied().collect();
    for (register, interval) in intervals.iter().enumerate().filter(|(r, _)| !constants.contains(r)) {
        let Some((from, to)) = interval else { continue };
        let size = match widths[register] {
            Width::Pred => 0,
            Width::B64 => 2,
            _ => 1,
        };
        change[*from] += size;
        change[to + 1] -= size;
    }
    let mut live = 0;
    change.iter().map(|c| {
        live += c;
        live
    }).max().unwrap_or(0).unsigned_abs() as usize
}
