//! What convolutions and linear layers share: both are matrix products on tiles of kernels/product.cuh.

use crate::deliver::Deliver;
use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::kernels::{int, launch, over};
use crate::pointer::Pointer;
use crate::precision::Precision;

/// Threads of a block, and columns of its tile: `THREADS` of kernels/tile.cuh.
pub(crate) const THREADS: usize = 128;

/// Values of k in a step: `DEPTH` of kernels/tile.cuh.
const DEPTH: usize = 16;

/// The draws of a pass: every `images` images see parameters of their own, which lie `pitch` values after those before.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draws {
    pub(crate) images: usize,
    pub(crate) pitch: usize,
}

impl Draws {
    /// All images see the same parameters.
    pub(crate) const fn one(images: usize) -> Self {
        Self { images, pitch: 0 }
    }

    /// Number of draws of this many images.
    pub(crate) const fn count(&self, images: usize) -> usize {
        images.div_ceil(if self.images == 0 { 1 } else { self.images })
    }
}

/// Rows of a block's tile, which is what tells a kernel from another of the same layer, pass and precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rows {
    R32 = 32,
    R64 = 64,
    R128 = 128,
}

/// What `busy` is, but for tests.
pub(crate) const BUSY: usize = 256;

impl Rows {
    /// For a product of so many rows, of which each tile is worked on by `others` blocks; from `busy` blocks on a GPU is
    /// busy whatever its size, and large tiles pay.
    pub(crate) fn choose(precision: Precision, rows: usize, others: usize, busy: usize) -> Self {
        // As few rows as possible are to be padding.
        let fits = rows.next_multiple_of(128) == rows.next_multiple_of(64);
        if rows <= 32 {
            Self::R32
        } else if precision != Precision::F32 && rows > 64 && fits && rows.div_ceil(128) * others >= busy {
            Self::R128
        } else {
            Self::R64
        }
    }

    /// Tiles of so many rows.
    pub(crate) const fn tiles(self, rows: usize) -> usize {
        rows.div_ceil(self as usize)
    }
}

/// The name of a kernel: `kernel!("conv_forward", precision, rows)`.
macro_rules! kernel {
    ($pass:literal, $precision:expr, $rows:expr) => {
        match ($precision, $rows) {
            (Precision::F32, Rows::R32) => concat!($pass, "_f32_32"),
            (Precision::F32, _) => concat!($pass, "_f32_64"),
            (Precision::Tf32, Rows::R32) => concat!($pass, "_tf32_32"),
            (Precision::Tf32, Rows::R64) => concat!($pass, "_tf32_64"),
            (Precision::Tf32, Rows::R128) => concat!($pass, "_tf32_128"),
            (Precision::Bf16, Rows::R32) => concat!($pass, "_bf16_32"),
            (Precision::Bf16, Rows::R64) => concat!($pass, "_bf16_64"),
            (Precision::Bf16, Rows::R128) => concat!($pass, "_bf16_128"),
        }
    };
}
pub(crate) use kernel;

/// Arguments of a kernel.
macro_rules! arguments {
    ($($value:expr),* $(,)?) => { [$($crate::kernels::Argument::from($value)),*] };
}
pub(crate) use arguments;

/// A long sum, cut into parts that blocks of their own work on. The cut depends on shapes alone, so that the order of
/// the sum, and its bits, are the same on every GPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Parts {
    /// Number of parts.
    pub(crate) count: usize,
    /// Values of k of each but the last.
    pub(crate) len: usize,
}

impl Parts {
    /// Cuts a sum of `depth` values so that `blocks` blocks become about `wanted`, and each part has at least `least` values.
    pub(crate) fn cut(depth: usize, blocks: usize, wanted: usize, least: usize) -> Self {
        let steps = depth.div_ceil(DEPTH).max(1);
        let most = (depth / least).max(1);
        let count = (wanted / blocks.max(1)).clamp(1, most);
        let len = steps.div_ceil(count);
        Self { count: steps.div_ceil(len), len: len * DEPTH }
    }

    /// Values of the workspace that results of `pitch` values need.
    pub(crate) const fn workspace(&self, pitch: usize) -> usize {
        if self.count > 1 { self.count * pitch } else { 0 }
    }
}

/// Where a weight's and a bias's gradient go; a bias that does not exist is null.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gradients {
    pub(crate) weight: Pointer,
    pub(crate) bias: Pointer,
    pub(crate) deliver: Deliver,
}

impl Gradients {
    /// Where the kernel writes: the gradients themselves or, when the sum is cut, the workspace, a weight's values before
    /// a bias's.
    pub(crate) fn of_kernel(&self, parts: Parts, weights: usize, workspace: Pointer) -> Self {
        if parts.count == 1 {
            return *self;
        }
        let bias = if self.bias == Pointer::NULL { Pointer::NULL } else { workspace.at(weights) };
        Self { weight: workspace, bias, deliver: Deliver::OVERWRITE }
    }

    /// Adds the parts that lie in the workspace, `pitch` values each, `weights` of them a weight's. There a filter's weights
    /// lie (taps, channels).
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// All slices are as long as the layer's shapes say.
    pub(crate) unsafe fn add(
        &self,
        gpu: &Gpu,
        parts: Parts,
        (weights, channels, taps): (usize, usize, usize),
        pitch: usize,
        workspace: Pointer,
    ) -> Result<()> {
        if parts.count == 1 {
            return Ok(());
        }
        let (count, pitch_int) = (int("parts of a sum", parts.count)?, int("weights", pitch)?);
        let (weights, accumulate) = (int("weights", weights)?, i32::from(self.deliver.accumulate));
        let (channels, taps) = (int("channels", channels)?, int("taps", taps)?);
        // SAFETY: the caller's promise.
        unsafe {
            launch!(gpu, add_gradient_parts, over(pitch, 256)?, 0, workspace, count, pitch_int, weights, channels, taps,
                self.weight, self.bias,
                self.deliver.scale, accumulate)
        }
    }
}

/// Grid and block of a product.
pub(crate) fn grid(tiles: usize, y: usize, z: usize) -> Result<[[u32; 3]; 2]> {
    const MOST: usize = 65_535; // blocks along y and z that every GPU can have
    let tiles = int("tiles", tiles)?.cast_unsigned();
    for value in [y, z] {
        if value > MOST {
            return Err(GpuError::TooMany { what: "groups, draws or parts", value });
        }
    }
    Ok([[tiles, y as u32, z as u32], [THREADS as u32, 1, 1]])
}

/// Whether something can be read in pieces of 16 bytes: where it starts, and all of these numbers of values.
pub(crate) fn in_fours<const N: usize>(start: Pointer, values: [usize; N]) -> bool {
    start.address().is_multiple_of(16) && values.iter().all(|n| n.is_multiple_of(4))
}

#[cfg(test)]
pub(crate) mod testing;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_waste_little() {
        let choose = |rows, others| Rows::choose(Precision::Tf32, rows, others, BUSY);
        assert_eq!(choose(16, 1000), Rows::R32);
        assert_eq!(choose(64, 1000), Rows::R64);
        assert_eq!(choose(192, 1000), Rows::R64);
        assert_eq!(choose(256, 1000), Rows::R128);
        assert_eq!(choose(256, 100), Rows::R64, "too few blocks");
        assert_eq!(Rows::choose(Precision::F32, 256, 1000, BUSY), Rows::R64);
    }

    #[test]
    fn parts_cover_the_sum() {
        for depth in [0, 1, 16, 17, 1000, 131_072] {
            for blocks in [1, 5, 700] {
                let parts = Parts::cut(depth, blocks, 512, 256);
                assert!(parts.count >= 1 && parts.count * parts.len >= depth, "{depth} {parts:?}");
                assert!(depth == 0 || (parts.count - 1) * parts.len < depth, "{depth} {parts:?}: an empty part");
            }
        }
        assert_eq!(Parts::cut(131_072, 5, 512, 256), Parts { count: 102, len: 1296 });
        assert_eq!(Parts::cut(131_072, 700, 512, 256), Parts { count: 1, len: 131_072 });
    }
}
