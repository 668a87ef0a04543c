//! The plan, compiled: layers with the ReLU and the pooling behind them fused into one stage. A session keeps one for each
//! of its stages, so that they are small: sizes take 16 bits, and what follows from something else is worked out.

use super::built;
use super::parameters::{Parameter, Parameters};
use super::window::{Sizes, Window};
use crate::layers::{BatchNorm, Conv2d, Dropout};
use crate::network::Layer;
use crate::plan::PlannedLayer;
use crate::shape::Shape;

/// Where a stage's input comes from: the number of the stage that gives it, or one of the two here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Feed(u16);

impl Feed {
    /// There is none.
    pub(super) const NOTHING: Self = Self(u16::MAX);
    /// The images.
    pub(super) const IMAGES: Self = Self(u16::MAX - 1);

    /// The output of the stage with this number, below [`MOST_LAYERS`](super::compile::MOST_LAYERS).
    pub(super) const fn stage(number: usize) -> Self {
        Self(number as u16)
    }

    /// Its place in a list of all stages; past the end when it is no stage.
    pub(super) fn number(self) -> usize {
        usize::from(self.0)
    }
}

/// What the layer at the head of a stage computes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Head {
    Conv { window: Window, groups: u16 },
    Linear,
    BatchNorm(BatchNorm),
    AvgPool(Window),
    GlobalAvgPool,
    /// With its index in the plan.
    Dropout(Dropout, u16),
    Add,
    /// Nothing: ReLU or max pooling that stands alone.
    Same,
}

impl Head {
    fn new(index: usize, layer: &Layer) -> Self {
        let window = Window::new(layer);
        match *layer {
            // Groups divide the channels, which are no more.
            Layer::Conv2d(Conv2d { groups, .. }) => Head::Conv { window, groups: groups as u16 },
            Layer::Linear(_) => Head::Linear,
            Layer::BatchNorm(norm) => Head::BatchNorm(norm),
            // Those that are left out are refused.
            _ if !built::ELEMENTWISE => Head::Same,
            Layer::AvgPool2d(_) => Head::AvgPool(window),
            Layer::GlobalAvgPool => Head::GlobalAvgPool,
            Layer::Dropout(dropout) => Head::Dropout(dropout, index as u16),
            Layer::Add(_) => Head::Add,
            Layer::Relu | Layer::MaxPool2d(_) | Layer::Flatten => Head::Same,
        }
    }
}

/// Where the output of what a stage is fed with lies among the values.
pub(super) fn output_of(stages: &[Stage<'_>], feed: Feed) -> usize {
    stage_of(stages, feed).map_or(0, |stage| stage.output)
}

/// Where its gradient lies.
pub(super) fn gradient_of(stages: &[Stage<'_>], feed: Feed) -> usize {
    stage_of(stages, feed).map_or(0, |stage| stage.gradient)
}

fn stage_of<'s, 'm>(stages: &'s [Stage<'m>], feed: Feed) -> Option<&'s Stage<'m>> {
    stages.get(feed.number())
}

/// Fewest values of scratch memory in the forward pass, where biases are perturbed.
const LEAST: usize = 16;

/// Weights of a linear layer's filter of this length that are worked on together.
pub(super) const fn block(row_len: usize) -> usize {
    if row_len <= 2 * PART { row_len } else { PART }
}

/// Weights of a filter that is too long to be worked on as a whole.
pub(super) const PART: usize = 128;

/// What a fused stage remembers of its ReLU or pooling for the backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// Nothing is needed.
    Nothing,
    /// The output's sign is the mask: somebody else keeps the output.
    Sign,
    /// One bit a value.
    Bits,
    /// One byte a window: the maximum's place, or [`CLIPPED`](super::window::CLIPPED).
    Bytes,
}

/// One stage.
#[derive(Clone, Debug)]
pub(super) struct Stage<'m> {
    /// The layer at its head.
    pub head: Head,
    pub memory: Memory,
    pub input: Feed,
    /// Second input of a sum.
    pub addend: Feed,
    input_shape: Sizes,
    shape: Sizes,
    /// Height and width before pooling.
    unpooled: [u16; 2],
    /// Max pooling behind the head.
    pub pool: Option<Window>,
    pub relu: bool,
    /// Whether the backward pass runs through this stage.
    pub live: bool,
    /// Whether the gradient of the input is needed, and whether this stage is the first to write it.
    pub input_gradient: bool,
    pub first_of_input: bool,
    pub addend_gradient: bool,
    pub first_of_addend: bool,
    /// Whether a batch norm writes its input's gradient over its input.
    pub in_place: bool,
    /// Whether the backward pass perturbs the filters again.
    pub again: bool,
    parameters: Option<Parameters<'m>>,
    /// Where a batch norm's running mean begins among the statistics, and where the scales of the noise begin of filters
    /// that are perturbed [`again`](Self::again).
    pub kept: usize,
    /// Offsets among the values: output, its gradient, bits or bytes.
    pub output: usize,
    pub gradient: usize,
    pub extra: usize,
    /// Scratch memory of the forward and the backward pass.
    pub scratch: [usize; 2],
}

impl<'m> Stage<'m> {
    /// The stage of layer `index`, which was [checked](super::window::check).
    pub(super) fn new(index: usize, layer: &PlannedLayer, input: Feed, parameters: Option<Parameters<'m>>) -> Self {
        let shape = Sizes::new(layer.output_shape);
        let mut stage = Self {
            head: Head::new(index, &layer.layer),
            memory: Memory::Nothing,
            input,
            addend: Feed::NOTHING,
            input_shape: Sizes::new(layer.input_shape),
            shape,
            unpooled: shape.sides(),
            pool: None,
            relu: matches!(layer.layer, Layer::Relu),
            live: false,
            input_gradient: false,
            first_of_input: false,
            addend_gradient: false,
            first_of_addend: false,
            in_place: false,
            again: false,
            parameters,
            kept: layer.statistics.unwrap_or(0),
            output: 0,
            gradient: 0,
            extra: 0,
            scratch: [0; 2],
        };
        if matches!(layer.layer, Layer::MaxPool2d(_)) {
            stage.unpooled = stage.input_shape.sides();
            stage.pool = Some(Window::new(&layer.layer));
        }
        stage
    }

    pub(super) fn input_shape(&self) -> Shape {
        self.input_shape.shape()
    }

    /// What the head gives, before pooling.
    pub(super) fn head_shape(&self) -> Shape {
        let [height, width] = self.unpooled.map(usize::from);
        Shape::new(self.shape().channels, height, width)
    }

    /// What the stage gives.
    pub(super) fn shape(&self) -> Shape {
        self.shape.shape()
    }

    /// Whether a convolution or a linear layer is at its head.
    pub(super) const fn has_filters(&self) -> bool {
        matches!(self.head, Head::Conv { .. } | Head::Linear)
    }

    fn is_norm(&self) -> bool {
        built::BATCH_NORM && matches!(self.head, Head::BatchNorm(_))
    }

    pub(super) fn weight(&self) -> Option<&Parameter<'m>> {
        Some(&self.parameters.as_ref()?.weight)
    }

    #[cfg_attr(all(feature = "micro-lean", not(feature = "micro-wide")), inline(never))]
    pub(super) fn bias(&self) -> Option<Parameter<'m>> {
        self.parameters.as_ref()?.bias(self.shape().channels)
    }

    pub(super) fn trains_weight(&self) -> bool {
        self.weight().is_some_and(Parameter::is_trained)
    }

    pub(super) fn trains(&self) -> bool {
        self.parameters.as_ref().is_some_and(Parameters::trains)
    }

    /// Whether the batch's own statistics are used in training: those of a trained batch norm.
    pub(super) fn uses_batch(&self) -> bool {
        self.is_norm() && self.trains()
    }

    /// Whether the backward pass reads what the forward pass was fed with.
    pub(super) fn reads_input_backward(&self) -> bool {
        if self.has_filters() { self.trains_weight() } else { self.uses_batch() }
    }

    /// Words of bits or bytes for one image.
    pub(super) fn extra_words(&self) -> usize {
        match self.memory {
            Memory::Nothing | Memory::Sign => 0,
            Memory::Bits if !built::BITS => 0,
            Memory::Bits => self.shape().len().div_ceil(32),
            Memory::Bytes => self.shape().channels * self.plane_words(),
        }
    }

    /// Words of the bytes of one channel.
    pub(super) fn plane_words(&self) -> usize {
        self.shape().pixels().div_ceil(4)
    }

    /// Values of scratch memory: in the forward pass a filter and a channel, in the backward pass a filter and its gradient.
    pub(super) fn scratch_len(&self, images: usize) -> [usize; 2] {
        let row = self.weight().map_or(0, |weight| weight.row_len);
        let plane = if self.pool.is_some() { self.head_shape().pixels() } else { 0 };
        let [forward, backward] = match self.head {
            Head::Conv { .. } => [row + plane, 2 * row],
            // The gradient of one image is that image, times a number; its noise is made again in two parts.
            Head::Linear if images == 1 && !self.input_gradient => [block(row), 0],
            Head::Linear if images == 1 => [block(row), block(row).div_ceil(2)],
            Head::Linear => [block(row); 2],
            _ => [plane; 2],
        };
        [forward.max(LEAST), backward]
    }

    /// How often it is fed with this.
    #[inline(never)] // Loops over it are not worth unrolling.
    pub(super) fn reads(&self, feed: Feed) -> usize {
        usize::from(self.input == feed) + usize::from(self.addend == feed)
    }

    /// Makes a ReLU or pooling part of this stage, when it gives its output channel by channel.
    pub(super) fn fuse(&mut self, layer: &PlannedLayer) -> bool {
        match (&layer.layer, self.head) {
            (Layer::Relu, Head::Conv { .. } | Head::Linear | Head::BatchNorm(_) | Head::Add) => self.relu = true,
            (Layer::Relu, Head::Same) if self.pool.is_some() => self.relu = true,
            (Layer::MaxPool2d(_), Head::Conv { .. } | Head::BatchNorm(_))
                if self.pool.is_none() && self.shape() == layer.input_shape =>
            {
                self.pool = Some(Window::new(&layer.layer));
                self.shape = Sizes::new(layer.output_shape);
            }
            _ => return false,
        }
        true
    }
}
