use super::CommandError;
use super::measuring::{Measuring, SplitName, complete, drawn, mark};
use crate::measure::Range;
use crate::measure::quantisation::quantise;
use crate::measure::sensitivity::{Kind, at_strength};
use crate::plot::{Panel, Picture, PlotError, Point, Series, lines};
use crate::progress::Progress;
use clap::Args;
use serde::Serialize;
use smoothout::backend::Selection;
use smoothout::noise::{Distribution, Scaling};
use std::path::PathBuf;

/// Measure accuracy with weights in few bits and under noise on the weights: what flatness is worth on a device.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout robustness --checkpoint runs/f1
  smoothout robustness --checkpoint w.safetensors --net c1 --data cifar10 --bits 8,6,4,3 --strengths 0:0.5:0.1

Weights of convolutions and linear layers are rounded filter by filter to whole multiples of the filter's largest
magnitude over 2^(bits-1) - 1; biases and batch norms stay in 32 bits. Noise is Gaussian, scaled to each filter's norm,
on weights alone, and the same for all images of a batch.")]
pub struct RobustnessCommand {
    /// Weights and running statistics under PyTorch's names, or the folder of a run
    #[arg(long)]
    checkpoint: PathBuf,
    /// Bits of a weight, with commas, each from 2 to 16
    #[arg(long, value_delimiter = ',', default_value = "8,6,4", value_parser = clap::value_parser!(u32).range(2..=16))]
    bits: Vec<u32>,
    /// Strengths of the noise as shares of each filter's norm, FROM:TO:STEP
    #[arg(long, default_value = "0:0.5:0.1", allow_hyphen_values = true)]
    strengths: Range,
    /// Passes over the images at each strength, each with noise of its own
    #[arg(long, default_value = "5")]
    draws: u32,
    /// Images
    #[arg(long, value_enum, default_value = "test")]
    split: SplitName,
    #[command(flatten)]
    pub(super) measuring: Measuring,
}

#[derive(Clone, Serialize)]
struct Row {
    /// Bits of a weight; 32 for unchanged ones.
    bits: u32,
    strength: f64,
    loss: f64,
    accuracy: f64,
    accuracy_error: Option<f64>,
}

#[derive(Serialize)]
struct Summary {
    split: SplitName,
    images: usize,
    draws: u32,
    seed: u64,
    rows: Vec<Row>,
}

impl RobustnessCommand {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let mut bench = self.measuring.open("robustness", &self.checkpoint)?;
        let split = bench.split(self.split)?;
        let strengths: Vec<f64> = self.strengths.values().into_iter().filter(|s| *s != 0.0).collect();
        let kind = Kind {
            distribution: Distribution::Gaussian,
            scaling: Scaling::PerFilter,
            selection: Selection { weights: true, biases: false, norms: false },
            seed: self.measuring.seed,
        };
        let passes = 1 + self.bits.len() + strengths.len() * self.draws as usize;
        let mut rows = Vec::new();
        let result = bench.measure(progress, passes * split.len(), |subject| {
            let clean = subject.clean(&split)?;
            let of = |bits, mean: crate::measure::Mean| Row {
                bits,
                strength: 0.0,
                loss: mean.loss,
                accuracy: mean.accuracy,
                accuracy_error: None,
            };
            rows.push(of(32, clean));
            for bits in &self.bits {
                let mut weights = subject.weights().to_vec();
                let tensors: Vec<_> = subject.device().plan().tensors().copied().collect();
                quantise(tensors.into_iter(), &mut weights, *bits);
                subject.write(&weights)?;
                rows.push(of(*bits, subject.evaluate(&split, |_| None)?));
            }
            let weights = subject.weights().to_vec();
            subject.write(&weights)?;
            for strength in strengths {
                let at = at_strength(subject, &split, kind, strength, self.draws)?;
                let (loss, accuracy) = (at.loss().mean, at.accuracy());
                let (accuracy, accuracy_error) = (accuracy.mean, accuracy.error);
                rows.push(Row { bits: 32, strength, loss, accuracy, accuracy_error });
            }
            Ok(())
        })?;
        let complete = complete(result, !rows.is_empty())?;
        let mut text = format!("{:>5}{:>10}{:>14}{:>22}\n", "bits", "noise", "loss", "accuracy");
        for r in &rows {
            let error = r.accuracy_error.map_or(String::new(), |e| format!(" ± {:.2}", 100.0 * e));
            let accuracy = format!("{:.2}{error} %", 100.0 * r.accuracy);
            text += &format!("{:>5}{:>10}{:>14.6}{accuracy:>22}\n", r.bits, r.strength, r.loss);
        }
        let picture = drawn(progress, picture(&rows, self.split, complete))?;
        let (draws, seed) = (self.draws, self.measuring.seed);
        let summary = Summary { split: self.split, images: split.len(), draws, seed, rows: rows.clone() };
        bench.finish(progress, &summary, &rows, picture.as_ref(), complete, &text)
    }
}

fn picture(rows: &[Row], split: SplitName, complete: bool) -> Result<Picture, PlotError> {
    let y_title = format!("{} accuracy (%)", split.name());
    let label = "accuracy".to_owned();
    let (quantised, noisy): (Vec<&Row>, Vec<&Row>) = rows.iter().partition(|r| r.bits != 32);
    let mut by_bits: Vec<Point> =
        quantised.iter().map(|r| Point::new(f64::from(r.bits), 100.0 * r.accuracy)).collect();
    by_bits.sort_by(|a, b| a.x.total_cmp(&b.x));
    let by_noise = noisy.iter().map(|r| {
        Point::with_spread(r.strength, 100.0 * r.accuracy, 100.0 * r.accuracy_error.unwrap_or(0.0))
    });
    let noise = Panel {
        title: format!("Accuracy under noise on the weights{}", mark(complete)),
        x_title: "noise (share of each filter's norm)".into(),
        y_title: y_title.clone(),
        series: vec![Series { label: label.clone(), points: by_noise.collect() }],
        ..Panel::default()
    };
    let bits = Panel {
        title: format!("Accuracy with quantised weights{}", mark(complete)),
        x_title: "bits of a weight".into(),
        y_title,
        series: vec![Series { label, points: by_bits }],
        ..Panel::default()
    };
    let panels = if quantised.is_empty() { vec![noise] } else { vec![bits, noise] };
    lines(&panels)
}
