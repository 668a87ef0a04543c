//! Golden files from PyTorch in float64 (made by tests/golden), held against the devices `cpu` and `portable`, or others:
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

/// The devices, by the names of their option: those that are named in `GOLDEN_DEVICES`, else the CPU's.
fn devices() -> Vec<DeviceName> {
    let names = std::env::var("GOLDEN_DEVICES").unwrap_or_else(|_| "cpu portable".into());
    names.split(' ').map(|name| name.parse().expect("a device")).collect()
}
