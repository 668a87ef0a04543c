use super::Problem;
use crate::real::{Real, sum};
use crate::shape::Shape;

/// Two-dimensional convolution (cross-correlation, as in every framework).
///
/// Weight (out_channels, in_channels / groups, kernel height, kernel width), bias (out_channels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Conv2d {
    /// Number of filters.
    pub out_channels: usize,
    /// Height and width of a filter.
    pub kernel: [usize; 2],
    /// Step between windows, vertical and horizontal.
    pub stride: [usize; 2],
    /// Zeros added above and below, left and right.
    pub padding: [usize; 2],
    /// Number of groups that the channels are split into; each output sees only its group's inputs.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv2d {
    /// A square convolution with stride 1, no padding, one group and no bias.
    pub const fn new(out_channels: usize, kernel: usize) -> Self {
        Self {
            out_channels,
            kernel: [kernel, kernel],
            stride: [1, 1],
            padding: [0, 0],
            groups: 1,
            bias: false,
        }
    }

    /// The same with this stride in both directions.
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride: [stride, stride], ..self }
    }

    /// The same with this padding on all sides.
    pub const fn padding(self, padding: usize) -> Self {
        Self { padding: [padding, padding], ..self }
    }

    /// The same with this number of groups.
    pub const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// The same with a bias.
    pub const fn with_bias(self) -> Self {
        Self { bias: true, ..self }
    }

    /// Shape of the output for one image of shape `input`.
    ///
    /// # Errors
    /// A size of 0, groups that do not divide the channels, or a window that does not fit.
    pub fn output(&self, input: Shape) -> Result<Shape, Problem> {
        if self.out_channels == 0 {
            return Err(Problem::Zero { what: "the number of output channels" });
        }
        if self.groups == 0 {
            return Err(Problem::Zero { what: "the number of groups" });
        }
        if !input.channels.is_multiple_of(self.groups)
            || !self.out_channels.is_multiple_of(self.groups)
        {
            let (groups, out_channels) = (self.groups, self.out_channels);
            return Err(Problem::Groups { groups, out_channels });
        }
        let [height, width] = windows(input, self.kernel, self.stride, self.padding)?;
        Ok(Shape::new(self.out_channels, height, width))
    }

    /// Shape of the weight for `in_channels` input channels.
    pub const fn weight_dims(&self, in_channels: usize) -> [usize; 4] {
        // No groups at all are refused by `output`; here they are no reason to panic.
        let groups = if self.groups == 0 { 1 } else { self.groups };
        [self.out_channels, in_channels / groups, self.kernel[0], self.kernel[1]]
    }
}

/// Number of window positions, vertical and horizontal: floor((input + 2 padding - kernel) / stride) + 1.
#[inline(never)]
pub(super) fn windows(
    input: Shape,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Result<[usize; 2], Problem> {
    let mut count = [0; 2];
    for (axis, size) in [input.height, input.width].into_iter().enumerate() {
        if kernel[axis] == 0 {
            return Err(Problem::Zero { what: "a side of the window" });
        }
        if stride[axis] == 0 {
            return Err(Problem::Zero { what: "a stride" });
        }
        let padded = padding[axis]
            .checked_mul(2)
            .and_then(|twice| twice.checked_add(size))
            .ok_or(Problem::TooLarge)?;
        if kernel[axis] > padded {
            return Err(Problem::Window { kernel, padding });
        }
        count[axis] = (padded - kernel[axis]) / stride[axis] + 1;
    }
    Ok(count)
}

/// The part of a row of windows that lies inside the input: tap `k` of output `o` reads input o * stride + k - padding.
/// Returns the outputs for which it does, and the input of the first one.
fn inside(
    tap: usize,
    stride: usize,
    padding: usize,
    inputs: usize,
    outputs: usize,
) -> (core::ops::Range<usize>, usize) {
    let first = padding.saturating_sub(tap).div_ceil(stride);
    let end = (inputs + padding).saturating_sub(tap).div_ceil(stride).min(outputs);
    if first >= end { (0..0, 0) } else { (first..end, first * stride + tap - padding) }
}

/// Pixels of a row whose input gradients are worked out side by side.
const BLOCK: usize = 32;

/// Portable kernels. Slices hold images one after the other: x (N, C, H, W), y (N, O, OH, OW), weight (O, C/groups, KH, KW).
impl Conv2d {
    fn shapes(&self, input: Shape) -> (Shape, usize, usize) {
        let output = self.output(input).unwrap_or(Shape::flat(0));
        (output, input.channels / self.groups.max(1), output.channels / self.groups.max(1))
    }

    /// y = convolution of x, plus bias.
    pub(crate) fn forward<T: Real>(
        &self,
        input: Shape,
        batch: usize,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        y: &mut [T],
    ) {
        let (output, group_in, group_out) = self.shapes(input);
        let [kh, kw] = self.kernel;
        for n in 0..batch {
            for o in 0..output.channels {
                let plane = (n * output.channels + o) * output.pixels();
                let y = &mut y[plane..plane + output.pixels()];
                y.fill(bias.map_or(T::ZERO, |b| b[o]));
                for c in 0..group_in {
                    let channel = n * input.channels + o / group_out * group_in + c;
                    let x = &x[channel * input.pixels()..][..input.pixels()];
                    let w = &weight[(o * group_in + c) * kh * kw..][..kh * kw];
                    for oh in 0..output.height {
                        for ow in 0..output.width {
                            // One channel's window is summed by itself: short sums keep rounding errors small.
                            let sum = self.window(input, x, w, oh, ow);
                            let at = oh * output.width + ow;
                            y[at] = y[at] + sum;
                        }
                    }
                }
            }
        }
    }

    fn window<T: Real>(&self, input: Shape, x: &[T], w: &[T], oh: usize, ow: usize) -> T {
        let ([kh, kw], [sh, sw], [ph, pw]) = (self.kernel, self.stride, self.padding);
        let (top, left) = (oh * sh, ow * sw);
        let columns = pw.saturating_sub(left)..kw.min((input.width + pw).saturating_sub(left));
        let mut sum = T::ZERO;
        for i in ph.saturating_sub(top)..kh.min((input.height + ph).saturating_sub(top)) {
            for j in columns.clone() {
                sum = sum + w[i * kw + j] * x[(top + i - ph) * input.width + left + j - pw];
            }
        }
        sum
    }

    /// dx += the gradient of the input for dy.
    pub(crate) fn input_gradient<T: Real>(
        &self,
        input: Shape,
        batch: usize,
        weight: &[T],
        dy: &[T],
        dx: &mut [T],
    ) {
        let (output, group_in, group_out) = self.shapes(input);
        let ([kh, kw], [sh, sw], [ph, pw]) = (self.kernel, self.stride, self.padding);
        for n in 0..batch {
            for o in 0..output.channels {
                let dy = &dy[(n * output.channels + o) * output.pixels()..][..output.pixels()];
                for c in 0..group_in {
                    let channel = n * input.channels + o / group_out * group_in + c;
                    let dx = &mut dx[channel * input.pixels()..][..input.pixels()];
                    let w = &weight[(o * group_in + c) * kh * kw..][..kh * kw];
                    for (h, dx) in dx.chunks_exact_mut(input.width).enumerate() {
                        for (block, dx) in dx.chunks_mut(BLOCK).enumerate() {
                            // One filter's taps are summed by themselves, as in the forward pass.
                            let mut sums = [T::ZERO; BLOCK];
                            let (above, before) = (ph + h, pw + block * BLOCK);
                            for i in 0..kh {
                                let (rows, _) = inside(i, sh, above, 1, output.height);
                                for oh in rows {
                                    for j in 0..kw {
                                        let (columns, first) =
                                            inside(j, sw, before, dx.len(), output.width);
                                        let dy = &dy[oh * output.width..][columns];
                                        let sums = sums[first..].iter_mut().step_by(sw);
                                        let tap = w[i * kw + j];
                                        sums.zip(dy).for_each(|(sum, g)| *sum = *sum + tap * *g);
                                    }
                                }
                            }
                            dx.iter_mut().zip(sums).for_each(|(dx, sum)| *dx = *dx + sum);
                        }
                    }
                }
            }
        }
    }

    /// Gradient of filter `row`: `gradient` holds C/groups * KH * KW values.
    pub(crate) fn weight_gradient_row<T: Real>(
        &self,
        input: Shape,
        batch: usize,
        x: &[T],
        dy: &[T],
        row: usize,
        gradient: &mut [T],
    ) {
        let (output, group_in, group_out) = self.shapes(input);
        let ([kh, kw], [sh, sw], [ph, pw]) = (self.kernel, self.stride, self.padding);
        for c in 0..group_in {
            for i in 0..kh {
                let (rows, first_row) = inside(i, sh, ph, input.height, output.height);
                for j in 0..kw {
                    let (columns, first) = inside(j, sw, pw, input.width, output.width);
                    gradient[(c * kh + i) * kw + j] = sum(0..batch, |n| {
                        let channel = n * input.channels + row / group_out * group_in + c;
                        let x = &x[channel * input.pixels()..][..input.pixels()];
                        let dy = &dy[(n * output.channels + row) * output.pixels()..];
                        sum(0..rows.len(), |r| {
                            let from = (first_row + r * sh) * input.width + first;
                            let dy = &dy[(rows.start + r) * output.width..][columns.clone()];
                            sum(0..dy.len(), |k| dy[k] * x[from + k * sw])
                        })
                    });
                }
            }
        }
    }

    /// Gradient of the bias of filter `row`.
    pub(crate) fn bias_gradient_row<T: Real>(
        &self,
        input: Shape,
        batch: usize,
        dy: &[T],
        row: usize,
    ) -> T {
        let (output, ..) = self.shapes(input);
        sum(0..batch, |n| {
            let start = (n * output.channels + row) * output.pixels();
            sum(start..start + output.pixels(), |i| dy[i])
        })
    }
}
