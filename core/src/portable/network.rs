//! The forward pass over a plan with the portable kernels, and the loss.

use super::error::{LengthError, ObjectiveError};
use crate::layers::{Loss, global_avg_pool, relu, softmax_cross_entropy};
use crate::network::{Layer, Source};
use crate::noise::Address;
use crate::plan::{Plan, PlannedLayer, Purpose};
use crate::real::Real;
use core::ops::Range;

/// How batch norm and dropout behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Mode {
    /// Batch statistics and dropout, whose masks come from this address.
    Train(Address),
    /// Running statistics, no dropout.
    Evaluate,
}

/// A network's activations and gradients in one slice, worked on by core's kernels.
#[derive(Debug)]
pub struct NetworkPass<'a, T, const N: usize> {
    pub(super) plan: &'a Plan<N>,
    /// Activations and their gradients.
    pub(super) arena: &'a mut [T],
    /// Mean and biased variance of each batch norm's last batch, laid out as the running statistics.
    pub(super) batch: &'a mut [T],
    /// Gradient of one filter, or of both parameters of a batch norm.
    pub(super) scratch: &'a mut [T],
    pub(super) images: usize,
    pub(super) mode: Mode,
}

impl<'a, T: Real, const N: usize> NetworkPass<'a, T, N> {
    /// Lays the pass out in `workspace`, of at least [`Plan::workspace`] values; `None` when it is shorter, or the plan was
    /// [made](Plan::make) for a microcontroller.
    pub fn new(plan: &'a Plan<N>, workspace: &'a mut [T]) -> Option<Self> {
        let (arena, rest) = workspace.split_at_mut_checked(plan.placed()?)?;
        let (batch, rest) = rest.split_at_mut_checked(plan.statistics())?;
        let (scratch, _) = rest.split_at_mut_checked(plan.scratch())?;
        Some(Self { plan, arena, batch, scratch, images: 0, mode: Mode::Evaluate })
    }

    /// Logits of the last forward pass, (images, classes).
    pub fn logits(&self) -> &[T] {
        match self.plan.layers().last() {
            Some(layer) => &self.arena[self.output(layer)],
            None => &[],
        }
    }

    /// Runs all layers over `images`, (n, C, H, W) with n at most the plan's batch.
    ///
    /// With [`Mode::Train`] the batch statistics are taken; `statistics` (running ones) are read with
    /// [`Mode::Evaluate`] and left alone: see [`update_statistics`](Self::update_statistics).
    ///
    /// # Errors
    /// Slices that are not as long as the plan says, or more images than it is for; nothing was done then.
    pub fn forward(
        &mut self,
        parameters: &[T],
        statistics: &[T],
        images: &[T],
        mode: Mode,
    ) -> Result<(), LengthError> {
        let plan = self.plan;
        let image = plan.input().len();
        let count = images.len() / image;
        LengthError::check("parameters", plan.parameters(), parameters.len())?;
        LengthError::check("statistics", plan.statistics(), statistics.len())?;
        LengthError::check("images", count.min(plan.batch()) * image, images.len())?;
        self.images = count;
        self.mode = mode;
        for (index, layer) in plan.layers().iter().enumerate() {
            let n = self.images;
            let at = self.output(layer);
            let weight = layer.weight.map_or(&[][..], |t| &parameters[t.range()]);
            let bias = layer.bias.map(|t| &parameters[t.range()]);
            if let Layer::Add(other) = layer.layer {
                let (x, y) = self.input_and(layer.input, images, at.clone());
                y.copy_from_slice(x);
                let (x, y) = self.input_and(other, images, at);
                y.iter_mut().zip(x).for_each(|(y, x)| *y = *y + *x);
                continue;
            }
            let saved = layer.statistics.map_or(0..0, |s| s..s + 2 * layer.output_shape.channels);
            let shape = layer.input_shape;
            let (x, y) = match layer.input {
                Source::Input => (images, &mut self.arena[at]),
                Source::Layer(fed) => {
                    let fed = &plan.layers()[fed];
                    apart(self.arena, plan.range(fed.output, fed, n), at)
                }
            };
            match &layer.layer {
                Layer::Conv2d(conv) => conv.forward(shape, n, x, weight, bias, y),
                Layer::Linear(linear) => linear.forward(shape, n, x, weight, bias, y),
                Layer::BatchNorm(norm) => {
                    let shift = bias.unwrap_or(&[]);
                    if let Mode::Train(_) = mode {
                        let (mean, variance) = self.batch[saved].split_at_mut(shape.channels);
                        norm.forward_train(shape, n, x, weight, shift, y, mean, variance);
                    } else {
                        let (mean, variance) = statistics[saved].split_at(shape.channels);
                        norm.forward_eval(shape, n, x, weight, shift, mean, variance, y);
                    }
                }
                Layer::Relu => relu::forward(x, y),
                Layer::MaxPool2d(pool) => pool.forward(shape, n, x, y),
                Layer::AvgPool2d(pool) => pool.forward(shape, n, x, y),
                Layer::GlobalAvgPool => global_avg_pool::forward(shape, n, x, y),
                Layer::Dropout(dropout) => match mode {
                    Mode::Train(address) => dropout.forward(address, index as u32, n, x, y),
                    Mode::Evaluate => y.copy_from_slice(x),
                },
                Layer::Flatten | Layer::Add(_) => y.copy_from_slice(x),
            }
        }
        Ok(())
    }

    /// Softmax cross-entropy of the last forward pass; its gradient becomes the last layer's.
    ///
    /// # Errors
    /// Not one label an image, a label that is not a class, or a plan for inference, which has no gradients.
    pub fn loss(&mut self, labels: &[u32]) -> Result<Loss<T>, ObjectiveError> {
        LengthError::check("labels", self.images, labels.len())?;
        self.has_gradients()?;
        let plan = self.plan;
        let Some(layer) = plan.layers().last() else { return Ok(Loss::default()) };
        let (logits, gradient) = apart(self.arena, self.output(layer), self.gradient(layer));
        Ok(softmax_cross_entropy(plan.classes(), logits, labels, gradient)?)
    }

    /// Loss of the last forward pass without its gradient; the only one that a plan for inference has room for.
    ///
    /// # Errors
    /// Not one label an image, or a label that is not a class.
    pub fn loss_only(&self, labels: &[u32]) -> Result<Loss<T>, ObjectiveError> {
        LengthError::check("labels", self.images, labels.len())?;
        Ok(softmax_cross_entropy(self.plan.classes(), self.logits(), labels, &mut [])?)
    }

    /// Moves the running statistics towards the last training pass's.
    ///
    /// # Errors
    /// Not as many statistics as the plan says; nothing was done then.
    pub fn update_statistics(&self, statistics: &mut [T]) -> Result<(), LengthError> {
        LengthError::check("statistics", self.plan.statistics(), statistics.len())?;
        for layer in self.plan.layers() {
            if let (Layer::BatchNorm(norm), Some(at)) = (&layer.layer, layer.statistics) {
                let channels = layer.output_shape.channels;
                let range = at..at + 2 * channels;
                let values = self.images * layer.output_shape.pixels();
                norm.update_running(values, &self.batch[range.clone()], &mut statistics[range]);
            }
        }
        Ok(())
    }

    /// Refuses a plan for inference, which has no room for gradients.
    pub(super) fn has_gradients(&self) -> Result<(), LengthError> {
        let needed = match self.plan.purpose() {
            Purpose::Training => 0,
            Purpose::Inference => self.images * self.plan.classes(),
        };
        LengthError::check("gradients", needed, 0)
    }

    /// The plan.
    pub const fn plan(&self) -> &'a Plan<N> {
        self.plan
    }

    pub(super) fn output(&self, layer: &PlannedLayer) -> Range<usize> {
        self.plan.range(layer.output, layer, self.images)
    }

    pub(super) fn gradient(&self, layer: &PlannedLayer) -> Range<usize> {
        self.plan.range(layer.gradient, layer, self.images)
    }

    /// What `source` gave, and the output at `at`.
    fn input_and<'s>(
        &'s mut self,
        source: Source,
        images: &'s [T],
        at: Range<usize>,
    ) -> (&'s [T], &'s mut [T]) {
        match source {
            Source::Input => (images, &mut self.arena[at]),
            Source::Layer(fed) => {
                let x_at = self.output(&self.plan.layers()[fed]);
                apart(self.arena, x_at, at)
            }
        }
    }
}

/// Two buffers of the arena, one to read and one to write. The plan keeps buffers that are alive together apart.
pub(super) fn apart<T>(arena: &mut [T], read: Range<usize>, write: Range<usize>) -> (&[T], &mut [T]) {
    let (read, _, write) = apart3(arena, read, 0..0, write);
    (read, write)
}

/// The same with two buffers to read.
pub(super) fn apart3<T>(
    arena: &mut [T],
    first: Range<usize>,
    second: Range<usize>,
    write: Range<usize>,
) -> (&[T], &[T], &mut [T]) {
    let (before, rest) = arena.split_at_mut(write.start);
    let (written, after) = rest.split_at_mut(write.len());
    let (before, after) = (&*before, &*after);
    let pick = |range: Range<usize>| {
        if range.end <= write.start {
            &before[range]
        } else {
            &after[range.start - write.end..range.end - write.end]
        }
    };
    (pick(first), pick(second), written)
}
