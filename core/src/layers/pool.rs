use super::Problem;
use super::conv::windows;
use crate::real::{Real, sum};
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

/// The part of a window inside the input: first row and end, first column and end.
fn clipped(
    input: Shape,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    [oh, ow]: [usize; 2],
) -> [core::ops::Range<usize>; 2] {
    let clip = |o: usize, axis: usize, size: usize| {
        let start = o * stride[axis];
        let end = (start + kernel[axis]).saturating_sub(padding[axis]).min(size);
        start.saturating_sub(padding[axis]).min(end)..end
    };
    [clip(oh, 0, input.height), clip(ow, 1, input.width)]
}

/// Portable kernels. x (N, C, H, W), y (N, C, OH, OW).
impl MaxPool2d {
    pub(crate) fn forward<T: Real>(&self, input: Shape, batch: usize, x: &[T], y: &mut [T]) {
        self.each(input, batch, x, |_, largest, out| y[out] = largest);
    }

    /// dx += dy at the maximum of each window, which is found again in x.
    pub(crate) fn backward<T: Real>(
        &self,
        input: Shape,
        batch: usize,
        x: &[T],
        dy: &[T],
        dx: &mut [T],
    ) {
        self.each(input, batch, x, |at, _, out| dx[at] = dx[at] + dy[out]);
    }

    /// Calls `each` with the index of each window's maximum, its value and the index of the output.
    fn each<T: Real>(
        &self,
        input: Shape,
        batch: usize,
        x: &[T],
        mut each: impl FnMut(usize, T, usize),
    ) {
        let output = self.output(input).unwrap_or(Shape::flat(0));
        for plane in 0..batch * input.channels {
            let start = plane * input.pixels();
            for oh in 0..output.height {
                for ow in 0..output.width {
                    let [rows, columns] =
                        clipped(input, self.kernel, self.stride, self.padding, [oh, ow]);
                    let mut at = start + rows.start * input.width + columns.start;
                    let mut largest = T::MINUS_INFINITY;
                    for row in rows {
                        for column in columns.clone() {
                            let i = start + row * input.width + column;
                            if x[i] > largest || (x[i].is_nan() && !largest.is_nan()) {
                                (at, largest) = (i, x[i]);
                            }
                        }
                    }
                    each(at, largest, (plane * output.height + oh) * output.width + ow);
                }
            }
        }
    }
}

/// Portable kernels. x (N, C, H, W), y (N, C, OH, OW).
impl AvgPool2d {
    pub(crate) fn forward<T: Real>(&self, input: Shape, batch: usize, x: &[T], y: &mut [T]) {
        y.fill(T::ZERO);
        self.each(input, batch, |i, out, share| y[out] = y[out] + x[i] * share);
    }

    /// dx += the share of each pixel in dy.
    pub(crate) fn backward<T: Real>(&self, input: Shape, batch: usize, dy: &[T], dx: &mut [T]) {
        self.each(input, batch, |i, out, share| dx[i] = dx[i] + dy[out] * share);
    }

    fn each<T: Real>(&self, input: Shape, batch: usize, mut each: impl FnMut(usize, usize, T)) {
        let output = self.output(input).unwrap_or(Shape::flat(0));
        let share = T::ONE / T::from_usize(self.kernel[0] * self.kernel[1]);
        for plane in 0..batch * input.channels {
            for oh in 0..output.height {
                for ow in 0..output.width {
                    let [rows, columns] =
                        clipped(input, self.kernel, self.stride, self.padding, [oh, ow]);
                    let out = (plane * output.height + oh) * output.width + ow;
                    for row in rows {
                        for column in columns.clone() {
                            each((plane * input.height + row) * input.width + column, out, share);
                        }
                    }
                }
            }
        }
    }
}

/// Mean over all pixels of each channel: x (N, C, H, W), y (N, C).
pub(crate) mod global_avg_pool {
    use super::{Real, Shape, sum};

    pub(crate) fn forward<T: Real>(input: Shape, batch: usize, x: &[T], y: &mut [T]) {
        let count = T::from_usize(input.pixels());
        let planes = x.chunks_exact(input.pixels()).take(batch * input.channels);
        for (y, plane) in y.iter_mut().zip(planes) {
            *y = sum(0..plane.len(), |i| plane[i]) / count;
        }
    }

    /// dx += dy / (H W).
    pub(crate) fn backward<T: Real>(input: Shape, batch: usize, dy: &[T], dx: &mut [T]) {
        let count = T::from_usize(input.pixels());
        let planes = dx.chunks_exact_mut(input.pixels()).take(batch * input.channels);
        for (dy, plane) in dy.iter().zip(planes) {
            plane.iter_mut().for_each(|dx| *dx = *dx + *dy / count);
        }
    }
}
