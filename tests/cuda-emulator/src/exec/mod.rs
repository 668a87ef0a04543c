//! Runs decoded kernels: warps in lock-step, blocks in parallel.

pub mod access;
pub mod barrier;
pub mod block;
pub mod fault;
pub mod lanes;
pub mod launch;
pub mod machine;
pub mod order;
pub mod pattern;
pub mod program;
pub mod warp;
