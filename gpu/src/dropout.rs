//! Dropout of activations, with core's mask bits.

use crate::device::Gpu;
use crate::error::Result;
use crate::ghosts::Ghosts;
use crate::kernels::{int, launch, over};
use crate::network::{Mask};
use crate::pointer::Pointer;
use smoothout::dropout_mask::DropoutMask;
use smoothout::noise::BLOCK;

/// Keeps masks apart from noise: core's `dropout_mask`.
const DOMAIN: u64 = 0x6472_6f70_6d61_736b;

/// to = from under the mask of layer number `layer`, for images of `len` values; both may be the same.
pub(crate) fn dropout(
    gpu: &Gpu,
    at: Ghosts,
    [from, to]: [Pointer; 2],
    len: usize,
    mask: Mask,
    layer: usize,
    probability: f32,
) -> Result<()> {
    let base = crate::noise::hash(crate::noise::hash(mask.address.seed ^ DOMAIN) ^ mask.address.step);
    let of_layer = DropoutMask::new(mask.address, layer as u32, probability);
    let (images, size) = (int("images", at.images)?, at.size as i32);
    int("activations", at.images.saturating_mul(len))?;
    let shape = over(at.images * len.div_ceil(BLOCK), 128)?;
    // SAFETY: both hold the images.
    unsafe {
        launch!(gpu, dropout, shape, 0, from, to, images, len as i32, size, base, mask.address.draw, mask.step,
            layer as i32, of_layer.threshold(), of_layer.scale())
    }
}
