use crate::checkpoint::CheckpointError;
use crate::device::DeviceError;
use crate::plot::PlotError;
use crate::run::RunError;
use std::path::PathBuf;

/// Why a run cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// An option's value is impossible.
    #[error("{option}: {problem}")]
    Option {
        /// The option as it is typed.
        option: &'static str,
        /// What is wrong with its value.
        problem: String,
    },
    /// The network cannot be built or does not fit the data.
    #[error("{0}")]
    Network(String),
    /// The data are at fault.
    #[error(transparent)]
    Data(#[from] crate::data::Error),
    /// The run's folder is at fault.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A checkpoint is at fault.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A picture cannot be drawn.
    #[error(transparent)]
    Plot(#[from] PlotError),
    /// The device failed.
    #[error(transparent)]
    Device(#[from] DeviceError),
    /// A step failed.
    #[error("update {update}: {cause}; the weights from before it {saved}")]
    Step {
        /// Updates before it.
        update: u64,
        /// Why.
        cause: DeviceError,
        /// Where the weights are, or why they could not be saved.
        saved: String,
    },
    /// The checkpoint to go on from belongs to another run.
    #[error("last.safetensors stands at epoch {epoch}, batch {batch}, update {updates}, where this run does not come through")]
    Position {
        /// Whole epochs.
        epoch: u64,
        /// Batches after them.
        batch: u64,
        /// Updates in all.
        updates: u64,
    },
    /// Ctrl-C: the step was finished and the run saved.
    #[error("interrupted; the run is saved and goes on with: smoothout train --out {} --resume", folder.display())]
    Interrupted {
        /// The run's folder.
        folder: PathBuf,
    },
}

impl TrainError {
    /// The exit code of the program.
    pub const fn exit_code(&self) -> u8 {
        match self {
            TrainError::Interrupted { .. } => 130,
            TrainError::Option { .. } => 2,
            _ => 1,
        }
    }
}
