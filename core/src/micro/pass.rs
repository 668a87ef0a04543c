//! One forward or backward pass: its perturbation, and which memory each stage works in.

use super::slices::apart;
use super::stage::{Feed, Memory, Stage, gradient_of, output_of};
use crate::backend::{Draw, Selection};
use crate::dropout_mask::Masks;
use crate::noise::{DrawKey, Noise};
use core::ops::Range;

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

    pub(super) fn extra(&self, stage: &Stage<'_>) -> Range<usize> {
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
