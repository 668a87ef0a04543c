//! The plan, compiled: layers with the ReLU and the pooling behind them fused into one stage.

use super::error::SessionError;
use super::{Config, Model, Weights, built};
use crate::layers::MaxPool2d;
use crate::network::{Layer, Source};
use crate::plan::{Plan, PlannedLayer, Role, Tensor};
use crate::shape::Shape;
use heapless::Vec;

/// Where a stage's input comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Feed {
    /// There is none.
    Nothing,
    /// The images.
    Images,
    /// The output of the stage with this number.
    Stage(usize),
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
    pub trained: usize,
    /// Every how many-th filter is trained; 0 when none is.
    pub stride: usize,
}

impl<'m> Parameter<'m> {
    fn new(tensor: &Tensor, model: Weights<'m>, stride: usize, trained: &mut usize) -> Self {
        let parameter = Self {
            index: tensor.index,
            role: tensor.role,
            row_len: tensor.row_len,
            model,
            trained: *trained,
            stride,
        };
        *trained += trained_rows(tensor.rows, stride) * tensor.row_len;
        parameter
    }

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

/// Number of trained filters of `rows`.
pub(super) const fn trained_rows(rows: usize, stride: usize) -> usize {
    if stride == 0 { 0 } else { rows.div_ceil(stride) }
}

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
    /// The layer at its head; [`Layer::Relu`] and [`Layer::MaxPool2d`] when they stand alone.
    pub layer: Layer,
    /// That layer's index in the plan.
    pub index: u32,
    pub input: Feed,
    /// Second input of a sum.
    pub addend: Feed,
    pub input_shape: Shape,
    /// What the head gives, before pooling.
    pub head_shape: Shape,
    /// What the stage gives.
    pub shape: Shape,
    pub relu: bool,
    pub pool: Option<MaxPool2d>,
    pub weight: Option<Parameter<'m>>,
    pub bias: Option<Parameter<'m>>,
    /// Where a batch norm's running mean begins among the statistics.
    pub statistics: usize,
    /// Where the scales of the filters' noise begin, when the backward pass needs them.
    pub scales: Option<usize>,
    pub memory: Memory,
    /// Whether the backward pass runs through this stage.
    pub live: bool,
    /// Whether the gradient of the input is needed, and whether this stage is the first to write it.
    pub input_gradient: bool,
    pub first_of_input: bool,
    pub addend_gradient: bool,
    pub first_of_addend: bool,
    /// Whether a batch norm writes its input's gradient over its input.
    pub in_place: bool,
    /// Offsets among the values: output, its gradient, bits or bytes.
    pub output: usize,
    pub gradient: usize,
    pub extra: usize,
    /// The same of what the stage is fed with.
    pub input_at: usize,
    pub input_gradient_at: usize,
    pub addend_at: usize,
    pub addend_gradient_at: usize,
}

impl Stage<'_> {
    pub(super) fn trains(&self) -> bool {
        self.weight.is_some_and(|w| w.is_trained()) || self.bias.is_some_and(|b| b.is_trained())
    }

    /// Whether the batch's own statistics are used in training: those of a trained batch norm.
    pub(super) fn uses_batch(&self) -> bool {
        built::BATCH_NORM && matches!(self.layer, Layer::BatchNorm(_)) && self.trains()
    }

    /// Whether the backward pass reads what the forward pass was fed with.
    pub(super) fn reads_input_backward(&self) -> bool {
        let weight = self.weight.is_some_and(|w| w.is_trained());
        match self.layer {
            Layer::Conv2d(_) | Layer::Linear(_) => weight,
            Layer::BatchNorm(_) => self.trains(),
            _ => false,
        }
    }

    /// Words of bits or bytes for one image.
    pub(super) const fn extra_words(&self) -> usize {
        match self.memory {
            Memory::Nothing | Memory::Sign => 0,
            Memory::Bits => self.shape.len().div_ceil(32),
            Memory::Bytes => self.shape.channels * self.plane_words(),
        }
    }

    /// Words of the bytes of one channel.
    pub(super) const fn plane_words(&self) -> usize {
        self.shape.pixels().div_ceil(4)
    }

    pub(super) fn feeds(&self) -> [Feed; 2] {
        [self.input, self.addend]
    }
}

/// Adds the stages of a plan and returns the number of trained weights.
pub(super) fn compile<'m, const L: usize, const N: usize>(
    plan: &Plan<L>,
    model: Option<&dyn Model<'m>>,
    config: &Config<'_>,
    stages: &mut Vec<Stage<'m>, N>,
) -> Result<usize, SessionError> {
    // The stage that gives each layer's output.
    let mut given: Vec<Feed, L> = Vec::new();
    let mut trained = 0;
    for (index, layer) in plan.layers().iter().enumerate() {
        let of = |source: Source| match source {
            Source::Input => Feed::Images,
            Source::Layer(layer) => given.get(layer).copied().unwrap_or(Feed::Nothing),
        };
        let input = of(layer.input);
        if layer.layer == Layer::Flatten {
            let _ = given.push(input);
            continue;
        }
        let alone = is_alone(plan, layer.input);
        if let (Feed::Stage(at), true) = (input, alone)
            && let Some(stage) = stages.get_mut(at)
            && fuse(stage, layer)?
        {
            let _ = given.push(input);
            continue;
        }
        built::check_layer(&layer.layer)?;
        let mut parameter = |tensor: &Option<Tensor>| {
            tensor.as_ref().map(|tensor| {
                let weights = model.map_or(Weights::F32(&[]), |model| model.tensor(tensor));
                let stride = config.trained.stride(index, layer, tensor);
                Parameter::new(tensor, weights, stride, &mut trained)
            })
        };
        let mut stage = Stage {
            layer: layer.layer,
            index: index as u32,
            input,
            addend: layer.addend().map_or(Feed::Nothing, of),
            input_shape: layer.input_shape,
            head_shape: layer.output_shape,
            shape: layer.output_shape,
            relu: false,
            pool: None,
            weight: parameter(&layer.weight),
            bias: parameter(&layer.bias),
            statistics: layer.statistics.unwrap_or(0),
            scales: None,
            memory: Memory::Nothing,
            live: false,
            input_gradient: false,
            first_of_input: false,
            addend_gradient: false,
            first_of_addend: false,
            in_place: false,
            output: 0,
            gradient: 0,
            extra: 0,
            input_at: 0,
            input_gradient_at: 0,
            addend_at: 0,
            addend_gradient_at: 0,
        };
        match layer.layer {
            Layer::Relu => stage.relu = true,
            Layer::MaxPool2d(pool) => {
                check_pool(&pool)?;
                stage.head_shape = layer.input_shape;
                stage.pool = Some(pool);
            }
            _ => {}
        }
        let _ = given.push(Feed::Stage(stages.len()));
        stages.push(stage).map_err(|_| SessionError::TooManyStages { capacity: N })?;
    }
    connect(stages);
    Ok(trained)
}

/// Whether one layer alone reads this source, seen through flattening.
fn is_alone<const N: usize>(plan: &Plan<N>, source: Source) -> bool {
    let reads = |layer: &PlannedLayer| {
        usize::from(layer.input == source) + usize::from(layer.addend() == Some(source))
    };
    if plan.layers().iter().map(reads).sum::<usize>() != 1 {
        return false;
    }
    let Source::Layer(at) = source else { return true };
    match plan.layers().get(at) {
        Some(layer) if layer.layer == Layer::Flatten => is_alone(plan, layer.input),
        _ => true,
    }
}

/// Makes a ReLU or pooling part of the stage before it, when that gives its output channel by channel.
fn fuse(stage: &mut Stage<'_>, layer: &PlannedLayer) -> Result<bool, SessionError> {
    match layer.layer {
        Layer::Relu => match stage.layer {
            Layer::Conv2d(_)
            | Layer::Linear(_)
            | Layer::BatchNorm(_)
            | Layer::Add(_)
            | Layer::MaxPool2d(_) => stage.relu = true,
            _ => return Ok(false),
        },
        Layer::MaxPool2d(pool) => match stage.layer {
            Layer::Conv2d(_) | Layer::BatchNorm(_)
                if stage.pool.is_none() && stage.shape == layer.input_shape =>
            {
                check_pool(&pool)?;
                stage.pool = Some(pool);
                stage.shape = layer.output_shape;
            }
            _ => return Ok(false),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// The place of a maximum is kept in a byte.
fn check_pool(pool: &MaxPool2d) -> Result<(), SessionError> {
    match pool.kernel[0].checked_mul(pool.kernel[1]) {
        Some(area) if area < usize::from(super::pool::CLIPPED) => Ok(()),
        _ => Err(SessionError::Unsupported { what: "max pooling over more than 254 pixels" }),
    }
}

/// Which gradients flow where.
fn connect(stages: &mut [Stage<'_>]) {
    for i in 0..stages.len() {
        let (before, rest) = stages.split_at_mut(i);
        let Some(stage) = rest.first_mut() else { break };
        let live = |feed: Feed| match feed {
            Feed::Stage(at) => before.get(at).is_some_and(|s| s.live),
            Feed::Images | Feed::Nothing => false,
        };
        stage.input_gradient = live(stage.input);
        stage.addend_gradient = live(stage.addend);
        stage.live = stage.trains() || stage.input_gradient || stage.addend_gradient;
        let (input, addend) = (stage.input, stage.addend);
        stage.first_of_input = true;
        // A sum of a value with itself writes its gradient twice.
        stage.first_of_addend = addend != input;
        let Some((stage, later)) = rest.split_first_mut() else { break };
        for feed in later.iter().flat_map(Stage::feeds) {
            stage.first_of_input &= feed != input;
            stage.first_of_addend &= feed != addend;
        }
    }
}
