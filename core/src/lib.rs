//! SmoothOut and AdaSmoothOut: one training algorithm, written once.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod averaging;
pub mod backend;
#[cfg(any(feature = "conformance", test))]
pub mod conformance;
pub mod dropout_mask;
pub mod dual;
pub mod ghost;
pub mod layers;
pub mod learning_rate;
pub mod micro;
pub mod network;
pub mod networks;
pub mod noise;
pub mod optimizer;
pub mod plan;
pub mod portable;
pub mod real;
pub mod schedule;
pub mod shape;
pub mod step;

pub use network::{Layer, Network, Source};
pub use plan::Plan;
pub use shape::Shape;
