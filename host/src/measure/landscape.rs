//! The loss along random directions that are as long, filter by filter, as the weights (filter normalisation: Li et al.
//! 2018; figures 4, 5, 8 and 9).

use super::{Mean, MeasureError, Subject};
use crate::data::Split;
use smoothout::backend::Selection;
use smoothout::noise::{Address, Distribution, Noise, Scaling};

/// A direction: each filter of the selected tensors is random and has the norm of the weights' filter, everything else
/// is 0. One-dimensional tensors have filters of one value, so they get ± the parameter itself when they are selected;
/// Li et al. leave them out. Directions of one seed and different numbers are independent.
///
/// # Errors
/// Never for the distributions uniform and Gaussian; dropout is no direction.
pub fn direction(
    subject: &mut Subject<'_>,
    selection: Selection,
    distribution: Distribution,
    seed: u64,
    number: u32,
) -> Result<Vec<f32>, MeasureError> {
    if distribution == Distribution::Dropout {
        return Err(MeasureError::Request("dropout gives no direction: choose gaussian or uniform".into()));
    }
    let noise = Noise::new(distribution, Scaling::PerFilter, 1.0)
        .map_err(|e| MeasureError::Request(e.to_string()))?;
    let address = Address { seed, step: 0, draw: number };
    let mut direction = vec![0.0; subject.weights().len()];
    let tensors: Vec<_> = subject.device().plan().tensors().copied().collect();
    for tensor in tensors.iter().filter(|t| selection.contains(t.role)) {
        let clean = &subject.weights()[tensor.range()];
        let theta = &mut direction[tensor.range()];
        noise.fill(address.tensor(tensor.index), tensor.rows, tensor.row_len, clean, theta);
    }
    Ok(direction)
}

/// Loss and accuracy at w + the sum of (distance * direction), worked out in f64 and rounded once.
///
/// # Errors
/// What an evaluation can meet.
pub fn at(
    subject: &mut Subject<'_>,
    split: &Split,
    steps: &[(f64, &[f32])],
) -> Result<Mean, MeasureError> {
    let mut point: Vec<f64> = subject.weights().iter().map(|w| f64::from(*w)).collect();
    for (distance, direction) in steps {
        point.iter_mut().zip(*direction).for_each(|(p, d)| *p += distance * f64::from(*d));
    }
    let weights: Vec<f32> = point.iter().map(|p| *p as f32).collect();
    subject.write(&weights)?;
    subject.evaluate(split, |_| None)
}
