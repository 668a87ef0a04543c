//! What each kind of stage does in a pass, a few channels at a time.

use super::parts::Parts;
use super::pass::{Forward, Pass};
use super::slices::apart;
use super::stage::{Head, Memory, Stage, gradient_of};
use super::update::Receive;
use super::{batch_norm, built, conv, elementwise, linear, relu};
use crate::noise::sequence::Sequence;
use crate::plan::Role;
use core::ops::Range;

impl Pass {
    /// Runs these channels of a stage forward. `at` is the stream of the weight's noise.
    #[inline(always)] // Hands on what it is given, without a frame.
    pub(super) fn forward(
        &self,
        stage: &Stage<'_>,
        rows: Range<usize>,
        parts: &mut Parts<'_>,
        images: &[f32],
        at: &mut Option<Sequence>,
    ) -> Option<()> {
        if rows.start == 0 {
            *at = None;
            self.biases(stage, parts, images, at)?;
            *at = None;
        }
        match &stage.head {
            Head::Conv { .. } => conv::forward(stage, rows, self, parts, images, at),
            Head::Linear => linear::forward(stage, rows, self, parts, images, at),
            Head::BatchNorm(norm) if built::BATCH_NORM => {
                batch_norm::forward(norm, stage, rows, self, parts, images)
            }
            _ if !built::ELEMENTWISE => None,
            _ => elementwise::forward(stage, rows, self, parts, images),
        }
    }

    /// Writes the biases of a convolution or linear layer where its first image's channels begin.
    #[inline(never)]
    fn biases(
        &self,
        stage: &Stage<'_>,
        parts: &mut Parts<'_>,
        images: &[f32],
        at: &mut Option<Sequence>,
    ) -> Option<()> {
        if !stage.has_filters() {
            return Some(());
        }
        let mut buffers = self.forward_buffers(stage, parts.stages, parts.values, images);
        let Forward { y, scratch, .. } = buffers.as_mut()?; // Where it lies: moved, it would be on the stack twice.
        let (rows, pixels) = (stage.shape().channels, stage.shape().pixels());
        let Some(bias) = stage.bias() else {
            y.get_mut(..rows * pixels)?.fill(0.0);
            return Some(());
        };
        let mut start = 0;
        while start < rows {
            let noise = self.noise(&bias, Role::Bias, at);
            let values = bias.values(start, rows, noise, parts.state.weights, scratch)?;
            spread(values, y.get_mut(start * pixels..)?, pixels);
            start += values.len();
        }
        Some(())
    }

    /// Runs these channels of a stage backward and hands their gradients to `receive`.
    #[inline(always)]
    pub(super) fn backward(
        &self,
        stage: &Stage<'_>,
        rows: Range<usize>,
        parts: &mut Parts<'_>,
        images: &[f32],
        at: &mut Option<Sequence>,
        receive: &Receive,
    ) -> Option<()> {
        if rows.start == 0 {
            *at = None;
            self.begin_backward(stage, parts)?;
        }
        match &stage.head {
            Head::Conv { .. } => conv::backward(stage, rows, self, parts, images, at, receive),
            Head::Linear => linear::backward(stage, rows, self, parts, images, at, receive),
            Head::BatchNorm(norm) if built::BATCH_NORM => {
                batch_norm::backward(norm, stage, rows, self, parts, images, receive)
            }
            _ if !built::ELEMENTWISE => None,
            _ => elementwise::backward(stage, rows, self, parts),
        }
    }

    /// Masks the output's gradient and clears the inputs' where this stage is the first to write them.
    #[inline(never)]
    fn begin_backward(&self, stage: &Stage<'_>, parts: &mut Parts<'_>) -> Option<()> {
        let of_output = |at: usize| at..at + self.images * stage.shape().len();
        let of_input = |at: usize| at..at + self.images * stage.input_shape().len();
        if matches!(stage.memory, Memory::Sign | Memory::Bits) {
            let sign = stage.memory == Memory::Sign;
            let y = if sign { of_output(stage.output) } else { 0..0 };
            let ranges = [y, self.extra(stage), of_output(stage.gradient), 0..0, 0..0];
            let [y, extra, dy, ..] = apart(parts.values, ranges)?;
            relu::mask(stage, y, extra, dy);
        }
        if stage.input_gradient && stage.first_of_input && !stage.in_place {
            parts.values.get_mut(of_input(gradient_of(parts.stages, stage.input)))?.fill(0.0);
        }
        if built::ELEMENTWISE && stage.addend_gradient && stage.first_of_addend {
            parts.values.get_mut(of_input(gradient_of(parts.stages, stage.addend)))?.fill(0.0);
        }
        Some(())
    }
}

/// Writes values `apart` places from each other.
#[inline(never)]
fn spread(values: &[f32], to: &mut [f32], apart: usize) {
    values.iter().zip(to.chunks_mut(apart.max(1))).for_each(|(value, to)| {
        if let Some(to) = to.first_mut() {
            *to = *value;
        }
    });
}
