//! Means with their standard errors.

use serde::Serialize;

/// A mean of independent values with its standard error, which is absent with one value alone.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// Mean.
    pub mean: f64,
    /// Standard error of the mean.
    pub error: Option<f64>,
}

impl Estimate {
    /// The estimate from independent values; not a number without any.
    pub fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
        Self { mean, error: (values.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_is_the_deviation_over_the_root_of_the_number() {
        let estimate = Estimate::of(&[1.0, 2.0, 3.0, 6.0]);
        // Mean 3, squares 4 + 1 + 0 + 9 = 14, over 3 and 4.
        assert_eq!(estimate, Estimate { mean: 3.0, error: Some((14.0f64 / 12.0).sqrt()) });
        assert_eq!(Estimate::of(&[5.0]).error, None);
    }
}
