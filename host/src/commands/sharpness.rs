use super::CommandError;
use super::measuring::{Measuring, SplitName, drawn, mark};
use super::output::OutputFolder;
use crate::checkpoint::Checkpoint;
use crate::device::Part;
use crate::measure::sharpness::{Ascent, Settings, Space, Start, sharpness};
use crate::measure::{NetworkLoss, parse_selection};
use crate::plot::{Panel, Picture, PlotError, Point, Series, lines};
use crate::progress::Progress;
use crate::train::{TrainError, network_tensors};
use clap::{Args, ValueEnum};
use serde::Serialize;
use smoothout::backend::Selection;
use std::path::{Path, PathBuf};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum StartName {
    /// At a random point of the box.
    Random,
    /// At the network's own weights.
    Centre,
}

/// Measure (C_eps, A)-sharpness: by how much the loss can rise in a small box around the weights.
///
/// 100 (max loss in the box - loss) / (1 + loss), the box being |z_i| <= eps (|w_i| + 1), sought by L-BFGS-B; the
/// maximum of all runs counts. It is a lower bound: what the search did not find is not in it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout sharpness --checkpoint runs/f1
  smoothout sharpness --checkpoint w.safetensors --net f1 --data mnist --split test --images 2000
  smoothout sharpness --checkpoint runs/f1 --subspace 100
  smoothout sharpness --checkpoint runs/f1 --as-authors

--as-authors measures as the authors' program does: on the test set, from the weights themselves, with SciPy's default
tolerances, and with the gradient's sign the wrong way round, so that the search goes downhill. Its numbers are for
comparison with theirs and measure no sharpness: a line search that fails ends where rounding leads it. It is the same
from every start, so --runs 1 does. L-BFGS-B keeps about 27 numbers of 8 bytes for each parameter.")]
pub struct SharpnessCommand {
    /// Weights and running statistics under PyTorch's names, or the folder of a run
    #[arg(long)]
    checkpoint: PathBuf,
    /// Images on which the loss is taken [default: train, or test with --as-authors]
    #[arg(long, value_enum)]
    split: Option<SplitName>,
    /// Half the box's side for a weight of 0
    #[arg(long, default_value = "5e-4", allow_negative_numbers = true)]
    epsilon: f64,
    /// Search in a random subspace of this dimension, another in each run; all parameters unless given
    #[arg(long)]
    subspace: Option<usize>,
    /// Runs, of which the maximum counts
    #[arg(long, default_value = "5")]
    runs: usize,
    /// Iterations of a run
    #[arg(long, default_value = "10")]
    iterations: u64,
    /// Where runs start
    #[arg(long, value_enum, default_value = "random")]
    start: StartName,
    /// What may move: weights, biases, norms (with commas), or all
    #[arg(long, default_value = "all", value_parser = parse_selection)]
    include: Selection,
    /// Measure as the authors' program does, its error included
    #[arg(long, conflicts_with = "start")]
    as_authors: bool,
    /// Folder for the start of each run and the worst point found, as checkpoints
    #[arg(long)]
    save_points: Option<PathBuf>,
    #[command(flatten)]
    pub(super) measuring: Measuring,
}

#[derive(Serialize)]
struct Summary<'a> {
    sharpness: f64,
    mean: f64,
    deviation: f64,
    loss: f64,
    split: SplitName,
    images: usize,
    parameters: usize,
    settings: &'a Settings,
    runs: &'a [Ascent],
}

#[derive(Serialize)]
struct Row {
    run: usize,
    sharpness: f64,
    loss: f64,
    start_loss: f64,
    iterations: Option<u64>,
    evaluations: usize,
    ending: String,
}

impl SharpnessCommand {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let settings = self.settings();
        let mut bench = self.measuring.open("sharpness", &self.checkpoint)?;
        let by_default = if self.as_authors { SplitName::Test } else { SplitName::Train };
        let name = self.split.unwrap_or(by_default);
        let split = bench.split(name)?;
        let folder = self.save_points.as_deref().map(OutputFolder::open).transpose()?;
        // One evaluation for the loss itself, and in each run one for the start and about one an iteration.
        let evaluations = 1 + settings.runs * (settings.iterations as usize + 1);
        let (found, parameters, points) = bench.measure(progress, evaluations * split.len(), |subject| {
            let mut loss = NetworkLoss::new(subject, &split, self.include)?;
            let centre = loss.point();
            let found = sharpness(&mut loss, &centre, &settings)?;
            let points: Vec<(String, Vec<f32>)> = if folder.is_some() {
                let starts = found.starts.iter().enumerate();
                let named = |(i, start): (usize, &Vec<f64>)| (format!("start-{}", i + 1), loss.weights_at(start));
                let mut points: Vec<_> = starts.map(named).collect();
                points.push(("worst".into(), loss.weights_at(&found.worst)));
                points
            } else {
                Vec::new()
            };
            Ok::<_, CommandError>((found, centre.len(), points))
        })??;
        if let Some(folder) = &folder {
            for (name, weights) in &points {
                save(bench.device.as_ref(), weights, &folder.path().join(format!("{name}.safetensors")))?;
            }
        }
        let rows: Vec<Row> = found.runs.iter().map(Row::new).collect();
        let n = rows.len() as f64;
        let mean = rows.iter().map(|r| r.sharpness).sum::<f64>() / n;
        let squares: f64 = rows.iter().map(|r| (r.sharpness - mean).powi(2)).sum();
        let summary = Summary {
            sharpness: found.sharpness,
            mean,
            deviation: if rows.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 },
            loss: found.loss,
            split: name,
            images: split.len(),
            parameters,
            settings: &settings,
            runs: &found.runs,
        };
        let warning = if self.as_authors { " (with the authors' wrong sign: no measure of sharpness)" } else { "" };
        let text = format!(
            "sharpness {:.4} %{warning}: the loss rises from {:.6} to {:.6}\nmaximum of {} runs (mean {:.4}, deviation {:.4}) on {} {} images, {parameters} parameters, eps {}",
            summary.sharpness,
            found.loss,
            found.loss + summary.sharpness / 100.0 * (1.0 + found.loss),
            rows.len(),
            mean,
            summary.deviation,
            split.len(),
            name.name(),
            settings.epsilon,
        );
        let picture = drawn(progress, picture(&found.runs, name, found.complete))?;
        bench.finish(progress, &summary, &rows, picture.as_ref(), found.complete, &text)
    }

    fn settings(&self) -> Settings {
        let settings = Settings {
            epsilon: self.epsilon,
            space: self.subspace.map_or(Space::Full, Space::Subspace),
            runs: self.runs,
            iterations: self.iterations,
            start: match self.start {
                StartName::Random => Start::Random,
                StartName::Centre => Start::Centre,
            },
            seed: self.measuring.seed,
            ..Settings::default()
        };
        if self.as_authors { settings.as_authors() } else { settings }
    }
}

impl Row {
    fn new(ascent: &Ascent) -> Self {
        Self {
            run: ascent.run,
            sharpness: ascent.sharpness,
            loss: ascent.loss,
            start_loss: ascent.losses.first().copied().unwrap_or(f64::NAN),
            iterations: ascent.iterations,
            evaluations: ascent.losses.len(),
            ending: ascent.ending.clone(),
        }
    }
}

fn picture(runs: &[Ascent], split: SplitName, complete: bool) -> Result<Picture, PlotError> {
    let series = |run: &Ascent| Series {
        label: format!("run {}", run.run),
        points: run.losses.iter().enumerate().map(|(i, loss)| Point::new(i as f64 + 1.0, *loss)).collect(),
    };
    let losses = || runs.iter().flat_map(|run| run.losses.iter().copied());
    let (lowest, highest) = (losses().fold(f64::INFINITY, f64::min), losses().fold(0.0, f64::max));
    let panel = Panel {
        title: format!("Search for the highest loss in the box{}", mark(complete)),
        x_title: "evaluation".into(),
        y_title: format!("mean {} loss (nats)", split.name()),
        // A logarithmic axis shows a rise of less than a power of ten without marks on its way.
        y_log: highest > 10.0 * lowest,
        series: runs.iter().map(series).collect(),
        ..Panel::default()
    };
    lines(&[panel])
}

/// Saves a network with other weights.
fn save(device: &dyn crate::device::Device, weights: &[f32], path: &Path) -> Result<(), CommandError> {
    let mut checkpoint = Checkpoint::new();
    let statistics = device.read(Part::Statistics).map_err(TrainError::from)?;
    for (part, values) in [(Part::Weights, weights), (Part::Statistics, &statistics)] {
        for (name, shape, range) in network_tensors(device.plan(), part) {
            checkpoint.insert_f32(name, &shape, &values[range])?;
        }
    }
    Ok(checkpoint.save(path)?)
}
