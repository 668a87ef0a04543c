//! Networks: fixed-capacity lists of layers, each fed by an earlier one.

use crate::layers::{AvgPool2d, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d};
use crate::shape::Shape;
use core::fmt;
use heapless::Vec;

/// Longest name of a layer, in bytes: `layer4.12.downsample.0` fits.
pub const NAME_CAPACITY: usize = 32;

/// A layer's name as PyTorch spells its module's path, such as `layer1.0.conv2`.
pub type Name = heapless::String<NAME_CAPACITY>;

/// Where a layer takes its input from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Source {
    /// The network's own input, the images.
    Input,
    /// The output of the layer with this index.
    Layer(usize),
}

/// What a layer computes.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Layer {
    /// Two-dimensional convolution.
    Conv2d(Conv2d),
    /// Fully connected layer.
    Linear(Linear),
    /// Batch normalisation over batch and pixels, for each channel (1d and 2d alike).
    BatchNorm(BatchNorm),
    /// max(x, 0).
    Relu,
    /// Maximum over windows.
    MaxPool2d(MaxPool2d),
    /// Mean over windows.
    AvgPool2d(AvgPool2d),
    /// Mean over all pixels of each channel.
    GlobalAvgPool,
    /// Random zeroing of activations in training.
    Dropout(Dropout),
    /// (C, H, W) read as C*H*W features.
    Flatten,
    /// Sum with the output of another layer: the residual connection.
    Add(Source),
}

impl Layer {
    /// The kind of layer in one word, for messages and tables.
    pub const fn kind(&self) -> &'static str {
        match self {
            Layer::Conv2d(_) => "conv2d",
            Layer::Linear(_) => "linear",
            Layer::BatchNorm(_) => "batch_norm",
            Layer::Relu => "relu",
            Layer::MaxPool2d(_) => "max_pool2d",
            Layer::AvgPool2d(_) => "avg_pool2d",
            Layer::GlobalAvgPool => "global_avg_pool",
            Layer::Dropout(_) => "dropout",
            Layer::Flatten => "flatten",
            Layer::Add(_) => "add",
        }
    }

    /// Multiply-accumulates of one image's forward pass; convolutions and linear layers only, as is customary.
    pub const fn macs(&self, input: Shape, output: Shape) -> u64 {
        match self {
            Layer::Conv2d(conv) => {
                output.len() as u64
                    * (input.channels / conv.groups * conv.kernel[0] * conv.kernel[1]) as u64
            }
            Layer::Linear(_) => input.channels as u64 * output.channels as u64,
            _ => 0,
        }
    }
}

/// One entry of a network: a layer, its name and where its input comes from.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Node {
    /// Name of the layer; its parameters are `name.weight` and `name.bias`.
    pub name: Name,
    /// What is computed.
    pub layer: Layer,
    /// Where the (first) input comes from.
    pub input: Source,
}

/// A network of at most `N` layers, in an order in which each layer's inputs stand before it.
///
/// Its last layer gives the logits, one a class, and softmax cross-entropy is its loss.
/// Nothing is checked but the capacity until a [`Plan`](crate::plan::Plan) is made from it.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Network<const N: usize> {
    input: Shape,
    nodes: Vec<Node, N>,
}

/// A layer could not be added to a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BuildError {
    /// The network already holds as many layers as it has capacity for.
    TooManyLayers {
        /// The capacity.
        capacity: usize,
    },
    /// The name does not fit [`NAME_CAPACITY`] bytes.
    NameTooLong {
        /// Index that the layer would have had.
        layer: usize,
    },
    /// The depth is not one that this family of networks has.
    Depth {
        /// The depth asked for.
        depth: usize,
    },
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::TooManyLayers { capacity } => {
                write!(f, "the network is full: it has capacity for {capacity} layers")
            }
            BuildError::NameTooLong { layer } => {
                write!(f, "the name of layer {layer} is longer than {NAME_CAPACITY} bytes")
            }
            BuildError::Depth { depth } => {
                write!(f, "no network of depth {depth}: CIFAR's resnet has depth 6n+2, 8 or more")
            }
        }
    }
}

impl core::error::Error for BuildError {}

impl<const N: usize> Network<N> {
    /// An empty network for images of this shape.
    pub const fn new(input: Shape) -> Self {
        Self { input, nodes: Vec::new() }
    }

    /// Shape of one image.
    pub const fn input(&self) -> Shape {
        self.input
    }

    /// The layers, in order of evaluation.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The output that a layer added next would be fed with.
    pub fn last(&self) -> Source {
        match self.nodes.len() {
            0 => Source::Input,
            n => Source::Layer(n - 1),
        }
    }

    /// Adds a layer fed by the last one and returns its output.
    ///
    /// # Errors
    /// The network is full, or the name is too long.
    pub fn push(&mut self, name: fmt::Arguments<'_>, layer: Layer) -> Result<Source, BuildError> {
        self.push_from(name, layer, self.last())
    }

    /// Adds a layer fed by `input` and returns its output.
    ///
    /// # Errors
    /// The network is full, or the name is too long.
    pub fn push_from(
        &mut self,
        name: fmt::Arguments<'_>,
        layer: Layer,
        input: Source,
    ) -> Result<Source, BuildError> {
        let mut spelled = Name::new();
        fmt::write(&mut spelled, name)
            .map_err(|_| BuildError::NameTooLong { layer: self.nodes.len() })?;
        self.push_node(Node { name: spelled, layer, input })
    }

    /// Adds a node as it is and returns its output.
    ///
    /// # Errors
    /// The network is full.
    pub fn push_node(&mut self, node: Node) -> Result<Source, BuildError> {
        self.nodes.push(node).map_err(|_| BuildError::TooManyLayers { capacity: N })?;
        Ok(self.last())
    }

    /// Sets the probability of every dropout layer, for example to 0 for a comparison with another framework.
    pub fn set_dropout(&mut self, probability: f32) {
        for node in &mut self.nodes {
            if let Layer::Dropout(dropout) = &mut node.layer {
                dropout.probability = probability;
            }
        }
    }
}
