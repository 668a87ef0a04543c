use super::Problem;
use super::conv::windows;
use crate::shape::Shape;

/// Maximum over windows; padding counts as minus infinity. The first maximum of a window, row by row, gets the gradient.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct MaxPool2d {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Padding on each side, at most half the window.
    pub padding: [usize; 2],
}

impl MaxPool2d {
    /// Square windows without padding.
    pub const fn new(kernel: usize, stride: usize) -> Self {
        Self { kernel: [kernel, kernel], stride: [stride, stride], padding: [0, 0] }
    }

    /// The same with this padding on all sides.
    pub const fn padding(self, padding: usize) -> Self {
        Self { padding: [padding, padding], ..self }
    }

    /// Shape of the output.
    ///
    /// # Errors
    /// A size of 0, a window that does not fit, or a padding of more than half the window.
    pub fn output(&self, input: Shape) -> Result<Shape, Problem> {
        pooled(input, self.kernel, self.stride, self.padding)
    }
}

/// Mean over windows; padding counts as zeros that are part of the mean (PyTorch's default).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct AvgPool2d {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// Step between windows.
    pub stride: [usize; 2],
    /// Padding on each side, at most half the window.
    pub padding: [usize; 2],
}

impl AvgPool2d {
    /// Square windows without padding.
    pub const fn new(kernel: usize, stride: usize) -> Self {
        Self { kernel: [kernel, kernel], stride: [stride, stride], padding: [0, 0] }
    }

    /// The same with this padding on all sides.
    pub const fn padding(self, padding: usize) -> Self {
        Self { padding: [padding, padding], ..self }
    }

    /// Shape of the output.
    ///
    /// # Errors
    /// A size of 0, a window that does not fit, or a padding of more than half the window.
    pub fn output(&self, input: Shape) -> Result<Shape, Problem> {
        pooled(input, self.kernel, self.stride, self.padding)
    }
}

fn pooled(
    input: Shape,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Result<Shape, Problem> {
    let [height, width] = windows(input, kernel, stride, padding)?;
    if padding[0] > kernel[0] / 2 || padding[1] > kernel[1] / 2 {
        return Err(Problem::Padding { kernel, padding });
    }
    Ok(Shape::new(input.channels, height, width))
}
