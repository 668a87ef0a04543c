use super::CommandError;
use crate::net::{NetName, NetPlan};
use crate::options::Options;
use crate::progress::Progress;
use crate::train::{self, TrainError};
use clap::Args;
use serde::Serialize;
use smoothout::plan::{Plan, Purpose};

/// Show a network's layers, parameters, operations and memory.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout info --net c1 --batch 256
  smoothout info --net resnet --depth 110 --classes 100 --json")]
pub struct Info {
    /// Network
    #[arg(long, value_enum, default_value = "digits")]
    net: NetName,
    /// Depth of `resnet`: 6n+2
    #[arg(long, default_value_t = 44)]
    depth: usize,
    /// Number of classes of `resnet`
    #[arg(long, default_value_t = 10)]
    classes: usize,
    /// Images of a batch
    #[arg(long, default_value_t = 64)]
    batch: usize,
}

#[derive(Serialize)]
struct Row {
    layer: String,
    kind: &'static str,
    output: String,
    tensors: Vec<String>,
    parameters: usize,
    macs: u64,
}

#[derive(Serialize)]
struct Summary {
    layers: Vec<Row>,
    parameters: usize,
    statistics: usize,
    forward_macs: u64,
    batch: usize,
    /// `None` where the batch cannot be trained on: a batch norm after a linear layer needs two images.
    training_bytes: Option<u64>,
    inference_bytes: u64,
}

impl Info {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let options = Options { net: Some(self.net), depth: Some(self.depth), ..Options::default() };
        let net = train::network(&options.resolve(), self.classes)?;
        let plan = |purpose| -> Result<Box<NetPlan>, CommandError> {
            let plan = Plan::new(&net, self.batch, purpose);
            Ok(Box::new(plan.map_err(|e| TrainError::Network(e.to_string()))?))
        };
        let inference = plan(Purpose::Inference)?;
        let layers = inference.layers().iter().map(|layer| Row {
            layer: layer.name.to_string(),
            kind: layer.layer.kind(),
            output: layer.output_shape.to_string(),
            tensors: layer.tensors().map(|t| format!("{} {}", t.role.suffix(), t.dims)).collect(),
            parameters: layer.tensors().map(|t| t.len()).sum(),
            macs: layer.macs(),
        });
        let summary = Summary {
            layers: layers.collect(),
            parameters: inference.parameters(),
            statistics: inference.statistics(),
            forward_macs: inference.macs(),
            batch: self.batch,
            training_bytes: plan(Purpose::Training).ok().map(|plan| plan.bytes()),
            inference_bytes: inference.bytes(),
        };
        Ok(progress.result("network", &summary, &table(&summary))?)
    }
}

fn table(summary: &Summary) -> String {
    let mut text = format!(
        "{:<24}{:<16}{:<12}{:>12}{:>14}  {}\n",
        "layer", "kind", "output", "parameters", "forward MACs", "tensors"
    );
    for row in &summary.layers {
        text += &format!(
            "{:<24}{:<16}{:<12}{:>12}{:>14}  {}\n",
            row.layer,
            row.kind,
            row.output,
            row.parameters,
            row.macs,
            row.tensors.join(", ")
        );
    }
    text + &format!(
        "parameters {}, running statistics {}, forward multiply-accumulates of an image {}\n\
         memory of the portable backend for a batch of {}: training {}, inference {}",
        summary.parameters,
        summary.statistics,
        summary.forward_macs,
        summary.batch,
        summary.training_bytes.map_or("impossible".into(), megabytes),
        megabytes(summary.inference_bytes)
    )
}

fn megabytes(bytes: u64) -> String {
    format!("{:.1} MB", bytes as f64 / 1e6)
}
