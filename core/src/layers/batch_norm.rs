use super::Problem;
use crate::real::{Real, sum};
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

/// Sum of `value` over all pixels of channel `c`, image by image.
fn channel_sum<T: Real>(shape: Shape, batch: usize, c: usize, value: impl Fn(usize) -> T) -> T {
    sum(0..batch, |n| {
        let start = (n * shape.channels + c) * shape.pixels();
        sum(start..start + shape.pixels(), &value)
    })
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
    /// y from the batch's own statistics, which go to `mean` and `variance` (biased).
    pub(crate) fn forward_train<T: Real>(
        &self,
        shape: Shape,
        batch: usize,
        x: &[T],
        scale: &[T],
        shift: &[T],
        y: &mut [T],
        mean: &mut [T],
        variance: &mut [T],
    ) {
        let count = T::from_usize(batch * shape.pixels());
        for c in 0..shape.channels {
            mean[c] = channel_sum(shape, batch, c, |i| x[i]) / count;
            let square = |i: usize| (x[i] - mean[c]) * (x[i] - mean[c]);
            variance[c] = channel_sum(shape, batch, c, square) / count;
        }
        self.forward_eval(shape, batch, x, scale, shift, mean, variance, y);
    }

    /// Moves the running mean and variance (`running`, mean first) towards the batch's (`batch`: mean, then biased
    /// variance), which is over `values` values a channel.
    pub(crate) fn update_running<T: Real>(&self, values: usize, batch: &[T], running: &mut [T]) {
        let (mean, variance) = running.split_at_mut(running.len() / 2);
        let (of_mean, of_variance) = batch.split_at(batch.len() / 2);
        let momentum = T::from_f32(self.momentum);
        let unbiased = T::from_usize(values) / T::from_usize(values.saturating_sub(1).max(1));
        let towards = |running: &mut T, value: T| {
            *running = (T::ONE - momentum) * *running + momentum * value;
        };
        mean.iter_mut().zip(of_mean).for_each(|(mean, value)| towards(mean, *value));
        variance.iter_mut().zip(of_variance).for_each(|(to, value)| towards(to, *value * unbiased));
    }

    /// y from these statistics: in evaluation the running ones.
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
            let inverse = self.inverse(variance[c]);
            let m = mean[c];
            channel_each(shape, batch, c, |i| y[i] = (x[i] - m) * inverse * scale[c] + shift[c]);
        }
    }

    /// Inverse standard deviation.
    fn inverse<T: Real>(&self, variance: T) -> T {
        T::ONE / (variance + T::from_f32(self.eps)).sqrt()
    }

    /// dx += the input's gradient; writes those of scale and shift.
    pub(crate) fn backward_train<T: Real>(
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
        let count = T::from_usize(batch * shape.pixels());
        for c in 0..shape.channels {
            let inverse = self.inverse(variance[c]);
            let normal = |i: usize| (x[i] - mean[c]) * inverse;
            dshift[c] = channel_sum(shape, batch, c, |i| dy[i]);
            dscale[c] = channel_sum(shape, batch, c, |i| dy[i] * normal(i));
            let (mean_dy, mean_dn) = (dshift[c] / count, dscale[c] / count);
            if let Some(dx) = &mut dx {
                let factor = scale[c] * inverse;
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
            let inverse = self.inverse(variance[c]);
            dshift[c] = channel_sum(shape, batch, c, |i| dy[i]);
            dscale[c] = channel_sum(shape, batch, c, |i| dy[i] * (x[i] - mean[c]) * inverse);
            if let Some(dx) = &mut dx {
                let factor = scale[c] * inverse;
                channel_each(shape, batch, c, |i| dx[i] = dx[i] + factor * dy[i]);
            }
        }
    }
}
