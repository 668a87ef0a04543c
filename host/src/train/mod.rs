//! A training run: from a configuration to checkpoints, metrics and results.

mod checkpoints;
mod error;
mod setup;
mod training;

pub use checkpoints::{load_network, network_tensors, part_values};
pub use error::TrainError;
pub use setup::{Setup, device, device_of, plan_of, distribution, network, scaling, stepper};
pub use training::{Report, evaluate_split, train};
