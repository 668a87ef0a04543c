//! Ghost batches: the parts of a batch that one forward pass, one draw and one batch-norm statistic see.

use core::ops::Range;

/// Cuts of a batch into ghost batches, as `torch.chunk` does: `count` parts of ceil(len / count) images,
/// the last one shorter, and fewer parts when the images run out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct GhostBatches {
    len: usize,
    size: usize,
}

impl GhostBatches {
    /// Cuts `len` images into `count` ghost batches; 0 counts as 1.
    ///
    /// The authors take count = batch / ghost size rounded down for every batch, the short last one of an epoch too.
    pub const fn new(len: usize, count: usize) -> Self {
        let count = if count == 0 { 1 } else { count };
        let size = len.div_ceil(count);
        Self { len, size: if size == 0 { 1 } else { size } }
    }

    /// Number of ghost batches.
    pub const fn count(&self) -> usize {
        // Never 0, which the optimizer does not know.
        self.len.div_ceil(if self.size == 0 { 1 } else { self.size })
    }

    /// Images of all of them.
    pub const fn images(&self) -> usize {
        self.len
    }

    /// Images of the largest one.
    pub const fn size(&self) -> usize {
        self.size
    }

    /// The images of ghost batch `index`; empty past the last one.
    pub fn range(&self, index: usize) -> Range<usize> {
        let start = index.saturating_mul(self.size).min(self.len);
        start..start.saturating_add(self.size).min(self.len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_are_those_of_the_authors_program() {
        for (len, count, parts, first, last) in [
            (5000, 39, 39, 129, 98),
            (6000, 46, 46, 131, 105),
            (848, 16, 16, 53, 53),
            (80, 2, 2, 40, 40),
            (5, 4, 3, 2, 1),
            (256, 1, 1, 256, 256),
        ] {
            let ghosts = GhostBatches::new(len, count);
            assert_eq!(ghosts.count(), parts);
            assert_eq!(ghosts.range(0).len(), first);
            assert_eq!(ghosts.range(parts - 1).len(), last);
            let covered: usize = (0..parts).map(|i| ghosts.range(i).len()).sum();
            assert_eq!(covered, len);
            assert!(ghosts.range(parts).is_empty());
        }
    }
}
