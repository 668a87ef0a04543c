//! Cutting work into even pieces.

use std::ops::Range;

/// `total` cut into as few pieces of at most `most` as possible, their sizes differing by one at
/// the most: the i-th of them.
#[inline(always)]
pub(super) fn piece(total: usize, most: usize, i: usize) -> Range<usize> {
    part(total, total.div_ceil(most), i)
}

/// `total` cut into `parts` pieces whose sizes differ by one at the most: the i-th of them.
#[inline(always)]
pub(super) fn part(total: usize, parts: usize, i: usize) -> Range<usize> {
    let (size, larger) = (total / parts, total % parts);
    let start = i * size + i.min(larger);
    start..start + size + usize::from(i < larger)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_the_whole_evenly() {
        for total in 1..70usize {
            for most in 1..12 {
                let pieces: Vec<_> = (0..total.div_ceil(most))
                    .map(|i| piece(total, most, i))
                    .collect();
                assert_eq!(
                    pieces.iter().cloned().flatten().collect::<Vec<_>>(),
                    (0..total).collect::<Vec<_>>()
                );
                let sizes = pieces.iter().map(ExactSizeIterator::len);
                assert!(sizes.clone().max() <= Some(most));
                assert!(sizes.clone().max().unwrap_or(0) - sizes.min().unwrap_or(0) <= 1);
            }
        }
    }
}
