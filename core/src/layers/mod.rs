//! The layers: what each one computes (its portable kernel) and the shapes that it accepts.
//!
//! Portable kernels are the meaning of a layer: plain loops over slices in NCHW order, images one after the other,
//! the same bits on every machine. Backends are held to them by the conformance suite.

mod batch_norm;
mod conv;
mod dropout;
mod linear;
mod pool;
mod problem;

pub use batch_norm::BatchNorm;
pub use conv::Conv2d;
pub use dropout::Dropout;
pub use linear::Linear;
pub use pool::{AvgPool2d, MaxPool2d};
pub use problem::Problem;
