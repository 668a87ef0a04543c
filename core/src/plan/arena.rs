//! Placing buffers in one arena so that those which are alive at the same time never overlap.

/// A run of f32 values that is needed from one moment to another, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Buffer {
    /// First moment at which it is written.
    pub start: usize,
    /// Last moment at which it is read.
    pub end: usize,
    /// Number of values.
    pub len: usize,
    /// Where it lies in the arena, in values; set by [`place`].
    pub offset: usize,
}

impl Buffer {
    /// A buffer that was not placed yet.
    pub const fn new(start: usize, end: usize, len: usize) -> Self {
        Self { start, end, len, offset: 0 }
    }

    const fn alive_with(&self, other: &Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// Whether the two would share memory while both are alive.
    #[inline(never)] // Loops over it are not worth unrolling.
    pub(crate) const fn collides(&self, other: &Self) -> bool {
        self.alive_with(other)
            && self.len > 0
            && other.len > 0
            && self.offset < other.stop()
            && other.offset < self.stop()
    }

    pub(crate) const fn stop(&self) -> usize {
        self.offset.saturating_add(self.len)
    }
}

/// Gives every buffer the lowest offset that is free during its whole life, in the order of the list,
/// and returns the arena's length; `None` when that does not fit the machine's word.
pub fn place(buffers: &mut [Buffer]) -> Option<usize> {
    let mut total = 0usize;
    for i in 0..buffers.len() {
        let (placed, rest) = buffers.split_at_mut(i);
        let Some(buffer) = rest.first_mut() else { break };
        buffer.offset = 0;
        // Each round moves past one obstacle, so there are at most `i` rounds.
        while let Some(obstacle) = placed.iter().find(|other| buffer.collides(other)) {
            buffer.offset = obstacle.stop();
        }
        total = total.max(buffer.offset.checked_add(buffer.len)?);
    }
    Some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_that_live_together_do_not_overlap() {
        let mut state = 1u32;
        let mut next = |n: u32| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            ((state >> 8) % n) as usize
        };
        for _ in 0..200 {
            let mut buffers: [Buffer; 24] = core::array::from_fn(|_| {
                let start = next(30);
                Buffer::new(start, start + next(10), next(50))
            });
            let total = place(&mut buffers).expect("small");
            let sum: usize = buffers.iter().map(|b| b.len).sum();
            assert!(total <= sum);
            for (i, a) in buffers.iter().enumerate() {
                assert!(a.stop() <= total);
                for b in &buffers[i + 1..] {
                    let apart = a.stop() <= b.offset || b.stop() <= a.offset;
                    assert!(apart || !a.alive_with(b) || a.len == 0 || b.len == 0, "{a:?} {b:?}");
                }
            }
        }
    }

    #[test]
    fn a_dead_buffer_is_reused() {
        let mut buffers = [Buffer::new(0, 1, 10), Buffer::new(1, 2, 5), Buffer::new(2, 3, 10)];
        assert_eq!(place(&mut buffers), Some(15));
        assert_eq!(buffers[2].offset, 0);
    }

    #[test]
    fn too_long_an_arena_is_noticed() {
        let mut buffers = [Buffer::new(0, 1, usize::MAX), Buffer::new(0, 1, 1)];
        assert_eq!(place(&mut buffers), None);
    }
}
