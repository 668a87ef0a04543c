//! Forward and backward passes over a plan with the portable kernels.

use crate::layers::{BatchNorm, global_avg_pool, relu, softmax_cross_entropy, Label, Loss};
use crate::network::{Layer, Source};
use crate::noise::Address;
use crate::plan::{Plan, PlannedLayer, Tensor};
use crate::real::Real;
use core::fmt;
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

/// A slice is not as long as it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LengthError {
    /// What it holds.
    pub what: &'static str,
    /// Exactly, or at most, this many values.
    pub needed: usize,
    /// The number given.
    pub given: usize,
}

impl LengthError {
    pub(super) fn check(what: &'static str, needed: usize, given: usize) -> Result<(), Self> {
        if given == needed { Ok(()) } else { Err(Self { what, needed, given }) }
    }
}

impl fmt::Display for LengthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values of {}, {} are needed", self.given, self.what, self.needed)
    }
}

impl core::error::Error for LengthError {}

/// A network's activations and gradients in one slice, worked on by core's kernels.
#[derive(Debug)]
pub struct NetworkPass<'a, T, const N: usize> {
    plan: &'a Plan<N>,
    /// Activations and their gradients.
    arena: &'a mut [T],
    /// Mean and biased variance of each batch norm's last batch, laid out as the running statistics.
    batch: &'a mut [T],
    /// Gradient of one filter, or of both parameters of a batch norm.
    scratch: &'a mut [T],
    images: usize,
    mode: Mode,
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
    /// A label that is not a class.
    pub fn loss(&mut self, labels: &[u32]) -> Result<Loss<T>, Label> {
        let plan = self.plan;
        let Some(layer) = plan.layers().last() else { return Ok(Loss::default()) };
        let (logits, gradient) = apart(self.arena, self.output(layer), self.gradient(layer));
        softmax_cross_entropy(plan.classes(), logits, labels, gradient)
    }

    /// Loss of the last forward pass without its gradient; the only one that a plan for inference has room for.
    ///
    /// # Errors
    /// A label that is not a class.
    pub fn loss_only(&self, labels: &[u32]) -> Result<Loss<T>, Label> {
        softmax_cross_entropy(self.plan.classes(), self.logits(), labels, &mut [])
    }

    /// Moves the running statistics towards the last training pass's.
    pub fn update_statistics(&self, statistics: &mut [T]) {
        for layer in self.plan.layers() {
            if let (Layer::BatchNorm(norm), Some(at)) = (&layer.layer, layer.statistics) {
                let channels = layer.output_shape.channels;
                let range = at..at + 2 * channels;
                let values = self.images * layer.output_shape.pixels();
                norm.update_running(values, &self.batch[range.clone()], &mut statistics[range]);
            }
        }
    }

    /// The plan.
    pub const fn plan(&self) -> &'a Plan<N> {
        self.plan
    }

    /// Runs all layers backward after [`loss`](Self::loss) and hands each filter's gradient to `sink`
    /// with its tensor and row: later layers first, filters of a tensor in order.
    ///
    /// `owner` owns the parameters, which `point` shows; `sink` may change those of the tensor that it is handed.
    ///
    /// # Errors
    /// The first error of `sink`.
    pub fn backward<P: ?Sized, E>(
        &mut self,
        owner: &mut P,
        point: impl Fn(&P) -> &[T],
        statistics: &[T],
        images: &[T],
        mut sink: impl FnMut(&mut P, &Tensor, usize, &[T]) -> Result<(), E>,
    ) -> Result<(), E> {
        let plan = self.plan;
        for (index, layer) in plan.layers().iter().enumerate().rev() {
            for source in [Some(layer.input), layer.addend()].into_iter().flatten() {
                if let (Source::Layer(fed), true) = (source, self.is_last_reader(index, source)) {
                    let range = self.gradient(&plan.layers()[fed]);
                    self.arena[range].fill(T::ZERO);
                }
            }
            // Inputs first: they need the perturbed weights, which `sink` may take away.
            self.input_gradients(index, layer, point(owner), statistics, images);
            self.parameter_gradients(layer, images, &mut |tensor, row, gradient| {
                sink(owner, tensor, row, gradient)
            })?;
        }
        Ok(())
    }

    fn input_gradients(
        &mut self,
        index: usize,
        layer: &PlannedLayer,
        parameters: &[T],
        statistics: &[T],
        images: &[T],
    ) {
        let n = self.images;
        let shape = layer.input_shape;
        let weight = layer.weight.map_or(&[][..], |t| &parameters[t.range()]);
        let dy_at = self.gradient(layer);
        if let Layer::BatchNorm(norm) = &layer.layer {
            return self.batch_norm_backward(norm, layer, weight, statistics, images);
        }
        for source in [Some(layer.input), layer.addend()].into_iter().flatten() {
            let Source::Layer(fed) = source else { continue };
            let fed = &self.plan.layers()[fed];
            let (x_at, y_at, dx_at) = (self.output(fed), self.output(layer), self.gradient(fed));
            match &layer.layer {
                Layer::Conv2d(conv) => {
                    let (dy, dx) = apart(self.arena, dy_at.clone(), dx_at);
                    conv.input_gradient(shape, n, weight, dy, dx);
                }
                Layer::Linear(linear) => {
                    let (dy, dx) = apart(self.arena, dy_at.clone(), dx_at);
                    linear.input_gradient(shape, n, weight, dy, dx);
                }
                Layer::Relu => {
                    let (y, dy, dx) = apart3(self.arena, y_at, dy_at.clone(), dx_at);
                    relu::backward(y, dy, dx);
                }
                Layer::MaxPool2d(pool) => {
                    let (x, dy, dx) = apart3(self.arena, x_at, dy_at.clone(), dx_at);
                    pool.backward(shape, n, x, dy, dx);
                }
                Layer::AvgPool2d(pool) => {
                    let (dy, dx) = apart(self.arena, dy_at.clone(), dx_at);
                    pool.backward(shape, n, dy, dx);
                }
                Layer::GlobalAvgPool => {
                    let (dy, dx) = apart(self.arena, dy_at.clone(), dx_at);
                    global_avg_pool::backward(shape, n, dy, dx);
                }
                Layer::Dropout(dropout) => {
                    let (dy, dx) = apart(self.arena, dy_at.clone(), dx_at);
                    match self.mode {
                        Mode::Train(address) => {
                            dropout.backward(address, index as u32, n, dy, dx);
                        }
                        Mode::Evaluate => add(dy, dx),
                    }
                }
                Layer::Flatten | Layer::Add(_) => {
                    let (dy, dx) = apart(self.arena, dy_at.clone(), dx_at);
                    add(dy, dx);
                }
                Layer::BatchNorm(_) => {}
            }
        }
    }

    /// Batch norm's parameters and input are worked out together, as they share two sums.
    fn batch_norm_backward(
        &mut self,
        norm: &BatchNorm,
        layer: &PlannedLayer,
        scale: &[T],
        statistics: &[T],
        images: &[T],
    ) {
        let (n, shape) = (self.images, layer.input_shape);
        let at = layer.statistics.map_or(0..0, |s| s..s + 2 * shape.channels);
        let (dscale, rest) = self.scratch.split_at_mut(shape.channels);
        let dshift = &mut rest[..shape.channels];
        let dy_at = self.plan.range(layer.gradient, layer, n);
        let (x, dy, dx) = match layer.input {
            Source::Input => (&images[..n * shape.len()], &self.arena[dy_at], None),
            Source::Layer(fed) => {
                let fed = &self.plan.layers()[fed];
                let x_at = self.plan.range(fed.output, fed, n);
                let dx_at = self.plan.range(fed.gradient, fed, n);
                let (x, dy, dx) = apart3(self.arena, x_at, dy_at, dx_at);
                (x, dy, Some(dx))
            }
        };
        match self.mode {
            Mode::Train(_) => {
                let (mean, variance) = self.batch[at].split_at(shape.channels);
                norm.backward_train(shape, n, x, scale, mean, variance, dy, dx, dscale, dshift);
            }
            Mode::Evaluate => {
                let (mean, variance) = statistics[at].split_at(shape.channels);
                norm.backward_eval(shape, n, x, scale, mean, variance, dy, dx, dscale, dshift);
            }
        }
    }

    fn parameter_gradients<E>(
        &mut self,
        layer: &PlannedLayer,
        images: &[T],
        sink: &mut impl FnMut(&Tensor, usize, &[T]) -> Result<(), E>,
    ) -> Result<(), E> {
        let (n, shape) = (self.images, layer.input_shape);
        let dy = &self.arena[self.plan.range(layer.gradient, layer, n)];
        let x = match layer.input {
            Source::Input => &images[..n * shape.len()],
            Source::Layer(fed) => {
                let fed = &self.plan.layers()[fed];
                &self.arena[self.plan.range(fed.output, fed, n)]
            }
        };
        if matches!(layer.layer, Layer::BatchNorm(_)) {
            // Worked out with the input's gradient.
            for (tensor, part) in layer.tensors().zip(self.scratch.chunks(shape.channels)) {
                sink(tensor, 0, part)?;
            }
            return Ok(());
        }
        if let Some(weight) = &layer.weight {
            let gradient = &mut self.scratch[..weight.row_len];
            for row in 0..weight.rows {
                match &layer.layer {
                    Layer::Conv2d(conv) => conv.weight_gradient_row(shape, n, x, dy, row, gradient),
                    Layer::Linear(linear) => {
                        linear.weight_gradient_row(shape, n, x, dy, row, gradient);
                    }
                    _ => {}
                }
                sink(weight, row, gradient)?;
            }
        }
        if let Some(bias) = &layer.bias {
            for row in 0..bias.rows {
                let gradient = match &layer.layer {
                    Layer::Conv2d(conv) => conv.bias_gradient_row(shape, n, dy, row),
                    Layer::Linear(linear) => linear.bias_gradient_row(n, dy, row),
                    _ => T::ZERO,
                };
                sink(bias, row, &[gradient])?;
            }
        }
        Ok(())
    }

    fn is_last_reader(&self, index: usize, source: Source) -> bool {
        let later = &self.plan.layers()[index + 1..];
        !later.iter().any(|l| l.input == source || l.addend() == Some(source))
    }

    fn output(&self, layer: &PlannedLayer) -> Range<usize> {
        self.plan.range(layer.output, layer, self.images)
    }

    fn gradient(&self, layer: &PlannedLayer) -> Range<usize> {
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
fn apart<T>(arena: &mut [T], read: Range<usize>, write: Range<usize>) -> (&[T], &mut [T]) {
    let (read, _, write) = apart3(arena, read, 0..0, write);
    (read, write)
}

/// The same with two buffers to read.
fn apart3<T>(
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

fn add<T: Real>(dy: &[T], dx: &mut [T]) {
    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = *dx + *dy);
}
