//! Trains what is not trained yet and measures what is not measured yet.

use super::job::Job;
use super::spec::Scale;
use crate::commands::{CommandError, execute};
use crate::data::digest;
use crate::options::{Config, Options, Strength};
use crate::progress::Progress;
use crate::run::{MetricsRow, RunError, RunFolder, read_config, read_metrics};
use crate::train::{self, Setup, TrainError};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// What came of one training.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The training.
    pub job: Job,
    /// Its folder.
    pub folder: PathBuf,
    /// Metrics of every epoch.
    pub rows: Vec<MetricsRow>,
    /// The strength of the noise: the one found where it was to be found.
    pub strength: Option<f32>,
    /// Sharpness of the selected weights in percent, where it is measured.
    pub sharpness: Option<f64>,
    /// Why the training did not come to its end.
    pub failed: Option<String>,
    /// SHA-256 of `metrics.csv` and of the selected checkpoint.
    pub digests: [String; 2],
}

impl Outcome {
    /// The epoch that was selected; none if the training failed.
    pub fn selected(&self) -> Option<&MetricsRow> {
        train::selected(self.job.config.select, &self.rows).filter(|_| self.failed.is_none())
    }
}

/// The file in the folder of a training that cannot be brought to its end.
const FAILED: &str = "failed.txt";

/// How often a training that another process has is looked at.
const PATIENCE: Duration = Duration::from_secs(2);

/// Does all jobs in folders below `runs`, one after the other; those that another process is doing come last.
///
/// # Errors
/// The first training or measurement that cannot be done; one that diverges is an outcome and no error.
pub fn work(
    jobs: &[Job],
    scale: &Scale,
    runs: &Path,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Vec<Outcome>, CommandError> {
    let mut outcomes: Vec<Option<Outcome>> = vec![None; jobs.len()];
    let mut waiting: VecDeque<usize> = (0..jobs.len()).collect();
    let mut in_use = 0;
    while let Some(index) = waiting.pop_front() {
        let job = &jobs[index];
        match one(job, index, jobs.len(), scale, runs, progress, stop) {
            Ok(outcome) => {
                outcomes[index] = Some(outcome);
                in_use = 0;
            }
            Err(CommandError::Train(TrainError::Run(RunError::InUse { .. }))) => {
                waiting.push_back(index);
                in_use += 1;
                if in_use >= waiting.len() {
                    std::thread::sleep(PATIENCE);
                    in_use = 0;
                }
                if stop.load(Ordering::Relaxed) {
                    return Err(CommandError::Interrupted);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Ok(outcomes.into_iter().flatten().collect())
}

fn one(
    job: &Job,
    index: usize,
    jobs: usize,
    scale: &Scale,
    runs: &Path,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Outcome, CommandError> {
    let path = runs.join(job.folder());
    let folder = RunFolder::open(&path, path.exists()).map_err(TrainError::from)?;
    let failure = path.join(FAILED);
    let mut told = false;
    let mut tell = |progress: &mut Progress, what: &str| {
        if !std::mem::replace(&mut told, true) {
            let Job { row, column, seed, .. } = job;
            progress.message(&format!("{} of {jobs}: {row}, {column}, seed {seed}: {what}", index + 1));
        }
    };
    if !failure.exists() && !is_complete(&job.config, &path) {
        tell(progress, "training");
        let setup = Setup::new(&train::first(&job.config))?;
        match train::start(&job.config, setup, &folder, progress, stop) {
            Ok(_) => {}
            Err(error @ TrainError::Step { .. }) => {
                progress.warning(&error.to_string());
                let text = match &error {
                    TrainError::Step { update, cause, .. } => format!("update {update}: {cause}\n"),
                    other => format!("{other}\n"),
                };
                folder.write(FAILED, text.as_bytes()).map_err(TrainError::from)?;
            }
            // How to go on is known to whoever started the experiment.
            Err(TrainError::Interrupted { .. }) => return Err(CommandError::Interrupted),
            Err(error) => return Err(error.into()),
        }
    }
    let failed = std::fs::read_to_string(&failure).ok().map(|text| text.trim().to_owned());
    let sharpness = match &scale.sharpness {
        Some(arguments) if failed.is_none() => {
            tell(progress, "sharpness");
            Some(sharpness(job, &path, arguments, progress)?)
        }
        _ => None,
    };
    let metrics = path.join("metrics.csv");
    let digest = |file: &Path| -> Result<String, TrainError> {
        if file.exists() { Ok(digest::of_file(file)?) } else { Ok(String::new()) }
    };
    let saved: Options = read_config(&path.join("config.toml")).map_err(TrainError::from)?;
    Ok(Outcome {
        rows: read_metrics(&metrics).map_err(TrainError::from)?,
        strength: saved.strength.and_then(Strength::value),
        sharpness,
        failed,
        digests: [digest(&metrics)?, digest(&folder.best())?],
        job: job.clone(),
        folder: path,
    })
}

fn is_complete(config: &Config, folder: &Path) -> bool {
    let rows = read_metrics(&folder.join("metrics.csv")).map_or(0, |rows| rows.len());
    rows == config.epochs as usize && folder.join("best.safetensors").exists()
}

/// The sharpness of a training's selected weights, measured by the command of that name with these arguments.
fn sharpness(job: &Job, folder: &Path, arguments: &str, progress: &mut Progress) -> Result<f64, CommandError> {
    let out = folder.join(format!("sharpness-{}", &digest::of_bytes(arguments.as_bytes())[..6]));
    let mut line: Vec<String> = ["sharpness", "--checkpoint", &text(folder)].map(String::from).into();
    line.extend(arguments.split_whitespace().map(String::from));
    let json = measure(line, &job.config, &out, "sharpness", progress)?;
    let value = json["sharpness"].as_f64();
    value.ok_or_else(|| CommandError::Failed(format!("{}: no sharpness in its JSON", out.display())))
}

/// Runs a measuring command into a folder of its own, unless that was done before; gives its JSON.
pub(super) fn measure(
    mut line: Vec<String>,
    config: &Config,
    out: &Path,
    name: &str,
    progress: &mut Progress,
) -> Result<serde_json::Value, CommandError> {
    let file = out.join(format!("{name}.json"));
    let read = || -> Option<serde_json::Value> { serde_json::from_slice(&std::fs::read(&file).ok()?).ok() };
    if let Some(json) = read().filter(|json| json["complete"] == true) {
        return Ok(json);
    }
    line.insert(0, "smoothout".into());
    let machine = [
        ("--data-root", text(&config.data_root)),
        ("--threads", config.threads.to_string()),
        ("--out", text(out)),
    ];
    line.extend(machine.into_iter().flat_map(|(name, value)| [name.to_owned(), value]));
    // Its result is for this program, not for whoever reads standard output.
    let mut inner = Progress::with_writers(progress.mode(), Box::new(std::io::sink()), Box::new(std::io::stderr()));
    execute(&line, &mut inner)?;
    read().ok_or_else(|| CommandError::Failed(format!("{}: not written as expected", file.display())))
}

pub(super) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}
