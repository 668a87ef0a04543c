//! A function restricted to a random subspace: f(x0 + A z) for z near 0 (Keskar et al. 2017, section 2.2.2).

use super::linear_algebra::{norm, solve};
use super::random::{Purpose, gaussian, generator};
use super::{MeasureError, Objective};

/// Most bytes of a subspace's columns.
const MOST_BYTES: usize = 8 << 30;

/// f(x0 + A z), with `dimension` random unit columns in A.
pub(super) struct Subspace<'o> {
    objective: &'o mut dyn Objective,
    centre: &'o [f64],
    columns: Vec<Vec<f32>>,
    point: Vec<f64>,
    full: Vec<f64>,
}

impl<'o> Subspace<'o> {
    /// A subspace whose columns depend on seed and index: Gaussian, then made as long as 1.
    pub(super) fn new(
        objective: &'o mut dyn Objective,
        centre: &'o [f64],
        dimension: usize,
        seed: u64,
        index: u64,
    ) -> Result<Self, MeasureError> {
        let n = objective.len();
        if dimension == 0 || dimension > n {
            return Err(MeasureError::Request(format!(
                "a subspace of {dimension} dimensions does not fit in the {n} dimensions of the parameters"
            )));
        }
        if dimension.saturating_mul(n).saturating_mul(size_of::<f32>()) > MOST_BYTES {
            return Err(MeasureError::Request(format!(
                "a subspace of {dimension} dimensions of {n} parameters needs {:.0} GiB; at most 8 are allowed",
                dimension as f64 * n as f64 * 4.0 / f64::from(1 << 30)
            )));
        }
        let mut rng = generator(seed, Purpose::Subspace, index);
        let mut column = || {
            let values: Vec<f64> = (0..n).map(|_| gaussian(&mut rng)).collect();
            let length = norm(&values);
            values.iter().map(|v| (v / length) as f32).collect()
        };
        let columns = (0..dimension).map(|_| column()).collect();
        Ok(Self { objective, centre, columns, point: vec![0.0; n], full: vec![0.0; n] })
    }

    /// A⁺ x0 = (AᵀA)⁻¹ Aᵀ x0, which the size of the box is measured by.
    pub(super) fn centre_coordinates(&self) -> Result<Vec<f64>, MeasureError> {
        let inner = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y)).sum();
        let gram: Vec<Vec<f64>> =
            self.columns.iter().map(|a| self.columns.iter().map(|b| inner(a, b)).collect()).collect();
        let along = |a: &Vec<f32>| a.iter().zip(self.centre).map(|(x, c)| f64::from(*x) * c).sum();
        let right: Vec<f64> = self.columns.iter().map(along).collect();
        solve(&gram, &right)
            .ok_or_else(|| MeasureError::Request("the columns of the subspace depend on each other".into()))
    }

    /// x0 + A z.
    pub(super) fn point(&self, z: &[f64]) -> Vec<f64> {
        let mut point = self.centre.to_vec();
        self.add(z, &mut point);
        point
    }

    fn add(&self, z: &[f64], point: &mut [f64]) {
        for (column, z) in self.columns.iter().zip(z) {
            point.iter_mut().zip(column).for_each(|(p, c)| *p += z * f64::from(*c));
        }
    }
}

impl Objective for Subspace<'_> {
    fn len(&self) -> usize {
        self.columns.len()
    }

    fn gradient(&mut self, z: &[f64], gradient: &mut [f64]) -> Result<f64, MeasureError> {
        let mut point = std::mem::take(&mut self.point);
        point.copy_from_slice(self.centre);
        self.add(z, &mut point);
        let value = self.objective.gradient(&point, &mut self.full);
        self.point = point;
        for (g, column) in gradient.iter_mut().zip(&self.columns) {
            *g = column.iter().zip(&self.full).map(|(c, f)| f64::from(*c) * f).sum();
        }
        value
    }
}
