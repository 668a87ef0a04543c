use super::CommandError;
use super::network::NetworkOptions;
use crate::checkpoint::Checkpoint;
use crate::cpu::noise::{Filters, perturb};
use crate::cpu::simd::Isa;
use crate::device::Part;
use crate::net::NetPlan;
use crate::options::{DeviceName, DistributionName, ScalingName};
use crate::train::{TrainError, distribution, network_tensors, scaling};
use clap::Args;
use smoothout::backend::Selection;
use smoothout::noise::{Address, Key, Noise};
use smoothout::plan::{Plan, Purpose, Tensor};
use std::path::PathBuf;

/// Write the noise of one draw for given weights, each tensor under its parameter's name.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  smoothout noise --net f1 --weights w.safetensors --scaling filter --strength 0.15 --seed 1 --step 0 --draw 0 --out theta.safetensors

`train --method smoothout` uses constant scaling, `--method ada` that by filters. Tensors that are not perturbed (batch
norms, unless --perturb-norms) are zeros.")]
pub struct NoiseCommand {
    #[command(flatten)]
    network: NetworkOptions,
    /// Distribution of the noise
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: DistributionName,
    /// Scaling of the noise
    #[arg(long, value_enum, default_value = "constant")]
    scaling: ScalingName,
    /// Strength a of the noise
    #[arg(long, allow_negative_numbers = true)]
    strength: f32,
    /// Seed of the training
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Batch of the training, from 0
    #[arg(long, default_value_t = 0)]
    step: u64,
    /// Draw within the step, from 0
    #[arg(long, default_value_t = 0)]
    draw: u32,
    /// The opposite sign: the second of an antithetic pair
    #[arg(long)]
    negative: bool,
    /// Perturb scales and shifts of batch norms too
    #[arg(long, num_args = 0..=1, default_value_t = false, default_missing_value = "true", action = clap::ArgAction::Set)]
    perturb_norms: bool,
    /// File to write
    #[arg(long)]
    out: PathBuf,
    /// The noise is the same everywhere; with cpu, its kernels are checked to make w + noise, bit for bit
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
}

impl NoiseCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let (net, weights) = self.network.load()?;
        let plan: Box<NetPlan> = Box::new(
            Plan::new(&net, 2, Purpose::Training).map_err(|e| TrainError::Network(e.to_string()))?,
        );
        let noise = Noise::new(distribution(self.distribution), scaling(self.scaling), self.strength)
            .map_err(|e| TrainError::Option { option: "--strength", problem: e.to_string() })?;
        let noise = if self.negative { noise.negated() } else { noise };
        let selection = Selection { norms: self.perturb_norms, ..Selection::default() };
        let address = Address { seed: self.seed, step: self.step, draw: self.draw };
        let mut out = Checkpoint::new();
        let names = network_tensors(&plan, Part::Weights);
        for (tensor, (name, shape, _)) in plan.tensors().zip(names) {
            let clean = weights.f32(&name, &shape)?;
            let mut theta = vec![0.0; clean.len()];
            if selection.contains(tensor.role) {
                let key = address.tensor(tensor.index);
                noise.fill(key, tensor.rows, tensor.row_len, clean, &mut theta);
                if self.device == DeviceName::Cpu && !adds_the_same(&noise, key, tensor, clean, &theta) {
                    let message = format!("the cpu device's noise differs in tensor '{name}': a fault of this program");
                    return Err(CommandError::Failed(message));
                }
            }
            out.insert_f32(name, &shape, &theta)?;
        }
        Ok(out.save(&self.out)?)
    }
}

/// Whether the CPU's kernels make w + θ of the clean weights.
fn adds_the_same(noise: &Noise, key: Key, tensor: &Tensor, clean: &[f32], theta: &[f32]) -> bool {
    let filters = Filters { rows: tensor.rows, row_len: tensor.row_len };
    let mut point = vec![0.0; clean.len()];
    perturb(Isa::detect(), noise, key, filters, clean, &mut point, tensor.row_len);
    point.iter().zip(clean.iter().zip(theta)).all(|(p, (w, t))| p.to_bits() == (w + t).to_bits())
}
