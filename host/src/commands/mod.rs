//! The program's commands.

mod bench;
mod data;
mod demo;
mod evaluate;
mod export;
mod given;
mod gradient;
mod hessian;
mod info;
mod interpolate;
mod landscape;
mod measuring;
mod network;
mod noise;
mod output;
mod report;
mod reproduce;
mod robustness;
mod run_folder;
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
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

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
    /// Gather runs into one HTML page
    Report(report::ReportCommand),
    /// Run an experiment of the paper
    Reproduce(reproduce::ReproduceCommand),
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
    /// Ctrl-C before there was anything to write.
    #[error("interrupted before anything was found; nothing is written")]
    NothingFound,
    /// What was asked for was done, and the answer is no.
    #[error("{0}")]
    Failed(String),
}

impl Program {
    /// Runs the command; one line on standard error and a non-zero code say what went wrong.
    pub fn run(self) -> ExitCode {
        let mut progress = Progress::new(Mode::choose(self.quiet, self.json));
        let result = self.command.run(std::env::args().collect(), &mut progress);
        progress.finish();
        let Err(error) = result else { return ExitCode::SUCCESS };
        // A reader that went away (`| head`) is no failure worth a message.
        if !matches!(&error, CommandError::Io(e) if e.kind() == io::ErrorKind::BrokenPipe) {
            eprintln!("smoothout: {error}");
        }
        match error {
            CommandError::Train(error) => ExitCode::from(error.exit_code()),
            CommandError::Request(_) => ExitCode::from(2),
            CommandError::Interrupted | CommandError::NothingFound => ExitCode::from(INTERRUPTED),
            _ => ExitCode::FAILURE,
        }
    }
}

impl Command {
    /// Runs it; `line` is the command line that repeats it.
    fn run(mut self, line: Vec<String>, progress: &mut Progress) -> Result<(), CommandError> {
        if let Some(measuring) = self.measuring() {
            measuring.line = line;
        }
        match self {
            Command::Train(command) => command.run(progress),
            Command::Evaluate(command) => command.run(progress),
            Command::Info(command) => command.run(progress),
            Command::Data(command) => command.run(progress),
            Command::Export(command) => command.run(progress),
            Command::Bench(command) => command.run(),
            Command::Noise(command) => command.run(),
            Command::Gradient(command) => command.run(),
            Command::Report(command) => command.run(progress),
            Command::Reproduce(command) => command.run(progress),
            Command::Sharpness(command) => command.run(progress),
            Command::Sensitivity(command) => command.run(progress),
            Command::Strength(command) => command.run(progress),
            Command::Interpolate(command) => command.run(progress),
            Command::Landscape(command) => command.run(progress),
            Command::Hessian(command) => command.run(progress),
            Command::Robustness(command) => command.run(progress),
        }
    }

    /// The options that all measurements share, of one of them.
    fn measuring(&mut self) -> Option<&mut measuring::Measuring> {
        Some(match self {
            Command::Sharpness(command) => &mut command.measuring,
            Command::Sensitivity(command) => &mut command.measuring,
            Command::Strength(command) => &mut command.measuring,
            Command::Interpolate(command) => &mut command.measuring,
            Command::Landscape(command) => &mut command.measuring,
            Command::Hessian(command) => &mut command.measuring,
            Command::Robustness(command) => &mut command.measuring,
            _ => return None,
        })
    }
}

/// Runs a command of the program, told by its command line, inside the program.
pub(crate) fn execute(line: &[String], progress: &mut Progress) -> Result<(), CommandError> {
    let program = Program::try_parse_from(line).map_err(|e| CommandError::Request(e.to_string()))?;
    program.command.run(line.to_vec(), progress)
}

/// Whether Ctrl-C was pressed.
static STOP: AtomicBool = AtomicBool::new(false);

/// What a shell expects of a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Once asks for an end, twice makes one.
fn interrupt() {
    if STOP.swap(true, Ordering::Relaxed) {
        std::process::exit(INTERRUPTED.into());
    }
}

/// Has Ctrl-C set [`STOP`], from the first call on.
fn catch_interrupts() -> Result<(), CommandError> {
    static CAUGHT: OnceLock<Result<(), String>> = OnceLock::new();
    let caught = CAUGHT.get_or_init(|| ctrlc::set_handler(interrupt).map_err(|e| e.to_string()));
    caught.clone().map_err(|e| CommandError::Request(format!("Ctrl-C cannot be caught: {e}")))
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

/// Makes the threads that everything runs on, with the first call of the process; 0 for one a core.
fn start_threads(threads: usize) -> Result<(), CommandError> {
    static STARTED: OnceLock<Result<(), String>> = OnceLock::new();
    if threads > MOST_THREADS {
        return Err(CommandError::Request(format!("--threads: {threads} is more than {MOST_THREADS}")));
    }
    let build = || rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().map_err(|e| e.to_string());
    STARTED.get_or_init(build).clone().map_err(|e| CommandError::Request(format!("--threads {threads}: {e}")))
}
