use super::CommandError;
use crate::checkpoint::Checkpoint;
use crate::device::Part;
use crate::net::NetPlan;
use crate::options::{Options, ScalingName};
use crate::train::{self, TrainError, distribution, network_tensors, scaling};
use clap::Args;
use smoothout::backend::Selection;
use smoothout::noise::{Address, Noise};
use smoothout::plan::{Plan, Purpose};
use std::path::PathBuf;

/// Write the noise of one draw for given weights, each tensor under its parameter's name.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  smoothout noise --net f1 --weights w.safetensors --scaling filter --strength 0.15 --seed 1 --step 0 --draw 0 --out theta.safetensors

Tensors that are not perturbed (batch norms, unless --perturb-norms) are zeros.")]
pub struct NoiseCommand {
    /// Clean weights under PyTorch's names
    #[arg(long)]
    weights: PathBuf,
    /// Scaling of the noise
    #[arg(long, value_enum, default_value = "constant")]
    scaling: ScalingName,
    /// Batch of the training, from 0
    #[arg(long, default_value_t = 0)]
    step: u64,
    /// Draw within the step, from 0
    #[arg(long, default_value_t = 0)]
    draw: u32,
    /// The opposite sign: the second of an antithetic pair
    #[arg(long)]
    negative: bool,
    /// Number of classes of `resnet`
    #[arg(long, default_value_t = 10)]
    classes: usize,
    /// File to write
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    options: Options,
}

impl NoiseCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let config = self.options.resolve();
        let net = train::network(&config, self.classes)?;
        let plan: Box<NetPlan> = Box::new(
            Plan::new(&net, 2, Purpose::Training).map_err(|e| TrainError::Network(e.to_string()))?,
        );
        let weights = Checkpoint::load(&self.weights)?;
        let noise = Noise::new(distribution(config.distribution), scaling(self.scaling), config.strength)
            .map_err(|e| TrainError::Option { option: "--strength", problem: e.to_string() })?;
        let noise = if self.negative { noise.negated() } else { noise };
        let selection = Selection { norms: config.perturb_norms, ..Selection::default() };
        let address = Address { seed: config.seed, step: self.step, draw: self.draw };
        let mut out = Checkpoint::new();
        let names = network_tensors(&plan, Part::Weights);
        for (tensor, (name, shape, _)) in plan.tensors().zip(names) {
            let clean = weights.f32(&name, &shape)?;
            let mut theta = vec![0.0; clean.len()];
            if selection.contains(tensor.role) {
                let key = address.tensor(tensor.index);
                noise.fill(key, tensor.rows, tensor.row_len, clean, &mut theta);
            }
            out.insert_f32(name, &shape, &theta)?;
        }
        Ok(out.save(&self.out)?)
    }
}
