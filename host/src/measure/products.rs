//! Products of the Hessian of a loss with a vector.
//!
//! [`Exact`] runs core's portable passes on numbers with a derivative, in f64: exact, and many times slower than
//! the gradients of the CPU device. [`Differences`] takes central differences of gradients,
//! (g(x + h v) - g(x - h v)) / 2h. Where a ReLU or a pool takes another branch between the two points the gradient jumps,
//! and the jump over 2h is in the difference; a smaller h meets fewer jumps, and drowns in the rounding of f32 weights.
//! On f1, trained for an epoch on MNIST, and 300 test images the largest eigenvalue, 4.500, came out as (h as a share of
//! 1 + the norm of the weights; `tests/golden/measure.py`):
//!
//! | 1e-3 | 1e-4 | 1e-5 | 1e-6 | 3e-7 | 1e-7 | 3e-8 | 1e-8 |
//! |---|---|---|---|---|---|---|---|
//! | 4.54 | 5.28 | 17.3 | 25.4 | 59.4 | 4.51 | 4.39 | 3.45 |
//!
//! so that no h is right but by luck, and the residuals are the only warning.

use super::linear_algebra::{add_scaled, norm};
use super::{MeasureError, Objective, Subject};
use crate::data::Split;
use crate::device::{DeviceError, Part};
use crate::net::NetPlan;
use rayon::prelude::*;
use smoothout::backend::Selection;
use smoothout::dual::Dual;
use smoothout::portable::{LengthError, Mode, NetworkPass};
use std::ops::Range;

/// The Hessian of a function at a point, known by its products alone.
pub trait Products {
    /// The number of variables.
    fn len(&self) -> usize;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// out = H v. Both slices hold [`len`](Self::len) values.
    ///
    /// # Errors
    /// The device or the data failed, or [`MeasureError::Interrupted`].
    fn times(&mut self, v: &[f64], out: &mut [f64]) -> Result<(), MeasureError>;
}

/// Products by central differences of the gradients of an objective.
pub struct Differences<'o> {
    objective: &'o mut dyn Objective,
    centre: Vec<f64>,
    /// Length of h v.
    step: f64,
    point: Vec<f64>,
    minus: Vec<f64>,
}

impl std::fmt::Debug for Differences<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Differences").field("step", &self.step).finish_non_exhaustive()
    }
}

impl<'o> Differences<'o> {
    /// The Hessian at `centre`. `step` is how far the two gradients of a product are taken from it, as a share of
    /// 1 + the norm of the centre.
    ///
    /// # Errors
    /// A step that is not finite and positive.
    pub fn new(objective: &'o mut dyn Objective, centre: Vec<f64>, step: f64) -> Result<Self, MeasureError> {
        if !(step.is_finite() && step > 0.0) {
            return Err(MeasureError::Request(format!("the step {step} is not a finite number above 0")));
        }
        let zeros = vec![0.0; centre.len()];
        Ok(Self { objective, step: step * (1.0 + norm(&centre)), centre, point: zeros.clone(), minus: zeros })
    }
}

impl Products for Differences<'_> {
    fn len(&self) -> usize {
        self.centre.len()
    }

    fn times(&mut self, v: &[f64], out: &mut [f64]) -> Result<(), MeasureError> {
        let length = norm(v);
        if length == 0.0 {
            out.fill(0.0);
            return Ok(());
        }
        let h = self.step / length;
        for (scale, plus) in [(h, true), (-h, false)] {
            self.point.copy_from_slice(&self.centre);
            add_scaled(&mut self.point, scale, v);
            let gradient = if plus { &mut *out } else { &mut self.minus };
            self.objective.gradient(&self.point, gradient)?;
        }
        out.iter_mut().zip(&self.minus).for_each(|(plus, minus)| *plus = (*plus - minus) / (2.0 * h));
        Ok(())
    }
}

/// Images that one thread takes at a time: always as many, so that sums do not depend on the number of threads.
const PART: usize = 16;

/// Exact products for a network's mean loss over a split, as a function of the selected parameters, with running
/// statistics and without dropout.
#[derive(Debug)]
pub struct Exact<'s, 'a> {
    subject: &'s mut Subject<'a>,
    split: &'s Split,
    ranges: Vec<Range<usize>>,
    plan: NetPlan,
    parameters: Vec<Dual>,
    statistics: Vec<Dual>,
}

impl<'s, 'a> Exact<'s, 'a> {
    /// The Hessian at the network's own weights.
    ///
    /// # Errors
    /// Nothing is selected.
    pub fn new(subject: &'s mut Subject<'a>, split: &'s Split, selection: Selection) -> Result<Self, MeasureError> {
        let ranges = subject.ranges(selection);
        if ranges.is_empty() {
            return Err(MeasureError::Request("the network has no parameters of the kinds included".into()));
        }
        let constant = |values: &[f32]| values.iter().map(|v| Dual::constant(f64::from(*v))).collect();
        let (parameters, statistics) = (constant(subject.weights()), constant(subject.statistics()));
        let weights = subject.weights().to_vec();
        subject.device().write(Part::Weights, &weights)?;
        let plan = subject.device().plan().clone();
        Ok(Self { subject, split, ranges, plan, parameters, statistics })
    }
}

impl Products for Exact<'_, '_> {
    fn len(&self) -> usize {
        self.ranges.iter().map(ExactSizeIterator::len).sum()
    }

    fn times(&mut self, v: &[f64], out: &mut [f64]) -> Result<(), MeasureError> {
        let mut values = v.iter();
        for range in &self.ranges {
            for (parameter, v) in self.parameters[range.clone()].iter_mut().zip(&mut values) {
                parameter.derivative = *v;
            }
        }
        let Self { subject, split, plan, parameters, statistics, .. } = self;
        let image = plan.input().len();
        let total = split.len() as f64;
        let mut all = vec![0.0; parameters.len()];
        subject.each_batch(split, |_, batch, _| {
            let parts: Vec<(&[f32], &[u32])> =
                batch.images.chunks(PART * image).zip(batch.labels.chunks(PART)).collect();
            let sums: Result<Vec<Vec<f64>>, MeasureError> = parts
                .into_par_iter()
                .map(|(images, labels)| {
                    let mut sum = product(plan, parameters, statistics, images, labels)?;
                    sum.iter_mut().for_each(|s| *s *= labels.len() as f64 / total);
                    Ok(sum)
                })
                .collect();
            for sum in sums? {
                add_scaled(&mut all, 1.0, &sum);
            }
            Ok(())
        })?;
        let mut to = out.iter_mut();
        for range in &self.ranges {
            all[range.clone()].iter().zip(&mut to).for_each(|(from, to)| *to = *from);
        }
        Ok(())
    }
}

/// H v of the mean loss over some images, v being the parameters' derivatives.
fn product(
    plan: &NetPlan,
    parameters: &[Dual],
    statistics: &[Dual],
    images: &[f32],
    labels: &[u32],
) -> Result<Vec<f64>, MeasureError> {
    let failed = |problem: String| MeasureError::Device(DeviceError::Batch(problem));
    let images: Vec<Dual> = images.iter().map(|v| Dual::constant(f64::from(*v))).collect();
    let mut workspace = vec![Dual::default(); plan.workspace()];
    let mut pass =
        NetworkPass::new(plan, &mut workspace).ok_or_else(|| failed("the workspace is too short".into()))?;
    pass.forward(parameters, statistics, &images, Mode::Evaluate).map_err(|e| failed(e.to_string()))?;
    pass.loss(labels).map_err(|e| failed(e.to_string()))?;
    let mut sum = vec![0.0; parameters.len()];
    let mut owner = parameters;
    pass.backward(&mut owner, |owner| owner, statistics, &images, |_, tensor, row, gradient| {
        let start = tensor.range().start + row * tensor.row_len;
        sum[start..].iter_mut().zip(gradient).for_each(|(sum, g)| *sum += g.derivative);
        Ok::<(), LengthError>(())
    })
    .map_err(|e| failed(e.to_string()))?;
    Ok(sum)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::net::{NetName, NormInit, initial_parameters, initial_statistics};
    use smoothout::plan::{Plan, Purpose};

    /// The gradient of a network's loss in f64.
    fn gradient(plan: &NetPlan, parameters: &[f64], statistics: &[f64], images: &[f64], labels: &[u32]) -> Vec<f64> {
        let mut workspace = vec![0.0; plan.workspace()];
        let mut pass = NetworkPass::new(plan, &mut workspace).unwrap();
        pass.forward(parameters, statistics, images, Mode::Evaluate).unwrap();
        pass.loss(labels).unwrap();
        let mut all = vec![0.0; parameters.len()];
        let mut owner = parameters;
        pass.backward(&mut owner, |owner| owner, statistics, images, |_, tensor, row, gradient| {
            let start = tensor.range().start + row * tensor.row_len;
            all[start..start + gradient.len()].copy_from_slice(gradient);
            Ok::<(), LengthError>(())
        })
        .unwrap();
        all
    }

    #[test]
    fn products_are_those_of_tiny_differences_in_f64_and_symmetric() {
        for (name, depth, images) in [(NetName::Digits, 0, 5), (NetName::F1, 0, 2), (NetName::Resnet, 8, 2)] {
            let net = name.build(depth, 10).unwrap();
            let plan: Box<NetPlan> = Box::new(Plan::new(&net, images, Purpose::Training).unwrap());
            let weights = initial_parameters(name, &plan, NormInit::Ones, 3);
            let statistics = initial_statistics(&plan);
            let pixels: Vec<f32> = (0..images * plan.input().len()).map(|i| ((i * i) as f32 * 0.37).sin()).collect();
            let labels: Vec<u32> = (0..images as u32).collect();
            let direction = |seed: f64| -> Vec<f64> { (0..weights.len()).map(|i| (i as f64 * seed).sin()).collect() };
            let times = |v: &[f64]| {
                let parameters: Vec<Dual> = weights.iter().zip(v).map(|(w, v)| Dual::new(f64::from(*w), *v)).collect();
                let statistics: Vec<Dual> = statistics.iter().map(|s| Dual::constant(f64::from(*s))).collect();
                product(&plan, &parameters, &statistics, &pixels, &labels).unwrap()
            };
            let (u, v) = (direction(0.7), direction(1.3));
            let (hu, hv) = (times(&u), times(&v));
            let inner = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
            assert!((inner(&u, &hv) - inner(&v, &hu)).abs() < 1e-9 * norm(&u) * norm(&hv), "{name:?}");
            // So small a step crosses no kink, and f64 bears it.
            let h = 1e-7 / norm(&v);
            let wide = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<f64>>();
            let (images, statistics) = (wide(&pixels), wide(&statistics));
            let at = |h: f64| {
                let mut point = wide(&weights);
                add_scaled(&mut point, h, &v);
                gradient(&plan, &point, &statistics, &images, &labels)
            };
            let (plus, minus) = (at(h), at(-h));
            let mut off = hv.clone();
            let difference: Vec<f64> = plus.iter().zip(&minus).map(|(p, m)| (p - m) / (2.0 * h)).collect();
            add_scaled(&mut off, -1.0, &difference);
            assert!(norm(&off) < 1e-5 * norm(&hv), "{name:?}: {} of {}", norm(&off), norm(&hv));
        }
    }
}
