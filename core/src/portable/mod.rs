//! The portable backend: core's plain kernels over slices that the caller gives. It is the meaning of the algorithm
//! on every machine, in f32; in f64 its passes are the reference for finite differences and conformance.

mod backward;
mod error;
mod network;
mod objective;
mod parameters;

pub use error::{LengthError, ObjectiveError};
pub use network::{Mode, NetworkPass};
pub use objective::NetworkObjective;
pub use parameters::{Memory, MemoryError, Parameters, Strategy};

#[cfg(test)]
mod tests;
