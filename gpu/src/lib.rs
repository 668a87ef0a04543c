//! SmoothOut and AdaSmoothOut on NVIDIA GPUs, on `cust` and the driver alone.
//!
//! [`Gpu`] is a device with its kernels. Kernels are CUDA C++ in `kernels/`, compiled to PTX in `ptx/`, which is embedded;
//! see `README.md` beside them for how that is done and checked.

mod batch;
mod batch_norm;
mod conv;
mod data;
mod deliver;
mod device;
mod driver;
mod dropout;
mod error;
mod ghosts;
mod kernels;
mod linear;
mod loss;
mod memory;
mod network;
mod noise;
mod packing;
mod parameters;
mod pointer;
mod pool;
mod precision;
mod product;
mod queue;
mod relu;
mod session;
mod update;

#[cfg(feature = "faults")]
pub use driver::faults;
pub use device::{Gpu, Selector};
pub use error::{GpuError, Result};
pub use memory::Buffer;
pub use pointer::Pointer;
pub use data::{DataSet, Placement};
pub use batch::Feed;
pub use parameters::{Keeps, Piece};
pub use precision::Precision;
pub use session::{Failure, Outcome, Part, Session, Step, WINDOW};
