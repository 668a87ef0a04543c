//! Where everything lies in the arena.

use super::stage::{Feed, Head, Memory, Stage};
use super::{Config, SessionError};
use crate::plan::arena::Buffer;
use crate::plan::{Plan, Purpose};
use heapless::Vec;

/// Lengths of the arena's parts, in the order in which they lie there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Layout {
    /// Trained weights; the moments, as many each, follow.
    pub trained: usize,
    /// Number of moments.
    pub moments: usize,
    /// Running statistics.
    pub statistics: usize,
    /// Stored gradient: 0, or as many as the trained weights.
    pub gradient: usize,
    /// Running statistics from before the step.
    pub backup: usize,
    /// Of each batch norm's channels: mean and inverse standard deviation, then scale and shift at the evaluation
    /// point.
    pub norms: usize,
    /// Scales of the noise of filters whose values the backward pass needs again.
    pub scales: usize,
    /// Activations, their gradients, bits and bytes, and what stages work in.
    pub values: usize,
}

impl Layout {
    /// Everything that outlives a power cut.
    pub(super) const fn state(&self) -> usize {
        self.trained * (1 + self.moments) + self.statistics
    }

    /// Length of the arena; `None` when it does not fit the machine's word.
    pub(super) fn total(&self) -> Option<usize> {
        let moments = self.trained.checked_mul(1 + self.moments)?;
        [self.statistics, self.gradient, self.backup, self.norms, self.scales, self.values]
            .into_iter()
            .try_fold(moments, usize::checked_add)
    }
}

/// Lays out the arena and tells each stage where its buffers are.
pub(super) fn lay_out<const L: usize, const N: usize>(
    plan: &Plan<L>,
    stages: &mut Vec<Stage<'_>, N>,
    trained: usize,
    config: &Config<'_>,
) -> Result<Layout, SessionError> {
    let statistics = plan.statistics();
    let training = plan.purpose() == Purpose::Training;
    let mut layout = Layout {
        trained,
        moments: if training { config.optimizer.moments() } else { 0 },
        statistics,
        gradient: if training && config.keeps_gradient() { trained } else { 0 },
        backup: if training && stages.iter().any(Stage::uses_batch) { statistics } else { 0 },
        norms: 2 * statistics,
        ..Layout::default()
    };
    for stage in stages.iter_mut() {
        if !training {
            stage.live = false;
        }
        let rows = stage.head_shape().channels;
        let filters = matches!(stage.head, Head::Conv { .. } | Head::Linear);
        if training && filters && stage.trains_weight() && stage.input_gradient {
            (stage.again, stage.kept) = (true, layout.scales);
            layout.scales += rows;
        }
    }
    let batch = plan.batch();
    layout.values = values(stages, batch).ok_or(SessionError::TooLarge)?;
    Ok(layout)
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
        let mine = Feed::Stage(u16::try_from(i).ok()?);
        let (mut end, mut kept, mut first, mut last_reader, mut readers) = (i, false, n, i, 0);
        for (j, reader) in stages.iter().enumerate().skip(i + 1) {
            let reads = reader.reads(mine);
            if reads == 0 {
                continue;
            }
            let keeps = reader.live && reader.reads_input_backward();
            kept |= keeps;
            end = end.max(if keeps { backward(j) } else { j });
            (first, last_reader) = (backward(j), j);
            readers += reads;
        }
        if i + 1 == n {
            end = n;
        }
        // The last one in the list is the first one to write the gradient.
        let in_place = readers == 1
            && stages.get(last_reader).is_some_and(|r| r.live && r.uses_batch() && r.input_gradient);
        if in_place && let Some(reader) = stages.get_mut(last_reader) {
            reader.in_place = true;
        }
        let stage = stages.get_mut(i)?;
        stage.memory = match (stage.live, stage.pool, stage.relu) {
            (false, ..) | (true, None, false) => Memory::Nothing,
            (true, Some(_), _) => Memory::Bytes,
            // The input's gradient may lie where the output was.
            (true, None, true) if kept && !in_place => Memory::Sign,
            (true, None, true) => Memory::Bits,
        };
        if stage.memory == Memory::Sign {
            end = end.max(backward(i));
        }
        let len = stage.shape().len().checked_mul(batch)?;
        let needed = stage.live && !in_place;
        if in_place {
            // Output, then the gradient in its place.
            end = end.max(backward(i));
        }
        let extra = stage.extra_words().checked_mul(batch)?;
        *outputs.get_mut(i)? = Buffer::new(i, end, len);
        *extras.get_mut(i)? = Buffer::new(i, if stage.live { backward(i) } else { i }, extra);
        *gradients.get_mut(i)? = Buffer::new(first, backward(i), if needed { len } else { 0 });
        let [of_forward, of_backward] = stage.scratch_len(batch);
        *forward.get_mut(i)? = Buffer::new(i, i, of_forward);
        *back.get_mut(i)? = Buffer::new(backward(i), backward(i), if stage.live { of_backward } else { 0 });
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
