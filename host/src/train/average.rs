//! The average of the weights, in their place while it is measured, with running statistics of its own: those of the
//! training belong to weights of the moment.

use super::TrainError;
use super::setup::Setup;
use crate::data::{BatchOptions, Batches};
use crate::device::{Batch, BatchStatistics, Device, Part};

/// Training images after which no batch is added to the statistics; a thousand to ten thousand suffice (Wu and Johnson
/// 2021).
const IMAGES: f64 = 10_000.0;

/// What the average replaced.
pub(super) struct Replaced {
    weights: Vec<f32>,
    statistics: Vec<f32>,
}

/// Puts the average in the weights' place and estimates its statistics; `None` when none is kept, or nothing was averaged
/// yet. The batches are those with which epoch `epoch` of a training with `seed` begins.
pub(super) fn place(
    device: &mut dyn Device,
    setup: &Setup,
    seed: u64,
    epoch: u32,
) -> Result<Option<Replaced>, TrainError> {
    let average = device.read(Part::Average)?;
    if average.iter().all(|a| *a == 0.0) {
        return Ok(None);
    }
    let replaced = Replaced { weights: device.read(Part::Weights)?, statistics: device.read(Part::Statistics)? };
    device.write(Part::Weights, &average)?;
    if let Some(mut statistics) = BatchStatistics::new(device.plan()) {
        let split = &setup.data.train;
        let options = BatchOptions {
            threads: split.readers(),
            ..BatchOptions::train(device.plan().batch(), seed, u64::from(epoch))
        };
        let mut batches = Batches::new(split, options)?;
        while let Some(batch) = batches.next()?.filter(|_| statistics.images() < IMAGES) {
            statistics.add(device, Batch { images: &batch.images, labels: &batch.labels })?;
        }
        device.write(Part::Statistics, &statistics.mean().unwrap_or_else(|| replaced.statistics.clone()))?;
    }
    Ok(Some(replaced))
}

impl Replaced {
    /// Gives the device back what was replaced, and returns the average's statistics.
    pub(super) fn put_back(self, device: &mut dyn Device) -> Result<Vec<f32>, TrainError> {
        let statistics = device.read(Part::Statistics)?;
        device.write(Part::Weights, &self.weights)?;
        device.write(Part::Statistics, &self.statistics)?;
        Ok(statistics)
    }
}
