//! Maximum, average and global average pooling.
//!
//! One task is one channel of one block. The backward passes gather: each pixel of the input adds
//! up what its windows send it, so that it is written once and nothing is cleared first.

mod average;
mod max;
#[cfg(test)]
mod tests;

pub use average::{
    average_backward, average_forward, global_average_backward, global_average_forward,
};
pub use max::{max_backward, max_forward};

use super::layout::{Blocked, IMAGES};
use std::ops::Range;

/// Floats that a task should have at least.
const TASK: usize = 16 * 1024;

/// Windows over the pixels of a channel; numbers are `[vertical, horizontal]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Edges of a window, with at most 256 pixels.
    pub kernel: [usize; 2],
    /// Steps from one window to the next.
    pub stride: [usize; 2],
    /// Padding on each side, at most half of the kernel.
    pub padding: [usize; 2],
}

impl Windows {
    /// Shape of the output; windows that do not fit are left out.
    ///
    /// # Panics
    /// No window fits, one has more than 256 pixels, the stride is zero or the padding more than half of the kernel.
    #[must_use]
    pub fn output(&self, input: &Blocked) -> Blocked {
        let count = |axis: usize, size: usize| {
            assert!(self.padding[axis] <= self.kernel[axis] / 2);
            (size + 2 * self.padding[axis] - self.kernel[axis]) / self.stride[axis] + 1
        };
        assert!(self.kernel[0] * self.kernel[1] <= 256);
        Blocked {
            height: count(0, input.height),
            width: count(1, input.width),
            ..*input
        }
    }

    /// The part of window `index` along an axis that lies on pixels, and what its first pixel's place in the window is.
    #[inline(always)]
    fn pixels(&self, axis: usize, index: usize, size: usize) -> (Range<usize>, usize) {
        let start = index * self.stride[axis];
        let first = start.max(self.padding[axis]);
        let end = (start + self.kernel[axis]).min(size + self.padding[axis]);
        (
            first - self.padding[axis]..end - self.padding[axis],
            first - start,
        )
    }

    /// The windows along an axis that contain a pixel.
    #[inline(always)]
    fn around(&self, axis: usize, pixel: usize, count: usize) -> Range<usize> {
        let place = pixel + self.padding[axis];
        let first = (place + 1)
            .saturating_sub(self.kernel[axis])
            .div_ceil(self.stride[axis]);
        first..(place / self.stride[axis] + 1).min(count)
    }

    /// The place of a pixel in window `index` along an axis that contains it.
    #[inline(always)]
    fn place(&self, axis: usize, pixel: usize, index: usize) -> usize {
        pixel + self.padding[axis] - index * self.stride[axis]
    }
}

/// Floats of one channel of one block.
fn plane(shape: &Blocked) -> usize {
    shape.pixels() * IMAGES
}

/// Planes that a task should have at least.
fn planes_per_task(shape: &Blocked) -> usize {
    (TASK / plane(shape).max(1)).max(1)
}
