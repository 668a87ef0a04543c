//! A plan run by the CPU's kernels: forward and backward passes over activations blocked by batch.
//!
//! Flattening is nothing in this layout, and a ReLU that alone reads a batch norm is part of it.

use super::aligned::Aligned;
use super::batch_norm::{
    BatchNorm, Mode as NormMode, ParameterGradients, Saved, Statistics, StatisticsMut, follow,
    inverse_std,
};
use super::conv::{Conv, ConvShape};
use super::deliver::Deliver;
use super::elementwise::{add, add_to, relu, relu_backward};
use super::layout::{Blocked, IMAGES, from_blocked, to_blocked};
use super::linear::Linear;
use super::loss::{Loss, softmax_cross_entropy};
use super::pool::{
    Windows, average_backward, average_forward, global_average_backward, global_average_forward,
    max_backward, max_forward,
};
use super::simd::Isa;
use super::workspace::{Workspace, WorkspaceSize};
use crate::net::NetPlan;
use rayon::prelude::*;
use smoothout::dropout_mask::DropoutMask;
use smoothout::layers::Label;
use smoothout::network::{Layer, Source};
use smoothout::plan::{PlannedLayer, Tensor};
use smoothout::portable::Mode;
use smoothout::shape::Shape;

/// What a layer's kernel remembers from its construction or from its forward pass.
#[derive(Debug)]
enum Kernel {
    Conv(Box<Conv>),
    Linear(Linear),
    /// Mean, inverse standard deviation and unbiased variance of the last batch; whether a ReLU is part of it.
    BatchNorm { mean: Vec<f32>, inverse: Vec<f32>, variance: Vec<f32>, relu: bool },
    Relu,
    /// Place of each maximum in its window.
    MaxPool(Windows, Vec<u8>),
    AvgPool(Windows),
    GlobalAvgPool,
    Dropout(f32),
    Add(Source),
    /// Done by another layer, or nothing to do.
    Nothing,
}

/// A network on the CPU. Buffers are made once; passes allocate nothing but task lists of the thread pool.
#[derive(Debug)]
pub struct Network {
    isa: Isa,
    kernels: Vec<Kernel>,
    /// Where each layer's input comes from, past flattenings and fused layers.
    inputs: Vec<Source>,
    images: Aligned,
    outputs: Vec<Aligned>,
    gradients: Vec<Aligned>,
    /// Whether a gradient holds something in the present backward pass.
    written: Vec<bool>,
    parameter_gradient: Aligned,
    workspace: Workspace,
    losses: Vec<f64>,
    count: usize,
    mode: Mode,
}

const fn blocked(shape: Shape, images: usize) -> Blocked {
    Blocked { images, channels: shape.channels, height: shape.height, width: shape.width }
}

impl Network {
    /// Compiles a plan for the present thread pool.
    pub fn new(plan: &NetPlan) -> Self {
        let layers = plan.layers();
        let blocks = plan.batch().div_ceil(IMAGES);
        let mut size = WorkspaceSize { per_thread: 0, shared: 0 };
        let mut kernels: Vec<Kernel> = Vec::new();
        let mut alias: Vec<Source> = Vec::new();
        for (i, layer) in layers.iter().enumerate() {
            let kernel = kernel(layers, i, plan.batch());
            match &kernel {
                Kernel::Conv(conv) => size = size.max(conv.workspace(blocks)),
                Kernel::Linear(linear) => size = size.max(linear.workspace()),
                _ => {}
            }
            // A fused ReLU's output is written by the batch norm, and stands for it.
            let own = match layer.layer {
                Layer::Flatten => resolve(&alias, layer.input),
                _ => Source::Layer(i),
            };
            alias.push(own);
            kernels.push(kernel);
        }
        let buffer = |i: usize| {
            let unused = matches!(layers[i].layer, Layer::Flatten) || fused_norm(layers, i);
            let shape = blocked(layers[i].output_shape, plan.batch());
            Aligned::zeroed(if unused { 0 } else { shape.len() })
        };
        Self {
            isa: Isa::detect(),
            inputs: layers.iter().map(|l| resolve(&alias, l.input)).collect(),
            kernels: kernels
                .into_iter()
                .map(|k| match k {
                    Kernel::Add(source) => Kernel::Add(resolve(&alias, source)),
                    other => other,
                })
                .collect(),
            images: Aligned::zeroed(blocked(plan.input(), plan.batch()).len()),
            outputs: (0..layers.len()).map(buffer).collect(),
            gradients: (0..layers.len()).map(buffer).collect(),
            written: vec![false; layers.len()],
            parameter_gradient: Aligned::zeroed(plan.parameters()),
            workspace: Workspace::new(size, rayon::current_num_threads()),
            losses: vec![0.0; plan.batch()],
            count: 0,
            mode: Mode::Evaluate,
        }
    }

    /// Runs all layers over `images` (n, C, H, W), n at most the plan's batch.
    pub fn forward(
        &mut self,
        plan: &NetPlan,
        parameters: &[f32],
        statistics: &[f32],
        images: &[f32],
        mode: Mode,
    ) {
        self.count = images.len() / plan.input().len();
        self.mode = mode;
        let input = blocked(plan.input(), self.count);
        to_blocked(self.isa, &input, images, &mut self.images[..input.len()]);
        for (i, layer) in plan.layers().iter().enumerate() {
            if matches!(self.kernels[i], Kernel::Nothing) {
                continue;
            }
            self.layer_forward(plan.layers(), i, layer, parameters, statistics);
        }
    }

    fn layer_forward(
        &mut self,
        layers: &[PlannedLayer],
        i: usize,
        layer: &PlannedLayer,
        parameters: &[f32],
        statistics: &[f32],
    ) {
        let (isa, n) = (self.isa, self.count);
        let (from, to) = (blocked(layer.input_shape, n), blocked(layer.output_shape, n));
        let weight = layer.weight.map_or(&[][..], |t| &parameters[t.range()]);
        let bias = layer.bias.map(|t| &parameters[t.range()]);
        let target = if fused_norm(layers, i) { i + 1 } else { i };
        let (before, after) = self.outputs.split_at_mut(target);
        let images = &self.images;
        let read = |source: Source| match source {
            Source::Input => &images[..from.len()],
            Source::Layer(l) => &before[l][..from.len()],
        };
        let Some(y) = after.first_mut().and_then(|y| y.get_mut(..to.len())) else { return };
        let x = read(self.inputs[i]);
        match &mut self.kernels[i] {
            Kernel::Conv(conv) => conv.forward(isa, x, weight, bias, y, &mut self.workspace),
            Kernel::Linear(linear) => linear.forward(isa, x, weight, bias, y),
            Kernel::BatchNorm { mean, inverse, variance, relu } => {
                let Layer::BatchNorm(norm) = layer.layer else { return };
                let beta = bias.unwrap_or(&[]);
                let fused = BatchNorm { shape: from, gamma: weight, beta, relu: *relu };
                if let Mode::Train(_) = self.mode {
                    let saved = StatisticsMut { mean, inv_std: inverse, variance };
                    fused.train(isa, norm.eps, x, None, y, saved);
                } else {
                    let at = layer.statistics.unwrap_or(0);
                    let channels = from.channels;
                    mean.copy_from_slice(&statistics[at..at + channels]);
                    let running = &statistics[at + channels..at + 2 * channels];
                    for (inverse, v) in inverse.iter_mut().zip(running) {
                        *inverse = inverse_std(f64::from(*v), norm.eps);
                    }
                    let saved = Statistics { mean, inv_std: inverse };
                    fused.apply(isa, saved, x, None, y);
                }
            }
            Kernel::Relu => relu(isa, x, y),
            Kernel::MaxPool(windows, places) => {
                max_forward(isa, &from, windows, x, y, &mut places[..to.len()]);
            }
            Kernel::AvgPool(windows) => average_forward(isa, &from, windows, x, y),
            Kernel::GlobalAvgPool => global_average_forward(isa, &from, x, y),
            Kernel::Dropout(probability) => match self.mode {
                Mode::Train(address) => {
                    y.copy_from_slice(x);
                    drop_out(DropoutMask::new(address, i as u32, *probability), &to, y);
                }
                Mode::Evaluate => y.copy_from_slice(x),
            },
            Kernel::Add(other) => add(isa, x, read(*other), y),
            Kernel::Nothing => {}
        }
    }

    /// Loss of the last forward pass; with `gradient`, that of the logits is prepared for [`backward`](Self::backward).
    ///
    /// # Errors
    /// A label that is not a class.
    pub fn loss(&mut self, plan: &NetPlan, labels: &[u32], gradient: bool) -> Result<Loss, Label> {
        let classes = plan.classes();
        let wrong = |(_, label): &(usize, &u32)| **label as usize >= classes;
        if let Some((image, &label)) = labels.iter().enumerate().find(wrong) {
            return Err(Label { image, label, classes });
        }
        let (Some(logits), Some(target)) = (self.outputs.last(), self.gradients.last_mut()) else {
            return Ok(Loss { mean: 0.0, correct: 0 });
        };
        let len = blocked(Shape::flat(classes), labels.len()).len();
        let losses = &mut self.losses[..labels.len()];
        let target = gradient.then_some(&mut target[..len]);
        Ok(softmax_cross_entropy(self.isa, classes, labels, &logits[..len], losses, target))
    }

    /// Logits of the last forward pass, (n, classes).
    pub fn logits(&self, plan: &NetPlan) -> Vec<f32> {
        let shape = blocked(Shape::flat(plan.classes()), self.count);
        let mut logits = vec![0.0; self.count * plan.classes()];
        if let Some(output) = self.outputs.last() {
            from_blocked(self.isa, &shape, &output[..shape.len()], &mut logits);
        }
        logits
    }

    /// Moves the running statistics towards the last training pass's.
    pub fn update_statistics(&self, plan: &NetPlan, statistics: &mut [f32]) {
        for (layer, kernel) in plan.layers().iter().zip(&self.kernels) {
            if let (Layer::BatchNorm(norm), Some(at), Kernel::BatchNorm { mean, variance, .. }) =
                (layer.layer, layer.statistics, kernel)
            {
                let channels = mean.len();
                follow(norm.momentum, mean, &mut statistics[at..at + channels]);
                follow(norm.momentum, variance, &mut statistics[at + channels..at + 2 * channels]);
            }
        }
    }

    /// Runs all layers backward after [`loss`](Self::loss) and hands each tensor's gradient to `sink`.
    /// `owner` owns the parameters, which `point` shows.
    ///
    /// # Errors
    /// The first error of `sink`.
    pub fn backward<P: ?Sized, E>(
        &mut self,
        plan: &NetPlan,
        owner: &mut P,
        point: impl Fn(&P) -> &[f32],
        mut sink: impl FnMut(&mut P, &Tensor, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.written.fill(false);
        for (i, layer) in plan.layers().iter().enumerate().rev() {
            if matches!(self.kernels[i], Kernel::Nothing) {
                continue;
            }
            self.layer_backward(plan.layers(), i, layer, point(owner));
            for tensor in layer.tensors() {
                sink(owner, tensor, &self.parameter_gradient[tensor.range()])?;
            }
        }
        Ok(())
    }

    fn layer_backward(&mut self, layers: &[PlannedLayer], i: usize, layer: &PlannedLayer, point: &[f32]) {
        let (isa, n) = (self.isa, self.count);
        let (from, to) = (blocked(layer.input_shape, n), blocked(layer.output_shape, n));
        let weight = layer.weight.map_or(&[][..], |t| &point[t.range()]);
        let source = self.inputs[i];
        let at = if fused_norm(layers, i) { i + 1 } else { i };
        // Taken out so that the input's gradient can be written beside it.
        let mut dy = core::mem::replace(&mut self.gradients[at], Aligned::zeroed(0));
        let x = match source {
            Source::Input => &self.images[..from.len()],
            Source::Layer(l) => &self.outputs[l][..from.len()],
        };
        let fed = if let Source::Layer(l) = source { Some(l) } else { None };
        let accumulate = fed.is_some_and(|l| self.written[l]);
        let dx = fed.map(|l| &mut self.gradients[l][..from.len()]);
        let (dweight, dbias) = split(&mut self.parameter_gradient, layer);
        match &mut self.kernels[i] {
            Kernel::Conv(conv) => {
                let dy = &dy[..to.len()];
                if let Some(dx) = dx {
                    conv.input_gradient(isa, dy, weight, dx, accumulate, &mut self.workspace);
                }
                conv.weight_gradient(isa, x, dy, dweight, dbias, Deliver::OVERWRITE, &mut self.workspace);
            }
            Kernel::Linear(linear) => {
                let dy = &dy[..to.len()];
                if let Some(dx) = dx {
                    linear.input_gradient(isa, dy, weight, dx, accumulate);
                }
                linear.weight_gradient(isa, x, dy, dweight, dbias, Deliver::OVERWRITE, &mut self.workspace);
            }
            Kernel::BatchNorm { mean, inverse, relu, .. } => {
                let beta = layer.bias.map_or(&[][..], |t| &point[t.range()]);
                let norm = BatchNorm { shape: from, gamma: weight, beta, relu: *relu };
                let mode = if self.mode == Mode::Evaluate { NormMode::Eval } else { NormMode::Train };
                let saved = Saved { input: x, output: None, statistics: Statistics { mean, inv_std: inverse } };
                let parameters = ParameterGradients {
                    gamma: dweight,
                    beta: dbias.unwrap_or(&mut []),
                    deliver: Deliver::OVERWRITE,
                };
                norm.backward(isa, mode, &saved, &mut dy[..to.len()], None, parameters);
                pass_on(isa, &dy[..to.len()], dx, accumulate);
            }
            Kernel::Relu => {
                relu_backward(isa, &self.outputs[i][..to.len()], &mut dy[..to.len()]);
                pass_on(isa, &dy[..to.len()], dx, accumulate);
            }
            Kernel::MaxPool(windows, places) => {
                if let Some(dx) = dx {
                    max_backward(isa, &from, windows, &dy[..to.len()], &places[..to.len()], dx, accumulate);
                }
            }
            Kernel::AvgPool(windows) => {
                if let Some(dx) = dx {
                    average_backward(isa, &from, windows, &dy[..to.len()], dx, accumulate);
                }
            }
            Kernel::GlobalAvgPool => {
                if let Some(dx) = dx {
                    global_average_backward(isa, &from, &dy[..to.len()], dx, accumulate);
                }
            }
            Kernel::Dropout(probability) => {
                if let Mode::Train(address) = self.mode {
                    drop_out(DropoutMask::new(address, i as u32, *probability), &to, &mut dy[..to.len()]);
                }
                pass_on(isa, &dy[..to.len()], dx, accumulate);
            }
            Kernel::Add(other) => {
                pass_on(isa, &dy[..to.len()], dx, accumulate);
                if let Some(l) = fed {
                    self.written[l] = true;
                }
                if let Source::Layer(l) = *other {
                    let also = self.written[l];
                    pass_on(isa, &dy[..to.len()], Some(&mut self.gradients[l][..from.len()]), also);
                    self.written[l] = true;
                }
            }
            Kernel::Nothing => {}
        }
        if let Some(l) = fed {
            self.written[l] = true;
        }
        self.gradients[at] = dy;
    }
}

/// dx = dy, or dx += dy.
fn pass_on(isa: Isa, dy: &[f32], dx: Option<&mut [f32]>, accumulate: bool) {
    match dx {
        Some(dx) if accumulate => add_to(isa, dy, dx),
        Some(dx) => dx.copy_from_slice(dy),
        None => {}
    }
}

/// Multiplies every image by its mask.
fn drop_out(mask: DropoutMask, shape: &Blocked, values: &mut [f32]) {
    let len = shape.image_len();
    values.par_chunks_mut(len * IMAGES).enumerate().for_each(|(block, values)| {
        for lane in 0..IMAGES.min(shape.images - block * IMAGES) {
            let factors = mask.factors((block * IMAGES + lane) as u32);
            for (vector, factor) in values.chunks_exact_mut(IMAGES).zip(factors) {
                vector[lane] *= factor;
            }
        }
    });
}

/// Gradients of a layer's weight and bias, which lie side by side.
fn split<'a>(all: &'a mut [f32], layer: &PlannedLayer) -> (&'a mut [f32], Option<&'a mut [f32]>) {
    let Some(weight) = layer.weight else { return (&mut [], None) };
    let (dweight, rest) = all[weight.offset..].split_at_mut(weight.len());
    (dweight, layer.bias.map(|bias| &mut rest[..bias.len()]))
}

/// The layer that really holds what `source` gives.
fn resolve(alias: &[Source], source: Source) -> Source {
    match source {
        Source::Layer(l) => alias[l],
        Source::Input => Source::Input,
    }
}

/// Whether layer `i` is a batch norm whose only reader is a ReLU right behind it.
fn fused_norm(layers: &[PlannedLayer], i: usize) -> bool {
    let mine = Source::Layer(i);
    let readers = layers.iter().filter(|l| l.input == mine || l.addend() == Some(mine)).count();
    matches!(layers[i].layer, Layer::BatchNorm(_))
        && readers == 1
        && layers.get(i + 1).is_some_and(|next| next.layer == Layer::Relu && next.input == mine)
}

fn kernel(layers: &[PlannedLayer], i: usize, batch: usize) -> Kernel {
    let layer = &layers[i];
    let input = layer.input_shape;
    match layer.layer {
        Layer::Conv2d(conv) => Kernel::Conv(Box::new(Conv::new(ConvShape {
            in_channels: input.channels,
            input: [input.height, input.width],
            out_channels: conv.out_channels,
            kernel: conv.kernel,
            stride: conv.stride,
            padding: conv.padding,
            groups: conv.groups,
        }))),
        Layer::Linear(linear) => Kernel::Linear(Linear::new(input.channels, linear.out_features)),
        Layer::BatchNorm(_) => {
            let zeros = || vec![0.0; input.channels];
            let relu = fused_norm(layers, i);
            Kernel::BatchNorm { mean: zeros(), inverse: zeros(), variance: zeros(), relu }
        }
        Layer::Relu if i > 0 && fused_norm(layers, i - 1) => Kernel::Nothing,
        Layer::Relu => Kernel::Relu,
        Layer::MaxPool2d(pool) => {
            let windows =
                Windows { kernel: pool.kernel, stride: pool.stride, padding: pool.padding };
            Kernel::MaxPool(windows, vec![0; blocked(layer.output_shape, batch).len()])
        }
        Layer::AvgPool2d(pool) => {
            Kernel::AvgPool(Windows { kernel: pool.kernel, stride: pool.stride, padding: pool.padding })
        }
        Layer::GlobalAvgPool => Kernel::GlobalAvgPool,
        Layer::Dropout(dropout) => Kernel::Dropout(dropout.probability),
        Layer::Add(source) => Kernel::Add(source),
        Layer::Flatten => Kernel::Nothing,
    }
}
