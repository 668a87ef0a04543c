//! lib

pub mod cpu;
