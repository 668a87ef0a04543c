//! A training run: from a configuration to checkpoints, metrics and results.

mod auto;
mod average;
mod checkpoints;
mod data;
mod epoch_end;
mod error;
mod position;
mod setup;
mod training;

pub use auto::{first, start};
pub use checkpoints::{averaged_network, load_average, load_network, network_tensors};
pub use data::open_data;
pub use epoch_end::{evaluate_split, selected};
pub use error::TrainError;
pub use setup::{Setup, device, device_of, distribution, network, plan, scaling, stepper};
pub use training::{Report, train};
