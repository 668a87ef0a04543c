//! The Hessian of a loss without the Hessian: its largest eigenvalues by Lanczos' method, its trace by Hutchinson's.
//!
//! Both need products H v alone, which are exact or differences: [`Products`].

use super::linear_algebra::{add_scaled, dot, eigen, norm};
use super::random::{Purpose, gaussian, generator, unit};
use super::{Estimate, MeasureError, Products};
use serde::Serialize;

/// An eigenvalue with the length of H v - value * v for its vector v of length 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Eigenvalue {
    /// The eigenvalue.
    pub value: f64,
    /// The residual: some eigenvalue of H lies within this of the value.
    pub residual: f64,
}

/// The Hessian of a function at a point.
pub struct Hessian<'p> {
    products: &'p mut dyn Products,
}

impl std::fmt::Debug for Hessian<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hessian").field("variables", &self.products.len()).finish_non_exhaustive()
    }
}

impl<'p> Hessian<'p> {
    /// The Hessian with these products.
    pub fn new(products: &'p mut dyn Products) -> Self {
        Self { products }
    }

    /// The `count` largest eigenvalues, in descending order, after `steps` steps of Lanczos' method with every vector
    /// made orthogonal to all before it; fewer where the space has fewer dimensions. Takes steps + count products and
    /// 8 * steps bytes for each variable.
    ///
    /// # Errors
    /// No eigenvalues or fewer steps than eigenvalues asked for, or what a product can meet.
    pub fn largest(&mut self, count: usize, steps: usize, seed: u64) -> Result<Vec<Eigenvalue>, MeasureError> {
        if count == 0 || steps < count {
            return Err(MeasureError::Request(format!(
                "{count} eigenvalues by {steps} steps: at least 1 eigenvalue and as many steps are needed"
            )));
        }
        let n = self.products.len();
        let mut rng = generator(seed, Purpose::Lanczos, 0);
        let mut vector: Vec<f64> = (0..n).map(|_| gaussian(&mut rng)).collect();
        let mut basis: Vec<Vec<f64>> = Vec::new();
        let (mut diagonal, mut beside): (Vec<f64>, Vec<f64>) = (Vec::new(), Vec::new());
        for _ in 0..steps.min(n) {
            let length = norm(&vector);
            vector.iter_mut().for_each(|v| *v /= length);
            let mut next = vec![0.0; n];
            self.products.times(&vector, &mut next)?;
            diagonal.push(dot(&vector, &next));
            basis.push(vector);
            // Twice is enough (Parlett): what the first pass leaves is rounding.
            for _ in 0..2 {
                for earlier in &basis {
                    let along = dot(earlier, &next);
                    add_scaled(&mut next, -along, earlier);
                }
            }
            let length = norm(&next);
            let largest = diagonal.iter().fold(0.0f64, |m, d| m.max(d.abs()));
            vector = next;
            beside.push(length);
            // The space that the start can reach is used up.
            if length <= 1e-12 * largest {
                break;
            }
        }
        let m = diagonal.len();
        let mut matrix = vec![vec![0.0; m]; m];
        for (i, value) in diagonal.iter().enumerate() {
            matrix[i][i] = *value;
        }
        for (i, value) in beside.iter().enumerate().take(m - 1) {
            matrix[i][i + 1] = *value;
            matrix[i + 1][i] = *value;
        }
        let mut found = Vec::new();
        for (value, weights) in eigen(matrix).into_iter().take(count) {
            let mut eigenvector = vec![0.0; n];
            for (weight, of_basis) in weights.iter().zip(&basis) {
                add_scaled(&mut eigenvector, *weight, of_basis);
            }
            let mut product = vec![0.0; n];
            self.products.times(&eigenvector, &mut product)?;
            add_scaled(&mut product, -value, &eigenvector);
            found.push(Eigenvalue { value, residual: norm(&product) });
        }
        Ok(found)
    }

    /// One sample of the trace: v H v for v of random signs, whose mean over v is the trace. Takes one product.
    ///
    /// # Errors
    /// What a product can meet.
    pub fn trace_sample(&mut self, seed: u64, index: u64) -> Result<f64, MeasureError> {
        let mut rng = generator(seed, Purpose::Trace, index);
        let v: Vec<f64> = (0..self.products.len()).map(|_| if unit(&mut rng) < 0.5 { -1.0 } else { 1.0 }).collect();
        let mut product = vec![0.0; v.len()];
        self.products.times(&v, &mut product)?;
        Ok(dot(&v, &product))
    }

    /// The trace from `samples` samples, with its standard error.
    ///
    /// # Errors
    /// No samples, or what a product can meet.
    pub fn trace(&mut self, samples: u64, seed: u64) -> Result<Estimate, MeasureError> {
        if samples == 0 {
            return Err(MeasureError::Request("the trace needs at least 1 sample".into()));
        }
        let values: Result<Vec<f64>, _> = (0..samples).map(|i| self.trace_sample(seed, i)).collect();
        Ok(Estimate::of(&values?))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::measure::{Differences, Objective};

    /// x·Sx/2 + sum of x_i^4 / 4, with S = Q diag(eigenvalues) Q for a reflection Q = 1 - 2 u u·.
    struct Known {
        eigenvalues: Vec<f64>,
        u: Vec<f64>,
    }

    impl Known {
        fn new(n: usize) -> Self {
            let mut u: Vec<f64> = (0..n).map(|i| (i as f64 + 0.3).sin()).collect();
            let length = norm(&u);
            u.iter_mut().for_each(|v| *v /= length);
            Self { eigenvalues: (0..n).map(|i| 40.0 * 0.8f64.powi(i as i32) - 3.0).collect(), u }
        }

        fn reflect(&self, x: &[f64]) -> Vec<f64> {
            let mut out = x.to_vec();
            add_scaled(&mut out, -2.0 * dot(&self.u, x), &self.u);
            out
        }
    }

    impl Objective for Known {
        fn len(&self) -> usize {
            self.u.len()
        }

        fn gradient(&mut self, x: &[f64], gradient: &mut [f64]) -> Result<f64, MeasureError> {
            let mut y = self.reflect(x);
            y.iter_mut().zip(&self.eigenvalues).for_each(|(y, e)| *y *= e);
            gradient.copy_from_slice(&self.reflect(&y));
            let quadratic = dot(x, gradient) / 2.0;
            gradient.iter_mut().zip(x).for_each(|(g, x)| *g += x * x * x);
            Ok(quadratic + x.iter().map(|x| x.powi(4)).sum::<f64>() / 4.0)
        }
    }

    #[test]
    fn eigenvalues_of_a_known_matrix_are_found() {
        let mut known = Known::new(60);
        let mut products = Differences::new(&mut known, vec![0.0; 60], 1e-4).unwrap();
        let mut hessian = Hessian::new(&mut products);
        let found = hessian.largest(4, 40, 1).unwrap();
        for (i, eigenvalue) in found.iter().enumerate() {
            let value = 40.0 * 0.8f64.powi(i as i32) - 3.0;
            assert!((eigenvalue.value - value).abs() < 1e-6 * value, "{eigenvalue:?} instead of {value}");
            assert!(eigenvalue.residual < 1e-4, "{eigenvalue:?}");
        }
        // A few steps give less, and the residual says so.
        let rough = hessian.largest(4, 5, 1).unwrap();
        assert!(rough[3].residual > 1e-2, "{rough:?}");
    }

    #[test]
    fn a_small_space_is_found_whole() {
        let mut known = Known::new(3);
        let mut products = Differences::new(&mut known, vec![0.0; 3], 1e-4).unwrap();
        let found = Hessian::new(&mut products).largest(3, 50, 1).unwrap();
        let values: Vec<f64> = found.iter().map(|e| e.value).collect();
        for (value, known) in values.iter().zip([37.0, 29.0, 22.6]) {
            assert!((value - known).abs() < 1e-5, "{values:?}");
        }
        assert_eq!(values.len(), 3);
    }

    #[test]
    fn the_trace_is_within_its_standard_error() {
        let mut known = Known::new(60);
        let trace: f64 = known.eigenvalues.iter().sum();
        let mut products = Differences::new(&mut known, vec![0.0; 60], 1e-4).unwrap();
        let found = Hessian::new(&mut products).trace(200, 1).unwrap();
        let error = found.error.unwrap();
        assert!((found.mean - trace).abs() < 4.0 * error, "{found:?} instead of {trace}");
        // sqrt(2 / 200) times the length of all entries beside the diagonal, which is at most that of the eigenvalues.
        let length = norm(&Known::new(60).eigenvalues);
        assert!(error < 0.12 * length, "{found:?}, {length}");
    }
}
