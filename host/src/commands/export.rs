use super::{CommandError, config_beside};
use crate::checkpoint::Checkpoint;
use crate::checkpoint::atomic::write_atomically;
use crate::export::{Export, ExportError, Loaded, rust_source};
use crate::net::{NetName, NetPlan};
use crate::options::Options;
use crate::progress::Progress;
use crate::train::{self, TrainError, averaged_network};
use clap::Args;
use serde::Serialize;
use smoothout::micro::{Config, Layers, Session, Trained};
use smoothout::optimizer::Optimizer;
use smoothout::plan::{Plan, Purpose};
use smoothout::step::{Method, SmoothOut};
use std::path::{Path, PathBuf};

/// Write a trained network for a microcontroller.
///
/// What is not given is taken from config.toml beside the checkpoint, where a run left one. Of a run that kept an average
/// of its weights that average is written.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout export --checkpoint runs/1/best.safetensors --out model.smo
  smoothout export --checkpoint w.safetensors --net digits --freeze features --fold --int8 --out model.smo --rust model.rs

Frozen layers stay in flash and are not trained on the device. `smoothout evaluate --checkpoint model.smo` measures
what was written.")]
pub struct ExportCommand {
    /// Weights and running statistics under PyTorch's names
    #[arg(long)]
    checkpoint: PathBuf,
    /// Network
    #[arg(long, value_enum)]
    net: Option<NetName>,
    /// Depth of `resnet`
    #[arg(long)]
    depth: Option<usize>,
    /// Number of classes of `resnet`; that of fc.weight unless given
    #[arg(long)]
    classes: Option<usize>,
    /// Probability of dropout layers; a network's own unless given
    #[arg(long)]
    dropout: Option<f32>,
    /// Layers that are not trained on the device: their names, those of modules above them, or `all`
    #[arg(long, value_delimiter = ',')]
    freeze: Vec<String>,
    /// Weights of frozen convolutions and linear layers as int8 with a scale for each filter
    #[arg(long)]
    int8: bool,
    /// Fold frozen batch norms into the frozen layers before them
    #[arg(long)]
    fold: bool,
    /// Batch for which memory is shown, beside that for one image
    #[arg(long, default_value_t = 8)]
    batch: usize,
    /// File to write
    #[arg(long)]
    out: PathBuf,
    /// Rust source to write, with the file's bytes
    #[arg(long)]
    rust: Option<PathBuf>,
}

#[derive(Serialize)]
struct Summary {
    out: String,
    /// Bytes of the file.
    flash: usize,
    layers: usize,
    folded: usize,
    parameters: usize,
    trained: usize,
    batches: [usize; 2],
    /// Bytes of a session's arena for each batch; none where such a session cannot be.
    memory: Vec<(&'static str, [Option<usize>; 2])>,
}

impl ExportCommand {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let checkpoint = Checkpoint::load(&self.checkpoint)?;
        let classes = self.classes.or_else(|| Some(*checkpoint.get("fc.weight")?.shape().first()?));
        let given = Options { net: self.net, depth: self.depth, dropout: self.dropout, ..Options::default() };
        let net = train::network(&config_beside(&self.checkpoint, given)?, classes.unwrap_or(10))?;
        let plan: Box<NetPlan> = Box::new(
            Plan::new(&net, 1, Purpose::Inference).map_err(|e| TrainError::Network(e.to_string()))?,
        );
        let (parameters, statistics) = averaged_network(&plan, &checkpoint)?;
        let export = Export::new(&net, &plan, &parameters, &statistics);
        let refused = |cause| CommandError::Model { path: self.out.clone(), cause };
        let (bytes, folded) = self.bytes(export).map_err(refused)?;
        let loaded = Loaded::new(&bytes).map_err(refused)?;
        write(&self.out, &bytes)?;
        if let Some(path) = &self.rust {
            write(path, rust_source(&bytes).map_err(refused)?.as_bytes())?;
        }
        let summary = self.summary(&loaded, bytes.len(), folded)?;
        Ok(progress.result("export", &summary, &text(&summary))?)
    }

    /// The file, and the number of batch norms folded.
    fn bytes(&self, mut export: Export) -> Result<(Vec<u8>, usize), ExportError> {
        for name in &self.freeze {
            export.freeze(name)?;
        }
        let folded = if self.fold { export.fold()? } else { 0 };
        Ok((export.bytes(self.int8)?, folded))
    }

    fn summary(&self, loaded: &Loaded, flash: usize, folded: usize) -> Result<Summary, CommandError> {
        let layers = loaded.net.nodes().len();
        let trained = if self.freeze.is_empty() {
            Trained::all()
        } else {
            Trained { layers: Layers::Only(&loaded.trained), ..Trained::all() }
        };
        let batches = [1, self.batch];
        let memory = |purpose, optimizer, clip| {
            let method = Method::SmoothOut(SmoothOut::adaptive());
            let nothing = Trained { layers: Layers::Only(&[]), ..trained };
            let trained = if purpose == Purpose::Training { trained } else { nothing };
            let config = Config { optimizer, clip, trained, ..Config::new(method, 0.01) };
            batches.map(|batch| {
                let plan: Box<NetPlan> = Box::new(Plan::new(&loaded.net, batch, purpose).ok()?);
                Session::required(&plan, &config).ok().map(|values| 4 * values)
            })
        };
        let training = |optimizer, clip| memory(Purpose::Training, optimizer, clip);
        let plan: Box<NetPlan> = Box::new(
            Plan::new(&loaded.net, 1, Purpose::Inference).map_err(|e| TrainError::Network(e.to_string()))?,
        );
        let of_layer = |index: &usize| plan.layers()[*index].tensors().map(|t| t.len()).sum::<usize>();
        let mut rows = vec![("inference", memory(Purpose::Inference, Optimizer::sgd(0.0), None))];
        if !loaded.trained.is_empty() {
            rows.extend([
                ("training, plain SGD", training(Optimizer::sgd(0.0), None)),
                ("training, momentum", training(Optimizer::sgd(0.9), None)),
                ("training, momentum and clipping", training(Optimizer::sgd(0.9), Some(1.0))),
                ("training, Adam", training(Optimizer::adam(), None)),
            ]);
        }
        Ok(Summary {
            out: self.out.display().to_string(),
            flash,
            layers,
            folded,
            parameters: plan.parameters(),
            trained: loaded.trained.iter().map(of_layer).sum(),
            batches,
            memory: rows,
        })
    }
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    Ok(write_atomically(path, |file| file.write_all(bytes))?)
}

fn text(summary: &Summary) -> String {
    let Summary { out, flash, layers, folded, parameters, trained, batches: [one, more], memory } = summary;
    let mut text = format!(
        "{out}: {flash} bytes of flash; {layers} layers ({folded} batch norms folded), \
         {parameters} parameters, {trained} of them trained\n\
         {:<34}{:>12}{:>12}\n",
        "RAM of a session's arena, bytes",
        format!("batch {one}"),
        format!("batch {more}"),
    );
    for (name, bytes) in memory {
        let [a, b] = bytes.map(|bytes| bytes.map_or("-".into(), |bytes| bytes.to_string()));
        text += &format!("{name:<34}{a:>12}{b:>12}\n");
    }
    text
}
