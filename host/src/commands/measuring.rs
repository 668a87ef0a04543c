//! What the measuring commands have in common: which network and images, Ctrl-C, and the files they write.

use super::given::Given;
use super::output::OutputFolder;
use super::{CommandError, STOP, catch_interrupts, config_beside, start_threads};
use crate::checkpoint::{Checkpoint, atomic::write_atomically};
use crate::data::{Data, Split};
use crate::device::{Device, Keeps};
use crate::measure::{MeasureError, Subject};
use crate::options::{Config, Options};
use crate::plot::{Picture, PlotError};
use crate::progress::Progress;
use crate::train::{self, TrainError};
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

/// A part of a data set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum SplitName {
    /// Training images, without those held out.
    Train,
    /// Images held out of the training set.
    Validation,
    /// Test images.
    Test,
}

impl SplitName {
    /// Its name as it is typed.
    pub(super) const fn name(self) -> &'static str {
        match self {
            SplitName::Train => "train",
            SplitName::Validation => "validation",
            SplitName::Test => "test",
        }
    }
}

/// Which network, which images, and where results go.
///
/// A checkpoint in a run's folder brings its network and data along; what is given here wins.
#[derive(Clone, Debug, Args)]
pub struct Measuring {
    #[command(flatten)]
    given: Given,
    /// Share of the training set that was held out for validation
    #[arg(long)]
    validation: Option<f64>,
    /// Seed by which it was held out; that of the run unless given, or 1
    #[arg(long)]
    split_seed: Option<u64>,
    /// Images of each split, chosen by --seed; 0 for all
    #[arg(long, default_value = "0")]
    images: usize,
    /// Images of a batch
    #[arg(long, default_value = "100")]
    batch: usize,
    /// Seed of everything random in the measurement
    #[arg(long, default_value = "1")]
    pub(super) seed: u64,
    /// The command line, for the result.
    #[arg(skip)]
    pub(super) line: Vec<String>,
    /// Folder for the numbers (CSV, JSON) and pictures (SVG, PNG); measurements/COMMAND-N unless given
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Everything that a measurement works on.
pub(super) struct Bench {
    pub(super) device: Box<dyn Device>,
    data: Data,
    images: usize,
    seed: u64,
    command: &'static str,
    line: Vec<String>,
    folder: OutputFolder,
}

/// The file of a checkpoint: itself, or the best or else the last of a run's folder.
pub(super) fn checkpoint_file(path: &Path) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let best = path.join("best.safetensors");
    if best.exists() { best } else { path.join("last.safetensors") }
}

/// The network of `path` on a device that holds another network of the same shape.
pub(super) fn load(device: &mut dyn Device, path: &Path) -> Result<(), CommandError> {
    let checkpoint = Checkpoint::load(&checkpoint_file(path))?;
    Ok(train::load_average(device, &checkpoint)?)
}

impl Measuring {
    /// Opens the data, the network of `checkpoint` and the folder for the results.
    pub(super) fn open(&self, command: &'static str, checkpoint: &Path) -> Result<Bench, CommandError> {
        catch_interrupts()?;
        if self.batch == 0 {
            return Err(CommandError::Request("--batch: 0, at least 1 is needed".into()));
        }
        let file = checkpoint_file(checkpoint);
        let network = Checkpoint::load(&file)?;
        let config = self.config(&file)?;
        start_threads(config.threads)?;
        let data = train::open_data(&config, train::network(&config, 1)?.input())?;
        let largest = [&data.train, &data.validation, &data.test].map(Split::len).into_iter().max().unwrap_or(0);
        // Plans for training, which these are, want two images where batch norm follows a linear layer.
        let images = self.batch.min(largest).max(2);
        let plan = train::plan(&train::network(&config, data.classes)?, &data, images)?;
        let weights = vec![0.0; plan.parameters()];
        let keeps = Keeps { moments: 0, average: false };
        let mut device = train::device_of(config.device, plan, weights, keeps).map_err(TrainError::from)?;
        train::load_average(&mut *device, &network)?;
        let folder = OutputFolder::open(&self.out.clone().unwrap_or_else(|| free_folder(command)))?;
        Ok(Bench { device, data, images: self.images, seed: self.seed, command, line: self.line.clone(), folder })
    }

    /// The run's own configuration, and what the command line says about network, data and machine.
    fn config(&self, file: &Path) -> Result<Config, CommandError> {
        let beside = file.with_file_name("config.toml");
        if !beside.exists() && (self.given.net.is_none() || self.given.data.is_none()) {
            return Err(CommandError::Request(format!(
                "--net and --data are needed: there is no config.toml beside {}",
                file.display()
            )));
        }
        let given = Options {
            validation: self.validation,
            seed: self.split_seed,
            // Nothing is dropped out, also where batch norms see batches to re-estimate their statistics.
            dropout: Some(0.0),
            ..self.given.options()
        };
        config_beside(file, given)
    }
}

/// The first of measurements/COMMAND-1, -2, ... that is not there.
fn free_folder(command: &str) -> PathBuf {
    (1..)
        .map(|n| Path::new("measurements").join(format!("{command}-{n}")))
        .find(|path| !path.exists())
        .unwrap_or_else(|| "measurements".into())
}

/// A network's name in headings: that of its run's folder, or of its file.
pub(super) fn called(path: &Path) -> String {
    let of_run = path.ends_with("best.safetensors") || path.ends_with("last.safetensors");
    let named = if of_run { path.parent().and_then(Path::file_name) } else { path.file_name() };
    named.unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

impl Bench {
    /// The images of a split that are measured on.
    pub(super) fn split(&self, name: SplitName) -> Result<Split, CommandError> {
        let all = match name {
            SplitName::Train => &self.data.train,
            SplitName::Validation => &self.data.validation,
            SplitName::Test => &self.data.test,
        };
        if all.is_empty() {
            let hint = if name == SplitName::Validation { "; --validation 0.1 holds a tenth out" } else { "" };
            return Err(CommandError::Request(format!("the {} split of {} is empty{hint}", name.name(), self.data.name)));
        }
        Ok(if self.images == 0 { all.clone() } else { all.sample(self.images, self.seed) })
    }

    /// Measures: `work` gets the network, whose passes over `images` images in all are told as progress.
    pub(super) fn measure<T>(
        &mut self,
        progress: &mut Progress,
        images: usize,
        work: impl FnOnce(&mut Subject<'_>) -> T,
    ) -> Result<T, MeasureError> {
        progress.start(self.command, images as u64, 0);
        let mut done = 0;
        let mut watch = |images: usize| {
            done += images as u64;
            progress.update(done, &[]);
            !STOP.load(Ordering::Relaxed)
        };
        Ok(work(&mut Subject::new(&mut *self.device, &mut watch)?))
    }

    /// Writes COMMAND.json, .csv, .svg and .png, gives `text` and the JSON as the result, and fails where the
    /// measurement is not complete.
    pub(super) fn finish<R: Serialize>(
        &self,
        progress: &mut Progress,
        summary: &impl Serialize,
        rows: &[R],
        picture: Option<&Picture>,
        complete: bool,
        text: &str,
    ) -> Result<(), CommandError> {
        #[derive(Serialize)]
        struct Document<'a, S> {
            command: &'a [String],
            complete: bool,
            #[serde(flatten)]
            summary: &'a S,
        }
        let result = Document { command: &self.line, complete, summary };
        let mut table = csv::Writer::from_writer(Vec::new());
        for row in rows {
            table.serialize(row).map_err(|e| CommandError::Failed(format!("a row of the table: {e}")))?;
        }
        self.write("csv", &table.into_inner().map_err(|e| CommandError::Failed(e.to_string()))?)?;
        if let Some(picture) = picture {
            self.write("svg", picture.svg.as_bytes())?;
            self.write("png", &picture.png)?;
        }
        // Last: whoever finds it complete finds the others.
        self.write("json", &serde_json::to_vec_pretty(&result).map_err(std::io::Error::from)?)?;
        let label = if complete { "" } else { "INTERRUPTED, the best so far: " };
        let text = format!("{label}{}\nin {}", text.trim_end(), self.folder.path().display());
        progress.result(self.command, &result, &text)?;
        if complete { Ok(()) } else { Err(CommandError::Interrupted) }
    }

    /// Writes a file of this command in its folder.
    pub(super) fn write(&self, extension: &str, bytes: &[u8]) -> Result<(), CommandError> {
        let path = self.folder.path().join(format!("{}.{extension}", self.command));
        write_atomically(&path, |w| w.write_all(bytes)).map_err(|e| CommandError::Failed(e.to_string()))
    }
}

/// Whether a measurement that fills a table row by row came to its end. One that was interrupted goes on with what was
/// `found`, and is an error where nothing was; other failures are errors.
pub(super) fn complete(result: Result<(), MeasureError>, found: bool) -> Result<bool, CommandError> {
    match result {
        Ok(()) => Ok(true),
        Err(MeasureError::Interrupted) if found => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// What titles of pictures end with.
pub(super) const fn mark(complete: bool) -> &'static str {
    if complete { "" } else { " (interrupted)" }
}

/// A picture of a measurement; none, with a warning, where no number of a panel can be drawn: the numbers are not lost
/// for that.
pub(super) fn drawn(
    progress: &mut Progress,
    picture: Result<Picture, PlotError>,
) -> Result<Option<Picture>, CommandError> {
    match picture {
        Ok(picture) => Ok(Some(picture)),
        Err(error @ PlotError::NoPoints(_)) => {
            progress.warning(&format!("no picture: {error}"));
            Ok(None)
        }
        Err(error) => Err(TrainError::from(error).into()),
    }
}

impl From<MeasureError> for CommandError {
    fn from(error: MeasureError) -> Self {
        match error {
            MeasureError::Device(error) => TrainError::from(error).into(),
            MeasureError::Data(error) => TrainError::from(error).into(),
            MeasureError::Request(message) => CommandError::Request(message),
            MeasureError::Interrupted => CommandError::NothingFound,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::progress::Mode;

    #[test]
    fn an_interruption_is_a_part_or_an_error() {
        assert!(complete(Ok(()), true).unwrap());
        assert!(!complete(Err(MeasureError::Interrupted), true).unwrap());
        let nothing = complete(Err(MeasureError::Interrupted), false);
        assert!(matches!(nothing, Err(CommandError::NothingFound)));
        let failed = complete(Err(MeasureError::Request("no".into())), true);
        assert!(matches!(failed, Err(CommandError::Request(text)) if text == "no"));
    }

    #[test]
    fn a_picture_without_points_is_a_warning() {
        let mut progress = Progress::with_writers(Mode::Quiet, Box::new(std::io::sink()), Box::new(std::io::sink()));
        let none = drawn(&mut progress, Err(PlotError::NoPoints("Loss".into())));
        assert!(none.unwrap().is_none());
        assert!(drawn(&mut progress, Err(PlotError::NoPanels)).is_err());
    }
}
