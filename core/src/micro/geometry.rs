//! Where the windows of a convolution lie.

use super::built;
use super::runs::runs;
use super::stage::Stage;
use super::window::Window;
use crate::shape::Shape;
use core::ops::Range;

/// Geometry of a convolution.
#[derive(Clone, Copy)]
pub(super) struct Geometry {
    pub kernel: [usize; 2],
    pub stride: [usize; 2],
    pub padding: [usize; 2],
    pub input: Shape,
    pub output: Shape,
}

impl Geometry {
    pub(super) fn new(window: Window, stage: &Stage<'_>) -> Self {
        Self {
            kernel: window.kernel(),
            stride: window.stride(),
            padding: window.padding(),
            input: stage.input_shape(),
            output: stage.head_shape(),
        }
    }

    /// That of the input's gradient, as a convolution of the output's with the filter turned round; with stride 1 only.
    pub(super) const fn turned(&self) -> Self {
        let [kh, kw] = self.kernel;
        let [ph, pw] = self.padding;
        let padding = [kh.saturating_sub(1 + ph), kw.saturating_sub(1 + pw)];
        Self { padding, input: self.output, output: self.input, ..*self }
    }

    /// Whether the fast ways apply: stride 1, a common square kernel, and no more padding than it covers.
    pub(super) const fn is_plain(&self) -> bool {
        if !built::WIDE {
            return false;
        }
        if !built::ANY_WINDOW {
            return true;
        }
        let [ph, pw] = self.padding;
        let small = matches!((self.stride, self.kernel), ([1, 1], [3, 3] | [5, 5]));
        small && ph < self.kernel[0] && pw < self.kernel[1]
    }

    /// Taps of one channel.
    pub(super) const fn taps(&self) -> usize {
        let taps = self.kernel[0] * self.kernel[1];
        if taps == 0 { 1 } else { taps }
    }

    /// The channels of a group's input.
    pub(super) fn channels<'x>(&self, x: &'x [f32]) -> impl Iterator<Item = &'x [f32]> {
        runs(x, self.input.pixels())
    }

    /// The taps of a filter's channels.
    pub(super) fn kernels<'f>(&self, filter: &'f [f32]) -> impl Iterator<Item = &'f [f32]> {
        runs(filter, self.taps())
    }

    /// Columns of the kernel that meet the input in output column `ow`, and the input's column that the first one meets.
    pub(super) const fn columns(&self, ow: usize) -> (Range<usize>, usize) {
        let left = ow * self.stride[1];
        let first = self.padding[1].saturating_sub(left);
        let mut end = (self.input.width + self.padding[1]).saturating_sub(left);
        if end > self.kernel[1] {
            end = self.kernel[1];
        }
        (first..end, (left + first).saturating_sub(self.padding[1]))
    }

    /// Rows of the kernel that meet the input in output row `oh`, and the input's row that the first one meets.
    pub(super) const fn rows(&self, oh: usize) -> (Range<usize>, usize) {
        let top = oh * self.stride[0];
        let first = self.padding[0].saturating_sub(top);
        let mut end = (self.input.height + self.padding[0]).saturating_sub(top);
        if end > self.kernel[0] {
            end = self.kernel[0];
        }
        (first..end, (top + first).saturating_sub(self.padding[0]))
    }
}
