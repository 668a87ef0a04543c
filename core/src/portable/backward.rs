//! The backward pass over a plan with the portable kernels.

use super::error::LengthError;
use super::network::{Mode, NetworkPass, apart, apart3};
use crate::layers::{BatchNorm, global_avg_pool, relu};
use crate::network::{Layer, Source};
use crate::plan::{PlannedLayer, Tensor};
use crate::real::Real;

impl<T: Real, const N: usize> NetworkPass<'_, T, N> {
    /// Runs all layers backward after [`loss`](Self::loss) and hands each filter's gradient to `sink`
    /// with its tensor and row: later layers first, filters of a tensor in order.
    ///
    /// `owner` owns the parameters, which `point` shows; `sink` may change those of the tensor that it is handed.
    ///
    /// # Errors
    /// Slices that are not as long as in the forward pass, or a plan for inference, and nothing was done; or the first
    /// error of `sink`.
    pub fn backward<P: ?Sized, E: From<LengthError>>(
        &mut self,
        owner: &mut P,
        point: impl Fn(&P) -> &[T],
        statistics: &[T],
        images: &[T],
        mut sink: impl FnMut(&mut P, &Tensor, usize, &[T]) -> Result<(), E>,
    ) -> Result<(), E> {
        let plan = self.plan;
        self.has_gradients()?;
        LengthError::check("parameters", plan.parameters(), point(owner).len())?;
        LengthError::check("statistics", plan.statistics(), statistics.len())?;
        LengthError::check("images", self.images * plan.input().len(), images.len())?;
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
}

fn add<T: Real>(dy: &[T], dx: &mut [T]) {
    dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx = *dx + *dy);
}
