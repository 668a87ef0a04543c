//! From a plan to the operations that the GPU runs: layers fused, and every value's place in the arena.

use super::Ghosts;
use crate::batch_norm::BatchNorm;
use crate::conv::Conv;
use crate::error::{GpuError, Result};
use crate::linear::Linear;
use crate::pool::Windows;
use crate::product::{Draws, Precision};
use smoothout::network::{Layer, Source};
use smoothout::plan::arena::{Buffer, place};
use smoothout::plan::{Fusion, Plan, PlannedLayer, Purpose, Tensor};
use smoothout::shape::Shape;

/// Buffers start at multiples of this many values: 128 bytes, what a warp reads at once.
const ALIGNMENT: usize = 32;

/// What an operation computes.
#[derive(Debug)]
pub(super) enum Kernel {
    /// Where its packed weights start.
    Conv(Conv, usize),
    Linear(Linear),
    /// With the residual addition and the ReLU that alone read it; where its running statistics start.
    BatchNorm(BatchNorm, usize),
    Relu,
    /// Where the places of the maxima lie in the arena.
    MaxPool(Windows, usize),
    AvgPool(Windows),
    GlobalAvgPool,
    Dropout(f32),
    Add,
}

/// An activation and the gradient of the loss with respect to it.
#[derive(Clone, Debug)]
pub(super) struct Value {
    /// Values of one image.
    pub(super) len: usize,
    pub(super) activation: usize,
    /// Where its gradient lies, if anything needs it; it may be the place of another value's, whose it becomes.
    pub(super) gradient: Option<usize>,
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
    const fn reads_backward(&self) -> [bool; 2] {
        match &self.kernel {
            Kernel::Conv(..) | Kernel::Linear(_) => [true, false],
            // Without a sum in between, the input tells what the ReLU let through.
            Kernel::BatchNorm(norm, _) => [true, norm.relu && self.addend.is_some()],
            Kernel::Relu => [false, true],
            _ => [false, false],
        }
    }
}

/// A plan as operations.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) operations: Vec<Operation>,
    /// The first one is the images, which lie elsewhere, the last one the logits.
    pub(super) values: Vec<Value>,
    /// Length of the arena.
    pub(super) arena: usize,
    /// Values that an operation needs beside the arena, at most.
    pub(super) workspace: usize,
}

/// Compiles a plan for passes of at most `most`.
///
/// # Errors
/// Sizes that kernels cannot count.
pub(super) fn compile<const N: usize>(plan: &Plan<N>, most: Ghosts, precision: Precision) -> Result<Program> {
    let layers = plan.layers();
    let value = |shape: Shape| Value { len: shape.len(), activation: 0, gradient: None };
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
            kernel: kernel(planned, fusion.is_some_and(|f| f.relu.is_some()), precision)?,
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
    let arena = place_values(&mut operations, &mut values, &owners, most.images)?;
    let workspace = operations.iter().map(|op| match &op.kernel {
        Kernel::Conv(conv, _) => passes(most).map(|at| conv.workspace(at.images)).max().unwrap_or(0),
        Kernel::Linear(linear) => {
            let of = |at: Ghosts| {
                let draws = Draws { images: at.size, pitch: 0 };
                linear.workspace(at.images, draws).max(linear.workspace(at.images, Draws::one(at.images)))
            };
            passes(most).map(of).max().unwrap_or(0)
        }
        Kernel::BatchNorm(norm, _) => norm.workspace(most),
        _ => 0,
    });
    Ok(Program { arena, workspace: workspace.max().unwrap_or(0), operations, values })
}

/// Passes of at most this size, of which one needs the largest workspace: products of few images are cut into more parts
/// than those of many, and from [`UNCUT`] images on they are all alike.
fn passes(most: Ghosts) -> impl Iterator<Item = Ghosts> {
    let of_one = (1..most.images.min(UNCUT)).chain([most.images]).map(Ghosts::one);
    let sizes = (1..most.size.min(UNCUT)).chain([most.size]);
    let of_many = sizes.flat_map(move |size| {
        let counts = 1..=most.count().min(UNCUT.div_ceil(size));
        counts.chain([most.count()]).map(move |count| Ghosts { images: (count * size).min(most.images), size })
    });
    of_one.chain(of_many)
}

/// A multiple of the rows of a tile that gives more blocks than any product is cut into.
const UNCUT: usize = 8192;

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
            matches!(op.kernel, Kernel::BatchNorm(..) | Kernel::Relu | Kernel::Dropout(_) | Kernel::Add);
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
/// Moments: operation k of n runs forward at k + 1, the loss is taken at n + 1, and operation k
/// runs backward at 2n + 1 - k. `owners` is empty when there is no backward pass.
fn place_values(operations: &mut [Operation], values: &mut [Value], owners: &[usize], images: usize) -> Result<usize> {
    let n = operations.len();
    let backward = |k: usize| 2 * n + 1 - k;
    let training = !owners.is_empty();
    let len = |values: usize| values.saturating_mul(images).next_multiple_of(ALIGNMENT);
    // Activations, in the order in which they come to life; the logits are there to the end.
    let mut buffers: Vec<Buffer> =
        values.iter().enumerate().map(|(v, value)| Buffer::new(v, v, if v == 0 { 0 } else { len(value.len) })).collect();
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
        let mut live = |v: usize, moment: usize| {
            let buffer = gradients[owners[v]].get_or_insert(Buffer::new(moment, moment, len(values[v].len)));
            buffer.start = buffer.start.min(moment);
            buffer.end = buffer.end.max(moment);
        };
        live(values.len() - 1, n + 1);
        for (k, op) in operations.iter().enumerate().rev() {
            live(op.output, backward(k));
            for v in [Some(op.input), op.addend].into_iter().flatten().filter(|&v| v != 0) {
                live(v, backward(k));
            }
        }
    }
    let owned: Vec<usize> = (0..values.len()).rev().filter(|&v| gradients[v].is_some()).collect();
    buffers.extend(owned.iter().filter_map(|&v| gradients[v]));
    // Places of maxima, from the forward to the backward pass.
    for (k, op) in operations.iter().enumerate() {
        if let (Kernel::MaxPool(windows, _), true) = (&op.kernel, training) {
            buffers.push(Buffer::new(k + 1, backward(k), windows.places(images).next_multiple_of(ALIGNMENT)));
        }
    }
    let total = place(&mut buffers).ok_or(GpuError::TooMany { what: "activations", value: usize::MAX })?;
    let (activations, rest) = buffers.split_at(values.len());
    for (value, buffer) in values.iter_mut().zip(activations) {
        value.activation = buffer.offset;
    }
    for (v, owner) in owners.iter().enumerate() {
        let place = owned.iter().position(|o| o == owner);
        values[v].gradient = place.map(|at| rest[at].offset);
    }
    let pools = operations.iter_mut().filter_map(|op| match &mut op.kernel {
        Kernel::MaxPool(_, places) => Some(places),
        _ => None,
    });
    for (places, buffer) in pools.zip(&rest[owned.len()..]) {
        *places = buffer.offset;
    }
    Ok(total)
}

fn kernel(planned: &PlannedLayer, relu: bool, precision: Precision) -> Result<Kernel> {
    let (input, output) = (planned.input_shape, planned.output_shape);
    let windows = |kernel, stride, padding| Windows { input, output, kernel, stride, padding };
    Ok(match planned.layer {
        Layer::Conv2d(conv) => Kernel::Conv(Conv::new(conv, input, output, precision), 0),
        Layer::Linear(linear) => {
            Kernel::Linear(Linear::new(input.channels, linear.out_features, linear.bias, precision))
        },
        Layer::BatchNorm(norm) => Kernel::BatchNorm(
            BatchNorm { channels: input.channels, pixels: input.pixels(), eps: norm.eps, relu },
            planned.statistics.unwrap_or(0),
        ),
        Layer::MaxPool2d(pool) => {
            if pool.kernel[0] * pool.kernel[1] > usize::from(u16::MAX) {
                return Err(GpuError::TooMany { what: "values of a window", value: pool.kernel[0] * pool.kernel[1] });
            }
            Kernel::MaxPool(windows(pool.kernel, pool.stride, pool.padding), 0)
        }
        Layer::AvgPool2d(pool) => Kernel::AvgPool(windows(pool.kernel, pool.stride, pool.padding)),
        Layer::GlobalAvgPool => Kernel::GlobalAvgPool,
        Layer::Dropout(dropout) => Kernel::Dropout(dropout.probability),
        Layer::Add(_) => Kernel::Add,
        // Flattening is nothing in this layout.
        Layer::Relu | Layer::Flatten => Kernel::Relu,
    })
}
