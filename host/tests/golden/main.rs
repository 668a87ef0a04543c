//! Golden files from PyTorch in float64 (made by tests/golden), held against the devices `cpu` and `portable`:
//! single layers, whole networks, whole training steps, exchange of checkpoints; and the two commands by which
//! anybody compares this program with another one.

mod commands;
mod exchange;
mod file;
mod layers;
mod networks;
mod steps;
mod values;

use smoothout_host::options::DeviceName;

/// The devices, by the names of their option.
const DEVICES: [DeviceName; 2] = [DeviceName::Cpu, DeviceName::Portable];
