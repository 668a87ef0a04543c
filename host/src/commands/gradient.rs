use super::{CommandError, start_threads};
use crate::checkpoint::{Checkpoint, Elements};
use crate::device::{Batch, Keeps, Part};
use crate::net::NetPlan;
use crate::options::Options;
use crate::train::{self, TrainError, load_network, network_tensors};
use clap::{Args, ValueEnum};
use smoothout::noise::Address;
use smoothout::plan::{Plan, Purpose};
use std::path::PathBuf;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum ModeName {
    /// Batch statistics and dropout.
    Train,
    /// Running statistics, no dropout.
    Eval,
}

/// Write loss, logits, gradient and running statistics of a batch.
#[derive(Debug, Args)]
#[command(after_help = "Example:
  smoothout gradient --net c1 --weights w.safetensors --batch-file b.safetensors --mode train --dropout 0 --out g.safetensors

The batch holds `images` (f32, NCHW, already normalised) and `labels` (i64). The output holds `loss`, `logits`, every
gradient under its parameter's name, and the running statistics after the pass.")]
pub struct GradientCommand {
    /// Weights and running statistics under PyTorch's names
    #[arg(long)]
    weights: PathBuf,
    /// File with `images` and `labels`
    #[arg(long, visible_alias = "batch")]
    batch_file: PathBuf,
    /// How batch norm and dropout behave
    #[arg(long, value_enum, default_value = "train")]
    mode: ModeName,
    /// Number of classes of `resnet`; that of fc.weight unless given
    #[arg(long)]
    classes: Option<usize>,
    /// File to write
    #[arg(long)]
    out: PathBuf,
    #[command(flatten)]
    options: GradientOptions,
}

/// The options of a run that matter here; `--batch` is the file.
#[derive(Debug, Args)]
struct GradientOptions {
    /// Network
    #[arg(long, value_enum)]
    net: crate::net::NetName,
    /// Depth of `resnet`
    #[arg(long)]
    depth: Option<usize>,
    /// Probability of dropout layers; a network's own unless given
    #[arg(long)]
    dropout: Option<f32>,
    /// Seed of the dropout masks
    #[arg(long)]
    seed: Option<u64>,
    /// Where it runs
    #[arg(long, value_enum)]
    device: Option<crate::options::DeviceName>,
    /// Threads; 0 for one a core
    #[arg(long)]
    threads: Option<usize>,
}

impl GradientCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let GradientOptions { net, depth, dropout, seed, device, threads } = self.options;
        let options = Options { net: Some(net), depth, dropout, seed, device, threads, ..Options::default() };
        let config = options.resolve();
        start_threads(config.threads)?;
        let weights = Checkpoint::load(&self.weights)?;
        let classes = self.classes.or_else(|| Some(*weights.get("fc.weight")?.shape().first()?));
        let net = train::network(&config, classes.unwrap_or(10))?;
        let batch = Checkpoint::load(&self.batch_file)?;
        let (images, labels) = read_batch(&batch, &self.batch_file)?;
        let plan: Box<NetPlan> = Box::new(
            Plan::new(&net, labels.len(), Purpose::Training)
                .map_err(|e| TrainError::Network(e.to_string()))?,
        );
        let parameters = vec![0.0; plan.parameters()];
        let keeps = Keeps { moments: 0, average: false };
        let mut device = train::device_of(config.device, plan, parameters, keeps);
        load_network(&mut *device, &weights)?;
        let training = (self.mode == ModeName::Train)
            .then_some(Address { seed: config.seed, step: 0, draw: 0 });
        let batch = Batch { images: &images, labels: &labels };
        let result = device.gradient(batch, training).map_err(TrainError::from)?;
        let mut out = Checkpoint::new();
        out.insert_f32("loss", &[], &[result.loss])?;
        let shape = [labels.len(), device.plan().classes()];
        out.insert_f32("logits", &shape, &result.logits)?;
        for (name, shape, range) in network_tensors(device.plan(), Part::Weights) {
            out.insert_f32(name, &shape, &result.gradient[range])?;
        }
        let statistics = device.read(Part::Statistics);
        for (name, shape, range) in network_tensors(device.plan(), Part::Statistics) {
            out.insert_f32(name, &shape, &statistics[range])?;
        }
        Ok(out.save(&self.out)?)
    }
}

fn read_batch(batch: &Checkpoint, path: &std::path::Path) -> Result<(Vec<f32>, Vec<u32>), CommandError> {
    let wrong = |what: &str| CommandError::Request(format!("{}: {what}", path.display()));
    let images = batch.get("images").ok_or_else(|| wrong("there is no tensor `images`"))?;
    let labels = batch.get("labels").ok_or_else(|| wrong("there is no tensor `labels`"))?;
    let (Elements::F32(images), Elements::I64(labels)) = (images.elements(), labels.elements()) else {
        return Err(wrong("`images` must be f32 and `labels` i64"));
    };
    let label = |l: &i64| u32::try_from(*l).map_err(|_| wrong(&format!("label {l} is not a class")));
    Ok((images.clone(), labels.iter().map(label).collect::<Result<_, _>>()?))
}
