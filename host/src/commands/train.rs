use super::{CommandError, demo, start_threads};
use crate::options::{Config, Options};
use crate::progress::Progress;
use crate::run::{RunFolder, read_config};
use crate::train::{self, TrainError};
use clap::Args;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

/// Train a network.
///
/// Without any option: the embedded digits with SGD, SmoothOut and AdaSmoothOut, a table and a picture.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout train
  smoothout train --data mnist --net f1 --epochs 10 --method smoothout --strength 0.0375
  smoothout train --config run.toml --seed 2 --out runs/second
  smoothout train --out runs/second --resume

A TOML file has the same names: net = \"f1\", method = \"ada\", strength = 0.15.")]
pub struct Train {
    /// TOML file with options; those on the command line win
    #[arg(long)]
    config: Option<PathBuf>,
    /// Folder of the run; runs/NET-DATA-METHOD-N unless given
    #[arg(long)]
    out: Option<PathBuf>,
    /// Go on from the last checkpoint of --out
    #[arg(long, requires = "out")]
    resume: bool,
    #[command(flatten)]
    options: Options,
}

static STOP: AtomicBool = AtomicBool::new(false);

impl Train {
    /// Runs the command.
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        ctrlc::set_handler(|| STOP.store(true, Ordering::Relaxed))
            .map_err(|e| CommandError::Request(format!("Ctrl-C cannot be caught: {e}")))?;
        let given = toml::to_string(&self.options).unwrap_or_default();
        if given.is_empty() && self.config.is_none() && self.out.is_none() {
            return demo::run(progress, &STOP);
        }
        let mut options = self.options;
        if let Some(path) = &self.config {
            options = options.or(read_config(path).map_err(TrainError::from)?);
        }
        let folder;
        if let (Some(out), true) = (&self.out, self.resume) {
            folder = RunFolder::open(out, true).map_err(TrainError::from)?;
            if out.join("config.toml").exists() {
                let saved: Config = folder.read_config().map_err(TrainError::from)?;
                options = resumed(options, saved)?;
            }
        } else {
            let config = options.clone().resolve();
            train::Setup::new(&config)?; // refuses bad options before a folder is made
            let out = self.out.unwrap_or_else(|| free_folder(&config));
            folder = RunFolder::open(&out, false).map_err(TrainError::from)?;
        }
        let config = options.resolve();
        start_threads(config.threads)?;
        let report = train::train(&config, &folder, progress, &STOP)?;
        let [loss, accuracy] = report.test;
        let text = format!(
            "test accuracy {:.2} %, loss {loss:.4}, after {} epochs ({} updates); in {}",
            100.0 * accuracy,
            report.epochs,
            report.updates,
            folder.path().display()
        );
        Ok(progress.result("result", &report, &text)?)
    }
}

/// The saved configuration; what does not change the result may be given anew.
fn resumed(given: Options, saved: Config) -> Result<Options, CommandError> {
    let free = Options { threads: given.threads, ..Options::default() };
    let merged = given.clone().or(saved.clone().into()).resolve();
    let kept = Options { threads: Some(saved.threads), ..merged.clone().into() }.resolve();
    if kept != saved {
        let message = "--resume goes on with the run's own config.toml: only --threads may differ";
        return Err(CommandError::Request(message.into()));
    }
    Ok(free.or(saved.into()))
}

/// The first of runs/NET-DATA-METHOD-1, -2, … that is not there.
pub(super) fn free_folder(config: &Config) -> PathBuf {
    let name = |v: &dyn std::fmt::Debug| format!("{v:?}").to_lowercase();
    let data = Path::new(&config.data).file_name().map_or("data".into(), |n| n.to_string_lossy());
    let stem = format!("{}-{data}-{}", name(&config.net), name(&config.method));
    (1..)
        .map(|n| Path::new("runs").join(format!("{stem}-{n}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| "runs".into())
}
