//! Parts of slices, and short loops over them.

use core::ops::Range;

/// Parts of the values that do not overlap.
#[inline(never)]
pub(super) fn apart(values: &mut [f32], ranges: [Range<usize>; 5]) -> Option<[&mut [f32]; 5]> {
    values.get_disjoint_mut(ranges).ok()
}

/// `len` values from `start` on.
#[inline]
pub(super) fn take(values: &[f32], start: usize, len: usize) -> Option<&[f32]> {
    values.get(start..)?.get(..len)
}

/// The same to write.
#[inline]
pub(super) fn take_mut(values: &mut [f32], start: usize, len: usize) -> Option<&mut [f32]> {
    values.get_mut(start..)?.get_mut(..len)
}

/// Copies as many values as both have.
#[inline(never)]
pub(super) fn copy(from: &[f32], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// Sum in four partial sums.
#[inline(never)]
pub(super) fn sum(values: &[f32]) -> f32 {
    let (fours, rest) = values.as_chunks::<4>();
    let mut lanes = [0.0f32; 4];
    for four in fours {
        lanes.iter_mut().zip(four).for_each(|(lane, value)| *lane += value);
    }
    rest.iter().fold((lanes[0] + lanes[2]) + (lanes[1] + lanes[3]), |sum, value| sum + value)
}
