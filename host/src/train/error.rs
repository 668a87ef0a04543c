use crate::checkpoint::CheckpointError;
use crate::device::DeviceError;
use crate::plot::PlotError;
use crate::run::RunError;

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
    /// A step failed; the weights from before it were saved.
    #[error("update {update}: {cause}; the weights from before it are in {saved}")]
    Step {
        /// Updates before it.
        update: u64,
        /// Why.
        cause: DeviceError,
        /// Where the weights are.
        saved: String,
    },
    /// Ctrl-C: the step was finished and the run saved.
    #[error("interrupted; the run is saved and goes on with --resume")]
    Interrupted,
}

impl TrainError {
    /// The exit code of the program.
    pub const fn exit_code(&self) -> u8 {
        match self {
            TrainError::Interrupted => 130,
            TrainError::Option { .. } => 2,
            _ => 1,
        }
    }
}
