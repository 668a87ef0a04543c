//! SmoothOut and AdaSmoothOut: one training algorithm, written once.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod layers;
pub mod network;
pub mod networks;
pub mod plan;
pub mod shape;

pub use network::{Layer, Network, Source};
pub use plan::Plan;
pub use shape::Shape;
