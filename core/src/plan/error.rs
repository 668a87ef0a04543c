use crate::layers::Problem;
use crate::network::Name;
use crate::shape::Shape;
use core::fmt;

/// Why a network has no plan.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum PlanError {
    /// The network has no layers.
    Empty,
    /// The batch holds no images.
    EmptyBatch,
    /// A side of the input is 0, or its size does not fit the machine's word.
    Input {
        /// Shape of one image.
        shape: Shape,
    },
    /// A layer cannot work on its input.
    Layer {
        /// Index of the layer.
        layer: usize,
        /// Its name.
        name: Name,
        /// Its kind, such as `conv2d`.
        kind: &'static str,
        /// Shape of its input; that of the images when the source itself is at fault.
        input: Shape,
        /// What is wrong.
        problem: Problem,
    },
    /// All buffers together do not fit the machine's word.
    TooLarge {
        /// Images in a batch.
        batch: usize,
    },
}

impl fmt::Display for PlanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PlanError::Empty => write!(f, "the network has no layers"),
            PlanError::EmptyBatch => write!(f, "the batch is empty"),
            PlanError::Input { shape } => write!(f, "images of {shape} cannot be used"),
            PlanError::Layer { layer, name, kind, input, problem } => {
                write!(f, "layer {layer} ({name}, {kind}) on input {input}: {problem}")
            }
            PlanError::TooLarge { batch } => {
                write!(f, "a batch of {batch} needs more memory than this machine can address")
            }
        }
    }
}

impl core::error::Error for PlanError {}
