//! From a plan to the operations that the CPU runs: layers fused, and every value's place in the arena.

use super::super::conv::{Conv, ConvShape};
use super::super::layout::{Blocked, IMAGES};
use super::super::linear::Linear;
use super::super::pool::Windows;
use super::super::workspace::WorkspaceSize;
use crate::net::NetPlan;
use smoothout::network::{Layer, Source};
use smoothout::plan::arena::{Buffer, place};
use smoothout::plan::{Fusion, PlannedLayer, Purpose, Tensor};
use smoothout::shape::Shape;
use std::ops::Range;

/// What an operation computes, and what it remembers from its forward pass.
#[derive(Debug)]
pub(super) enum Kernel {
    Conv(Box<Conv>),
    Linear(Linear),
    /// With the residual addition and the ReLU that alone read it.
    BatchNorm(Norm),
    Relu,
    /// Place of each maximum in its window.
    MaxPool(Windows, Vec<u8>),
    AvgPool(Windows),
    GlobalAvgPool,
    Dropout(f32),
    Add,
}

/// A batch norm, and the last batch's statistics by channel.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) eps: f32,
    pub(super) momentum: f32,
    pub(super) relu: bool,
    pub(super) mean: Vec<f32>,
    /// 1 / sqrt(variance + eps).
    pub(super) inverse: Vec<f32>,
    /// Unbiased.
    pub(super) variance: Vec<f32>,
    /// Where the running statistics start.
    pub(super) statistics: usize,
}

/// An activation and the gradient of the loss with respect to it.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Floats of one block of images.
    block: usize,
    activation: usize,
    /// Where its gradient lies, if anything needs it; it may be the place of another value's, whose it becomes.
    gradient: Option<usize>,
}

impl Value {
    fn range(&self, start: usize, images: usize) -> Range<usize> {
        start..start + images.div_ceil(IMAGES) * self.block
    }

    pub(super) fn activation(&self, images: usize) -> Range<usize> {
        self.range(self.activation, images)
    }

    /// Empty where nothing needs it.
    pub(super) fn gradient(&self, images: usize) -> Range<usize> {
        self.gradient.map_or(0..0, |start| self.range(start, images))
    }
}

/// What an operation does with the gradient of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flow {
    /// Nothing: the input is the images.
    Stop,
    /// It is worked out in the place of the output's gradient.
    InPlace,
    /// It is the first one to arrive at the input's place.
    Store,
    /// It is added to those that arrived before.
    Add,
}

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) kernel: Kernel,
    /// The layer that it computes (of fused ones the first), which numbers dropout's masks.
    pub(super) layer: usize,
    pub(super) weight: Option<Tensor>,
    pub(super) bias: Option<Tensor>,
    pub(super) from: Shape,
    pub(super) input: usize,
    /// What a sum adds to its input.
    pub(super) addend: Option<usize>,
    pub(super) output: usize,
    pub(super) flow: Flow,
    pub(super) addend_flow: Flow,
}

impl Operation {
    /// Whether its backward pass reads its input, and whether it reads its output.
    pub(super) fn reads_backward(&self) -> [bool; 2] {
        match &self.kernel {
            Kernel::Conv(_) | Kernel::Linear(_) => [true, false],
            // Without a sum in between, the input tells what the ReLU let through.
            Kernel::BatchNorm(norm) => [true, norm.relu && self.addend.is_some()],
            Kernel::Relu => [false, true],
            _ => [false, false],
        }
    }
}

/// A plan as operations.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) operations: Vec<Operation>,
    /// The first one is the images, the last one the logits.
    pub(super) values: Vec<Value>,
    pub(super) arena: usize,
    pub(super) workspace: WorkspaceSize,
}

pub(super) const fn blocked(shape: Shape, images: usize) -> Blocked {
    Blocked { images, channels: shape.channels, height: shape.height, width: shape.width }
}

/// Compiles a plan.
pub(super) fn compile(plan: &NetPlan) -> Program {
    let layers = plan.layers();
    let value = |shape: Shape| Value { block: shape.len() * IMAGES, activation: 0, gradient: None };
    let mut values = vec![value(plan.input())];
    let mut operations: Vec<Operation> = Vec::new();
    // The value that each layer's output is; a layer that is part of a later one has none of its own.
    let mut outputs: Vec<usize> = Vec::new();
    let index = |outputs: &[usize], source: Source| match source {
        Source::Input => 0,
        Source::Layer(l) => outputs[l],
    };
    for (i, layer) in layers.iter().enumerate() {
        if matches!(layer.layer, Layer::Flatten) {
            outputs.push(index(&outputs, layer.input));
            continue;
        }
        let fusion = Fusion::ending_at(layers, i);
        if fusion.is_none() && Fusion::of(layers, i).is_some() {
            outputs.push(usize::MAX); // nobody but the fused operation reads it
            continue;
        }
        let (first, addend) = match fusion {
            Some(fusion) => (fusion.norm, fusion.addend(layers)),
            None => (i, layer.addend()),
        };
        let planned = &layers[first];
        operations.push(Operation {
            kernel: kernel(planned, fusion.is_some_and(|f| f.relu.is_some()), plan.batch()),
            layer: first,
            weight: planned.weight,
            bias: planned.bias,
            from: planned.input_shape,
            input: index(&outputs, planned.input),
            addend: addend.map(|source| index(&outputs, source)),
            output: values.len(),
            flow: Flow::Stop,
            addend_flow: Flow::Stop,
        });
        outputs.push(values.len());
        values.push(value(layer.output_shape));
    }
    let training = plan.purpose() == Purpose::Training;
    let owners = if training { direct_gradients(&mut operations, values.len()) } else { Vec::new() };
    let arena = place_values(&operations, &mut values, &owners, plan.batch());
    let blocks = plan.batch().div_ceil(IMAGES);
    let workspace = operations.iter().fold(WorkspaceSize::default(), |size, op| match &op.kernel {
        Kernel::Conv(conv) => size.max(conv.workspace(blocks)),
        Kernel::Linear(linear) => size.max(linear.workspace()),
        _ => size,
    });
    Program { operations, values, arena, workspace }
}

/// Decides how gradients flow, and returns for each value the one in whose place its gradient lies.
fn direct_gradients(operations: &mut [Operation], values: usize) -> Vec<usize> {
    let mut readers = vec![0; values];
    for op in operations.iter() {
        readers[op.input] += 1;
        op.addend.inspect(|&v| readers[v] += 1);
    }
    let mut owners: Vec<usize> = (0..values).collect();
    let mut arrived = vec![false; values];
    for op in operations.iter_mut().rev() {
        let in_place =
            matches!(op.kernel, Kernel::BatchNorm(_) | Kernel::Relu | Kernel::Dropout(_) | Kernel::Add);
        if in_place && op.input != 0 && readers[op.input] == 1 {
            op.flow = Flow::InPlace;
            owners[op.input] = owners[op.output];
            arrived[op.input] = true;
        }
        let mut arrive = |value: usize| match value {
            0 => Flow::Stop,
            _ if std::mem::replace(&mut arrived[value], true) => Flow::Add,
            _ => Flow::Store,
        };
        if let Some(addend) = op.addend {
            op.addend_flow = arrive(addend);
        }
        if op.flow != Flow::InPlace {
            op.flow = arrive(op.input);
        }
    }
    owners
}

/// Gives every activation and gradient a place and returns the arena's length.
///
/// Moments: operation k of n runs forward at k + 1 (the images come at 0), the loss is taken at n + 1, and operation k
/// runs backward at 2n + 1 - k. `owners` is empty when there is no backward pass.
fn place_values(operations: &[Operation], values: &mut [Value], owners: &[usize], batch: usize) -> usize {
    let n = operations.len();
    let backward = |k: usize| 2 * n + 1 - k;
    let blocks = batch.div_ceil(IMAGES);
    let training = !owners.is_empty();
    let len = |v: usize| values[v].block * blocks;
    // Activations, in the order in which they come to life; the logits are there to the end.
    let mut buffers: Vec<Buffer> = (0..values.len()).map(|v| Buffer::new(v, v, len(v))).collect();
    for (k, op) in operations.iter().enumerate() {
        let [reads_input, reads_output] = op.reads_backward();
        let read_at = if training && reads_input { backward(k) } else { k + 1 };
        buffers[op.input].end = buffers[op.input].end.max(read_at);
        op.addend.inspect(|&v| buffers[v].end = buffers[v].end.max(k + 1));
        if training && reads_output {
            buffers[op.output].end = buffers[op.output].end.max(backward(k));
        }
    }
    if let Some(logits) = buffers.last_mut() {
        logits.end = 2 * n + 2;
    }
    // Gradients by the value that owns the place: from the first arrival to the backward pass of the last one's maker.
    let mut gradients: Vec<Option<Buffer>> = vec![None; values.len()];
    if training {
        let mut live = |v: usize, start: usize, end: usize| {
            let buffer = gradients[owners[v]].get_or_insert(Buffer::new(start, end, len(v)));
            buffer.start = buffer.start.min(start);
            buffer.end = buffer.end.max(end);
        };
        live(values.len() - 1, n + 1, n + 1);
        for (k, op) in operations.iter().enumerate().rev() {
            live(op.output, backward(k), backward(k));
            for v in [Some(op.input), op.addend].into_iter().flatten().filter(|&v| v != 0) {
                live(v, backward(k), backward(k));
            }
        }
    }
    let owned: Vec<usize> = (0..values.len()).rev().filter(|&v| gradients[v].is_some()).collect();
    buffers.extend(owned.iter().filter_map(|&v| gradients[v]));
    #[expect(clippy::expect_used, reason = "the plan has checked that all activations together fit the word")]
    let total = place(&mut buffers).expect("an arena within the machine's word");
    let (activations, placed) = buffers.split_at(values.len());
    for (value, buffer) in values.iter_mut().zip(activations) {
        value.activation = buffer.offset;
    }
    for (v, owner) in owners.iter().enumerate() {
        let place = owned.iter().position(|o| o == owner);
        values[v].gradient = place.map(|at| placed[at].offset);
    }
    total
}

fn kernel(planned: &PlannedLayer, relu: bool, batch: usize) -> Kernel {
    let input = planned.input_shape;
    match planned.layer {
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
        Layer::BatchNorm(norm) => {
            let zeros = || vec![0.0; input.channels];
            Kernel::BatchNorm(Norm {
                eps: norm.eps,
                momentum: norm.momentum,
                relu,
                mean: zeros(),
                inverse: zeros(),
                variance: zeros(),
                statistics: planned.statistics.unwrap_or(0),
            })
        }
        Layer::MaxPool2d(pool) => {
            let windows = Windows { kernel: pool.kernel, stride: pool.stride, padding: pool.padding };
            Kernel::MaxPool(windows, vec![0; blocked(planned.output_shape, batch).len()])
        }
        Layer::AvgPool2d(pool) => {
            Kernel::AvgPool(Windows { kernel: pool.kernel, stride: pool.stride, padding: pool.padding })
        }
        Layer::GlobalAvgPool => Kernel::GlobalAvgPool,
        Layer::Dropout(dropout) => Kernel::Dropout(dropout.probability),
        Layer::Add(_) => Kernel::Add,
        // Flattening is nothing in this layout.
        Layer::Relu | Layer::Flatten => Kernel::Relu,
    }
}
