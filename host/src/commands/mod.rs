//! The program's commands.

mod bench;
mod data;
mod demo;
mod evaluate;
mod export;
mod gradient;
mod hessian;
mod info;
mod interpolate;
mod landscape;
mod measuring;
mod network;
mod noise;
mod robustness;
mod sensitivity;
mod sharpness;
mod strength;
mod train;

use crate::checkpoint::CheckpointError;
use crate::checkpoint::atomic::WriteError;
use crate::export::ExportError;
use crate::options::{Config, Options};
use crate::progress::{Mode, Progress};
use crate::run::read_config;
use crate::train::TrainError;
use clap::{Parser, Subcommand};
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Trains networks with SmoothOut and AdaSmoothOut, and measures them.
#[derive(Debug, Parser)]
#[command(name = "smoothout", version, about, after_help = EXAMPLES)]
pub struct Program {
    #[command(subcommand)]
    command: Command,
    /// Results and warnings only
    #[arg(long, global = true, help_heading = "Output")]
    quiet: bool,
    /// One JSON object a line
    #[arg(long, global = true, help_heading = "Output")]
    json: bool,
}

const EXAMPLES: &str = "Examples:
  smoothout train        digits with SGD, SmoothOut and AdaSmoothOut, in seconds
  smoothout data get mnist
  smoothout train --data mnist --net f1 --method ada --strength 0.15 --out runs/f1
  smoothout train --out runs/f1 --resume
  smoothout evaluate --checkpoint runs/f1/best.safetensors
  smoothout info --net resnet --depth 44";

#[derive(Debug, Subcommand)]
enum Command {
    /// Train a network
    Train(train::Train),
    /// Measure a checkpoint on the test set, clean or under noise
    Evaluate(evaluate::Evaluate),
    /// Show a network's layers, parameters, operations and memory
    Info(info::Info),
    /// Fetch data sets and check them
    Data(data::DataCommand),
    /// Write a trained network for a microcontroller
    Export(export::ExportCommand),
    /// Time training steps; one JSON line a method
    Bench(bench::Bench),
    /// Measure how sharp the minimum of a network is
    Sharpness(sharpness::SharpnessCommand),
    /// Measure loss and accuracy under noise of growing strength
    Sensitivity(sensitivity::SensitivityCommand),
    /// Choose the strength of the noise from data
    Strength(strength::StrengthCommand),
    /// Measure loss and accuracy on the line through two networks
    Interpolate(interpolate::InterpolateCommand),
    /// Measure the loss along random directions around a network
    Landscape(landscape::LandscapeCommand),
    /// Measure the largest eigenvalues and the trace of the Hessian
    Hessian(hessian::HessianCommand),
    /// Measure accuracy with quantised and with noisy weights
    Robustness(robustness::RobustnessCommand),
    /// Write the noise of one draw for given weights
    Noise(noise::NoiseCommand),
    /// Write loss, logits and gradient of a batch, for comparison with other programs
    Gradient(gradient::GradientCommand),
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// Training, data, network or device.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// A checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file could not be written.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A model for microcontrollers.
    #[error("{path}: {cause}")]
    Model {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        cause: ExportError,
    },
    /// Standard output, or a file.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What was asked for cannot be.
    #[error("{0}")]
    Request(String),
    /// Ctrl-C: what was found until then is written and labelled.
    #[error("interrupted; what was found until then is written")]
    Interrupted,
    /// What was asked for was done, and the answer is no.
    #[error("{0}")]
    Failed(String),
}

impl Program {
    /// Runs the command; one line on standard error and a non-zero code say what went wrong.
    pub fn run(self) -> ExitCode {
        let mut progress = Progress::new(Mode::choose(self.quiet, self.json));
        let result = match self.command {
            Command::Train(command) => command.run(&mut progress),
            Command::Evaluate(command) => command.run(&mut progress),
            Command::Info(command) => command.run(&mut progress),
            Command::Data(command) => command.run(&mut progress),
            Command::Export(command) => command.run(&mut progress),
            Command::Bench(command) => command.run(),
            Command::Noise(command) => command.run(),
            Command::Gradient(command) => command.run(),
            Command::Sharpness(command) => command.run(&mut progress),
            Command::Sensitivity(command) => command.run(&mut progress),
            Command::Strength(command) => command.run(&mut progress),
            Command::Interpolate(command) => command.run(&mut progress),
            Command::Landscape(command) => command.run(&mut progress),
            Command::Hessian(command) => command.run(&mut progress),
            Command::Robustness(command) => command.run(&mut progress),
        };
        progress.finish();
        let Err(error) = result else { return ExitCode::SUCCESS };
        // A reader that went away (`| head`) is no failure worth a message.
        if !matches!(&error, CommandError::Io(e) if e.kind() == io::ErrorKind::BrokenPipe) {
            eprintln!("smoothout: {error}");
        }
        match error {
            CommandError::Train(error) => ExitCode::from(error.exit_code()),
            CommandError::Request(_) => ExitCode::from(2),
            CommandError::Interrupted => ExitCode::from(130),
            _ => ExitCode::FAILURE,
        }
    }
}

/// More threads than any machine has cores; each takes memory before it does anything.
const MOST_THREADS: usize = 4096;

/// What is given, and where nothing is, what config.toml beside the checkpoint says.
fn config_beside(checkpoint: &Path, given: Options) -> Result<Config, CommandError> {
    let saved = checkpoint.with_file_name("config.toml");
    if !saved.exists() {
        return Ok(given.resolve());
    }
    Ok(given.or(read_config(&saved).map_err(TrainError::from)?).resolve())
}

/// Makes the threads that everything runs on; 0 for one a core.
fn start_threads(threads: usize) -> Result<(), CommandError> {
    if threads > MOST_THREADS {
        return Err(CommandError::Request(format!("--threads: {threads} is more than {MOST_THREADS}")));
    }
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build_global()
        .map_err(|e| CommandError::Request(format!("--threads {threads}: {e}")))
}
