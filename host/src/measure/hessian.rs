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

/// The largest eigenvalues that were found.
#[derive(Clone, Debug, PartialEq)]
pub struct Spectrum {
    /// In descending order.
    pub eigenvalues: Vec<Eigenvalue>,
    /// Steps done.
    pub steps: usize,
    /// Whether all that was asked for was done.
    pub complete: bool,
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

    /// The `count` largest eigenvalues after `steps` steps of Lanczos' method with every vector made orthogonal to all
    /// before it; fewer where the space has fewer dimensions. Takes steps + count products and 8 * steps bytes for each
    /// variable. An interruption after the first step gives what the steps so far give, with `complete` unset; the
    /// residuals that no product was made for are then Lanczos' own, which are right where H is symmetric, as that of
    /// exact products is.
    ///
    /// # Errors
    /// No eigenvalues or fewer steps than eigenvalues asked for, a product that is not finite, or what a product can
    /// meet.
    pub fn largest(&mut self, count: usize, steps: usize, seed: u64) -> Result<Spectrum, MeasureError> {
        if count == 0 || steps < count {
            return Err(MeasureError::Request(format!(
                "{count} eigenvalues by {steps} steps: at least 1 eigenvalue and as many steps are needed"
            )));
        }
        let Krylov { basis, diagonal, beside, mut complete } = self.krylov(steps, seed)?;
        let m = diagonal.len();
        let mut matrix = vec![vec![0.0; m]; m];
        for (i, value) in diagonal.iter().enumerate() {
            matrix[i][i] = *value;
        }
        for (i, value) in beside.iter().enumerate().take(m - 1) {
            matrix[i][i + 1] = *value;
            matrix[i + 1][i] = *value;
        }
        let mut eigenvalues = Vec::new();
        for (value, weights) in eigen(matrix).into_iter().take(count) {
            let mut residual = beside[m - 1] * weights[m - 1].abs();
            if complete {
                let mut eigenvector = vec![0.0; self.products.len()];
                for (weight, of_basis) in weights.iter().zip(&basis) {
                    add_scaled(&mut eigenvector, *weight, of_basis);
                }
                match self.times(&eigenvector) {
                    Ok(mut product) => {
                        add_scaled(&mut product, -value, &eigenvector);
                        residual = norm(&product);
                    }
                    Err(MeasureError::Interrupted) => complete = false,
                    Err(error) => return Err(error),
                }
            }
            eigenvalues.push(Eigenvalue { value, residual });
        }
        Ok(Spectrum { eigenvalues, steps: m, complete })
    }

    /// Lanczos' vectors and matrix, of at least one step.
    fn krylov(&mut self, steps: usize, seed: u64) -> Result<Krylov, MeasureError> {
        let n = self.products.len();
        let mut rng = generator(seed, Purpose::Lanczos, 0);
        let mut vector: Vec<f64> = (0..n).map(|_| gaussian(&mut rng)).collect();
        let mut found = Krylov { basis: Vec::new(), diagonal: Vec::new(), beside: Vec::new(), complete: true };
        for _ in 0..steps.min(n) {
            let length = norm(&vector);
            vector.iter_mut().for_each(|v| *v /= length);
            let mut next = match self.times(&vector) {
                Err(MeasureError::Interrupted) if !found.basis.is_empty() => {
                    found.complete = false;
                    break;
                }
                product => product?,
            };
            found.diagonal.push(dot(&vector, &next));
            found.basis.push(vector);
            // Twice is enough (Parlett): what the first pass leaves is rounding.
            for _ in 0..2 {
                for earlier in &found.basis {
                    let along = dot(earlier, &next);
                    add_scaled(&mut next, -along, earlier);
                }
            }
            let length = norm(&next);
            let largest = found.diagonal.iter().fold(0.0f64, |m, d| m.max(d.abs()));
            vector = next;
            found.beside.push(length);
            // The space that the start can reach is used up.
            if length <= 1e-12 * largest {
                break;
            }
        }
        Ok(found)
    }

    /// H v.
    fn times(&mut self, v: &[f64]) -> Result<Vec<f64>, MeasureError> {
        let mut product = vec![0.0; v.len()];
        self.products.times(v, &mut product)?;
        if !norm(&product).is_finite() {
            return Err(MeasureError::Request("a product of the Hessian and a vector is not finite".into()));
        }
        Ok(product)
    }

    /// One sample of the trace: v H v for v of random signs, whose mean over v is the trace. Takes one product.
    ///
    /// # Errors
    /// A product that is not finite, or what a product can meet.
    pub fn trace_sample(&mut self, seed: u64, index: u64) -> Result<f64, MeasureError> {
        let mut rng = generator(seed, Purpose::Trace, index);
        let v: Vec<f64> = (0..self.products.len()).map(|_| if unit(&mut rng) < 0.5 { -1.0 } else { 1.0 }).collect();
        Ok(dot(&v, &self.times(&v)?))
    }

    /// The trace from `samples` samples, with its standard error.
    ///
    /// # Errors
    /// No samples, or as [`Hessian::trace_sample`].
    pub fn trace(&mut self, samples: u64, seed: u64) -> Result<Estimate, MeasureError> {
        if samples == 0 {
            return Err(MeasureError::Request("the trace needs at least 1 sample".into()));
        }
        let values: Result<Vec<f64>, _> = (0..samples).map(|i| self.trace_sample(seed, i)).collect();
        Ok(Estimate::of(&values?))
    }
}

/// What Lanczos' steps give: orthogonal vectors of length 1, and H in their space, a matrix with a diagonal and values
/// on both sides of it; the last of `beside` is the length of what the last step left outside the space.
struct Krylov {
    basis: Vec<Vec<f64>>,
    diagonal: Vec<f64>,
    beside: Vec<f64>,
    /// Whether no step was interrupted.
    complete: bool,
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
        let found = hessian.largest(4, 40, 1).unwrap().eigenvalues;
        for (i, eigenvalue) in found.iter().enumerate() {
            let value = 40.0 * 0.8f64.powi(i as i32) - 3.0;
            assert!((eigenvalue.value - value).abs() < 1e-6 * value, "{eigenvalue:?} instead of {value}");
            assert!(eigenvalue.residual < 1e-4, "{eigenvalue:?}");
        }
        // A few steps give less, and the residual says so.
        let rough = hessian.largest(4, 5, 1).unwrap().eigenvalues;
        assert!(rough[3].residual > 1e-2, "{rough:?}");
    }

    #[test]
    fn a_small_space_is_found_whole() {
        let mut known = Known::new(3);
        let mut products = Differences::new(&mut known, vec![0.0; 3], 1e-4).unwrap();
        let found = Hessian::new(&mut products).largest(3, 50, 1).unwrap().eigenvalues;
        let values: Vec<f64> = found.iter().map(|e| e.value).collect();
        for (value, known) in values.iter().zip([37.0, 29.0, 22.6]) {
            assert!((value - known).abs() < 1e-5, "{values:?}");
        }
        assert_eq!(values.len(), 3);
    }

    /// Products that are interrupted after so many.
    struct Stops<'o>(Differences<'o>, usize);

    impl Products for Stops<'_> {
        fn len(&self) -> usize {
            self.0.len()
        }

        fn times(&mut self, v: &[f64], out: &mut [f64]) -> Result<(), MeasureError> {
            self.1 = self.1.checked_sub(1).ok_or(MeasureError::Interrupted)?;
            self.0.times(v, out)
        }
    }

    #[test]
    fn an_interruption_leaves_what_the_steps_so_far_give() {
        let mut known = Known::new(60);
        let mut after = |products, count, steps| {
            let differences = Differences::new(&mut known, vec![0.0; 60], 1e-4).unwrap();
            Hessian::new(&mut Stops(differences, products)).largest(count, steps, 1)
        };
        let whole = after(100, 3, 6).unwrap();
        assert!(whole.complete && whole.steps == 6);
        // In the steps, and in the products of the residuals: the same values, with residuals that need no product.
        for (products, steps) in [(6, 40), (6, 6), (7, 6)] {
            let part = after(products, 3, steps).unwrap();
            assert!(!part.complete && part.steps == 6 && part.eigenvalues.len() == 3, "{part:?}");
            for (a, b) in part.eigenvalues.iter().zip(&whole.eigenvalues) {
                assert_eq!(a.value, b.value);
                assert!((a.residual - b.residual).abs() < 1e-5 * b.residual, "{a:?} {b:?}");
            }
        }
        let one = after(1, 3, 40).unwrap();
        assert_eq!((one.eigenvalues.len(), one.steps), (1, 1));
        assert!(matches!(after(0, 3, 40), Err(MeasureError::Interrupted)));
    }

    #[test]
    fn a_product_that_is_not_finite_is_refused() {
        let mut known = Known { eigenvalues: vec![f64::NAN; 5], ..Known::new(5) };
        let mut products = Differences::new(&mut known, vec![0.0; 5], 1e-4).unwrap();
        let mut hessian = Hessian::new(&mut products);
        for error in [hessian.largest(1, 3, 1).unwrap_err(), hessian.trace(2, 1).unwrap_err()] {
            assert!(error.to_string().contains("not finite"), "{error}");
        }
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
