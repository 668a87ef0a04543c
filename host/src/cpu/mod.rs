//! The CPU backend: SIMD kernels over activations blocked by batch.
//!
//! An activation of N images is stored as `[ceil(N/16)][channels][height][width][16]`: 16 images
//! lie side by side, so that one vector holds one pixel of one channel of 16 images. Weights stay
//! row-major, exactly as PyTorch stores them, and a contraction is a broadcast weight times a
//! vector of pixels. Unused lanes of the last block are zero.

pub mod aligned;
pub mod batch_norm;
pub mod conv;
mod correlation;
pub mod deliver;
pub mod dropout;
pub mod elementwise;
mod generators;
mod lanewise;
pub mod layout;
pub mod linear;
pub mod loss;
pub mod network;
pub mod objective;
pub mod noise;
mod outer;
mod packing;
mod panel;
pub mod parameters;
mod partition;
pub mod pool;
mod shared;
pub mod simd;
#[cfg(test)]
mod testing;
pub mod update;
mod weight_gradient;
pub mod workspace;
