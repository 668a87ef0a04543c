//! Running statistics of batch norms for weights that no training has gone through: averages, points of a line.

use super::{Batch, Device, DeviceError, Part};
use crate::net::NetPlan;
use smoothout::network::Layer;
use smoothout::noise::Address;

/// The mean of the batch statistics that a network has over some batches (Izmailov et al. 2018, section 3.2).
#[derive(Debug)]
pub struct BatchStatistics {
    /// Each statistic's share of the newest batch.
    momentum: Vec<f64>,
    sums: Vec<f64>,
    images: f64,
}

impl BatchStatistics {
    /// Of no batches yet; `None` for a network without batch norms.
    pub fn new(plan: &NetPlan) -> Option<Self> {
        let len = plan.statistics();
        if len == 0 {
            return None;
        }
        let mut momentum = vec![1.0; len];
        for layer in plan.layers() {
            if let (Layer::BatchNorm(norm), Some(at)) = (&layer.layer, layer.statistics) {
                momentum[at..at + 2 * layer.output_shape.channels].fill(f64::from(norm.momentum));
            }
        }
        Some(Self { momentum, sums: vec![0.0; len], images: 0.0 })
    }

    /// Adds a batch, at the device's weights, and overwrites the device's running statistics. A batch of one image is left
    /// out: one value has no variance.
    ///
    /// # Errors
    /// A batch that does not fit, or the device failed.
    pub fn add(&mut self, device: &mut dyn Device, batch: Batch<'_>) -> Result<(), DeviceError> {
        if batch.labels.len() < 2 {
            return Ok(());
        }
        // A pass from 0 leaves momentum * (the batch's statistic).
        device.write(Part::Statistics, &vec![0.0; self.sums.len()])?;
        device.gradient(batch, Some(Address { seed: 0, step: 0, draw: 0 }))?;
        let images = batch.labels.len() as f64;
        self.images += images;
        let shares = device.read(Part::Statistics)?;
        self.sums.iter_mut().zip(shares).for_each(|(sum, share)| *sum += images * f64::from(share));
        Ok(())
    }

    /// Images added.
    pub const fn images(&self) -> f64 {
        self.images
    }

    /// What running statistics should be; `None` before a batch was added.
    pub fn mean(&self) -> Option<Vec<f32>> {
        let mean = |(sum, momentum): (&f64, &f64)| (sum / self.images / momentum) as f32;
        (self.images > 0.0).then(|| self.sums.iter().zip(&self.momentum).map(mean).collect())
    }
}
