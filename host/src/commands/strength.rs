use super::CommandError;
use super::measuring::{Measuring, SplitName, complete, drawn, mark};
use crate::measure::parse_selection;
use crate::measure::sensitivity::{AtStrength, Kind};
use crate::measure::strength::{Search, choose, error, rise};
use crate::options::{DistributionName, ScalingName};
use crate::plot::{Panel, Picture, PlotError, Point, Series, lines};
use crate::progress::Progress;
use crate::train;
use clap::Args;
use serde::Serialize;
use smoothout::backend::Selection;
use std::path::PathBuf;

/// Choose the strength a of the noise: the largest whose smoothed loss stays within a tolerance.
///
/// The paper leaves a to cross-validation. Here a trained network says how much noise it bears: the rise of its
/// smoothed loss, (C̄(w; a) - C(w)) / (1 + C(w)), is bisected over common random numbers.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout strength --checkpoint runs/f1
  smoothout strength --checkpoint runs/f1 --scaling filter --tolerance 0.02
  smoothout strength --checkpoint w.safetensors --net f1 --data mnist --split train --images 5000

The strength that is found varies with the noise that was drawn, and so with --seed: ± is its standard error, the
spread of the draws' losses over the slope of the loss; more --draws make it smaller.")]
pub struct StrengthCommand {
    /// Weights and running statistics under PyTorch's names, or the folder of a run
    #[arg(long)]
    checkpoint: PathBuf,
    /// Largest rise of the smoothed loss, as a share of 1 + loss
    #[arg(long, default_value = "0.05", allow_negative_numbers = true)]
    tolerance: f64,
    /// Distribution of the noise
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: DistributionName,
    /// Scaling of the noise; filter for AdaSmoothOut
    #[arg(long, value_enum, default_value = "constant")]
    scaling: ScalingName,
    /// Images on which the loss is taken; never the test set, where the strength is to be judged on it
    #[arg(long, value_enum, default_value = "validation")]
    split: SplitName,
    /// Passes over the images at each strength, each with noise of its own
    #[arg(long, default_value = "3")]
    draws: u32,
    /// Strength at which the search begins
    #[arg(long, default_value = "0.01", allow_negative_numbers = true)]
    first: f64,
    /// Share of the strength to which it is narrowed down
    #[arg(long, default_value = "0.01", allow_negative_numbers = true)]
    precision: f64,
    /// What is perturbed: weights, biases, norms (with commas), or all
    #[arg(long, default_value = "weights,biases", value_parser = parse_selection)]
    include: Selection,
    #[command(flatten)]
    pub(super) measuring: Measuring,
}

#[derive(Clone, Serialize)]
struct Row {
    strength: f64,
    loss: f64,
    loss_error: Option<f64>,
    accuracy: f64,
    rise: f64,
    within: bool,
}

#[derive(Serialize)]
struct Summary {
    /// The largest strength that was found to be within the tolerance.
    strength: Option<f64>,
    /// Its standard error over the draws; none with one draw.
    strength_error: Option<f64>,
    /// The smallest that was found not to be.
    beyond: Option<f64>,
    tolerance: f64,
    distribution: DistributionName,
    scaling: ScalingName,
    split: SplitName,
    images: usize,
    rows: Vec<Row>,
}

impl StrengthCommand {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let mut bench = self.measuring.open("strength", &self.checkpoint)?;
        let split = bench.split(self.split)?;
        let kind = Kind {
            distribution: train::distribution(self.distribution),
            scaling: train::scaling(self.scaling),
            selection: self.include,
            seed: self.measuring.seed,
        };
        let (tolerance, passes) = (self.tolerance, self.draws);
        let search = Search { tolerance, first: self.first, precision: self.precision, passes };
        let mut measured: Vec<AtStrength> = Vec::new();
        // About four doublings, and halvings of a factor of two until the precision.
        let halvings = (1.0 / self.precision.max(1e-9)).log2().ceil().max(0.0) as usize;
        let images = split.len() * (1 + self.draws as usize * (4 + halvings));
        let mut found = None;
        let result = bench.measure(progress, images, |subject| {
            found = Some(choose(subject, &split, kind, search, &mut measured)?);
            Ok(())
        })?;
        let complete = complete(result, !measured.is_empty())?;
        let Some(clean) = measured.first().map(|at| at.loss().mean) else {
            return Err(CommandError::NothingFound);
        };
        measured.sort_by(|a, b| a.strength.total_cmp(&b.strength));
        let rows: Vec<Row> = measured.iter().map(|at| Row::new(at, clean, tolerance)).collect();
        let best = rows.iter().filter(|r| r.within && r.strength > 0.0).map(|r| r.strength).reduce(f64::max);
        let strength = found.map(|[low, _]| low).or(best);
        let at = |strength: f64| measured.iter().find(|at| at.strength == strength);
        let strength_error = found.and_then(|[low, high]| error(at(low)?, at(high)?));
        let text = match strength {
            Some(strength) => format!(
                "strength {strength:.5}{}: the largest whose {} loss rises by at most {tolerance} of 1 + {clean:.5}",
                strength_error.map_or(String::new(), |e| format!(" ± {e:.5}")),
                self.split.name(),
            ),
            None => "no strength within the tolerance was found".into(),
        };
        let picture = drawn(progress, picture(&rows, clean, tolerance, complete))?;
        let summary = Summary {
            strength,
            strength_error,
            beyond: found.map(|[_, high]| high),
            tolerance,
            distribution: self.distribution,
            scaling: self.scaling,
            split: self.split,
            images: split.len(),
            rows: rows.clone(),
        };
        bench.finish(progress, &summary, &rows, picture.as_ref(), complete, &text)
    }
}

impl Row {
    fn new(at: &AtStrength, clean: f64, tolerance: f64) -> Self {
        let (loss, rise) = (at.loss(), rise(at, clean));
        let (mean, error) = (loss.mean, loss.error);
        let accuracy = at.accuracy().mean;
        Self { strength: at.strength, loss: mean, loss_error: error, accuracy, rise, within: rise <= tolerance }
    }
}

fn picture(rows: &[Row], clean: f64, tolerance: f64, complete: bool) -> Result<Picture, PlotError> {
    let limit = clean + tolerance * (1.0 + clean);
    let noisy = || rows.iter().filter(|r| r.strength > 0.0);
    let panel = Panel {
        title: format!("Smoothed loss and the tolerance{}", mark(complete)),
        x_title: "strength a of the noise".into(),
        y_title: "mean loss (nats)".into(),
        x_log: true,
        y_log: true,
        series: vec![
            Series {
                label: "smoothed loss".into(),
                points: noisy()
                    .map(|r| Point::with_spread(r.strength, r.loss, r.loss_error.unwrap_or(0.0)))
                    .collect(),
            },
            Series {
                label: "tolerance".into(),
                points: noisy().map(|r| Point::new(r.strength, limit)).collect(),
            },
        ],
    };
    lines(&[panel])
}
