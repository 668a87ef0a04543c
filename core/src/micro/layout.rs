//! Where everything lies in the arena.

use super::compile::connect;
use super::stage::{Feed, Memory, Stage};
use super::{Config, built};
use crate::plan::arena::Buffer;
use crate::plan::{Plan, Purpose};
use heapless::Vec;

/// What the lengths of the arena's parts follow from. They lie there in this order: trained weights, moments, running
/// statistics, what batch norms use, running statistics from before the step, stored gradient, scales of noise, values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Trained weights; each moment has as many, and the stored gradient.
    pub trained: usize,
    /// Running statistics, and those to go back to.
    pub statistics: usize,
    /// Scales of the noise of filters whose values the backward pass needs again.
    pub scales: usize,
    /// Number of moments.
    moments: u8,
    /// Whether gradients are stored.
    keeps_gradient: bool,
    /// Whether running statistics change in training.
    pub follows: bool,
}

impl Layout {
    /// Everything that outlives a power cut.
    pub(super) fn state(&self) -> usize {
        self.trained + self.moments() + self.statistics
    }

    /// Length of all moments.
    pub(super) fn moments(&self) -> usize {
        self.trained * usize::from(self.moments)
    }

    /// Whether gradients are stored.
    pub(super) const fn keeps_gradient(&self) -> bool {
        built::GRADIENT && self.keeps_gradient
    }

    /// Length of the stored gradient.
    pub(super) const fn gradient(&self) -> usize {
        if self.keeps_gradient() { self.trained } else { 0 }
    }

    /// Length of all that belongs to batch norms, see [`Norms`](super::pass::Norms).
    pub(super) const fn norms(&self) -> usize {
        if !built::BATCH_NORM {
            return 0;
        }
        self.statistics * if self.follows { 4 } else { 3 }
    }

    /// Length of the arena with these values: activations, their gradients, bits and bytes, and what stages work in. `None`
    /// when it does not fit the machine's word.
    pub(super) fn total(&self, values: usize) -> Option<usize> {
        // A network with that many weights has a plan: three times as many overflow nothing that four bytes each fit in.
        [self.moments(), self.norms(), self.gradient(), self.scales, values]
            .into_iter()
            .try_fold(self.trained, usize::checked_add)
    }
}

/// Lays out the arena, tells each stage where its buffers are, and returns the arena's length.
pub(super) fn lay_out<const L: usize, const N: usize>(
    plan: &Plan<L>,
    stages: &mut Vec<Stage<'_>, N>,
    trained: usize,
    config: &Config<'_>,
) -> Option<(Layout, usize)> {
    let mut layout = Layout { trained, statistics: plan.statistics(), ..Layout::default() };
    if plan.purpose() == Purpose::Training {
        connect(stages);
        layout.moments = config.optimizer.moments() as u8;
        layout.keeps_gradient = config.keeps_gradient();
        layout.follows = stages.iter().any(Stage::uses_batch);
    }
    for stage in stages.iter_mut().filter(|stage| stage.again) {
        stage.kept = layout.scales;
        layout.scales += stage.shape().channels;
    }
    let values = values(stages, plan.batch())?;
    Some((layout, layout.total(values)?))
}

/// Places outputs, gradients, bits and bytes, and scratch memory by their lives and returns the length they need.
///
/// Moments: stage i runs forward at i, the loss is taken at n, stage i runs backward at 2n - i.
fn values<const N: usize>(stages: &mut Vec<Stage<'_>, N>, batch: usize) -> Option<usize> {
    let n = stages.len();
    let backward = |stage: usize| 2 * n - stage;
    let mut buffers = [[Buffer::new(0, 0, 0); N]; 5];
    let [outputs, gradients, extras, forward, back] = &mut buffers;
    for i in 0..n {
        let mine = Feed::stage(i);
        // The loss reads the last output.
        let mut end = if i + 1 == n { n } else { i };
        let (mut kept, mut in_place, mut first) = (false, false, n);
        for (j, reader) in stages.iter().enumerate().skip(i + 1).filter(|(_, reader)| reader.reads(mine) > 0) {
            let keeps = reader.live && reader.reads_input_backward();
            kept |= keeps;
            in_place |= reader.in_place;
            end = end.max(if keeps { backward(j) } else { j });
            // The last one in the list is the first one to write the gradient.
            first = backward(j);
        }
        let stage = stages.get_mut(i)?;
        stage.memory = match (stage.live, stage.pool, stage.relu) {
            (false, ..) | (true, None, false) => Memory::Nothing,
            (true, Some(_), _) => Memory::Bytes,
            // The input's gradient may lie where the output was.
            (true, None, true) if kept && !in_place || !built::BITS => Memory::Sign,
            (true, None, true) => Memory::Bits,
        };
        // The sign, or the gradient in the output's place.
        if stage.memory == Memory::Sign || in_place {
            end = end.max(backward(i));
        }
        let last = if stage.live { backward(i) } else { i };
        let len = stage.shape().len().checked_mul(batch)?;
        let extra = stage.extra_words().checked_mul(batch)?;
        let of_gradient = if stage.live && !in_place { len } else { 0 };
        let [of_forward, of_backward] = stage.scratch_len(batch);
        let of_backward = if stage.live { of_backward } else { 0 };
        *outputs.get_mut(i)? = Buffer::new(i, end, len);
        *gradients.get_mut(i)? = Buffer::new(first, backward(i), of_gradient);
        *extras.get_mut(i)? = Buffer::new(i, last, extra);
        *forward.get_mut(i)? = Buffer::new(i, i, of_forward);
        *back.get_mut(i)? = Buffer::new(backward(i), backward(i), of_backward);
    }
    let total = place_by_size(buffers.as_flattened_mut())?;
    let [outputs, gradients, extras, forward, back] = &buffers;
    for (i, stage) in stages.iter_mut().enumerate() {
        let (output, gradient) = (outputs.get(i)?, gradients.get(i)?);
        stage.output = output.offset;
        let apart = gradient.len > 0 || !stage.live;
        stage.gradient = if apart { gradient.offset } else { output.offset };
        stage.extra = extras.get(i)?.offset;
        stage.scratch = [forward.get(i)?.offset, back.get(i)?.offset];
    }
    Some(total)
}

/// Places the largest buffer first, each at the lowest offset that is free during its life; returns the length needed.
fn place_by_size(buffers: &mut [Buffer]) -> Option<usize> {
    const NOWHERE: usize = usize::MAX;
    buffers.iter_mut().for_each(|buffer| buffer.offset = NOWHERE);
    let mut total = 0;
    for _ in 0..buffers.len() {
        let mut largest: Option<Buffer> = None;
        let mut place = 0;
        for (i, buffer) in buffers.iter().enumerate().filter(|(_, buffer)| buffer.offset == NOWHERE) {
            if largest.is_none_or(|largest| buffer.len > largest.len) {
                (largest, place) = (Some(*buffer), i);
            }
        }
        let mut buffer = largest?;
        buffer.offset = 0;
        // Nothing reaches those that are nowhere yet.
        while let Some(obstacle) = buffers.iter().find(|other| buffer.collides(other)) {
            buffer.offset = obstacle.stop();
        }
        total = total.max(buffer.offset.checked_add(buffer.len)?);
        *buffers.get_mut(place)? = buffer;
    }
    Some(total)
}
