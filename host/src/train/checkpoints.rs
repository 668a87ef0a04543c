//! What a checkpoint holds: tensors under PyTorch's names, and where the run stands.

use super::TrainError;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::device::{Device, Part};
use crate::net::NetPlan;
use smoothout::plan::Tensor;

/// Name, shape and place of every tensor of a part, as PyTorch names them.
pub fn network_tensors(plan: &NetPlan, part: Part) -> Vec<(String, Vec<usize>, core::ops::Range<usize>)> {
    let mut tensors = Vec::new();
    for layer in plan.layers() {
        if part == Part::Statistics {
            if let Some(at) = layer.statistics {
                let n = layer.output_shape.channels;
                tensors.push((format!("{}.running_mean", layer.name), vec![n], at..at + n));
                tensors.push((format!("{}.running_var", layer.name), vec![n], at + n..at + 2 * n));
            }
            continue;
        }
        for tensor in layer.tensors() {
            let name = format!("{}.{}", layer.name, tensor.role.suffix());
            tensors.push((name, tensor.dims.as_slice().to_vec(), Tensor::range(tensor)));
        }
    }
    tensors
}

/// What stands before a tensor's name.
const fn prefix(part: Part) -> &'static str {
    match part {
        Part::Weights | Part::Statistics => "",
        Part::First => "optimizer.first.",
        Part::Second => "optimizer.second.",
        Part::Average => "average.",
    }
}

const PARTS: [Part; 5] =
    [Part::Weights, Part::Statistics, Part::First, Part::Second, Part::Average];

/// Everything that a device remembers.
///
/// # Errors
/// The device failed.
pub(super) fn save(device: &dyn Device) -> Result<Checkpoint, TrainError> {
    let mut checkpoint = Checkpoint::new();
    for part in PARTS {
        let values = device.read(part)?;
        if values.is_empty() {
            continue;
        }
        for (name, shape, range) in network_tensors(device.plan(), part) {
            checkpoint.insert_f32(prefix(part).to_owned() + &name, &shape, &values[range])?;
        }
    }
    Ok(checkpoint)
}

/// Gives a device back everything that [`save`] took.
pub(super) fn restore(device: &mut dyn Device, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    for part in PARTS {
        load_part(device, checkpoint, part)?;
    }
    Ok(())
}

/// Gives a device the weights and running statistics of a checkpoint, ours or PyTorch's.
///
/// # Errors
/// A tensor is missing or has another shape.
pub fn load_network(device: &mut dyn Device, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    load_part(device, checkpoint, Part::Weights)?;
    load_part(device, checkpoint, Part::Statistics)
}

/// As [`load_network`], with the average of the weights in their place where the run kept one.
///
/// # Errors
/// As [`load_network`].
pub fn load_average(device: &mut dyn Device, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    let weights = averaged_weights(device.plan(), checkpoint)?;
    device.write(Part::Weights, &weights)?;
    load_part(device, checkpoint, Part::Statistics)
}

/// The average of the weights where the run kept one, or else the weights.
///
/// # Errors
/// A tensor is missing or has another shape.
pub fn averaged_weights(plan: &NetPlan, checkpoint: &Checkpoint) -> Result<Vec<f32>, CheckpointError> {
    let name = |name: &str| prefix(Part::Average).to_owned() + name;
    let tensors = network_tensors(plan, Part::Average);
    if tensors.iter().all(|(tensor, ..)| checkpoint.get(&name(tensor)).is_some()) {
        let average = part_values(plan, checkpoint, Part::Average)?;
        // Zeros: nothing was averaged yet.
        if average.iter().any(|a| *a != 0.0) {
            return Ok(average);
        }
    }
    part_values(plan, checkpoint, Part::Weights)
}

fn load_part(device: &mut dyn Device, checkpoint: &Checkpoint, part: Part) -> Result<(), TrainError> {
    if device.read(part)?.is_empty() {
        return Ok(());
    }
    let values = part_values(device.plan(), checkpoint, part)?;
    Ok(device.write(part, &values)?)
}

/// A part's values in a checkpoint, in the plan's order.
///
/// # Errors
/// A tensor is missing or has another shape.
pub fn part_values(plan: &NetPlan, checkpoint: &Checkpoint, part: Part) -> Result<Vec<f32>, CheckpointError> {
    let mut values = Vec::new();
    for (name, shape, _) in network_tensors(plan, part) {
        let name = prefix(part).to_owned() + &name;
        values.extend_from_slice(checkpoint.f32(&name, &shape)?);
    }
    Ok(values)
}
