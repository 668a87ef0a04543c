use super::CommandError;
use super::measuring::{Measuring, SplitName, called, complete, drawn, load, mark};
use crate::measure::interpolation::{Network, place, reestimate_statistics, variances};
use crate::measure::{Mean, Range};
use crate::plot::{Curve, Picture, PlotError, Point, loss_and_accuracy};
use crate::progress::Progress;
use clap::{Args, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum StatisticsName {
    /// On the line through the networks', as in the authors' program; beyond the ends negative variances become 0
    Interpolate,
    /// Made anew at every point from the training images that --images chooses
    Reestimate,
}

/// Measure loss and accuracy on the line through two networks: (1 - alpha) A + alpha B.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout interpolate runs/small-batch runs/large-batch
  smoothout interpolate a.safetensors b.safetensors --net c1 --data cifar10 --alphas -1:2:0.1 --statistics reestimate

A is at alpha 0 and B at alpha 1; in the paper's figures A was trained with small and B with large batches. Network
and data are those of A's run unless given.

Beyond 0 and 1 running variances of batch norms on the line become negative. They are put to 0, which makes the loss
explode however flat the minimum is; their number is the column negative_variances, and a warning. --statistics
reestimate replaces the statistics at every point by those of the network there (one more forward and backward pass
over the training images), so that the loss is that of the weights; `smoothout reproduce` draws its figures so. Take
1000 images or more: 30 change F1's loss a hundredfold. The ends differ a little from the networks as they were saved,
more where these were trained under noise, which their running statistics saw.")]
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
    /// Running variances that were put to 0.
    negative_variances: usize,
}

#[derive(Serialize)]
struct Summary {
    statistics: StatisticsName,
    /// Running variances of the network.
    variances: usize,
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
        let variances = variances(bench.device.plan()).iter().map(ExactSizeIterator::len).sum();
        let mut rows: Vec<Row> = Vec::new();
        let result = bench.measure(progress, 2 * images + each * alphas.len(), |subject| {
            for end in [0.0, 1.0] {
                place(subject, [&a, &b], end)?;
                for split in &splits {
                    subject.clean(split)?;
                }
            }
            for alpha in &alphas {
                let mut negative_variances = place(subject, [&a, &b], *alpha)?;
                if anew {
                    reestimate_statistics(subject, &training)?;
                    negative_variances = 0;
                }
                for (name, split) in self.splits.iter().zip(&splits) {
                    let Mean { loss, accuracy } = subject.evaluate(split, |_| None)?;
                    rows.push(Row { alpha: *alpha, split: *name, loss, accuracy, negative_variances });
                }
            }
            Ok(())
        })?;
        let complete = complete(result, !rows.is_empty())?;
        if let Some(warning) = warning(&rows, variances) {
            progress.warning(&warning);
        }
        let of = format!("between {} and {}{}", called(&self.a), called(&self.b), mark(complete));
        let picture = drawn(progress, picture(&of, &self.splits, &rows))?;
        let text = table(&rows);
        let images = splits.iter().map(crate::data::Split::len).collect();
        let summary = Summary { statistics: self.statistics, variances, images, rows: rows.clone() };
        bench.finish(progress, &summary, &rows, picture.as_ref(), complete, &text)
    }
}

/// What is wrong with a line on which variances became negative.
fn warning(rows: &[Row], variances: usize) -> Option<String> {
    let worst = rows.iter().filter(|r| r.negative_variances > 0).max_by_key(|r| r.negative_variances)?;
    let mut alphas: Vec<f64> = rows.iter().filter(|r| r.negative_variances > 0).map(|r| r.alpha).collect();
    alphas.dedup();
    Some(format!(
        "at {} points running variances became negative and were put to 0, {} of {variances} at alpha {}: the loss \
         there tells of that and not of the minima; --statistics reestimate measures without it",
        alphas.len(),
        worst.negative_variances,
        worst.alpha
    ))
}

fn table(rows: &[Row]) -> String {
    let mut text =
        format!("{:>7}{:>12}{:>20}{:>12}{:>20}\n", "alpha", "images", "loss", "accuracy", "negative variances");
    for r in rows {
        let Row { alpha, split, loss, accuracy, negative_variances } = r;
        let percent = 100.0 * accuracy;
        text += &format!("{alpha:>7}{:>12}{loss:>20.6}{percent:>10.2} %{negative_variances:>20}\n", split.name());
    }
    text
}

fn picture(of: &str, splits: &[SplitName], rows: &[Row]) -> Result<Picture, PlotError> {
    let curve = |split: &SplitName| {
        let of_split = || rows.iter().filter(|r| r.split == *split);
        Curve {
            label: split.name().into(),
            loss: of_split().map(|r| Point::new(r.alpha, r.loss)).collect(),
            accuracy: of_split().map(|r| Point::new(r.alpha, r.accuracy)).collect(),
        }
    };
    let curves: Vec<Curve> = splits.iter().map(curve).collect();
    let x_title = "alpha (0: the first, 1: the second)";
    loss_and_accuracy(of, x_title, &curves)
}
