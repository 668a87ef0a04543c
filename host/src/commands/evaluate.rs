use super::given::Given;
use super::{CommandError, config_beside, start_threads};
use crate::checkpoint::Checkpoint;
use crate::data::Data;
use crate::device::{Device, Keeps, Part};
use crate::export::Loaded;
use crate::options::{Config, DistributionName, ScalingName};
use crate::progress::Progress;
use crate::train::{self, TrainError, distribution, scaling};
use clap::Args;
use serde::Serialize;
use smoothout::backend::{Draw, Selection};
use smoothout::noise::{Address, Noise};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Measure a checkpoint on the test set.
///
/// What is not given is taken from config.toml beside the checkpoint, where a run left one. A run that kept an average
/// of its weights is measured at that average.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout evaluate --checkpoint runs/f1/best.safetensors
  smoothout evaluate --checkpoint w.safetensors --net c1 --data cifar10 --scaling filter --strength 0.15
  smoothout evaluate --checkpoint model.smo --data digits --device portable")]
pub struct Evaluate {
    /// Weights and running statistics under PyTorch's names, or a model of `smoothout export`, which brings its network
    #[arg(long)]
    checkpoint: PathBuf,
    #[command(flatten)]
    given: Given,
    /// Most images of a pass
    #[arg(long, default_value_t = 256)]
    batch: usize,
    /// Strength a of noise added to the weights
    #[arg(long, default_value_t = 0.0, allow_negative_numbers = true)]
    strength: f32,
    /// Distribution of the noise
    #[arg(long, value_enum, default_value = "uniform")]
    distribution: DistributionName,
    /// Scaling of the noise
    #[arg(long, value_enum, default_value = "constant")]
    scaling: ScalingName,
    /// Perturb scales and shifts of batch norms too
    #[arg(long)]
    perturb_norms: bool,
    /// Seed of the noise
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Nothing is trained here.
const KEEPS: Keeps = Keeps { moments: 0, average: false };

#[derive(Serialize)]
struct Measured {
    loss: f64,
    accuracy: f64,
    images: usize,
}

impl Evaluate {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let noise = Noise::new(distribution(self.distribution), scaling(self.scaling), self.strength)
            .map_err(|e| TrainError::Option { option: "--strength", problem: e.to_string() })?;
        if self.batch == 0 {
            return Err(CommandError::Request("--batch: 0, at least 1 is needed".into()));
        }
        let config = config_beside(&self.checkpoint, self.given.options())?;
        start_threads(config.threads)?;
        let (data, mut device) = match read_model(&self.checkpoint)? {
            Some(model) => self.model(&config, model)?,
            None => self.network(&config)?,
        };
        let images = data.test.len();
        let selection = Selection { norms: self.perturb_norms, ..Selection::default() };
        let address = Address { seed: self.seed, step: 0, draw: 0 };
        let draw = Draw { noise, selection, address };
        let noisy = (self.strength > 0.0).then_some(&draw);
        let sum = train::evaluate_split(&mut *device, &data.test, noisy)?;
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

    /// The test data, and a device with the weights of a checkpoint.
    fn network(&self, config: &Config) -> Result<(Data, Box<dyn Device>), CommandError> {
        let checkpoint = Checkpoint::load(&self.checkpoint)?;
        let data = train::open_data(config, train::network(config, 1)?.input())?;
        let plan = train::plan(&train::network(config, data.classes)?, &data, self.images(&data))?;
        let weights = vec![0.0; plan.parameters()];
        let mut device = train::device_of(config.device, plan, weights, KEEPS).map_err(TrainError::from)?;
        train::load_average(&mut *device, &checkpoint)?;
        Ok((data, device))
    }

    /// The test data, and a device with a microcontroller's model.
    fn model(&self, config: &Config, model: Loaded) -> Result<(Data, Box<dyn Device>), CommandError> {
        let data = train::open_data(config, model.net.input())?;
        let plan = train::plan(&model.net, &data, self.images(&data))?;
        let mut device = train::device_of(config.device, plan, model.parameters, KEEPS).map_err(TrainError::from)?;
        device.write(Part::Statistics, &model.statistics).map_err(TrainError::from)?;
        Ok((data, device))
    }

    /// Images of a pass. Plans for training, which these are, want two where batch norm follows a linear layer.
    fn images(&self, data: &Data) -> usize {
        self.batch.min(data.test.len()).max(2)
    }
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
