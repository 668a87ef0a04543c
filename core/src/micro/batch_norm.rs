//! Batch normalisation, one channel at a time over all images. A trained one uses the batch's statistics in training, a
//! frozen one its running statistics.

use super::parts::{Norms, Parts};
use super::pass::{Backward, Forward, Pass};
use super::slices::{sum, take, take_mut};
use super::stage::Stage;
use super::update::Receive;
use super::relu;
use crate::layers::BatchNorm;
use crate::plan::Role;
use core::ops::Range;

/// A batch norm's channels: mean and variance that are used, then scale and shift at the evaluation point.
struct Channels<'n> {
    mean: &'n mut [f32],
    variance: &'n mut [f32],
    scale: &'n mut [f32],
    shift: &'n mut [f32],
}

impl<'n> Channels<'n> {
    fn new(stage: &Stage<'_>, norms: &'n mut [f32]) -> Option<Self> {
        let channels = stage.head_shape().channels;
        let norms = norms.get_mut(2 * stage.kept..)?;
        let (mean, norms) = norms.split_at_mut_checked(channels)?;
        let (variance, norms) = norms.split_at_mut_checked(channels)?;
        let (scale, norms) = norms.split_at_mut_checked(channels)?;
        Some(Self { mean, variance, scale, shift: norms.get_mut(..channels)? })
    }
}

/// One channel's numbers.
#[derive(Clone, Copy)]
struct Channel {
    mean: f32,
    inverse: f32,
    scale: f32,
    shift: f32,
}

impl Channel {
    fn new(norm: &BatchNorm, channels: &Channels<'_>, row: usize) -> Option<Self> {
        Some(Self {
            mean: *channels.mean.get(row)?,
            inverse: 1.0 / libm::sqrtf(*channels.variance.get(row)? + norm.eps),
            scale: *channels.scale.get(row)?,
            shift: *channels.shift.get(row)?,
        })
    }
}

/// Forward pass of these channels.
#[inline(never)] // Frames of all layers in one would be too large.
pub(super) fn forward(
    norm: &BatchNorm,
    stage: &Stage<'_>,
    rows: Range<usize>,
    pass: &Pass,
    parts: &mut Parts<'_>,
    images: &[f32],
) -> Option<()> {
    let Norms { running, present, .. } = Norms::new(parts.norms, parts.statistics)?;
    let mut channels = Channels::new(stage, present)?;
    let weights = &*parts.state.weights;
    let Forward { x, y, extra, scratch } = pass.forward_buffers(stage, parts.stages, parts.values, images)?;
    let count = stage.head_shape().channels;
    if rows.start == 0 {
        for (parameter, role, values) in [
            (stage.weight().copied(), Role::NormScale, &mut channels.scale),
            (stage.bias(), Role::NormShift, &mut channels.shift),
        ] {
            parameter?.each_value(role, count, pass, weights, scratch, |row, value| {
                if let Some(to) = values.get_mut(row) {
                    *to = value;
                }
            })?;
        }
    }
    let (pixels, pooled) = (stage.head_shape().pixels(), stage.shape().pixels());
    for row in rows {
        let plane = |image: usize| take(x, (image * count + row) * pixels, pixels);
        let of_batch = pass.training && stage.uses_batch();
        let (mean, variance) = if of_batch {
            let values = (pass.images * pixels) as f32;
            let total = |value: &dyn Fn(&[f32]) -> f32| {
                (0..pass.images).filter_map(plane).fold(0.0, |total, x| total + value(x))
            };
            let mean = total(&sum) / values;
            (mean, total(&|x| squares(x, mean)) / values)
        } else {
            let at = stage.kept + row;
            (*running.get(at)?, *running.get(at + count)?)
        };
        *channels.mean.get_mut(row)? = mean;
        *channels.variance.get_mut(row)? = variance;
        let Channel { mean, inverse, scale, shift } = Channel::new(norm, &channels, row)?;
        let factor = inverse * scale;
        for image in 0..pass.images {
            let x = plane(image)?;
            let y = take_mut(y, (image * count + row) * pooled, pooled)?;
            let normalise = |to: &mut [f32]| {
                to.iter_mut().zip(x).for_each(|(to, x)| *to = (x - mean) * factor + shift);
            };
            if stage.pool.is_some() {
                let head = scratch.get_mut(..pixels)?;
                normalise(head);
                relu::finish(stage, image, row, head, y, extra)?;
            } else {
                normalise(y);
                relu::finish_in_place(stage, image, row, y, extra)?;
            }
        }
    }
    Some(())
}

fn squares(x: &[f32], mean: f32) -> f32 {
    x.iter().fold(0.0, |sum, x| sum + (x - mean) * (x - mean))
}

/// Backward pass of these channels.
#[inline(never)]
pub(super) fn backward(
    norm: &BatchNorm,
    stage: &Stage<'_>,
    rows: Range<usize>,
    pass: &Pass,
    parts: &mut Parts<'_>,
    images: &[f32],
    receive: &Receive,
) -> Option<()> {
    let channels = Channels::new(stage, Norms::new(parts.norms, parts.statistics)?.present)?;
    let Backward { x, dy, dx, extra, scratch } = pass.backward_buffers(stage, parts.stages, parts.values, images)?;
    let count = stage.head_shape().channels;
    let (pixels, pooled) = (stage.head_shape().pixels(), stage.shape().pixels());
    let of_batch = pass.training && stage.uses_batch();
    for row in rows {
        let channel = Channel::new(norm, &channels, row)?;
        let at = |image: usize| (image * count + row) * pixels;
        let (mut of_scale, mut of_shift) = (0.0f32, 0.0f32);
        if stage.trains() {
            for image in 0..pass.images {
                let dy = of_head(stage, image, row, dy, pooled, extra, scratch)?;
                let x = take(if stage.in_place { &*dx } else { x }, at(image), pixels)?;
                of_shift += sum(dy);
                let centred = x.iter().zip(dy).fold(0.0, |sum, (x, dy)| sum + (x - channel.mean) * dy);
                of_scale += centred * channel.inverse;
            }
        }
        if stage.input_gradient {
            let factor = channel.scale * channel.inverse;
            let values = if of_batch { (pass.images * pixels) as f32 } else { f32::INFINITY };
            let (mean_dy, slope) = (of_shift / values, of_scale / values * channel.inverse);
            for image in 0..pass.images {
                let dy = of_head(stage, image, row, dy, pooled, extra, scratch)?;
                let dx = take_mut(dx, at(image), pixels)?;
                if stage.in_place {
                    for (x, dy) in dx.iter_mut().zip(dy) {
                        *x = factor * (dy - mean_dy - (*x - channel.mean) * slope);
                    }
                } else if of_batch {
                    let x = take(x, at(image), pixels)?;
                    for ((dx, dy), x) in dx.iter_mut().zip(dy).zip(x) {
                        *dx += factor * (dy - mean_dy - (x - channel.mean) * slope);
                    }
                } else {
                    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += factor * dy);
                }
            }
        }
        for (parameter, gradient) in [(stage.weight().copied(), of_scale), (stage.bias(), of_shift)] {
            if let Some(range) = parameter.and_then(|parameter| parameter.range(row)) {
                receive.take(&mut parts.state, range, 1.0, &[gradient])?;
            }
        }
    }
    Some(())
}

/// Gradient of a channel before pooling.
fn of_head<'s>(
    stage: &Stage<'_>,
    image: usize,
    row: usize,
    dy: &'s [f32],
    pooled: usize,
    extra: &[f32],
    scratch: &'s mut [f32],
) -> Option<&'s [f32]> {
    let dy = take(dy, (image * stage.shape().channels + row) * pooled, pooled)?;
    if stage.pool.is_none() {
        return Some(dy);
    }
    let head = scratch.get_mut(..stage.head_shape().pixels())?;
    head.fill(0.0);
    relu::spread(stage, image, row, dy, extra, head)?;
    Some(head)
}
