//! Which network and data a command looks at.

use crate::net::NetName;
use crate::options::{DeviceName, NormalizationName, Options};
use clap::Args;
use std::path::PathBuf;

/// What the command line says of network, data and machine; a checkpoint in a run's folder brings the rest along.
#[derive(Clone, Debug, Args)]
pub struct Given {
    /// Network; that of the run unless given
    #[arg(long, value_enum)]
    pub(super) net: Option<NetName>,
    /// Depth of `resnet`: 6n+2
    #[arg(long)]
    depth: Option<usize>,
    /// Data set, or a folder; that of the run unless given
    #[arg(long)]
    pub(super) data: Option<String>,
    /// Folder of the data sets
    #[arg(long)]
    data_root: Option<PathBuf>,
    /// Normalisation of pixels
    #[arg(long, value_enum)]
    normalization: Option<NormalizationName>,
    /// Where it runs: cpu, portable, micro, cuda, cuda:NUMBER or cuda:GPU-UUID; products of cuda,f32 cuda,tf32 or cuda,bf16
    #[arg(long)]
    device: Option<DeviceName>,
    /// Threads; 0 for one a core
    #[arg(long)]
    threads: Option<usize>,
}

impl Given {
    /// As options of a run.
    pub(super) fn options(&self) -> Options {
        Options {
            net: self.net,
            depth: self.depth,
            data: self.data.clone(),
            data_root: self.data_root.clone(),
            normalization: self.normalization,
            device: self.device,
            threads: self.threads,
            ..Options::default()
        }
    }
}
