//! How flat the minimum is in which a training ended, and what that flatness is worth.
//!
//! Each measurement is a module of its own and knows nothing of files or the command line. Those that walk by gradients
//! ([`sharpness`], [`hessian`]) take any [`Objective`], so that they are tested on functions whose answer is known;
//! [`NetworkLoss`] makes one of a network on a device and a split of data. Those that compare losses take a
//! [`Subject`] directly. All sums over batches are in f64, and everything random is a function of a seed.

mod estimate;
pub mod hessian;
pub mod interpolation;
pub mod landscape;
mod linear_algebra;
mod objective;
pub mod products;
pub mod quantisation;
mod random;
pub mod range;
pub mod sensitivity;
pub mod sharpness;
pub mod strength;
mod subject;
mod subspace;
pub mod trajectory;

pub use estimate::Estimate;
pub use objective::{NetworkLoss, Objective};
pub use products::{Differences, Exact, Products};
pub use range::Range;
pub use subject::{Mean, Subject, parse_selection};

use crate::data;
use crate::device::DeviceError;

/// Why a measurement ended without a result, or with a part of it.
#[derive(Debug, thiserror::Error)]
pub enum MeasureError {
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// The data are at fault.
    #[error(transparent)]
    Data(#[from] data::Error),
    /// What was asked for cannot be measured.
    #[error("{0}")]
    Request(String),
    /// Whoever watches the measurement ended it.
    #[error("interrupted")]
    Interrupted,
}
