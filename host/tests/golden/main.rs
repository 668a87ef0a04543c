//! Golden files from PyTorch in float64 (made by tests/golden), held against the devices `cpu` and `portable`, or `cuda`:
//! single layers, whole networks, whole training steps, exchange of checkpoints; and the two commands by which
//! anybody compares this program with another one.

mod commands;
mod exchange;
mod file;
mod layers;
mod networks;
mod steps;
mod values;

#[cfg(feature = "cuda")]
use smoothout_host::options::{CudaName, CudaPrecision};
use smoothout_host::options::DeviceName;

/// The devices, by the names of their option. A program that knows GPUs is tested on those alone.
#[cfg(not(feature = "cuda"))]
const DEVICES: [DeviceName; 2] = [DeviceName::Cpu, DeviceName::Portable];

#[cfg(feature = "cuda")]
const DEVICES: [DeviceName; 1] = [DeviceName::Cuda(CudaName::Number(0), CudaPrecision::F32)];
