//! Batch normalisation, fused with the residual addition and the ReLU behind it.
//!
//! One task is one channel from its first pass to its last: what the statistics read from memory,
//! the second pass finds in the cache of the same core.

mod backward;
mod channel;
mod forward;
#[cfg(test)]
mod tests;

use super::deliver::Deliver;
use super::layout::Blocked;
use super::shared::Shared;
use super::simd::Isa;
use backward::{BackwardTask, NO_RELU, RELU_FROM_INPUT, RELU_FROM_OUTPUT, Read, run_backward};
use forward::{Affine, Apply, Moments};
use rayon::prelude::*;
use std::slice::from_mut;

/// Floats that a task should have at least.
const TASK: usize = 16 * 1024;

/// Parameters of the layer and what stands behind it.
#[derive(Clone, Copy, Debug)]
pub struct BatchNorm<'a> {
    /// Shape of input and output.
    pub shape: Blocked,
    /// Scale of each channel, as the evaluation point has it.
    pub gamma: &'a [f32],
    /// Shift of each channel, as the evaluation point has it.
    pub beta: &'a [f32],
    /// Whether a ReLU follows (after the residual addition, where there is one).
    pub relu: bool,
}

/// What normalises a batch, by channel.
#[derive(Clone, Copy, Debug)]
pub struct Statistics<'a> {
    /// Mean.
    pub mean: &'a [f32],
    /// 1 / sqrt(variance + eps).
    pub inv_std: &'a [f32],
}

/// Where the statistics of a batch go, by channel.
#[derive(Debug)]
pub struct StatisticsMut<'a> {
    /// Mean.
    pub mean: &'a mut [f32],
    /// 1 / sqrt(biased variance + eps).
    pub inv_std: &'a mut [f32],
    /// Unbiased variance, for the running statistics. Of a single value it is infinite or NaN, as in PyTorch.
    pub variance: &'a mut [f32],
}

/// How the gradient of the input depends on the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics were those of the batch itself.
    Train,
    /// Statistics were constants.
    Eval,
}

/// Where the gradient of the residual input goes.
#[derive(Debug)]
pub struct ResidualGradient<'a> {
    /// Same shape as the output.
    pub gradient: &'a mut [f32],
    /// Whether it is added to what is there.
    pub accumulate: bool,
}

/// What the backward pass reads.
#[derive(Clone, Copy, Debug)]
pub struct Saved<'a> {
    /// Input of the forward pass.
    pub input: &'a [f32],
    /// Output of the forward pass: needed where a residual addition stood before the ReLU, for otherwise the input
    /// tells which outputs were positive, and that is one stream of memory less.
    pub output: Option<&'a [f32]>,
    /// What normalised the batch.
    pub statistics: Statistics<'a>,
}

/// Where the gradients of scale and shift go, by channel.
#[derive(Debug)]
pub struct ParameterGradients<'a> {
    /// Gradient of `gamma`.
    pub gamma: &'a mut [f32],
    /// Gradient of `beta`.
    pub beta: &'a mut [f32],
    /// What they are delivered as.
    pub deliver: Deliver,
}

impl BatchNorm<'_> {
    fn check(&self, buffers: &[&[f32]]) {
        let channels = self.shape.channels;
        assert_eq!([self.gamma.len(), self.beta.len()], [channels; 2]);
        for buffer in buffers {
            assert_eq!(buffer.len(), self.shape.len());
        }
    }

    /// Channels that a task should have at least.
    fn channels_per_task(&self) -> usize {
        let floats = self.shape.len() / self.shape.channels.max(1);
        (TASK / floats.max(1)).max(1)
    }

    /// Normalises by the batch's own statistics and stores them; eps is added to the variance.
    ///
    /// # Panics
    /// A buffer does not fit the shape.
    pub fn train(
        &self,
        isa: Isa,
        eps: f32,
        input: &[f32],
        residual: Option<&[f32]>,
        output: &mut [f32],
        statistics: StatisticsMut<'_>,
    ) {
        self.check(&[input, output]);
        let StatisticsMut {
            mean,
            inv_std,
            variance,
        } = statistics;
        assert_eq!(
            [mean.len(), inv_std.len(), variance.len()],
            [self.shape.channels; 3]
        );
        residual.inspect(|residual| assert_eq!(residual.len(), input.len()));
        let output = Shared::new(output);
        (mean, inv_std, variance)
            .into_par_iter()
            .with_min_len(self.channels_per_task())
            .enumerate()
            .for_each(|(channel, (mean, inv_std, variance))| {
                let shape = &self.shape;
                let moments = isa.run(Moments {
                    shape,
                    channel,
                    input,
                });
                let count = (shape.images * shape.pixels()) as f64;
                *mean = moments.mean as f32;
                *inv_std = inverse_std(moments.variance, eps);
                *variance = (moments.variance * count / (count - 1.0)) as f32;
                self.apply_channel(isa, channel, *mean, *inv_std, input, residual, output);
            });
    }

    /// Normalises by given statistics.
    ///
    /// # Panics
    /// A buffer does not fit the shape.
    pub fn apply(
        &self,
        isa: Isa,
        statistics: Statistics<'_>,
        input: &[f32],
        residual: Option<&[f32]>,
        output: &mut [f32],
    ) {
        self.check(&[input, output]);
        let Statistics { mean, inv_std } = statistics;
        assert_eq!([mean.len(), inv_std.len()], [self.shape.channels; 2]);
        residual.inspect(|residual| assert_eq!(residual.len(), input.len()));
        let output = Shared::new(output);
        (mean, inv_std)
            .into_par_iter()
            .with_min_len(self.channels_per_task())
            .enumerate()
            .for_each(|(channel, (&mean, &inv_std))| {
                self.apply_channel(isa, channel, mean, inv_std, input, residual, output);
            });
    }

    #[allow(clippy::too_many_arguments)]
    fn apply_channel(
        &self,
        isa: Isa,
        channel: usize,
        mean: f32,
        inv_std: f32,
        input: &[f32],
        residual: Option<&[f32]>,
        output: Shared<'_, f32>,
    ) {
        let affine = self.affine(channel, mean, inv_std);
        let at = (&self.shape, channel);
        match (self.relu, residual) {
            (false, None) => isa.run(Apply::<false, false> {
                at,
                affine,
                input,
                residual: &[],
                output,
            }),
            (true, None) => isa.run(Apply::<true, false> {
                at,
                affine,
                input,
                residual: &[],
                output,
            }),
            (false, Some(residual)) => isa.run(Apply::<false, true> {
                at,
                affine,
                input,
                residual,
                output,
            }),
            (true, Some(residual)) => isa.run(Apply::<true, true> {
                at,
                affine,
                input,
                residual,
                output,
            }),
        }
    }

    fn affine(&self, channel: usize, mean: f32, inv_std: f32) -> Affine {
        Affine {
            mean,
            scale: inv_std * self.gamma[channel],
            shift: self.beta[channel],
        }
    }

    /// Gradients of everything. `gradient` holds that of the output and then that of the input, with zeros in unused
    /// lanes; `residual` receives the output's gradient behind the ReLU.
    ///
    /// # Panics
    /// A buffer does not fit the shape.
    pub fn backward(
        &self,
        isa: Isa,
        mode: Mode,
        saved: &Saved<'_>,
        gradient: &mut [f32],
        residual: Option<ResidualGradient<'_>>,
        parameters: ParameterGradients<'_>,
    ) {
        self.check(&[saved.input, gradient]);
        let Statistics { mean, inv_std } = saved.statistics;
        let ParameterGradients {
            gamma: d_gamma,
            beta: d_beta,
            deliver,
        } = parameters;
        let lengths = [mean.len(), inv_std.len(), d_gamma.len(), d_beta.len()];
        assert_eq!(lengths, [self.shape.channels; 4]);
        saved
            .output
            .inspect(|output| assert_eq!(output.len(), saved.input.len()));
        let accumulate = residual.as_ref().map(|residual| residual.accumulate);
        let residual = residual.map_or(&mut [][..], |residual| {
            assert_eq!(residual.gradient.len(), saved.input.len());
            residual.gradient
        });
        let gradient = Shared::new(gradient);
        let residual = Shared::new(residual);
        (d_gamma, d_beta)
            .into_par_iter()
            .with_min_len(self.channels_per_task())
            .enumerate()
            .for_each(|(channel, (d_gamma, d_beta))| {
                let affine = self.affine(channel, mean[channel], inv_std[channel]);
                let output = saved.output.unwrap_or_default();
                let read = Read {
                    at: (&self.shape, channel),
                    affine,
                    input: saved.input,
                    output,
                    gradient,
                };
                let task = BackwardTask {
                    read,
                    mode,
                    inv_std: inv_std[channel],
                    residual,
                };
                let [sum, sum_normalised] = match (self.relu, saved.output) {
                    (false, _) => run_backward::<NO_RELU>(isa, task, accumulate),
                    (true, None) => run_backward::<RELU_FROM_INPUT>(isa, task, accumulate),
                    (true, Some(_)) => run_backward::<RELU_FROM_OUTPUT>(isa, task, accumulate),
                };
                deliver.write(&[sum_normalised as f32], from_mut(d_gamma));
                deliver.write(&[sum as f32], from_mut(d_beta));
            });
    }
}

/// 1 / sqrt(variance + eps), rounded once.
#[must_use]
pub fn inverse_std(variance: f64, eps: f32) -> f32 {
    (1.0 / (variance + f64::from(eps)).sqrt()) as f32
}

/// The running statistics follow those of a batch: running += momentum * (batch - running).
///
/// # Panics
/// Never; the shorter of two slices ends the work.
pub fn follow(momentum: f32, batch: &[f32], running: &mut [f32]) {
    for (running, &batch) in running.iter_mut().zip(batch) {
        *running = (1.0 - momentum) * *running + momentum * batch;
    }
}
