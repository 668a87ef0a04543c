//! Shapes and windows as sessions keep them: small.

use super::pool::CLIPPED;
use super::{SessionError, built};
use crate::layers::{AvgPool2d, Conv2d, MaxPool2d};
use crate::network::Layer;
use crate::plan::PlannedLayer;
use crate::shape::Shape;

/// A shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes([u16; 3]);

impl Sizes {
    /// Of a shape that was [checked](check).
    pub(super) const fn new(shape: Shape) -> Self {
        Self([shape.channels as u16, shape.height as u16, shape.width as u16])
    }

    /// Height and width.
    pub(super) const fn sides(self) -> [u16; 2] {
        let [_, height, width] = self.0;
        [height, width]
    }

    pub(super) fn shape(self) -> Shape {
        let [channels, height, width] = self.0.map(usize::from);
        Shape::new(channels, height, width)
    }
}

/// Kernel, stride and padding along height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window([[u8; 2]; 3]);

impl Window {
    /// One pixel each.
    pub(super) const ONE: Self = Self([[1, 1], [1, 1], [0, 0]]);

    /// That of a layer that was [checked](check); of one pixel each where it has none.
    pub(super) fn new(layer: &Layer) -> Self {
        Self(numbers(layer).map(|[h, w]| [h as u8, w as u8]))
    }

    pub(super) fn kernel(self) -> [usize; 2] {
        self.0[0].map(usize::from)
    }

    pub(super) fn stride(self) -> [usize; 2] {
        self.0[1].map(usize::from)
    }

    pub(super) fn padding(self) -> [usize; 2] {
        self.0[2].map(usize::from)
    }

    /// Whether a convolution's kernel is 3x3, its stride 1, and its padding smaller than the kernel.
    pub(super) const fn is_small(self) -> bool {
        matches!(self.0, [[3, 3], [1, 1], [0..=2, 0..=2]])
    }

    /// Whether these are the usual pooling windows: 2x2, side by side.
    pub(super) const fn is_usual(self) -> bool {
        matches!(self.0, [[2, 2], [2, 2], [0, 0]])
    }
}

#[inline(never)]
fn numbers(layer: &Layer) -> [[usize; 2]; 3] {
    match *layer {
        Layer::Conv2d(Conv2d { kernel, stride, padding, .. })
        | Layer::MaxPool2d(MaxPool2d { kernel, stride, padding })
        | Layer::AvgPool2d(AvgPool2d { kernel, stride, padding }) => [kernel, stride, padding],
        _ => [[1, 1], [1, 1], [0, 0]],
    }
}

/// Refuses a layer whose sizes are too large to be kept, and windows that are left out.
pub(super) fn check(layer: &PlannedLayer) -> Result<(), SessionError> {
    let unsupported = |what| Err(SessionError::Unsupported { what });
    let is_large = |shape: Shape| shape.channels.max(shape.height).max(shape.width) > usize::from(u16::MAX);
    if is_large(layer.input_shape) || is_large(layer.output_shape) {
        return unsupported("shapes of more than 65,535 channels, rows or columns");
    }
    if numbers(&layer.layer).as_flattened().iter().any(|number| *number > 255) {
        return unsupported("windows, strides or paddings of more than 255 pixels");
    }
    let window = Window::new(&layer.layer);
    let [height, width] = window.kernel();
    match layer.layer {
        Layer::Conv2d(_) if !built::ANY_WINDOW && !window.is_small() => unsupported("feature micro-any-window"),
        Layer::MaxPool2d(_) if !built::ANY_WINDOW && !window.is_usual() => unsupported("feature micro-any-window"),
        // The place of a maximum is kept in a byte.
        Layer::MaxPool2d(_) if height * width >= usize::from(CLIPPED) => {
            unsupported("max pooling over more than 254 pixels")
        }
        _ => Ok(()),
    }
}
