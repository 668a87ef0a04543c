//! One forward or backward pass: which memory each stage works in.

use super::layout::Layout;
use super::rows::NextNoise;
use super::slices::apart;
use super::parameters::Parameter;
use super::stage::{Feed, Head, Memory, Stage, gradient_of, output_of};
use super::update::{Receive, Terms};
use super::{batch_norm, built, conv, elementwise, linear, relu};
use crate::backend::{Draw, Selection};
use crate::dropout_mask::Masks;
use crate::noise::{DrawKey, Noise};
use crate::noise::sequence::Sequence;
use crate::plan::Role;
use core::ops::Range;

/// The trained weights and what belongs to each of them.
pub(super) struct State<'a> {
    pub weights: &'a mut [f32],
    /// First moments of the optimizer, then second ones; none when it has none.
    pub moments: &'a mut [f32],
    /// Stored gradient; empty when none is.
    pub gradient: &'a mut [f32],
    /// How they are updated.
    pub terms: &'a Terms,
    /// Scales of the noise of filters that the backward pass perturbs again.
    pub scales: &'a mut [f32],
}

/// The arena's parts, see [`Layout`], and the stages that work in them.
pub(super) struct Parts<'a> {
    pub stages: &'a [Stage<'a>],
    pub state: State<'a>,
    /// [`Norms`] of this many running statistics.
    pub norms: &'a mut [f32],
    pub statistics: usize,
    pub values: &'a mut [f32],
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        stages: &'a [Stage<'a>],
        arena: &'a mut [f32],
        layout: &Layout,
        terms: &'a Terms,
    ) -> Option<Self> {
        let (weights, arena) = arena.split_at_mut_checked(layout.trained)?;
        let (moments, arena) = arena.split_at_mut_checked(layout.moments())?;
        let (norms, arena) = arena.split_at_mut_checked(layout.norms())?;
        let (gradient, arena) = arena.split_at_mut_checked(layout.gradient())?;
        let (scales, values) = arena.split_at_mut_checked(layout.scales)?;
        let state = State { weights, moments, gradient, terms, scales };
        Some(Self { stages, state, norms, statistics: layout.statistics, values })
    }
}

/// What belongs to batch norms.
pub(super) struct Norms<'a> {
    /// Running statistics.
    pub running: &'a mut [f32],
    /// Of each batch norm's channels mean and variance in the present pass, then scale and shift at the evaluation point.
    pub present: &'a mut [f32],
    /// Running statistics from before the step; empty when they do not change.
    pub backup: &'a mut [f32],
}

impl<'a> Norms<'a> {
    pub(super) fn new(norms: &'a mut [f32], statistics: usize) -> Option<Self> {
        let (running, norms) = norms.split_at_mut_checked(statistics)?;
        let (present, backup) = norms.split_at_mut_checked(2 * statistics)?;
        Some(Self { running, present, backup })
    }
}

/// What a forward pass reads and writes: input, output, bits or bytes, scratch memory.
pub(super) struct Forward<'v> {
    pub x: &'v [f32],
    pub y: &'v mut [f32],
    pub extra: &'v mut [f32],
    pub scratch: &'v mut [f32],
}

/// What a backward pass reads and writes: input (empty when nothing reads it), gradient of the output, of the input
/// (empty when nobody needs it), bytes, scratch memory.
pub(super) struct Backward<'v> {
    pub x: &'v [f32],
    pub dy: &'v mut [f32],
    pub dx: &'v mut [f32],
    pub extra: &'v mut [f32],
    pub scratch: &'v mut [f32],
}

/// One pass over one ghost batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pass {
    /// Number of images.
    pub images: usize,
    /// Whether this is training: in evaluation nothing is dropped, and batch norms use running statistics.
    pub training: bool,
    /// Dropout masks of a training pass.
    pub masks: Masks,
    /// The perturbation, of which tensors, and where its bits come from.
    pub noise: Option<Noise>,
    pub selection: Selection,
    pub key: DrawKey,
}

impl Pass {
    pub(super) const NONE: Self = Self {
        images: 0,
        training: false,
        masks: Masks::NONE,
        noise: None,
        selection: Selection { weights: false, biases: false, norms: false },
        key: DrawKey::NONE,
    };

    /// In evaluation, perturbed or not.
    pub(super) fn evaluation(images: usize, draw: Option<Draw>) -> Self {
        let mut pass = Self { images, ..Self::NONE };
        if let Some(draw) = draw {
            (pass.noise, pass.selection, pass.key) = (Some(draw.noise), draw.selection, draw.address.key());
        }
        pass
    }

    /// The noise of a tensor's next values; `at` is where its stream stands, nowhere at first.
    #[inline(never)]
    pub(super) fn noise<'n>(
        &'n self,
        parameter: &Parameter<'_>,
        role: Role,
        at: &'n mut Option<Sequence>,
    ) -> NextNoise<'n> {
        let noise = self.noise.as_ref()?;
        if !parameter.is_trained() || !self.selection.contains(role) {
            return None;
        }
        let at = at.get_or_insert_with(|| Sequence::new(self.key.tensor(parameter.index.into())));
        Some((noise, at))
    }

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

    fn extra(&self, stage: &Stage<'_>) -> Range<usize> {
        match self.images * stage.extra_words() {
            0 => 0..0,
            len => stage.extra..stage.extra + len,
        }
    }

    pub(super) fn forward_buffers<'v>(
        &self,
        stage: &Stage<'_>,
        stages: &[Stage<'_>],
        values: &'v mut [f32],
        images: &'v [f32],
    ) -> Option<Forward<'v>> {
        let len = self.images * stage.input_shape().len();
        let from_images = stage.input == Feed::IMAGES;
        let at = output_of(stages, stage.input);
        let x = if from_images { 0..0 } else { at..at + len };
        let y = stage.output..stage.output + self.images * stage.shape().len();
        let ([start, _], [len_of_scratch, _]) = (stage.scratch, stage.scratch_len(self.images));
        let scratch = start..start + len_of_scratch;
        let [x, y, extra, scratch, _] = apart(values, [x, y, self.extra(stage), scratch, 0..0])?;
        let x = if from_images { images.get(..len)? } else { x };
        Some(Forward { x, y, extra, scratch })
    }

    pub(super) fn backward_buffers<'v>(
        &self,
        stage: &Stage<'_>,
        stages: &[Stage<'_>],
        values: &'v mut [f32],
        images: &'v [f32],
    ) -> Option<Backward<'v>> {
        let len = self.images * stage.input_shape().len();
        let range = |yes: bool, at: usize| if yes { at..at + len } else { 0..0 };
        let from_images = stage.input == Feed::IMAGES;
        let reads = stage.reads_input_backward() && !stage.in_place;
        let bytes = stage.memory == Memory::Bytes;
        let ([_, start], [_, len_of_scratch]) = (stage.scratch, stage.scratch_len(self.images));
        let ranges = [
            range(reads && !from_images, output_of(stages, stage.input)),
            stage.gradient..stage.gradient + self.images * stage.shape().len(),
            range(stage.input_gradient, gradient_of(stages, stage.input)),
            if bytes { self.extra(stage) } else { 0..0 },
            start..start + len_of_scratch,
        ];
        let [x, dy, dx, extra, scratch] = apart(values, ranges)?;
        let x = if reads && from_images { images.get(..len)? } else { x };
        Some(Backward { x, dy, dx, extra, scratch })
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
