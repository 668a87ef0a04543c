//! Models for microcontrollers: a trained network, with layers frozen, folded and quantised as asked, as a `.smo` file
//! or as Rust source. The format is that of [`smoothout::micro::model`].

mod fold;
mod read;
mod source;
mod write;

pub use read::Loaded;
pub use source::rust_source;

use crate::net::{Net, NetPlan};
use smoothout::micro::ModelError;
use smoothout::network::{Layer, Node};
use smoothout::plan::Tensor;
use smoothout::shape::Shape;

/// Why a model could not be exported, or an exported one not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The network has no layer of this name, or none with parameters below it.
    #[error("no layer with parameters is called {name}, or stands below it; there are {known}")]
    UnknownLayer {
        /// The name given.
        name: String,
        /// All names, separated by commas.
        known: String,
    },
    /// Int8 is for frozen convolutions and linear layers, of which there are none.
    #[error("no convolution or linear layer is frozen, so none can be int8")]
    NothingToQuantize,
    /// Folding needs a frozen batch norm that alone reads a frozen convolution or linear layer.
    #[error("no frozen batch norm follows a frozen convolution or linear layer, so none can be folded")]
    NothingToFold,
    /// A size does not fit the file's 32 bits.
    #[error("the network is too large for the format: its sizes are 32 bits")]
    TooLarge,
    /// The file is at fault; for a file just made, the network's weights are.
    #[error(transparent)]
    Model(#[from] ModelError),
}

/// A layer on its way into a file.
#[derive(Clone, Debug)]
struct ExportLayer {
    node: Node,
    frozen: bool,
    weight: Vec<f32>,
    bias: Vec<f32>,
    /// Running means, then variances.
    statistics: Vec<f32>,
}

impl ExportLayer {
    const fn is_linear(&self) -> bool {
        matches!(self.node.layer, Layer::Conv2d(_) | Layer::Linear(_))
    }
}

/// A network on its way into a file.
#[derive(Clone, Debug)]
pub struct Export {
    input: Shape,
    layers: Vec<ExportLayer>,
}

impl Export {
    /// A network with all its parameters and running statistics in the order of its plan; nothing is frozen.
    pub fn new(net: &Net, plan: &NetPlan, parameters: &[f32], statistics: &[f32]) -> Self {
        let values = |tensor: &Option<Tensor>| tensor.map_or(vec![], |t| parameters[t.range()].to_vec());
        let layers = net.nodes().iter().zip(plan.layers()).map(|(node, planned)| ExportLayer {
            node: node.clone(),
            frozen: false,
            weight: values(&planned.weight),
            bias: values(&planned.bias),
            statistics: planned
                .statistics
                .map_or(vec![], |at| statistics[at..at + 2 * planned.output_shape.channels].to_vec()),
        });
        Self { input: net.input(), layers: layers.collect() }
    }

    /// Freezes a layer, or all layers below a module of this name (`features` stands above `features.0`), or `all`.
    ///
    /// # Errors
    /// There is no such layer with parameters.
    pub fn freeze(&mut self, name: &str) -> Result<(), ExportError> {
        let below = format!("{name}.");
        let mut found = false;
        for layer in self.layers.iter_mut().filter(|layer| !layer.weight.is_empty()) {
            let own = layer.node.name.as_str();
            if name == "all" || own == name || own.starts_with(&below) {
                layer.frozen = true;
                found = true;
            }
        }
        if found {
            return Ok(());
        }
        let with_parameters = self.layers.iter().filter(|layer| !layer.weight.is_empty());
        let known: Vec<&str> = with_parameters.map(|layer| layer.node.name.as_str()).collect();
        Err(ExportError::UnknownLayer { name: name.into(), known: known.join(", ") })
    }
}
