//! From a plan to the operations that the CPU runs: layers fused, and every value's place in the arena.

use super::super::conv::{Conv, ConvShape};
use super::super::layout::{Blocked, IMAGES};
use super::super::linear::Linear;
use super::super::pool::Windows;
use super::super::workspace::WorkspaceSize;
use crate::net::NetPlan;
use smoothout::network::Layer;
use smoothout::plan::arena::{Buffer, place};
use smoothout::plan::wiring::{Wiring, direct, lives, places};
use smoothout::plan::{PlannedLayer, Purpose, Tensor};
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
    let mut blocks = vec![plan.input().len() * IMAGES];
    let mut wirings = Vec::new();
    Wiring::each(layers, &mut vec![0; layers.len()], |wiring, last| {
        wirings.push(wiring);
        blocks.push(last.output_shape.len() * IMAGES);
    });
    let count = blocks.len();
    let mut owners = vec![0; count];
    let owners = if plan.purpose() == Purpose::Training {
        direct(&mut wirings, layers, &mut owners);
        Some(&owners[..])
    } else {
        None
    };
    let passes = plan.batch().div_ceil(IMAGES);
    let mut buffers = vec![Buffer::new(0, 0, 0); 2 * count];
    lives(&wirings, owners, |v| blocks[v] * passes, &mut buffers);
    #[expect(clippy::expect_used, reason = "the plan has checked that all activations together fit the word")]
    let arena = place(&mut buffers).expect("an arena within the machine's word");
    let value = |(v, block)| {
        let (activation, gradient) = places(&buffers, owners, count, v);
        Value { block, activation, gradient }
    };
    let operation = |wiring: Wiring| {
        let planned = &layers[wiring.layer];
        let PlannedLayer { weight, bias, input_shape: from, .. } = *planned;
        Operation { kernel: kernel(planned, wiring.relu, plan.batch()), weight, bias, from, wiring }
    };
    let values = blocks.into_iter().enumerate().map(value).collect();
    let operations: Vec<_> = wirings.into_iter().map(operation).collect();
    let workspace = operations.iter().fold(WorkspaceSize::default(), |size, op| match &op.kernel {
        Kernel::Conv(conv) => size.max(conv.workspace(passes)),
        Kernel::Linear(linear) => size.max(linear.workspace()),
        _ => size,
    });
    Program { operations, values, arena, workspace }
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
