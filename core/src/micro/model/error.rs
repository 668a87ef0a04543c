use crate::plan::PlanError;
use core::fmt;

/// Why a model's file was refused.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ModelError {
    /// It does not begin as a model does.
    Magic {
        /// Its first four bytes, as a little-endian word; 0 when there are fewer.
        found: u32,
    },
    /// It was written by a newer program, or its version never was.
    Version {
        /// Its version.
        found: u32,
        /// The only version that is known here.
        known: u32,
    },
    /// It has another length than it says: it is truncated, or something follows it.
    Length {
        /// Bytes that it says it has, or the least that any model has.
        stated: usize,
        /// Bytes that there are.
        given: usize,
    },
    /// Its checksum is another: it was damaged.
    Checksum {
        /// The checksum in the file.
        stated: u32,
        /// That of its contents.
        computed: u32,
    },
    /// Its header is not that of what follows.
    Header {
        /// Which number.
        what: &'static str,
        /// The number.
        value: u32,
    },
    /// A layer is described in a way that means nothing.
    Layer {
        /// Index of the layer.
        layer: usize,
        /// What is wrong with it.
        what: &'static str,
        /// The word at fault.
        value: u32,
    },
    /// A tensor is described in a way that means nothing, or not as its layer needs it.
    Tensor {
        /// Index of the tensor.
        tensor: usize,
        /// What is wrong with it.
        what: &'static str,
        /// The word at fault.
        value: u32,
    },
    /// A weight, scale or running statistic is infinite, not a number, or a negative variance.
    Value {
        /// Index of the tensor; the number of tensors for running statistics.
        tensor: usize,
        /// Position of the value, or of the scale.
        index: usize,
        /// The value.
        value: f32,
    },
    /// The network has more layers than the caller has capacity for.
    Capacity {
        /// Layers of the network.
        layers: usize,
        /// The capacity.
        capacity: usize,
    },
    /// The network has no plan.
    Plan(PlanError),
}

impl fmt::Display for ModelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ModelError::Magic { found } => {
                write!(f, "this is no model: it begins with {:?}", found.to_le_bytes())
            }
            ModelError::Version { found, known } => {
                write!(f, "the model has version {found}, only version {known} is known")
            }
            ModelError::Length { stated, given } => {
                write!(f, "the model has {given} bytes, {stated} are needed")
            }
            ModelError::Checksum { stated, computed } => write!(
                f,
                "the model is damaged: its checksum is {computed:#010x}, not {stated:#010x} as it says"
            ),
            ModelError::Header { what, value } => {
                write!(f, "{what} in the model's header, {value}, does not fit its contents")
            }
            ModelError::Layer { layer, what, value } => {
                write!(f, "layer {layer} of the model: {what} {value}")
            }
            ModelError::Tensor { tensor, what, value } => {
                write!(f, "tensor {tensor} of the model: {what} {value}")
            }
            ModelError::Value { tensor, index, value } => {
                write!(f, "value {index} of tensor {tensor} of the model is {value}")
            }
            ModelError::Capacity { layers, capacity } => {
                write!(f, "the model has {layers} layers, there is capacity for {capacity}")
            }
            ModelError::Plan(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ModelError {}
