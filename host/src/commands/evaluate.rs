use super::{CommandError, start_threads};
use crate::checkpoint::Checkpoint;
use crate::device::{Device, Keeps, Part};
use crate::export::Loaded;
use crate::options::{Config, Options, ScalingName};
use crate::progress::Progress;
use crate::train::{self, Setup, TrainError, distribution, scaling};
use clap::Args;
use serde::Serialize;
use smoothout::backend::{Draw, Selection};
use smoothout::noise::{Address, Noise};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Measure a checkpoint on the test set.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout evaluate --checkpoint runs/f1/best.safetensors --net f1 --data mnist
  smoothout evaluate --checkpoint w.safetensors --net c1 --data cifar10 --scaling filter --strength 0.15
  smoothout evaluate --checkpoint model.smo --data digits --device portable")]
pub struct Evaluate {
    /// Weights and running statistics under PyTorch's names, or a model of `smoothout export`, which brings its network
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
        let mut device = device(&self.checkpoint, &config, &setup)?;
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

/// A device with the weights of a checkpoint or of a microcontroller's model.
fn device(path: &Path, config: &Config, setup: &Setup) -> Result<Box<dyn Device>, CommandError> {
    let Some(model) = read_model(path)? else {
        let mut device = train::device(config, setup)?;
        train::load_network(&mut *device, &Checkpoint::load(path)?)?;
        return Ok(device);
    };
    let plan = train::plan_of(&model.net, config, setup)?;
    let keeps = Keeps { moments: 0, average: false };
    let mut device = train::device_of(config.device, plan, model.parameters, keeps);
    device.write(Part::Statistics, &model.statistics).map_err(TrainError::from)?;
    Ok(device)
}

/// The model in a file; `None` when it begins as something else.
fn read_model(path: &Path) -> Result<Option<Loaded>, CommandError> {
    let mut first = [0; 4];
    let begins_so = File::open(path).and_then(|mut file| file.read_exact(&mut first)).is_ok();
    if !begins_so || !Loaded::is_model(&first) {
        return Ok(None);
    }
    let refused = |cause| CommandError::Model { path: path.into(), cause };
    Loaded::new(&fs::read(path)?).map(Some).map_err(refused)
}
