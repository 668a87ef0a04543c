//! What the measurements that use gradients look at: a function of f64 variables.

use super::{MeasureError, Subject};
use crate::data::Split;
use smoothout::backend::Selection;
use std::ops::Range;

/// A differentiable function.
pub trait Objective {
    /// The number of variables.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its value at `point`; the gradient is written to `gradient`. Both slices hold [`len`](Self::len) values.
    ///
    /// # Errors
    /// The device or the data failed, or [`MeasureError::Interrupted`].
    fn gradient(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, MeasureError>;
}

/// A network's mean loss over a split, as a function of the selected parameters; the others keep their values. The
/// network is evaluated with running statistics and without dropout, at the point rounded to f32.
#[derive(Debug)]
pub struct NetworkLoss<'s, 'a> {
    subject: &'s mut Subject<'a>,
    split: &'s Split,
    ranges: Vec<Range<usize>>,
    weights: Vec<f32>,
    all: Vec<f64>,
}

impl<'s, 'a> NetworkLoss<'s, 'a> {
    /// The loss of this network on this split.
    ///
    /// # Errors
    /// Nothing is selected.
    pub fn new(
        subject: &'s mut Subject<'a>,
        split: &'s Split,
        selection: Selection,
    ) -> Result<Self, MeasureError> {
        let ranges = subject.ranges(selection);
        if ranges.is_empty() {
            return Err(MeasureError::Request("the network has no parameters of the kinds included".into()));
        }
        let weights = subject.weights().to_vec();
        let all = vec![0.0; weights.len()];
        Ok(Self { subject, split, ranges, weights, all })
    }

    /// The selected parameters as the network has them.
    pub fn point(&self) -> Vec<f64> {
        let of_range = |range: &Range<usize>| self.subject.weights()[range.clone()].iter().map(|w| f64::from(*w));
        self.ranges.iter().flat_map(of_range).collect()
    }

    /// All parameters of the network, the selected ones from `point`.
    pub fn weights_at(&self, point: &[f64]) -> Vec<f32> {
        let mut weights = self.subject.weights().to_vec();
        scatter(&self.ranges, point, &mut weights);
        weights
    }
}

fn scatter(ranges: &[Range<usize>], point: &[f64], weights: &mut [f32]) {
    let mut values = point.iter();
    for range in ranges {
        for (weight, value) in weights[range.clone()].iter_mut().zip(&mut values) {
            *weight = *value as f32;
        }
    }
}

impl Objective for NetworkLoss<'_, '_> {
    fn len(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }

    fn gradient(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, MeasureError> {
        scatter(&self.ranges, point, &mut self.weights);
        self.subject.write(&self.weights)?;
        let loss = self.subject.gradient(self.split, &mut self.all)?;
        let mut out = gradient.iter_mut();
        for range in &self.ranges {
            self.all[range.clone()].iter().zip(&mut out).for_each(|(from, to)| *to = *from);
        }
        Ok(loss)
    }
}
