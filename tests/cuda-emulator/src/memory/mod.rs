//! Memories, and what is known about each of their bytes.

pub mod arena;
pub mod races;
pub mod region;
