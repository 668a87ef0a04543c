use super::CommandError;
use super::measuring::{Measuring, SplitName, complete, drawn, mark};
use crate::measure::sensitivity::{AtStrength, Kind, at_strength};
use crate::measure::{Estimate, Range, parse_selection};
use crate::options::{DistributionName, ScalingName};
use crate::plot::{Curve, Picture, PlotError, Point, loss_and_accuracy};
use crate::progress::Progress;
use crate::train;
use clap::Args;
use serde::Serialize;
use smoothout::backend::Selection;
use std::path::PathBuf;

/// Measure loss and accuracy under noise of growing strength, and the sharpness s of equation 9.
///
/// As in the paper's figure 2(b) every batch sees noise of its own. s is the slope of the smoothed loss from the first
/// strength to each.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout sensitivity --checkpoint runs/f1
  smoothout sensitivity --checkpoint runs/f1 --strengths 0:0.6:0.05 --scaling filter --distribution uniform,gaussian
  smoothout sensitivity --checkpoint w.safetensors --net c1 --data cifar10 --splits train,test --images 5000 --draws 3")]
pub struct SensitivityCommand {
    /// Weights and running statistics under PyTorch's names, or the folder of a run
    #[arg(long)]
    checkpoint: PathBuf,
    /// Strengths, FROM:TO:STEP
    #[arg(long, default_value = "0:0.05:0.005", allow_hyphen_values = true)]
    strengths: Range,
    /// Distributions, with commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "uniform")]
    distribution: Vec<DistributionName>,
    /// Scalings, with commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "constant")]
    scaling: Vec<ScalingName>,
    /// Images, with commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "train,test")]
    splits: Vec<SplitName>,
    /// Passes over the images at each strength, each with noise of its own
    #[arg(long, default_value = "5")]
    draws: u32,
    /// What is perturbed: weights, biases, norms (with commas), or all
    #[arg(long, default_value = "weights,biases", value_parser = parse_selection)]
    include: Selection,
    #[command(flatten)]
    pub(super) measuring: Measuring,
}

#[derive(Clone, Serialize)]
struct Row {
    distribution: DistributionName,
    scaling: ScalingName,
    split: SplitName,
    strength: f64,
    loss: f64,
    loss_error: Option<f64>,
    accuracy: f64,
    accuracy_error: Option<f64>,
    slope: Option<f64>,
    slope_error: Option<f64>,
}

#[derive(Serialize)]
struct Summary {
    images: Vec<usize>,
    draws: u32,
    seed: u64,
    rows: Vec<Row>,
}

impl SensitivityCommand {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let mut bench = self.measuring.open("sensitivity", &self.checkpoint)?;
        let splits = self.splits.iter().map(|s| bench.split(*s)).collect::<Result<Vec<_>, _>>()?;
        let strengths = self.strengths.values();
        let kinds: Vec<(DistributionName, ScalingName)> =
            self.distribution.iter().flat_map(|d| self.scaling.iter().map(|s| (*d, *s))).collect();
        let images: usize = splits.iter().map(crate::data::Split::len).sum();
        let passes: usize = strengths.iter().map(|s| if *s == 0.0 { 1 } else { self.draws as usize }).sum();
        let mut rows: Vec<Row> = Vec::new();
        let result = bench.measure(progress, images * (1 + passes * kinds.len()), |subject| {
            for split in &splits {
                subject.clean(split)?;
            }
            for (distribution, scaling) in &kinds {
                let kind = Kind {
                    distribution: train::distribution(*distribution),
                    scaling: train::scaling(*scaling),
                    selection: self.include,
                    seed: self.measuring.seed,
                };
                for (name, split) in self.splits.iter().zip(&splits) {
                    let mut first = None;
                    for strength in &strengths {
                        let at = at_strength(subject, split, kind, *strength, self.draws)?;
                        let slope = first.as_ref().and_then(|first| at.slope_from(first));
                        rows.push(Row::new((*distribution, *scaling, *name), &at, slope));
                        first.get_or_insert(at);
                    }
                }
            }
            Ok(())
        })?;
        let complete = complete(result, !rows.is_empty())?;
        let picture = drawn(progress, picture(&rows, complete))?;
        let text = table(&rows);
        let images = splits.iter().map(crate::data::Split::len).collect();
        let summary = Summary { images, draws: self.draws, seed: self.measuring.seed, rows: rows.clone() };
        bench.finish(progress, &summary, &rows, picture.as_ref(), complete, &text)
    }
}

impl Row {
    fn new(
        (distribution, scaling, split): (DistributionName, ScalingName, SplitName),
        at: &AtStrength,
        slope: Option<Estimate>,
    ) -> Self {
        let (loss, accuracy) = (at.loss(), at.accuracy());
        Self {
            distribution,
            scaling,
            split,
            strength: at.strength,
            loss: loss.mean,
            loss_error: loss.error,
            accuracy: accuracy.mean,
            accuracy_error: accuracy.error,
            slope: slope.map(|s| s.mean),
            slope_error: slope.and_then(|s| s.error),
        }
    }

    /// What distinguishes its curve.
    fn curve(&self) -> String {
        let name = |v: &dyn std::fmt::Debug| format!("{v:?}").to_lowercase();
        let scaling = match self.scaling {
            ScalingName::Constant => "constant".to_owned(),
            other => format!("per {}", name(&other)),
        };
        format!("{}, {}, {scaling}", self.split.name(), name(&self.distribution))
    }
}

fn picture(rows: &[Row], complete: bool) -> Result<Picture, PlotError> {
    let mut labels: Vec<String> = rows.iter().map(Row::curve).collect();
    labels.dedup();
    let curve = |label: String| {
        let mine = || rows.iter().filter(|r| r.curve() == label);
        let with_error = |r: &Row, mean, error: Option<f64>| Point::with_spread(r.strength, mean, error.unwrap_or(0.0));
        let loss = mine().map(|r| with_error(r, r.loss, r.loss_error)).collect();
        let accuracy = mine().map(|r| with_error(r, r.accuracy, r.accuracy_error)).collect();
        Curve { loss, accuracy, label }
    };
    let curves: Vec<Curve> = labels.into_iter().map(curve).collect();
    loss_and_accuracy(&format!("under noise{}", mark(complete)), "strength a of the noise", &curves)
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<30}{:>9}{:>22}{:>12}{:>24}\n",
        "", "strength", "loss", "accuracy", "s (equation 9)"
    );
    for row in rows {
        let with_error = |value: f64, error: Option<f64>| match error {
            Some(error) => format!("{value:.5} ± {error:.5}"),
            None => format!("{value:.5}"),
        };
        text += &format!(
            "{:<30}{:>9}{:>22}{:>10.2} %{:>24}\n",
            row.curve(),
            row.strength,
            with_error(row.loss, row.loss_error),
            100.0 * row.accuracy,
            row.slope.map_or(String::new(), |s| with_error(s, row.slope_error)),
        );
    }
    text
}
