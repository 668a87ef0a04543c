//! A CUDA driver that runs PTX on the CPU, as test equipment: it finds what a program does wrong and counts what it
//! does. The library bears the driver's name and functions, so that programs run on it unchanged. See README.md.

pub mod config;
pub mod counts;
pub mod decode;
pub mod driver;
pub mod exec;
pub mod isa;
pub mod memory;
pub mod ptx;
pub mod report;
