use super::network::{NetworkOptions, check_finite};
use super::{CommandError, start_threads};
use crate::checkpoint::{Checkpoint, Elements};
use crate::device::{Batch, Device, Gradient, Keeps, Part};
use crate::net::NetPlan;
use crate::options::DeviceName;
use crate::train::{TrainError, device_of, load_network, network_tensors};
use clap::{Args, ValueEnum};
use smoothout::Shape;
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
  smoothout gradient --net c1 --weights w.safetensors --batch b.safetensors --mode train --dropout 0 --out g.safetensors

The weights are those of a PyTorch state_dict: f32 under its names, running statistics included. The batch holds
`images` (f32, NCHW, already normalised) and `labels` (i64). The output holds `loss` (the batch's mean cross-entropy),
`logits`, every gradient under its parameter's name, and the running statistics after the pass; all f32.")]
pub struct GradientCommand {
    #[command(flatten)]
    network: NetworkOptions,
    /// File with `images` and `labels`
    #[arg(long, visible_alias = "batch-file")]
    batch: PathBuf,
    /// How batch norm and dropout behave
    #[arg(long, value_enum, default_value = "train")]
    mode: ModeName,
    /// Probability of all dropout layers in training, in [0, 1); the network's own unless given
    #[arg(long, allow_negative_numbers = true)]
    dropout: Option<f32>,
    /// Seed of the dropout masks
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// File to write
    #[arg(long)]
    out: PathBuf,
    /// Where it runs: cpu, portable, micro, cuda, cuda:NUMBER or cuda:GPU-UUID; products of cuda,f32 cuda,tf32 or cuda,bf16
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    /// Threads; 0 for one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

impl GradientCommand {
    pub(super) fn run(self) -> Result<(), CommandError> {
        start_threads(self.threads)?;
        let (mut net, weights) = self.network.load()?;
        if let Some(probability) = self.dropout {
            if !(0.0..1.0).contains(&probability) {
                let message = format!("--dropout: {probability} is not a probability in [0, 1)");
                return Err(CommandError::Request(message));
            }
            net.set_dropout(probability);
        }
        let (images, labels) = self.read_batch(net.input())?;
        let training = self.mode == ModeName::Train;
        // A plan for one image refuses batch norms of one value a channel, which evaluation has no trouble with.
        let planned = if training { labels.len() } else { labels.len().max(2) };
        let plan: Box<NetPlan> = Box::new(
            Plan::new(&net, planned, Purpose::Training).map_err(|e| TrainError::Network(e.to_string()))?,
        );
        let parameters = vec![0.0; plan.parameters()];
        let keeps = Keeps { moments: 0, average: false };
        let mut device = device_of(self.device, plan, parameters, keeps).map_err(TrainError::from)?;
        load_network(&mut *device, &weights)?;
        let address = training.then_some(Address { seed: self.seed, step: 0, draw: 0 });
        let batch = Batch { images: &images, labels: &labels };
        let result = device.gradient(batch, address).map_err(TrainError::from)?;
        self.write(&*device, labels.len(), &result)
    }

    /// Images, (n, C, H, W) or their pixels in a row, and labels.
    fn read_batch(&self, input: Shape) -> Result<(Vec<f32>, Vec<u32>), CommandError> {
        let file = Checkpoint::load(&self.batch)?;
        let wrong = |what: String| CommandError::Request(format!("{}: {what}", self.batch.display()));
        let tensor = |name| file.get(name).ok_or_else(|| wrong(format!("there is no tensor `{name}`")));
        let (images, labels) = (tensor("images")?, tensor("labels")?);
        let (n, Shape { channels: c, height: h, width: w }) = (labels.elements().len(), input);
        if labels.shape() != [n] {
            return Err(wrong(format!("`labels` has shape {:?}, one dimension is needed", labels.shape())));
        }
        if n == 0 {
            return Err(wrong("the batch is empty".into()));
        }
        if images.shape() != [n, c, h, w] && images.shape() != [n, c * h * w] {
            let shape = images.shape();
            return Err(wrong(format!("`images` has shape {shape:?}, [{n}, {c}, {h}, {w}] is needed for {n} labels")));
        }
        let Elements::F32(images) = images.elements() else {
            return Err(wrong(format!("`images` is {}, F32 is needed", images.elements().type_name())));
        };
        let Elements::I64(labels) = labels.elements() else {
            return Err(wrong(format!("`labels` is {}, I64 is needed", labels.elements().type_name())));
        };
        check_finite(&file, &self.batch)?;
        let label = |(image, label): (usize, &i64)| {
            u32::try_from(*label).map_err(|_| wrong(format!("image {image} has label {label}, which is no class")))
        };
        let labels = labels.iter().enumerate().map(label).collect::<Result<_, _>>()?;
        Ok((images.clone(), labels))
    }

    fn write(&self, device: &dyn Device, images: usize, result: &Gradient) -> Result<(), CommandError> {
        if !result.loss.is_finite() || result.gradient.iter().any(|g| !g.is_finite()) {
            let message = format!("the loss is {} and not every gradient is finite; nothing was written", result.loss);
            return Err(CommandError::Failed(message));
        }
        let mut out = Checkpoint::new();
        out.insert_f32("loss", &[], &[result.loss])?;
        out.insert_f32("logits", &[images, device.plan().classes()], &result.logits)?;
        let statistics = device.read(Part::Statistics).map_err(TrainError::from)?;
        for (part, values) in [(Part::Weights, &result.gradient), (Part::Statistics, &statistics)] {
            for (name, shape, range) in network_tensors(device.plan(), part) {
                out.insert_f32(name, &shape, &values[range])?;
            }
        }
        Ok(out.save(&self.out)?)
    }
}
