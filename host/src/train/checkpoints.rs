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

/// What stands before the names of the average's tensors.
const AVERAGE: &str = "average.";

/// What stands before a tensor's name.
const fn prefix(part: Part) -> &'static str {
    match part {
        Part::Weights | Part::Statistics => "",
        Part::First => "optimizer.first.",
        Part::Second => "optimizer.second.",
        Part::Average => AVERAGE,
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

/// As [`load_network`], with the average of the weights and its statistics in their place where the run kept one.
///
/// # Errors
/// As [`load_network`].
pub fn load_average(device: &mut dyn Device, checkpoint: &Checkpoint) -> Result<(), TrainError> {
    let (weights, statistics) = averaged_network(device.plan(), checkpoint)?;
    device.write(Part::Weights, &weights)?;
    Ok(device.write(Part::Statistics, &statistics)?)
}

/// The average of the weights and its running statistics where the run kept one, or else those of the training. Within an
/// epoch the average has no statistics of its own: those of the training stand in for them.
///
/// # Errors
/// A tensor is missing or has another shape.
pub fn averaged_network(plan: &NetPlan, checkpoint: &Checkpoint) -> Result<(Vec<f32>, Vec<f32>), CheckpointError> {
    let has = |part| {
        let mut tensors = network_tensors(plan, part).into_iter();
        tensors.all(|(tensor, ..)| checkpoint.get(&(AVERAGE.to_owned() + &tensor)).is_some())
    };
    let values = |part, prefix| part_values(plan, checkpoint, part, prefix);
    if has(Part::Weights) {
        let average = values(Part::Weights, AVERAGE)?;
        // Zeros: nothing was averaged yet.
        if average.iter().any(|a| *a != 0.0) {
            let prefix = if has(Part::Statistics) { AVERAGE } else { "" };
            return Ok((average, values(Part::Statistics, prefix)?));
        }
    }
    Ok((values(Part::Weights, "")?, values(Part::Statistics, "")?))
}

/// Adds the average's running statistics to a checkpoint that has the average.
pub(super) fn insert_average_statistics(
    plan: &NetPlan,
    statistics: &[f32],
    checkpoint: &mut Checkpoint,
) -> Result<(), CheckpointError> {
    for (name, shape, range) in network_tensors(plan, Part::Statistics) {
        checkpoint.insert_f32(AVERAGE.to_owned() + &name, &shape, &statistics[range])?;
    }
    Ok(())
}

fn load_part(device: &mut dyn Device, checkpoint: &Checkpoint, part: Part) -> Result<(), TrainError> {
    if device.read(part)?.is_empty() {
        return Ok(());
    }
    let values = part_values(device.plan(), checkpoint, part, prefix(part))?;
    Ok(device.write(part, &values)?)
}

/// A part's values in a checkpoint, in the plan's order, from tensors whose names have this prefix.
fn part_values(
    plan: &NetPlan,
    checkpoint: &Checkpoint,
    part: Part,
    prefix: &str,
) -> Result<Vec<f32>, CheckpointError> {
    let mut values = Vec::new();
    for (name, shape, _) in network_tensors(plan, part) {
        values.extend_from_slice(checkpoint.f32(&(prefix.to_owned() + &name), &shape)?);
    }
    Ok(values)
}
