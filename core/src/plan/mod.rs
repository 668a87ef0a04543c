//! The plan: all shapes, parameter offsets and buffer offsets of a network, worked out once before any data.
//!
//! A backend receives the whole plan and compiles it into what its machine likes. The offsets given here are those of
//! the portable backend; another one may run layers together where [`Fusion`] finds them, with the values and gradients of
//! [`wiring`], and place its buffers by [`arena::place`] as well.

pub mod arena;
mod error;
mod fusion;
mod lifetimes;
mod tensor;
pub mod wiring;

pub use error::PlanError;
pub use fusion::Fusion;
pub use tensor::{Dims, Role, Tensor};

use crate::layers::Problem;
use crate::network::{Layer, Name, Network, Node, Source};
use crate::shape::Shape;
use heapless::Vec;

/// What a plan is for: it decides which buffers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Purpose {
    /// Forward and backward passes.
    Training,
    /// Forward passes alone.
    Inference,
}

/// One layer with everything known about it before data arrive. Lengths and offsets count f32 values.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct PlannedLayer {
    /// Name of the layer.
    pub name: Name,
    /// What it computes.
    pub layer: Layer,
    /// Where its (first) input comes from.
    pub input: Source,
    /// Shape of one image's input.
    pub input_shape: Shape,
    /// Shape of one image's output.
    pub output_shape: Shape,
    /// Weight, or a batch norm's scale.
    pub weight: Option<Tensor>,
    /// Bias, or a batch norm's shift.
    pub bias: Option<Tensor>,
    /// Where a batch norm's running mean starts among all running statistics; its running variance follows.
    pub statistics: Option<usize>,
    /// Where its output starts in the arena, images one after the other.
    pub output: usize,
    /// Where the gradient of its output starts in the arena; 0 when the plan is for inference.
    pub gradient: usize,
}

impl PlannedLayer {
    /// Its parameter tensors, weight first.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.weight.iter().chain(&self.bias)
    }

    /// Multiply-accumulates of one image's forward pass.
    pub const fn macs(&self) -> u64 {
        self.layer.macs(self.input_shape, self.output_shape)
    }

    /// How often this layer is fed with the output of `source`: twice by a sum of a value with itself.
    #[inline(never)] // Loops over it are not worth unrolling.
    pub fn reads(&self, source: Source) -> usize {
        usize::from(self.input == source) + usize::from(self.addend() == Some(source))
    }

    /// Second input of a sum.
    pub const fn addend(&self) -> Option<Source> {
        match self.layer {
            Layer::Add(source) => Some(source),
            _ => None,
        }
    }
}

/// Everything about a network of at most `N` layers and a batch size, before any data.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Plan<const N: usize> {
    input: Shape,
    batch: usize,
    purpose: Purpose,
    layers: Vec<PlannedLayer, N>,
    parameters: usize,
    statistics: usize,
    /// Length of the portable backend's arena, when its offsets were worked out.
    arena: Option<usize>,
}

impl<const N: usize> Plan<N> {
    /// Plans `network` for batches of at most `batch` images.
    ///
    /// # Errors
    /// Names the first layer that cannot work, with its index and shapes; see [`PlanError`].
    pub fn new(network: &Network<N>, batch: usize, purpose: Purpose) -> Result<Self, PlanError> {
        let mut plan = Self::empty();
        plan.make(network, batch, purpose)?;
        let arena = lifetimes::assign(&mut plan.layers, batch, purpose);
        plan.arena = Some(arena.ok_or(PlanError::TooLarge { batch })?);
        Ok(plan)
    }

    /// A plan of nothing, which a session refuses, until it is [made](Self::make).
    pub const fn empty() -> Self {
        Self {
            input: Shape::flat(0),
            batch: 0,
            purpose: Purpose::Inference,
            layers: Vec::new(),
            parameters: 0,
            statistics: 0,
            arena: None,
        }
    }

    /// Makes the plan of `network` where it lies, for sessions of the [microcontroller](crate::micro): nothing as large as a
    /// plan is moved, and the portable backend's arena is not worked out, so that it refuses the plan.
    ///
    /// # Errors
    /// Those of [`new`](Self::new); the plan is one of nothing then.
    pub fn make(&mut self, network: &Network<N>, batch: usize, purpose: Purpose) -> Result<(), PlanError> {
        self.layers.clear();
        (self.input, self.batch, self.purpose) = (network.input(), batch, purpose);
        (self.parameters, self.statistics, self.arena) = (0, 0, None);
        let made = self.fill(network);
        if made.is_err() {
            self.layers.clear();
        }
        made
    }

    fn fill(&mut self, network: &Network<N>) -> Result<(), PlanError> {
        if self.batch == 0 {
            return Err(PlanError::EmptyBatch);
        }
        if self.input.is_empty() || self.input.checked_len().is_none() {
            return Err(PlanError::Input { shape: self.input });
        }
        self.add_layers(network)?;
        self.check_uses()
    }

    /// Works out the shapes and parameters of all layers.
    // Kept out of `new`: inlined there, rustc 1.95 (MIR optimisation level 2, several codegen units) wrote a stack
    // address over `plan.input` of plans with capacity for 128 layers or more.
    #[inline(never)]
    fn add_layers(&mut self, network: &Network<N>) -> Result<(), PlanError> {
        let mut tensors = 0;
        for (index, Node { name, layer, input }) in network.nodes().iter().enumerate() {
            self.add_layer(name, layer, *input, &mut tensors)
                .map_err(|problem| self.refusal(index, name, layer, *input, problem))?;
        }
        Ok(())
    }

    fn add_layer(&mut self, name: &Name, layer: &Layer, input: Source, tensors: &mut u32) -> Result<(), Problem> {
        let input_shape = self.source_shape(input)?;
        let mut planned = PlannedLayer {
            name: name.clone(),
            layer: *layer,
            input,
            input_shape,
            output_shape: self.output_shape(layer, input_shape)?,
            weight: None,
            bias: None,
            statistics: None,
            output: 0,
            gradient: 0,
        };
        self.add_parameters(&mut planned, tensors).ok_or(Problem::TooLarge)?;
        // `Network` has the same capacity, so there is room.
        let _ = self.layers.push(planned);
        Ok(())
    }

    /// What is reported of a layer that cannot work.
    #[inline(never)] // Needed at two places, and not in a hurry.
    fn refusal(&self, index: usize, name: &Name, layer: &Layer, input: Source, problem: Problem) -> PlanError {
        PlanError::Layer {
            layer: index,
            name: name.clone(),
            kind: layer.kind(),
            input: self.source_shape(input).unwrap_or(self.input),
            problem,
        }
    }

    fn source_shape(&self, source: Source) -> Result<Shape, Problem> {
        match source {
            Source::Input => Ok(self.input),
            Source::Layer(index) => match self.layers.get(index) {
                Some(layer) => Ok(layer.output_shape),
                None => Err(Problem::Source { source: index }),
            },
        }
    }

    fn output_shape(&self, layer: &Layer, input: Shape) -> Result<Shape, Problem> {
        let output = match layer {
            Layer::Conv2d(conv) => conv.output(input)?,
            Layer::Linear(linear) => linear.output(input)?,
            Layer::BatchNorm(norm) => {
                if self.purpose == Purpose::Training && self.batch == 1 && input.pixels() == 1 {
                    return Err(Problem::OneValue);
                }
                norm.output(input)?
            }
            Layer::MaxPool2d(pool) => pool.output(input)?,
            Layer::AvgPool2d(pool) => pool.output(input)?,
            Layer::Dropout(dropout) => dropout.output(input)?,
            Layer::Relu => input,
            Layer::GlobalAvgPool => Shape::flat(input.channels),
            Layer::Flatten => Shape::flat(input.len()),
            Layer::Add(source) => {
                let other = self.source_shape(*source)?;
                if other != input {
                    return Err(Problem::Shapes { other });
                }
                input
            }
        };
        let len = output.checked_len().and_then(|len| len.checked_mul(self.batch));
        if len.is_none() { Err(Problem::TooLarge) } else { Ok(output) }
    }

    fn add_parameters(&mut self, planned: &mut PlannedLayer, tensors: &mut u32) -> Option<()> {
        let (inputs, outputs) = (planned.input_shape.channels, planned.output_shape.channels);
        let (weight, bias) = match planned.layer {
            Layer::Conv2d(conv) => (Dims::four(conv.weight_dims(inputs)), conv.bias),
            Layer::Linear(linear) => (Dims::two(outputs, inputs), linear.bias),
            Layer::BatchNorm(_) => {
                planned.statistics = Some(self.statistics);
                self.statistics = self.statistics.checked_add(outputs.checked_mul(2)?)?;
                (Dims::one(outputs), true)
            }
            _ => return Some(()),
        };
        let norm = matches!(planned.layer, Layer::BatchNorm(_));
        let mut add = |to: &mut Option<Tensor>, role, dims: Dims| {
            let row_len = dims.as_slice().iter().skip(1).try_fold(1usize, |n, d| n.checked_mul(*d))?;
            let len = outputs.checked_mul(row_len)?;
            let (offset, index) = (self.parameters, *tensors);
            self.parameters = offset.checked_add(len)?;
            *tensors += 1;
            *to = Some(Tensor { index, role, dims, offset, rows: outputs, row_len });
            Some(())
        };
        add(&mut planned.weight, if norm { Role::NormScale } else { Role::Weight }, weight)?;
        if bias {
            add(&mut planned.bias, if norm { Role::NormShift } else { Role::Bias }, Dims::one(outputs))?;
        }
        Some(())
    }

    /// Every output but the last is read by somebody, and the last is flat.
    fn check_uses(&self) -> Result<(), PlanError> {
        let last = self.layers.len().checked_sub(1).ok_or(PlanError::Empty)?;
        for (index, layer) in self.layers.iter().enumerate() {
            let mine = Source::Layer(index);
            let used = self.layers.iter().any(|layer| layer.reads(mine) > 0);
            let problem = if index < last && !used {
                Problem::Unused
            } else if index == last && !layer.output_shape.is_flat() {
                Problem::NotFlat
            } else {
                continue;
            };
            return Err(self.refusal(index, &layer.name, &layer.layer, layer.input, problem));
        }
        Ok(())
    }

    /// Shape of one image.
    pub const fn input(&self) -> Shape {
        self.input
    }

    /// The most images of one pass.
    pub const fn batch(&self) -> usize {
        self.batch
    }

    /// What the plan is for.
    pub const fn purpose(&self) -> Purpose {
        self.purpose
    }

    /// Number of classes: the features of the last layer.
    pub fn classes(&self) -> usize {
        self.layers.last().map_or(0, |layer| layer.output_shape.channels)
    }

    /// The layers, in order of evaluation.
    pub fn layers(&self) -> &[PlannedLayer] {
        &self.layers
    }

    /// The parameter table, in order of index and offset.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.layers.iter().flat_map(PlannedLayer::tensors)
    }

    /// Number of parameters.
    pub const fn parameters(&self) -> usize {
        self.parameters
    }

    /// Number of running statistics (means and variances of all batch norms).
    pub const fn statistics(&self) -> usize {
        self.statistics
    }

    /// Length of the arena that the portable backend needs for activations and their gradients; 0 when the plan was
    /// [made](Self::make) for a microcontroller.
    pub const fn arena(&self) -> usize {
        match self.arena {
            Some(len) => len,
            None => 0,
        }
    }

    /// The same; `None` instead of 0.
    pub(crate) const fn placed(&self) -> Option<usize> {
        self.arena
    }

    /// Values that a pass needs beside the arena: the gradient of one filter, or of a batch norm's two parameters.
    pub fn scratch(&self) -> usize {
        let needed = |layer: &PlannedLayer| match layer.layer {
            Layer::BatchNorm(_) => 2 * layer.output_shape.channels,
            _ => layer.weight.map_or(0, |w| w.row_len),
        };
        self.layers.iter().map(needed).max().unwrap_or(0)
    }

    /// Length of the slice that a [`NetworkPass`](crate::portable::NetworkPass) works in: arena, batch statistics, scratch.
    pub fn workspace(&self) -> usize {
        self.arena() + self.statistics + self.scratch()
    }

    /// Where the output (or its gradient) that starts at `offset` lies for `images` images.
    pub(crate) fn range(&self, offset: usize, layer: &PlannedLayer, images: usize) -> core::ops::Range<usize> {
        offset..offset + images * layer.output_shape.len()
    }

    /// Multiply-accumulates of one image's forward pass: convolutions and linear layers.
    pub fn macs(&self) -> u64 {
        self.layers.iter().map(PlannedLayer::macs).sum()
    }

    /// Bytes of parameters, running statistics and arena together.
    pub const fn bytes(&self) -> u64 {
        4 * (self.parameters as u64 + self.statistics as u64 + self.arena() as u64)
    }
}

#[cfg(test)]
mod tests;
