//! The layers: what each one computes (its portable kernel) and the shapes that it accepts.
//!
//! Portable kernels are the meaning of a layer: plain loops over slices in NCHW order, images one after the other,
//! the same bits on every machine. Backends are held to them by the conformance suite.

mod batch_norm;
mod conv;
mod dropout;
mod linear;
mod loss;
mod pool;
mod problem;
pub(crate) mod relu;

pub use batch_norm::BatchNorm;
pub use conv::Conv2d;
pub use dropout::Dropout;
pub use linear::Linear;
pub use loss::{Label, Loss};
pub(crate) use loss::softmax_cross_entropy;
pub(crate) use pool::global_avg_pool;
pub use pool::{AvgPool2d, MaxPool2d};
pub use problem::Problem;

#[cfg(test)]
mod tests;
