use super::CommandError;
use crate::checkpoint::{Checkpoint, Elements};
use crate::net::{Net, NetName};
use clap::Args;
use std::path::{Path, PathBuf};

// A network and the file of its weights, for commands that work on given weights. No doc comment: clap would make it
// the command's description.
#[derive(Debug, Args)]
pub(super) struct NetworkOptions {
    /// Network
    #[arg(long, value_enum)]
    net: NetName,
    /// Depth of `resnet`: 6n+2
    #[arg(long, default_value_t = 44)]
    depth: usize,
    /// Number of classes of `resnet`; that of its fc.weight unless given
    #[arg(long)]
    classes: Option<usize>,
    /// File with the weights under PyTorch's names, f32
    #[arg(long)]
    weights: PathBuf,
}

impl NetworkOptions {
    /// The network, and its weights, whose names and shapes are yet to be checked.
    pub(super) fn load(&self) -> Result<(Net, Checkpoint), CommandError> {
        let weights = Checkpoint::load(&self.weights)?;
        let of_file = || weights.get("fc.weight").and_then(|fc| fc.shape().first().copied());
        let net = self
            .net
            .build(self.depth, self.classes.or_else(of_file).unwrap_or(10))
            .map_err(|e| CommandError::Request(format!("--depth: {e}")))?;
        check_finite(&weights, &self.weights)?;
        Ok((net, weights))
    }
}

/// Refuses a file with a value that is infinite or not a number.
pub(super) fn check_finite(file: &Checkpoint, path: &Path) -> Result<(), CommandError> {
    for (name, tensor) in file.tensors() {
        let Elements::F32(values) = tensor.elements() else { continue };
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            let message = format!("{}: value {at} of tensor '{name}' is {}", path.display(), values[at]);
            return Err(CommandError::Request(message));
        }
    }
    Ok(())
}
