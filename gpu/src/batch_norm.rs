//! Batch norm with the sum and the ReLU behind it.

use crate::deliver::Deliver;
use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::ghosts::Ghosts;
use crate::kernels::{int, launch, over};
use crate::pointer::Pointer;

/// Values of a channel that one block sums.
const SHARE: usize = 4096;

/// Rows of vectors that one block sums, of 32 channels.
const ROWS: usize = 128;

/// Most blocks of a channel and a ghost batch.
const MOST_SPLITS: usize = 64;

/// A batch norm of images of `channels` planes of `pixels`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BatchNorm {
    pub(crate) channels: usize,
    pub(crate) pixels: usize,
    pub(crate) eps: f32,
    /// Whether a ReLU follows.
    pub(crate) relu: bool,
}

/// Parameters of a batch norm for every ghost batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Affine {
    pub(crate) scale: Pointer,
    pub(crate) shift: Pointer,
    /// Values from those of a ghost batch to those of the next one.
    pub(crate) pitch: usize,
}

/// Mean and variance of every ghost batch.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Statistics {
    pub(crate) start: Pointer,
    /// Values from those of a ghost batch to those of the next one; 0 for the running ones.
    pub(crate) stride: usize,
}

/// Where gradients come from and go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flows {
    /// Of the output; becomes the input's.
    pub(crate) dy: Pointer,
    /// The sum's other input's, or null.
    pub(crate) addend: Pointer,
    /// Whether that one is added to.
    pub(crate) add: bool,
    pub(crate) dscale: Pointer,
    pub(crate) dshift: Pointer,
    pub(crate) deliver: Deliver,
}

impl BatchNorm {
    /// Blocks of a channel: a function of the shape alone, and so the order of the sums.
    fn splits(&self, size: usize) -> usize {
        let blocks = if self.pixels == 1 { size.div_ceil(ROWS) } else { (size * self.pixels).div_ceil(SHARE) };
        blocks.clamp(1, MOST_SPLITS)
    }

    /// Values of workspace that passes of at most this size need.
    pub(crate) fn workspace(&self, at: Ghosts) -> usize {
        at.count() * self.channels * 2 * (self.splits(at.size) + 1)
    }

    fn ints(&self, at: Ghosts) -> Result<[i32; 4]> {
        let all = at.images.checked_mul(self.channels * self.pixels);
        int("values of a batch norm", all.unwrap_or(usize::MAX))?;
        Ok([at.images as i32, self.channels as i32, self.pixels as i32, at.size as i32])
    }

    /// Grid and block of the sums.
    fn sums(&self, at: Ghosts) -> Result<[[u32; 3]; 2]> {
        let rows = if self.pixels == 1 { self.channels.div_ceil(32) } else { self.channels };
        let (rows, ghosts) = (rows as u32, at.count() as u32);
        if rows > 65535 || ghosts > 65535 {
            return Err(GpuError::TooMany { what: "channels or ghost batches", value: rows.max(ghosts) as usize });
        }
        Ok([[self.splits(at.size) as u32, rows, ghosts], [256, 1, 1]])
    }

    /// Grid and block for all values.
    fn all(&self, at: Ghosts) -> Result<[[u32; 3]; 2]> {
        let width = if self.pixels.is_multiple_of(4) { 4 } else { 1 };
        over(at.images * self.channels * self.pixels / width, 256)
    }

    /// Works out mean and biased variance of every ghost batch of x.
    pub(crate) fn take(&self, gpu: &Gpu, at: Ghosts, x: Pointer, to: Statistics, workspace: Pointer) -> Result<()> {
        let [images, channels, pixels, size] = self.ints(at)?;
        let (shape, splits) = (self.sums(at)?, self.splits(at.size) as i32);
        let statistics = [[self.channels.div_ceil(128) as u32, at.count() as u32, 1], [128, 1, 1]];
        // SAFETY: x holds the images, the workspace two values for every block.
        unsafe {
            if pixels == 1 {
                launch!(gpu, batch_norm_columns, shape, 0, x, workspace, images, channels, size)?;
            } else {
                launch!(gpu, batch_norm_planes, shape, 0, x, workspace, images, channels, pixels, size)?;
            }
            launch!(gpu, batch_norm_statistics, statistics, 0, workspace, to.start, images, channels, pixels, size, splits,
                to.stride as i32)
        }
    }

    /// y from x by these statistics, plus the residual unless it is null.
    pub(crate) fn apply(
        &self,
        gpu: &Gpu,
        at: Ghosts,
        [x, residual, y]: [Pointer; 3],
        from: Statistics,
        affine: Affine,
    ) -> Result<()> {
        let [images, channels, pixels, size] = self.ints(at)?;
        // SAFETY: all three hold the images.
        unsafe {
            launch!(gpu, batch_norm_apply, self.all(at)?, 0, x, residual, y, from.start, from.stride as i32, affine.scale,
                affine.shift, affine.pitch as i32, images, channels, pixels, size, self.eps, i32::from(self.relu))
        }
    }

    /// The gradients; y is null unless there is a sum before the ReLU. `train`: the statistics are the batch's own.
    #[expect(clippy::too_many_arguments, reason = "the layer's tensors")]
    pub(crate) fn backward(
        &self,
        gpu: &Gpu,
        at: Ghosts,
        [x, y]: [Pointer; 2],
        from: Statistics,
        affine: Affine,
        flows: &Flows,
        train: bool,
        workspace: Pointer,
    ) -> Result<()> {
        let [images, channels, pixels, size] = self.ints(at)?;
        let (shape, splits) = (self.sums(at)?, self.splits(at.size) as i32);
        let sums = workspace.at(at.count() * self.channels * 2 * self.splits(at.size));
        let Flows { dy, addend, add, dscale, dshift, deliver } = *flows;
        let Affine { scale, shift, pitch } = affine;
        let (start, stride, pitch) = (from.start, from.stride as i32, pitch as i32);
        let relu = i32::from(self.relu);
        // SAFETY: as above; the workspace holds two sums more for every channel and ghost batch.
        unsafe {
            if pixels == 1 {
                launch!(gpu, batch_norm_column_sums, shape, 0, x, y, dy, start, stride, scale, shift, pitch, workspace,
                    images, channels, size, self.eps, relu)?;
            } else {
                launch!(gpu, batch_norm_plane_sums, shape, 0, x, y, dy, start, stride, scale, shift, pitch, workspace,
                    images, channels, pixels, size, self.eps, relu)?;
            }
            launch!(gpu, batch_norm_sums, over(self.channels, 128)?, 0, workspace, sums, dscale, dshift, channels, splits,
                at.count() as i32, deliver.scale, i32::from(deliver.accumulate))?;
            launch!(gpu, batch_norm_backward, self.all(at)?, 0, x, y, dy, addend, start, stride, scale, shift, pitch, sums,
                images, channels, pixels, size, self.eps, relu, i32::from(train), i32::from(add))
        }
    }
}
