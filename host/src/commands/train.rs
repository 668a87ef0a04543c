use super::{CommandError, STOP, catch_interrupts, demo, run_folder, start_threads};
use crate::options::{Config, MethodName, Options, Strength, listed, with_default};
use crate::progress::Progress;
use crate::run::{RunFolder, read_config};
use crate::train::{self, Setup, TrainError};
use clap::Args;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Train a network.
///
/// Without any option: the embedded digits with SGD, SmoothOut and AdaSmoothOut, a table and a picture.
#[derive(Debug, Args)]
#[command(mut_args(with_default), after_help = "Examples:
  smoothout train
  smoothout train --data mnist --net f1 --epochs 10 --method smoothout --strength 0.0375
  smoothout train --data mnist --net f1 --epochs 10 --method ada --strength auto
  smoothout train --data cifar10 --net resnet --augment --rate-shape 81:0.1,122:0.01,164:0.001 --epochs 200
  smoothout train --config run.toml --seed 2 --out runs/second
  smoothout train --out runs/second --resume

A TOML file has the same names: net = \"f1\", method = \"ada\", strength = 0.15.
Ctrl-C finishes the step, saves and exits with code 130; a second one exits at once.")]
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

impl Train {
    /// Runs the command.
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        catch_interrupts()?;
        let Self { config, out, resume, mut options } = self;
        if config.is_none() && out.is_none() && given(&options)?.is_empty() {
            return demo::run(progress, &STOP);
        }
        if let Some(path) = &config {
            options = options.or(read_config(path).map_err(TrainError::from)?);
        }
        let opened = match (&out, resume) {
            (Some(out), true) => Some(RunFolder::open(out, true).map_err(TrainError::from)?),
            _ => None,
        };
        if let Some(folder) = opened.as_ref().filter(|folder| folder.has_config()) {
            options = resumed(options, folder.read_config::<Options>().map_err(TrainError::from)?.resolve())?;
        } else if resume && given(&options)?.is_empty() {
            let message = "--resume: the run was stopped before it began; start it again without --resume";
            return Err(CommandError::Request(message.into()));
        }
        check_strength(&options)?;
        let config = options.resolve();
        // Bad options are refused before a folder is made.
        start_threads(config.threads)?;
        let setup = Setup::new(&train::first(&config))?;
        let folder = match (opened, out) {
            (Some(folder), _) => folder,
            (None, Some(out)) => RunFolder::open(&out, false).map_err(TrainError::from)?,
            (None, None) => run_folder::free(&config)?,
        };
        let report = train::start(&config, setup, &folder, progress, &STOP)?;
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

/// The options that are given.
fn given(options: &Options) -> Result<BTreeMap<String, String>, CommandError> {
    listed(options).map_err(|e| CommandError::Request(e.to_string()))
}

/// Refuses noise without a strength and a strength without noise: both are slips, and nothing else would tell.
fn check_strength(options: &Options) -> Result<(), CommandError> {
    let problem = match (options.method.unwrap_or_default(), options.strength) {
        (MethodName::Sam, Some(Strength::Auto)) => "--strength: auto is for noise; SAM needs a radius".into(),
        (MethodName::Sgd, Some(a)) if a != Strength::Value(0.0) => {
            format!("--strength: {a} has no effect with sgd; --method smoothout, ada or sam uses it")
        }
        (MethodName::Smoothout | MethodName::Ada | MethodName::Sam, None) => {
            "--strength: missing; this method needs one, 0.0375 for smoothout or 0.15 for ada, say, or auto".into()
        }
        _ => return Ok(()),
    };
    Err(CommandError::Request(problem))
}

/// The saved configuration. What does not change the result may be given anew, and the device, on which the run then goes
/// on with that one's rounding.
fn resumed(asked: Options, saved: Config) -> Result<Options, CommandError> {
    let free = Options {
        threads: asked.threads,
        data_root: asked.data_root.clone(),
        keep_every: asked.keep_every,
        device: asked.device,
        ..Options::default()
    };
    let saved = Options::from(saved);
    let (kept, mut changed) = (given(&saved)?, given(&asked)?);
    for name in given(&free)?.keys() {
        changed.remove(name);
    }
    changed.retain(|name, value| kept.get(name) != Some(value));
    if let Some((name, value)) = changed.pop_first() {
        let was = kept.get(&name).map_or("", String::as_str);
        let message = format!("--resume: --{name} is {was} in this run and cannot become {value}");
        return Err(CommandError::Request(message));
    }
    Ok(free.or(saved))
}
