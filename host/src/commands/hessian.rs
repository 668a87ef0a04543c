use super::CommandError;
use super::measuring::{Measuring, SplitName, complete, drawn, mark};
use crate::measure::hessian::{Eigenvalue, Hessian};
use crate::measure::{Differences, Estimate, Exact, MeasureError, NetworkLoss, Products, parse_selection};
use crate::plot::{Panel, Picture, PlotError, Point, Series, lines};
use crate::progress::Progress;
use clap::{Args, ValueEnum};
use serde::Serialize;
use smoothout::backend::Selection;
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum ProductsName {
    /// Exact, in f64 on core's plain kernels.
    Exact,
    /// Central differences of gradients on the device.
    Differences,
}

/// Measure the largest eigenvalues of the Hessian of the loss (Lanczos) and its trace (Hutchinson).
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout hessian --checkpoint runs/f1 --images 500
  smoothout hessian --checkpoint w.safetensors --net c1 --data cifar10 --top 3 --steps 12 --samples 5 --images 50

Some eigenvalue of the Hessian lies within the residual of each value, and more --steps make it smaller. Exact products
cost about one second for each 1.5e8 multiply-accumulates of forward passes (`smoothout info` counts those of an image;
f1: 100 images) on one core: either example, of 35 products with f1 and of 20 with c1, takes 3 minutes. Differences are
many times faster and can be wrong by a factor of ten, as gradients jump where ReLUs and pools take other branches:
believe them only where the residuals are small.")]
pub struct HessianCommand {
    /// Weights and running statistics under PyTorch's names, or the folder of a run
    #[arg(long)]
    checkpoint: PathBuf,
    /// Eigenvalues; 0 for the trace alone
    #[arg(long, default_value = "5")]
    top: usize,
    /// Steps of Lanczos' method, a product each
    #[arg(long, default_value = "20")]
    steps: usize,
    /// Samples of the trace, a product each; 0 for none
    #[arg(long, default_value = "10")]
    samples: u64,
    /// How products with the Hessian are made
    #[arg(long, value_enum, default_value = "exact")]
    products: ProductsName,
    /// Distance of the two gradients of a difference from the weights, as a share of 1 + their norm
    /// [default: 1e-7]
    #[arg(long, allow_negative_numbers = true)]
    step: Option<f64>,
    /// Images on which the loss is taken
    #[arg(long, value_enum, default_value = "train")]
    split: SplitName,
    /// Parameters of the Hessian: weights, biases, norms (with commas), or all
    #[arg(long, default_value = "all", value_parser = parse_selection)]
    include: Selection,
    #[command(flatten)]
    pub(super) measuring: Measuring,
}

#[derive(Serialize)]
struct Summary {
    eigenvalues: Vec<Eigenvalue>,
    trace: Option<Estimate>,
    samples: Vec<f64>,
    /// Steps done.
    steps: usize,
    products: ProductsName,
    /// Of differences.
    step: Option<f64>,
    split: SplitName,
    images: usize,
    parameters: usize,
}

#[derive(Serialize)]
struct Row {
    quantity: String,
    value: f64,
    /// Residual of an eigenvalue, standard error of the trace.
    error: Option<f64>,
}

impl HessianCommand {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        if self.top == 0 && self.samples == 0 {
            return Err(CommandError::Request("--top 0 --samples 0 measures nothing".into()));
        }
        let differences = self.products == ProductsName::Differences;
        if self.step.is_some() && !differences {
            return Err(CommandError::Request("--step: exact products have none; --products differences has".into()));
        }
        let step = self.step.unwrap_or(1e-7);
        let mut bench = self.measuring.open("hessian", &self.checkpoint)?;
        let split = bench.split(self.split)?;
        let seed = self.measuring.seed;
        let lanczos = if self.top > 0 { self.steps + self.top } else { 0 };
        let passes = 1 + if differences { 2 } else { 1 } * (lanczos + self.samples as usize);
        let (mut eigenvalues, mut steps, mut samples, mut parameters) = (Vec::new(), 0, Vec::new(), 0);
        let result = bench.measure(progress, passes * split.len(), |subject| {
            subject.clean(&split)?;
            let (mut exact, mut loss, mut central);
            let products: &mut dyn Products = if differences {
                loss = NetworkLoss::new(subject, &split, self.include)?;
                let centre = loss.point();
                central = Differences::new(&mut loss, centre, step)?;
                &mut central
            } else {
                exact = Exact::new(subject, &split, self.include)?;
                &mut exact
            };
            parameters = products.len();
            let mut hessian = Hessian::new(products);
            if self.top > 0 {
                let found = hessian.largest(self.top, self.steps, seed)?;
                (eigenvalues, steps) = (found.eigenvalues, found.steps);
                if !found.complete {
                    return Err(MeasureError::Interrupted);
                }
            }
            for index in 0..self.samples {
                samples.push(hessian.trace_sample(seed, index)?);
            }
            Ok(())
        })?;
        let complete = complete(result, !(eigenvalues.is_empty() && samples.is_empty()))?;
        let trace = (!samples.is_empty()).then(|| Estimate::of(&samples));
        let (text, rows) = table(&eigenvalues, trace);
        let picture = match &eigenvalues[..] {
            [] => None,
            found => drawn(progress, picture(found, complete))?,
        };
        let summary = Summary {
            eigenvalues,
            trace,
            samples,
            steps,
            products: self.products,
            step: differences.then_some(step),
            split: self.split,
            images: split.len(),
            parameters,
        };
        bench.finish(progress, &summary, &rows, picture.as_ref(), complete, &text)
    }
}

fn table(eigenvalues: &[Eigenvalue], trace: Option<Estimate>) -> (String, Vec<Row>) {
    let mut text = String::new();
    let mut rows = Vec::new();
    for (i, e) in eigenvalues.iter().enumerate() {
        text += &format!("eigenvalue {:>3}  {:>14.6}  residual {:.2e}\n", i + 1, e.value, e.residual);
        rows.push(Row { quantity: format!("eigenvalue {}", i + 1), value: e.value, error: Some(e.residual) });
    }
    if let Some(trace) = trace {
        let error = trace.error.map_or(String::new(), |e| format!("  ± {e:.4} (standard error)"));
        text += &format!("trace           {:>14.6}{error}\n", trace.mean);
        rows.push(Row { quantity: "trace".into(), value: trace.mean, error: trace.error });
    }
    (text, rows)
}

fn picture(eigenvalues: &[Eigenvalue], complete: bool) -> Result<Picture, PlotError> {
    let point = |(i, e): (usize, &Eigenvalue)| Point::with_spread(i as f64 + 1.0, e.value, e.residual);
    let panel = Panel {
        title: format!("Largest eigenvalues of the Hessian{}", mark(complete)),
        x_title: "rank".into(),
        y_title: "eigenvalue (nats per squared weight)".into(),
        series: vec![Series {
            label: "eigenvalue".into(),
            points: eigenvalues.iter().enumerate().map(point).collect(),
        }],
        ..Panel::default()
    };
    lines(&[panel])
}
