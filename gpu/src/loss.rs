//! Softmax cross-entropy.

use crate::device::Gpu;
use crate::error::Result;
use crate::ghosts::Ghosts;
use crate::kernels::{int, launch, over, warps};
use crate::memory::Buffer;
use crate::pointer::Pointer;

/// Loss and hit of every image, and their means and sums over every ghost batch.
#[derive(Debug)]
pub(crate) struct Loss {
    losses: Buffer<f32>,
    hits: Buffer<i32>,
    /// Mean loss and hits of each ghost batch.
    pub(crate) results: Buffer<f64>,
}

impl Loss {
    /// For passes of at most this size.
    pub(crate) fn new(gpu: &Gpu, most: Ghosts) -> Result<Self> {
        Ok(Self {
            losses: Buffer::zeroed(gpu, most.images)?,
            hits: Buffer::zeroed(gpu, most.images)?,
            results: Buffer::zeroed(gpu, 2 * most.count())?,
        })
    }

    /// Bytes that this takes on the device.
    pub(crate) const fn bytes(most: Ghosts) -> u64 {
        (8 * most.images + 16 * most.count()) as u64
    }

    /// Works out the results, and the gradient of the logits unless it is null.
    pub(crate) fn take(
        &self,
        gpu: &Gpu,
        at: Ghosts,
        classes: usize,
        [logits, labels, gradient]: [Pointer; 3],
    ) -> Result<()> {
        int("logits", at.images.saturating_mul(classes))?;
        let (losses, hits, results) = (self.losses.pointer(), self.hits.pointer(), self.results.pointer());
        let (images, size, classes) = (at.images as i32, at.size as i32, classes as i32);
        let ghosts = [[at.count() as u32, 1, 1], [256, 1, 1]];
        // SAFETY: logits and labels of all images, every label a class, a loss and a hit for each.
        unsafe {
            launch!(gpu, softmax_cross_entropy, warps(at.images)?, 0, logits, labels, losses, hits, gradient, images,
                classes, size)?;
            launch!(gpu, mean_loss, ghosts, 0, losses, hits, results, images, size)
        }
    }

    /// Adds `share` of the losses of a pass, and its hits, to the two values of a step's `record`. A loss that is not finite
    /// is noted in `failed`: the step's `number`, and the ghost batch, which is (`first` + its number in the pass) / `draws`.
    pub(crate) fn record(
        &self,
        gpu: &Gpu,
        at: Ghosts,
        (first, draws): (usize, u32),
        share: f32,
        [record, failed]: [Pointer; 2],
        number: i32,
    ) -> Result<()> {
        let (ghosts, first) = (at.count() as i32, int("ghost batches", first)?);
        // SAFETY: results of all ghost batches, a record of two values.
        unsafe {
            launch!(gpu, record_losses, over(1, 32)?, 0, self.results.pointer(), record, ghosts, first, draws, share, number, failed)
        }
    }
}
