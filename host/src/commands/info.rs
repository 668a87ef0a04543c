use super::CommandError;
use crate::net::NetPlan;
use crate::options::Options;
use crate::progress::Progress;
use crate::train::{self, TrainError};
use clap::Args;
use serde::Serialize;
use smoothout::plan::{Plan, Purpose};

/// Show a network's layers, parameters, operations and memory.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  smoothout info --net c1 --batch 256")]
pub struct Info {
    /// Number of classes of `resnet`
    #[arg(long, default_value_t = 10)]
    classes: usize,
    #[command(flatten)]
    options: Options,
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
    training_bytes: u64,
    inference_bytes: u64,
}

impl Info {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let config = self.options.resolve();
        let net = train::network(&config, self.classes)?;
        let plan = |purpose| -> Result<Box<NetPlan>, CommandError> {
            let plan = Plan::new(&net, config.batch, purpose);
            Ok(Box::new(plan.map_err(|e| TrainError::Network(e.to_string()))?))
        };
        let (training, inference) = (plan(Purpose::Training)?, plan(Purpose::Inference)?);
        let layers = training.layers().iter().map(|layer| Row {
            layer: layer.name.to_string(),
            kind: layer.layer.kind(),
            output: layer.output_shape.to_string(),
            tensors: layer.tensors().map(|t| format!("{} {}", t.role.suffix(), t.dims)).collect(),
            parameters: layer.tensors().map(|t| t.len()).sum(),
            macs: layer.macs(),
        });
        let summary = Summary {
            layers: layers.collect(),
            parameters: training.parameters(),
            statistics: training.statistics(),
            forward_macs: training.macs(),
            batch: config.batch,
            training_bytes: training.bytes(),
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
         memory of the portable backend for a batch of {}: training {:.1} MB, inference {:.1} MB",
        summary.parameters,
        summary.statistics,
        summary.forward_macs,
        summary.batch,
        summary.training_bytes as f64 / 1e6,
        summary.inference_bytes as f64 / 1e6
    )
}
