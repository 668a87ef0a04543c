use super::{CommandError, start_threads};
use crate::checkpoint::Checkpoint;
use crate::options::{Options, ScalingName};
use crate::progress::Progress;
use crate::train::{self, Setup, TrainError, distribution, scaling};
use clap::Args;
use serde::Serialize;
use smoothout::backend::{Draw, Selection};
use smoothout::noise::{Address, Noise};
use std::path::PathBuf;

/// Measure a checkpoint on the test set.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout evaluate --checkpoint runs/f1/best.safetensors --net f1 --data mnist
  smoothout evaluate --checkpoint w.safetensors --net c1 --data cifar10 --scaling filter --strength 0.15")]
pub struct Evaluate {
    /// Weights and running statistics under PyTorch's names
    #[arg(long)]
    checkpoint: PathBuf,
    /// Scaling of the noise, with --strength
    #[arg(long, value_enum, default_value = "constant")]
    scaling: ScalingName,
    #[command(flatten)]
    options: Options,
}

#[derive(Serialize)]
struct Measured {
    loss: f64,
    accuracy: f64,
    images: usize,
}

impl Evaluate {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let config = self.options.resolve();
        let setup = Setup::new(&config)?;
        start_threads(config.threads)?;
        let mut device = train::device(&config, &setup)?;
        let checkpoint = Checkpoint::load(&self.checkpoint)?;
        train::load_network(&mut *device, &checkpoint)?;
        let noise = Noise::new(distribution(config.distribution), scaling(self.scaling), config.strength)
            .map_err(|e| TrainError::Option { option: "--strength", problem: e.to_string() })?;
        let selection = Selection { norms: config.perturb_norms, ..Selection::default() };
        let address = Address { seed: config.seed, step: 0, draw: 0 };
        let draw = Draw { noise, selection, address };
        let noisy = (config.strength > 0.0).then_some(&draw);
        let test = &setup.data.test;
        let sum = train::evaluate_split(&mut *device, test, noisy)?;
        let images = test.len();
        let result = Measured {
            loss: sum.loss / images as f64,
            accuracy: sum.correct as f64 / images as f64,
            images,
        };
        let text = format!(
            "test loss {:.4}, accuracy {:.2} % of {images} images",
            result.loss,
            100.0 * result.accuracy
        );
        Ok(progress.result("evaluation", &result, &text)?)
    }
}
