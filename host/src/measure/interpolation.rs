//! The line through two networks: w = (1 - alpha) A + alpha B (figures 2a and 6a; Goodfellow et al. 2015).

use super::{MeasureError, Subject};
use crate::data::Split;
use crate::device::{BatchStatistics, DeviceError, Part};
use crate::net::NetPlan;
use std::ops::Range;

/// Weights and running statistics of a network.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// All parameters.
    pub weights: Vec<f32>,
    /// All running statistics.
    pub statistics: Vec<f32>,
}

impl Network {
    /// Those that a device has now.
    ///
    /// # Errors
    /// The device failed.
    pub fn of(device: &dyn crate::device::Device) -> Result<Self, DeviceError> {
        Ok(Self { weights: device.read(Part::Weights)?, statistics: device.read(Part::Statistics)? })
    }
}

/// (1 - alpha) a + alpha b, each value worked out in f64 and rounded once.
pub fn between(a: &[f32], b: &[f32], alpha: f64) -> Vec<f32> {
    let mix = |(a, b): (&f32, &f32)| ((1.0 - alpha) * f64::from(*a) + alpha * f64::from(*b)) as f32;
    a.iter().zip(b).map(mix).collect()
}

/// Where a plan's running variances lie among its statistics, which are a layer's means and then its variances.
pub fn variances(plan: &NetPlan) -> Vec<Range<usize>> {
    let norms = plan.layers().iter().filter_map(|layer| Some((layer.statistics?, layer.output_shape.channels)));
    norms.map(|(at, channels)| at + channels..at + 2 * channels).collect()
}

/// Puts the network at `alpha` on the device, with statistics on the line too, and gives the number of variances that
/// are negative there. Beyond the ends they can be, which no variance is: they are put to 0. A channel without variance
/// is then divided by the square root of batch norm's epsilon alone, so that where there are such the loss tells of them
/// and not of the weights.
///
/// # Errors
/// The networks do not fit the device.
pub fn place(subject: &mut Subject<'_>, ends: [&Network; 2], alpha: f64) -> Result<usize, MeasureError> {
    let [a, b] = ends;
    subject.write(&between(&a.weights, &b.weights, alpha))?;
    let mut statistics = between(&a.statistics, &b.statistics, alpha);
    let mut negative = 0;
    for range in variances(subject.device().plan()) {
        for variance in statistics[range].iter_mut().filter(|v| **v < 0.0) {
            *variance = 0.0;
            negative += 1;
        }
    }
    subject.device().write(Part::Statistics, &statistics)?;
    Ok(negative)
}

/// Replaces the running statistics by the mean of the batch statistics over a split, at the device's weights: what a
/// network that was put together needs before it can be judged (Izmailov et al. 2018).
///
/// # Errors
/// As an evaluation.
pub fn reestimate_statistics(subject: &mut Subject<'_>, split: &Split) -> Result<(), MeasureError> {
    let Some(mut statistics) = BatchStatistics::new(subject.device().plan()) else { return Ok(()) };
    subject.each_batch(split, |device, batch, _| Ok(statistics.add(device, batch)?))?;
    let mean = statistics.mean().ok_or_else(|| {
        MeasureError::Request("re-estimating statistics needs batches of at least 2 images".into())
    })?;
    Ok(subject.device().write(Part::Statistics, &mean)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_are_the_networks() {
        let (a, b) = ([1.0f32, -2.5, 1e-30], [0.3f32, 7.25, -3.0]);
        assert_eq!(between(&a, &b, 0.0), a);
        assert_eq!(between(&a, &b, 1.0), b);
        assert_eq!(between(&a, &b, -1.0)[1], -12.25);
    }
}
