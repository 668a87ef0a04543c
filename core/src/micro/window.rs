//! Shapes and windows as sessions keep them: small.

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

/// The byte of a window whose maximum the ReLU cut off: no gradient goes there.
pub(super) const CLIPPED: u8 = u8::MAX;

const FEATURE: &str = "feature micro-any-window";

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

    /// Whether these are the usual pooling windows.
    pub(super) fn is_usual(self) -> bool {
        is_usual(self.0.map(|sides| sides.map(usize::from)))
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
    let windows = numbers(&layer.layer);
    let of_any_size = built::ANY_WINDOW || built::ELEMENTWISE;
    if of_any_size && windows.as_flattened().iter().any(|number| *number > 255) {
        return unsupported("windows, strides or paddings of more than 255 pixels");
    }
    match layer.layer {
        // The place of a maximum is kept in a byte.
        Layer::MaxPool2d(_) if built::ANY_WINDOW && windows[0][0] * windows[0][1] >= usize::from(CLIPPED) => {
            unsupported("max pooling over more than 254 pixels")
        }
        Layer::MaxPool2d(_) if !built::ANY_WINDOW && !is_usual(windows) => unsupported(FEATURE),
        Layer::Conv2d(conv) if !built::ANY_WINDOW && !is_small(windows, conv.groups) => unsupported(FEATURE),
        _ => Ok(()),
    }
}

/// Whether a pooling's windows are 2x2, side by side.
const fn is_usual(windows: [[usize; 2]; 3]) -> bool {
    matches!(windows, [[2, 2], [2, 2], [0, 0]])
}

/// Whether a convolution has one group, a 3x3 kernel, stride 1, and less padding than the kernel has pixels.
const fn is_small(windows: [[usize; 2]; 3], groups: usize) -> bool {
    groups == 1 && matches!(windows, [[3, 3], [1, 1], [0..=2, 0..=2]])
}
