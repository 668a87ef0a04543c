//! All activations and gradients of a network in one buffer, lent out several at a time.

use super::super::aligned::Aligned;
use std::ops::Range;

/// The memory of a network's values. Where each lies is worked out before any data, so that values which are needed at
/// the same time are apart; lending checks it.
#[derive(Debug)]
pub(super) struct Arena(Aligned);

impl Arena {
    /// An arena of `len` floats.
    pub(super) fn new(len: usize) -> Self {
        Self(Aligned::zeroed(len))
    }

    /// One value for reading.
    pub(super) fn read(&self, range: Range<usize>) -> &[f32] {
        &self.0[range]
    }

    /// One value for writing.
    pub(super) fn write(&mut self, range: Range<usize>) -> &mut [f32] {
        &mut self.0[range]
    }

    /// Values for reading and values for writing at once.
    ///
    /// # Panics
    /// A range lies outside, or one that is written overlaps another one.
    pub(super) fn lend<const R: usize, const W: usize>(
        &mut self,
        reads: [Range<usize>; R],
        writes: [Range<usize>; W],
    ) -> ([&[f32]; R], [&mut [f32]; W]) {
        let len = self.0.len();
        let apart = |a: &Range<usize>, b: &Range<usize>| {
            a.is_empty() || b.is_empty() || a.end <= b.start || b.end <= a.start
        };
        for (i, written) in writes.iter().enumerate() {
            let others = reads.iter().chain(&writes[i + 1..]);
            assert!(others.into_iter().all(|other| apart(written, other)), "values overlap: {reads:?} {writes:?}");
        }
        assert!(reads.iter().chain(&writes).all(|r| r.start <= r.end && r.end <= len));
        let start = self.0.as_mut_ptr();
        // SAFETY: all ranges lie inside the buffer, which is borrowed exclusively for as long as the slices live, and
        // those that are written overlap nothing.
        unsafe {
            (
                reads.map(|r| std::slice::from_raw_parts(start.add(r.start), r.len())),
                writes.map(|r| std::slice::from_raw_parts_mut(start.add(r.start), r.len())),
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lends_disjoint_values_at_once() {
        let mut arena = Arena::new(8);
        arena.write(0..2).copy_from_slice(&[1.0, 2.0]);
        let ([a, again], [b, nothing]) = arena.lend([0..2, 1..2], [2..4, 3..3]);
        b.copy_from_slice(a);
        assert_eq!((again, nothing.len()), (&[2.0][..], 0));
        assert_eq!(arena.read(0..4), [1.0, 2.0, 1.0, 2.0]);
    }

    #[test]
    #[should_panic(expected = "values overlap")]
    fn refuses_to_write_what_it_lends_for_reading() {
        let _: ([&[f32]; 2], [&mut [f32]; 2]) = Arena::new(8).lend([0..3, 5..6], [2..4, 7..8]);
    }
}
