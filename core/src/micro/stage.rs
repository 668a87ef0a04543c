//! The plan, compiled: layers with the ReLU and the pooling behind them fused into one stage. A session keeps one for each
//! of its stages, so that they are small: sizes take 16 bits, and what follows from something else is worked out.

use super::error::SessionError;
use super::{Config, Model, Weights, built};
use crate::layers::{BatchNorm, Conv2d, Dropout, MaxPool2d};
use crate::network::Layer;
use crate::plan::{PlannedLayer, Role, Tensor};
use crate::shape::Shape;

/// Where a stage's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    /// There is none.
    Nothing,
    /// The images.
    Images,
    /// The output of the stage with this number.
    Stage(u16),
}

/// A shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Sizes([u16; 3]);

impl Sizes {
    #[inline(never)] // Here and below: needed at several places, and not in a hurry.
    fn new(shape: Shape) -> Result<Self, SessionError> {
        let [c, h, w] = [shape.channels, shape.height, shape.width].map(u16::try_from);
        let (Ok(c), Ok(h), Ok(w)) = (c, h, w) else {
            return Err(SessionError::Unsupported { what: "shapes of more than 65,535 channels, rows or columns" });
        };
        Ok(Self([c, h, w]))
    }

    fn shape(self) -> Shape {
        let [channels, height, width] = self.0.map(usize::from);
        Shape::new(channels, height, width)
    }
}

/// Kernel, stride and padding along height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    kernel: [u8; 2],
    stride: [u8; 2],
    padding: [u8; 2],
}

impl Window {
    /// One pixel each.
    pub(super) const ONE: Self = Self { kernel: [1, 1], stride: [1, 1], padding: [0, 0] };

    #[inline(never)]
    fn new(kernel: [usize; 2], stride: [usize; 2], padding: [usize; 2]) -> Result<Self, SessionError> {
        let small = |[h, w]: [usize; 2]| match (u8::try_from(h), u8::try_from(w)) {
            (Ok(h), Ok(w)) => Ok([h, w]),
            _ => Err(SessionError::Unsupported { what: "windows, strides or paddings of more than 255 pixels" }),
        };
        Ok(Self { kernel: small(kernel)?, stride: small(stride)?, padding: small(padding)? })
    }

    pub(super) fn kernel(self) -> [usize; 2] {
        self.kernel.map(usize::from)
    }

    pub(super) fn stride(self) -> [usize; 2] {
        self.stride.map(usize::from)
    }

    pub(super) fn padding(self) -> [usize; 2] {
        self.padding.map(usize::from)
    }

    /// Whether these are the usual pooling windows: 2x2, side by side.
    pub(super) fn is_usual(self) -> bool {
        (self.kernel, self.stride, self.padding) == ([2, 2], [2, 2], [0, 0])
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
    Dropout(Dropout),
    Add,
    /// Nothing: ReLU or max pooling that stands alone.
    Same,
}

impl Head {
    fn new(layer: &Layer) -> Result<Self, SessionError> {
        Ok(match *layer {
            Layer::Conv2d(Conv2d { kernel, stride, padding, groups, .. }) => {
                let too_many = SessionError::Unsupported { what: "more than 65,535 groups" };
                let groups = u16::try_from(groups).map_err(|_| too_many)?;
                Head::Conv { window: Window::new(kernel, stride, padding)?, groups }
            }
            Layer::Linear(_) => Head::Linear,
            Layer::BatchNorm(norm) => Head::BatchNorm(norm),
            Layer::AvgPool2d(pool) => Head::AvgPool(Window::new(pool.kernel, pool.stride, pool.padding)?),
            Layer::GlobalAvgPool => Head::GlobalAvgPool,
            Layer::Dropout(dropout) => Head::Dropout(dropout),
            Layer::Add(_) => Head::Add,
            Layer::Relu | Layer::MaxPool2d(_) | Layer::Flatten => Head::Same,
        })
    }
}

/// A parameter tensor: where its filters are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter<'m> {
    /// Number in the plan's table, for the address of the noise.
    pub index: u32,
    pub role: Role,
    /// Values of one filter.
    pub row_len: usize,
    /// Where filters that are not trained lie.
    pub model: Weights<'m>,
    /// Where the trained filters begin among the trained weights.
    trained: usize,
    /// Every how many-th filter is trained; 0 when none is.
    pub stride: usize,
}

impl Parameter<'_> {
    /// Where filter `row` lies among the trained weights, when it does.
    pub(super) fn range(&self, row: usize) -> Option<core::ops::Range<usize>> {
        let index = match self.stride {
            0 => return None,
            1 => row,
            stride => row.is_multiple_of(stride).then_some(row / stride)?,
        };
        let start = self.trained + index * self.row_len;
        Some(start..start + self.row_len)
    }

    pub(super) const fn is_trained(&self) -> bool {
        self.stride > 0
    }
}

/// A stage's parameter tensors: the weight, and the bias whose number is the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters<'m> {
    weight: Weights<'m>,
    bias: Weights<'m>,
    /// Number of the weight in the plan's table.
    index: u32,
    row_len: usize,
    /// Where the trained filters begin among the trained weights; the trained biases follow them.
    trained: usize,
    /// Every how many-th is trained.
    weight_stride: u16,
    bias_stride: u16,
    biased: bool,
}

impl<'m> Parameters<'m> {
    pub(super) fn new(
        index: usize,
        layer: &PlannedLayer,
        model: Option<&dyn Model<'m>>,
        config: &Config<'_>,
        trained: &mut usize,
    ) -> Option<Self> {
        let weight = layer.weight.as_ref()?;
        let values = |tensor| model.map_or(Weights::F32(&[]), |model| model.tensor(tensor));
        // There are fewer rows than strides can be.
        let stride = |t: &Tensor| u16::try_from(config.trained.stride(index, layer, t)).unwrap_or(u16::MAX);
        let bias = layer.bias.as_ref();
        let parameters = Self {
            weight: values(weight),
            bias: bias.map_or(Weights::F32(&[]), values),
            index: weight.index,
            row_len: weight.row_len,
            trained: *trained,
            weight_stride: stride(weight),
            bias_stride: bias.map_or(0, stride),
            biased: bias.is_some(),
        };
        let rows = |stride| trained_rows(weight.rows, usize::from(stride));
        *trained += rows(parameters.weight_stride) * weight.row_len + rows(parameters.bias_stride);
        Some(parameters)
    }
}

/// Number of trained filters of `rows`.
pub(super) const fn trained_rows(rows: usize, stride: usize) -> usize {
    if stride == 0 { 0 } else { rows.div_ceil(stride) }
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
    let Feed::Stage(at) = feed else { return None };
    stages.get(usize::from(at))
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
    /// One byte a window: the maximum's place, or [`CLIPPED`](super::pool::CLIPPED).
    Bytes,
}

/// One stage.
#[derive(Clone, Debug)]
pub(super) struct Stage<'m> {
    /// The layer at its head.
    pub head: Head,
    /// That layer's index in the plan.
    pub index: u16,
    pub memory: Memory,
    pub input: Feed,
    /// Second input of a sum.
    pub addend: Feed,
    input_shape: Sizes,
    head_shape: Sizes,
    shape: Sizes,
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
    pub(super) fn new(
        index: usize,
        layer: &PlannedLayer,
        input: Feed,
        parameters: Option<Parameters<'m>>,
    ) -> Result<Self, SessionError> {
        let shape = Sizes::new(layer.output_shape)?;
        let mut stage = Self {
            head: Head::new(&layer.layer)?,
            index: u16::try_from(index).map_err(|_| SessionError::TooLarge)?,
            memory: Memory::Nothing,
            input,
            addend: Feed::Nothing,
            input_shape: Sizes::new(layer.input_shape)?,
            head_shape: shape,
            shape,
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
        if let Layer::MaxPool2d(pool) = &layer.layer {
            stage.head_shape = stage.input_shape;
            stage.pool = Some(max_window(pool)?);
        }
        Ok(stage)
    }

    pub(super) fn input_shape(&self) -> Shape {
        self.input_shape.shape()
    }

    /// What the head gives, before pooling.
    pub(super) fn head_shape(&self) -> Shape {
        self.head_shape.shape()
    }

    /// What the stage gives.
    pub(super) fn shape(&self) -> Shape {
        self.shape.shape()
    }

    #[cfg_attr(all(feature = "micro-lean", not(feature = "micro-wide")), inline(never))]
    pub(super) fn weight(&self) -> Option<Parameter<'m>> {
        let norm = matches!(self.head, Head::BatchNorm(_));
        self.parameters.as_ref().map(|of| Parameter {
            index: of.index,
            role: if norm { Role::NormScale } else { Role::Weight },
            row_len: of.row_len,
            model: of.weight,
            trained: of.trained,
            stride: usize::from(of.weight_stride),
        })
    }

    #[cfg_attr(all(feature = "micro-lean", not(feature = "micro-wide")), inline(never))]
    pub(super) fn bias(&self) -> Option<Parameter<'m>> {
        let norm = matches!(self.head, Head::BatchNorm(_));
        let of = self.parameters.as_ref().filter(|of| of.biased)?;
        let filters = trained_rows(self.head_shape().channels, usize::from(of.weight_stride));
        Some(Parameter {
            index: of.index + 1,
            role: if norm { Role::NormShift } else { Role::Bias },
            row_len: 1,
            model: of.bias,
            trained: of.trained + filters * of.row_len,
            stride: usize::from(of.bias_stride),
        })
    }

    pub(super) fn trains_weight(&self) -> bool {
        self.parameters.as_ref().is_some_and(|of| of.weight_stride > 0)
    }

    pub(super) fn trains(&self) -> bool {
        self.trains_weight() || self.parameters.as_ref().is_some_and(|of| of.bias_stride > 0)
    }

    /// Whether the batch's own statistics are used in training: those of a trained batch norm.
    pub(super) fn uses_batch(&self) -> bool {
        built::BATCH_NORM && matches!(self.head, Head::BatchNorm(_)) && self.trains()
    }

    /// Whether the backward pass reads what the forward pass was fed with.
    pub(super) fn reads_input_backward(&self) -> bool {
        match self.head {
            Head::Conv { .. } | Head::Linear => self.trains_weight(),
            Head::BatchNorm(_) => self.trains(),
            _ => false,
        }
    }

    /// Words of bits or bytes for one image.
    pub(super) fn extra_words(&self) -> usize {
        match self.memory {
            Memory::Nothing | Memory::Sign => 0,
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
        let row = self.parameters.as_ref().map_or(0, |of| of.row_len);
        let plane = if self.pool.is_some() { self.head_shape().pixels() } else { 0 };
        let [forward, backward] = match self.head {
            Head::Conv { .. } => [row + plane, 2 * row],
            // The gradient of one image is that image, times a number.
            Head::Linear if images == 1 && !self.input_gradient => [block(row), 0],
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
    pub(super) fn fuse(&mut self, layer: &PlannedLayer) -> Result<bool, SessionError> {
        match (&layer.layer, self.head) {
            (Layer::Relu, Head::Conv { .. } | Head::Linear | Head::BatchNorm(_) | Head::Add) => self.relu = true,
            (Layer::Relu, Head::Same) if self.pool.is_some() => self.relu = true,
            (Layer::MaxPool2d(pool), Head::Conv { .. } | Head::BatchNorm(_))
                if self.pool.is_none() && self.shape() == layer.input_shape =>
            {
                self.pool = Some(max_window(pool)?);
                self.shape = Sizes::new(layer.output_shape)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }
}

fn max_window(pool: &MaxPool2d) -> Result<Window, SessionError> {
    built::check_pool(pool)?;
    Window::new(pool.kernel, pool.stride, pool.padding)
}
