//! SmoothOut and AdaSmoothOut on NVIDIA GPUs, on `cust` and the driver alone.
//!
//! [`Gpu`] is a device with its kernels. Kernels are CUDA C++ in `kernels/`, compiled to PTX in `ptx/`, which is embedded;
//! see `README.md` beside them for how that is done and checked.

#[allow(dead_code, reason = "the compiled plan uses it")]
mod conv;
mod device;
mod driver;
mod error;
mod kernels;
#[allow(dead_code, reason = "the compiled plan uses it")]
mod linear;
mod memory;
mod noise;
mod parameters;
#[allow(dead_code, reason = "the compiled plan uses it")]
mod product;
mod update;

#[cfg(feature = "faults")]
pub use driver::faults;
pub use device::{Gpu, Selector};
pub use error::{GpuError, Result};
pub use memory::{Buffer, Pointer};
pub use parameters::{Deliver, Keeps, Parameters, Piece};
pub use product::Precision;
