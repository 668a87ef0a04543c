use super::CommandError;
use super::measuring::{Measuring, SplitName, complete, load};
use crate::measure::interpolation::{Network, place, reestimate_statistics};
use crate::measure::Range;
use crate::plot::{Curve, Picture, Point, loss_and_accuracy};
use crate::progress::Progress;
use crate::train::TrainError;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum StatisticsName {
    /// On the line between the networks', as the authors' program does.
    Interpolate,
    /// Made anew at every point from the training images.
    Reestimate,
}

/// Measure loss and accuracy on the line through two networks: (1 - alpha) A + alpha B.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout interpolate runs/small-batch runs/large-batch
  smoothout interpolate a.safetensors b.safetensors --net c1 --data cifar10 --alphas -1:2:0.1 --statistics reestimate

A is at alpha 0 and B at alpha 1; in the paper's figures A was trained with small and B with large batches. Network
and data are those of A's run unless given.")]
pub struct InterpolateCommand {
    /// The network at alpha 0: a checkpoint, or the folder of a run
    a: PathBuf,
    /// The network at alpha 1
    b: PathBuf,
    /// Places on the line, FROM:TO:STEP
    #[arg(long, default_value = "-1:2:0.1", allow_hyphen_values = true)]
    alphas: Range,
    /// Running statistics of batch norms
    #[arg(long, value_enum, default_value = "interpolate")]
    statistics: StatisticsName,
    /// Images, with commas
    #[arg(long, value_enum, value_delimiter = ',', default_value = "train,test")]
    splits: Vec<SplitName>,
    #[command(flatten)]
    pub(super) measuring: Measuring,
}

#[derive(Clone, Serialize)]
struct Row {
    alpha: f64,
    split: SplitName,
    loss: f64,
    accuracy: f64,
}

#[derive(Serialize)]
struct Summary {
    statistics: StatisticsName,
    images: Vec<usize>,
    rows: Vec<Row>,
}

impl InterpolateCommand {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let mut bench = self.measuring.open("interpolate", &self.a)?;
        let a = Network::of(&*bench.device).map_err(crate::measure::MeasureError::from)?;
        load(&mut *bench.device, &self.b)?;
        let b = Network::of(&*bench.device).map_err(crate::measure::MeasureError::from)?;
        let splits = self.splits.iter().map(|s| bench.split(*s)).collect::<Result<Vec<_>, _>>()?;
        let training = bench.split(SplitName::Train)?;
        let alphas = self.alphas.values();
        let anew = self.statistics == StatisticsName::Reestimate;
        let images: usize = splits.iter().map(crate::data::Split::len).sum();
        let each = images + if anew { training.len() } else { 0 };
        let mut rows = Vec::new();
        let result = bench.measure(progress, each * alphas.len(), |subject| {
            for alpha in &alphas {
                place(subject, [&a, &b], *alpha)?;
                if anew {
                    reestimate_statistics(subject, &training)?;
                }
                for (name, split) in self.splits.iter().zip(&splits) {
                    let mean = subject.evaluate(split, |_| None)?;
                    rows.push(Row { alpha: *alpha, split: *name, loss: mean.loss, accuracy: mean.accuracy });
                }
            }
            Ok(())
        })?;
        let complete = complete(result)?;
        if rows.is_empty() {
            return Err(CommandError::Interrupted);
        }
        let picture = picture(&self.splits, &rows)?;
        let mut text = format!("{:>7}{:>12}{:>14}{:>12}\n", "alpha", "images", "loss", "accuracy");
        for r in &rows {
            text +=
                &format!("{:>7}{:>12}{:>14.6}{:>10.2} %\n", r.alpha, r.split.name(), r.loss, 100.0 * r.accuracy);
        }
        let images = splits.iter().map(crate::data::Split::len).collect();
        let summary = Summary { statistics: self.statistics, images, rows: rows.clone() };
        bench.finish(progress, &summary, &rows, Some(&picture), complete, &text)
    }
}

fn picture(splits: &[SplitName], rows: &[Row]) -> Result<Picture, CommandError> {
    let curve = |split: &SplitName| {
        let of_split = || rows.iter().filter(|r| r.split == *split);
        Curve {
            label: split.name().into(),
            loss: of_split().map(|r| Point::new(r.alpha, r.loss)).collect(),
            accuracy: of_split().map(|r| Point::new(r.alpha, r.accuracy)).collect(),
        }
    };
    let curves: Vec<Curve> = splits.iter().map(curve).collect();
    let x_title = "alpha (0: first network, 1: second)";
    Ok(loss_and_accuracy("between two networks", x_title, &curves).map_err(TrainError::from)?)
}
