use super::Problem;
use crate::real::Real;
use crate::shape::Shape;

/// Batch normalisation: y = (x - mean) / sqrt(var + eps) * scale + shift, for each channel (Ioffe and Szegedy, 2015).
///
/// In training, mean and (biased) variance are those of the ghost batch, over images and pixels, and the running
/// statistics move towards them: running = (1 - momentum) * running + momentum * batch, with the unbiased variance.
/// In evaluation the running statistics are used. Scale is the parameter `weight`, shift is `bias`, as PyTorch names them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f32,
    /// Share of the newest batch in the running statistics.
    pub momentum: f32,
}

impl Default for BatchNorm {
    /// PyTorch's defaults: eps 1e-5, momentum 0.1.
    fn default() -> Self {
        Self { eps: 1e-5, momentum: 0.1 }
    }
}

impl BatchNorm {
    /// Shape of the output, that of the input.
    ///
    /// # Errors
    /// `eps` is not finite and positive, or `momentum` is not in (0, 1].
    pub fn output(&self, input: Shape) -> Result<Shape, Problem> {
        if !(self.eps.is_finite() && self.eps > 0.0) {
            return Err(Problem::Constant { what: "eps", value: self.eps });
        }
        if !(self.momentum > 0.0 && self.momentum <= 1.0) {
            return Err(Problem::Constant { what: "momentum", value: self.momentum });
        }
        Ok(input)
    }
}

/// Sum of `value` over all pixels of channel `c`, image by image; sums of images keep the chains short.
fn channel_sum<T: Real>(shape: Shape, batch: usize, c: usize, value: impl Fn(usize) -> T) -> T {
    let mut total = T::ZERO;
    for n in 0..batch {
        let start = (n * shape.channels + c) * shape.pixels();
        let mut image = T::ZERO;
        for row in 0..shape.height {
            let start = start + row * shape.width;
            image = image + (start..start + shape.width).fold(T::ZERO, |sum, i| sum + value(i));
        }
        total = total + image;
    }
    total
}

/// Calls `each` with the index of every pixel of channel `c`.
fn channel_each(shape: Shape, batch: usize, c: usize, mut each: impl FnMut(usize)) {
    for n in 0..batch {
        let start = (n * shape.channels + c) * shape.pixels();
        (start..start + shape.pixels()).for_each(&mut each);
    }
}

/// Portable kernels. x and y (N, C, H, W); everything else (C).
#[expect(clippy::too_many_arguments, reason = "the layer's tensors, each by its name")]
impl BatchNorm {
    /// y from the batch's own statistics, which go to `mean` and `inverse` (inverse standard deviation).
    pub(crate) fn forward_train<T: Real>(
        &self,
        shape: Shape,
        batch: usize,
        x: &[T],
        scale: &[T],
        shift: &[T],
        y: &mut [T],
        mean: &mut [T],
        inverse: &mut [T],
    ) {
        let count = T::from_usize(batch * shape.pixels());
        for c in 0..shape.channels {
            let m = channel_sum(shape, batch, c, |i| x[i]) / count;
            let square = |i: usize| (x[i] - m) * (x[i] - m);
            let variance = channel_sum(shape, batch, c, square) / count;
            mean[c] = m;
            inverse[c] = T::ONE / (variance + T::from_f32(self.eps)).sqrt();
            let inv = inverse[c];
            channel_each(shape, batch, c, |i| y[i] = (x[i] - m) * inv * scale[c] + shift[c]);
        }
    }

    /// Moves the running mean and variance (`running`, mean first) towards the batch's (`batch`: mean, then inverse
    /// standard deviation), which is over `values` values a channel.
    pub(crate) fn update_running<T: Real>(&self, values: usize, batch: &[T], running: &mut [T]) {
        let channels = running.len() / 2;
        let (mean, variance) = running.split_at_mut(channels);
        let momentum = T::from_f32(self.momentum);
        let unbiased = T::from_usize(values) / T::from_usize(values.saturating_sub(1).max(1));
        for c in 0..channels {
            let inverse = batch[channels + c];
            let of_batch = (T::ONE / (inverse * inverse) - T::from_f32(self.eps)) * unbiased;
            mean[c] = (T::ONE - momentum) * mean[c] + momentum * batch[c];
            variance[c] = (T::ONE - momentum) * variance[c] + momentum * of_batch;
        }
    }

    /// y from the running statistics.
    pub(crate) fn forward_eval<T: Real>(
        &self,
        shape: Shape,
        batch: usize,
        x: &[T],
        scale: &[T],
        shift: &[T],
        mean: &[T],
        variance: &[T],
        y: &mut [T],
    ) {
        for c in 0..shape.channels {
            let inverse = T::ONE / (variance[c] + T::from_f32(self.eps)).sqrt();
            let m = mean[c];
            channel_each(shape, batch, c, |i| y[i] = (x[i] - m) * inverse * scale[c] + shift[c]);
        }
    }

    /// dx += the input's gradient; writes those of scale and shift.
    pub(crate) fn backward_train<T: Real>(
        &self,
        shape: Shape,
        batch: usize,
        x: &[T],
        scale: &[T],
        mean: &[T],
        inverse: &[T],
        dy: &[T],
        mut dx: Option<&mut [T]>,
        dscale: &mut [T],
        dshift: &mut [T],
    ) {
        let count = T::from_usize(batch * shape.pixels());
        for c in 0..shape.channels {
            let normal = |i: usize| (x[i] - mean[c]) * inverse[c];
            dshift[c] = channel_sum(shape, batch, c, |i| dy[i]);
            dscale[c] = channel_sum(shape, batch, c, |i| dy[i] * normal(i));
            let (mean_dy, mean_dn) = (dshift[c] / count, dscale[c] / count);
            if let Some(dx) = &mut dx {
                let factor = scale[c] * inverse[c];
                channel_each(shape, batch, c, |i| {
                    dx[i] = dx[i] + factor * (dy[i] - mean_dy - normal(i) * mean_dn);
                });
            }
        }
    }

    /// The same for [`forward_eval`](Self::forward_eval), whose statistics do not depend on x.
    pub(crate) fn backward_eval<T: Real>(
        &self,
        shape: Shape,
        batch: usize,
        x: &[T],
        scale: &[T],
        mean: &[T],
        variance: &[T],
        dy: &[T],
        mut dx: Option<&mut [T]>,
        dscale: &mut [T],
        dshift: &mut [T],
    ) {
        for c in 0..shape.channels {
            let inverse = T::ONE / (variance[c] + T::from_f32(self.eps)).sqrt();
            dshift[c] = channel_sum(shape, batch, c, |i| dy[i]);
            dscale[c] = channel_sum(shape, batch, c, |i| dy[i] * (x[i] - mean[c]) * inverse);
            if let Some(dx) = &mut dx {
                let factor = scale[c] * inverse;
                channel_each(shape, batch, c, |i| dx[i] = dx[i] + factor * dy[i]);
            }
        }
    }
}
