//! Basic blocks, and for each branch the first instruction that all ways from it share: its join, the immediate
//! post-dominator's start.

use super::kernel::{Draft, ends_block};
use crate::exec::warp::NEVER;
use crate::exec::program::Flow;

/// The blocks of a kernel and how they follow each other.
pub struct Graph {
    /// First instruction of each block, and one past the last block.
    pub starts: Vec<usize>,
    /// Blocks that can follow each block; the number of blocks stands for the end.
    pub next: Vec<Vec<usize>>,
}

impl Graph {
    /// The graph of decoded instructions, whose jumps are resolved.
    #[must_use]
    pub fn new(drafts: &[Draft], tables: &[Vec<u32>]) -> Self {
        let mut leader = vec![false; drafts.len() + 1];
        leader[0] = true;
        for (at, draft) in drafts.iter().enumerate() {
            match draft.code.flow {
                Flow::Branch => leader[draft.code.target as usize] = true,
                Flow::Table => tables[draft.code.imm as usize].iter().for_each(|&t| leader[t as usize] = true),
                _ => {}
            }
            if ends_block(draft.code.flow) {
                leader[at + 1] = true;
            }
        }
        let mut starts: Vec<usize> = (0..drafts.len()).filter(|&at| leader[at]).collect();
        let mut of = vec![starts.len(); drafts.len() + 1];
        for (block, &start) in starts.iter().enumerate() {
            let end = starts.get(block + 1).copied().unwrap_or(drafts.len());
            of[start..end].fill(block);
        }
        let end = starts.len();
        starts.push(drafts.len());
        let next = (0..end)
            .map(|block| {
                let last = starts[block + 1] - 1;
                let draft = &drafts[last];
                let fall = of[last + 1];
                let guarded = draft.guard.is_some();
                match draft.code.flow {
                    Flow::Branch if guarded => vec![of[draft.code.target as usize], fall],
                    Flow::Branch => vec![of[draft.code.target as usize]],
                    Flow::Table => tables[draft.code.imm as usize].iter().map(|&t| of[t as usize]).collect(),
                    // Lanes that end are not waited for: those that go on decide where ways meet.
                    Flow::Exit if guarded => vec![fall],
                    Flow::Exit => vec![end],
                    _ => vec![fall],
                }
            })
            .collect();
        Graph { starts, next }
    }

    /// Number of blocks.
    #[must_use]
    pub fn len(&self) -> usize {
        self.next.len()
    }

    /// Whether there is no block.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// Immediate post-dominator of each block; `len()` is the end, `None` a block from which no way leads there.
    #[must_use]
    pub fn post_dominators(&self) -> Vec<Option<usize>> {
        let end = self.len();
        let mut before = vec![Vec::new(); end + 1];
        for (block, next) in self.next.iter().enumerate() {
            next.iter().for_each(|&n| before[n].push(block));
        }
        // Order of the reversed graph from the end, each block after those that it leads to.
        let mut order = Vec::new();
        let mut number = vec![None; end + 1];
        let mut stack = vec![(end, 0)];
        let mut seen = vec![false; end + 1];
        seen[end] = true;
        while let Some((block, child)) = stack.pop() {
            if let Some(&b) = before[block].get(child) {
                stack.push((block, child + 1));
                if !seen[b] {
                    seen[b] = true;
                    stack.push((b, 0));
                }
            } else {
                number[block] = Some(order.len());
                order.push(block);
            }
        }
        let mut dominator: Vec<Option<usize>> = vec![None; end + 1];
        dominator[end] = Some(end);
        let mut changed = true;
        while changed {
            changed = false;
            for &block in order.iter().rev().filter(|&&b| b != end) {
                let mut new: Option<usize> = None;
                for &n in self.next[block].iter().filter(|&&n| dominator[n].is_some()) {
                    new = Some(match new {
                        None => n,
                        Some(other) => meet(other, n, &dominator, &number),
                    });
                }
                if new.is_some() && dominator[block] != new {
                    dominator[block] = new;
                    changed = true;
                }
            }
        }
        dominator.truncate(end);
        dominator
    }

    /// Gives every branch its join.
    pub fn set_joins(&self, drafts: &mut [Draft]) {
        let dominators = self.post_dominators();
        for (block, dominator) in dominators.iter().enumerate() {
            let join = match dominator {
                Some(d) if *d < self.len() => self.starts[*d] as u32,
                _ => NEVER,
            };
            drafts[self.starts[block + 1] - 1].code.join = join;
        }
    }
}

/// The first block that both chains of post-dominators share.
fn meet(a: usize, b: usize, dominator: &[Option<usize>], number: &[Option<usize>]) -> usize {
    let (mut a, mut b) = (a, b);
    while a != b {
        while number[a] < number[b] {
            a = dominator[a].unwrap_or(a);
        }
        while number[b] < number[a] {
            b = dominator[b].unwrap_or(b);
        }
    }
    a
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dominators(next: &[&[usize]]) -> Vec<Option<usize>> {
        let next: Vec<Vec<usize>> = next.iter().map(|n| n.to_vec()).collect();
        Graph { starts: (0..=next.len()).collect(), next }.post_dominators()
    }

    #[test]
    fn ways_meet_at_the_post_dominator() {
        // If and else, then the end.
        assert_eq!(dominators(&[&[1, 2], &[3], &[3], &[4]]), [Some(3), Some(3), Some(3), Some(4)]);
        // A loop that is left from its middle.
        assert_eq!(dominators(&[&[1], &[2, 3], &[1], &[4]]), [Some(1), Some(3), Some(1), Some(4)]);
        // Two ways to the end that do not meet before it.
        assert_eq!(dominators(&[&[1, 2], &[3], &[3]]), [Some(3), Some(3), Some(3)]);
        // One branch inside another, with a way that skips the inner join.
        assert_eq!(dominators(&[&[1, 4], &[2, 3], &[4], &[4], &[5]]), [Some(4), Some(4), Some(4), Some(4), Some(5)]);
        // A loop without an end has none.
        assert_eq!(dominators(&[&[1, 2], &[1], &[3]]), [Some(2), None, Some(3)]);
    }
}
