//! ReLU, and the sum of two outputs.

use crate::device::Gpu;
use crate::error::Result;
use crate::kernels::{int, launch, over};
use crate::pointer::Pointer;

/// y = max(x, 0).
pub(crate) fn relu(gpu: &Gpu, x: Pointer, y: Pointer, count: usize) -> Result<()> {
    // SAFETY: both hold `count` values.
    unsafe { launch!(gpu, relu, over(count, 256)?, 0, x, y, int("activations", count)?) }
}

/// dy = dy where y is positive, else 0.
pub(crate) fn relu_backward(gpu: &Gpu, y: Pointer, dy: Pointer, count: usize) -> Result<()> {
    // SAFETY: both hold `count` values.
    unsafe { launch!(gpu, relu_backward, over(count, 256)?, 0, y, dy, int("activations", count)?) }
}

/// y = x + other.
pub(crate) fn sum(gpu: &Gpu, [x, other, y]: [Pointer; 3], count: usize) -> Result<()> {
    // SAFETY: all hold `count` values.
    unsafe { launch!(gpu, sum, over(count, 256)?, 0, x, other, y, int("activations", count)?) }
}
