//! From a plan to the operations that the GPU runs: layers fused, and every value's place in the arena.

use crate::batch_norm::BatchNorm;
use crate::conv::Conv;
use crate::error::{GpuError, Result};
use crate::ghosts::Ghosts;
use crate::linear::Linear;
use crate::pool::Windows;
use crate::precision::Precision;
use crate::product::Draws;
use smoothout::network::Layer;
use smoothout::plan::arena::{Buffer, place};
use smoothout::plan::wiring::{Wiring, direct, lives, places};
use smoothout::plan::{Plan, PlannedLayer, Purpose, Tensor};
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

/// One operation.
#[derive(Debug)]
pub(super) struct Operation {
    pub(super) kernel: Kernel,
    pub(super) weight: Option<Tensor>,
    pub(super) bias: Option<Tensor>,
    pub(super) from: Shape,
    pub(super) wiring: Wiring,
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
    let mut wirings = Vec::new();
    let mut lens = vec![plan.input().len()];
    Wiring::each(layers, &mut vec![0; layers.len()], |wiring, last| {
        wirings.push(wiring);
        lens.push(last.output_shape.len());
    });
    let mut owners = vec![0; lens.len()];
    let owners = if plan.purpose() == Purpose::Training {
        direct(&mut wirings, layers, &mut owners);
        Some(&owners[..])
    } else {
        None
    };
    let operation = |wiring: &Wiring| {
        let planned = &layers[wiring.layer];
        let PlannedLayer { weight, bias, input_shape: from, .. } = *planned;
        Ok(Operation { kernel: kernel(planned, wiring.relu, precision)?, weight, bias, from, wiring: *wiring })
    };
    let mut operations = wirings.iter().map(operation).collect::<Result<Vec<_>>>()?;
    let (values, arena) = place_values(&mut operations, &wirings, &lens, owners, most.images)?;
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

/// Gives every activation and gradient a place, and those of the maxima of pooling; returns the values and the arena's length.
/// `lens` are the values' lengths for one image.
fn place_values(
    operations: &mut [Operation],
    wirings: &[Wiring],
    lens: &[usize],
    owners: Option<&[usize]>,
    images: usize,
) -> Result<(Vec<Value>, usize)> {
    let n = operations.len();
    let len = |v: usize| if v == 0 { 0 } else { lens[v].saturating_mul(images).next_multiple_of(ALIGNMENT) };
    let mut buffers = vec![Buffer::new(0, 0, 0); 2 * lens.len()];
    lives(wirings, owners, len, &mut buffers);
    // From the forward to the backward pass.
    for (k, op) in operations.iter().enumerate() {
        if let (Kernel::MaxPool(windows, _), Some(_)) = (&op.kernel, owners) {
            buffers.push(Buffer::new(k + 1, 2 * n + 1 - k, windows.places(images).next_multiple_of(ALIGNMENT)));
        }
    }
    let total = place(&mut buffers).ok_or(GpuError::TooMany { what: "activations", value: usize::MAX })?;
    let pools = operations.iter_mut().filter_map(|op| match &mut op.kernel {
        Kernel::MaxPool(_, places) => Some(places),
        _ => None,
    });
    for (places, buffer) in pools.zip(&buffers[2 * lens.len()..]) {
        *places = buffer.offset;
    }
    let value = |(v, len): (usize, &usize)| {
        let (activation, gradient) = places(&buffers, owners, lens.len(), v);
        Value { len: *len, activation, gradient }
    };
    Ok((lens.iter().enumerate().map(value).collect(), total))
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
