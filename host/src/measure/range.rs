//! Evenly spaced values as they are typed: FROM:TO:STEP.

use serde::Serialize;
use std::fmt;
use std::str::FromStr;

/// Most values of a range: more are a slip of the keyboard.
const MOST: f64 = 10_000.0;

/// FROM, FROM + STEP, ... up to TO, which belongs to it where the steps reach it.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Range {
    from: f64,
    to: f64,
    step: f64,
}

/// A range that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RangeError {
    /// Not of the form.
    #[error("'{0}' is not FROM:TO:STEP, three numbers such as -1:2:0.1")]
    Form(String),
    /// The steps never arrive, or only after too many of them.
    #[error("'{0}' needs FROM <= TO, STEP > 0 and at most 10000 values")]
    Values(String),
}

impl Range {
    /// The values, ascending, each rounded to nine digits after the first of the step: 0.1 + 0.2 is 0.3, and 0 and 1 are
    /// met exactly.
    pub fn values(&self) -> Vec<f64> {
        let steps = ((self.to - self.from) / self.step + 1e-6).floor() as usize;
        let digits = (9.0 - self.step.log10().floor()).clamp(0.0, 300.0) as usize;
        (0..=steps)
            .map(|i| {
                let value = self.from + i as f64 * self.step;
                let tidy = format!("{value:.digits$}").parse().unwrap_or(value);
                // A start with more digits than that keeps them; and 0 has no sign.
                if (tidy - value).abs() < 1e-12 * (self.step + value.abs()) { tidy + 0.0 } else { value }
            })
            .collect()
    }
}

impl FromStr for Range {
    type Err = RangeError;

    fn from_str(text: &str) -> Result<Self, RangeError> {
        let numbers: Result<Vec<f64>, _> = text.split(':').map(|part| part.trim().parse::<f64>()).collect();
        let Ok(Ok([from, to, step])) = numbers.map(<[f64; 3]>::try_from) else {
            return Err(RangeError::Form(text.into()));
        };
        let fits = [from, to, step].iter().all(|v| v.is_finite()) && from <= to && step > 0.0;
        if !fits || (to - from) / step > MOST {
            return Err(RangeError::Values(text.into()));
        }
        Ok(Self { from, to, step })
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.from, self.to, self.step)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn whole_numbers_and_the_end_are_met_exactly() {
        let values = "-1:2:0.1".parse::<Range>().unwrap().values();
        assert_eq!(values.len(), 31);
        assert_eq!([values[0], values[10], values[20], values[30]], [-1.0, 0.0, 1.0, 2.0]);
        assert_eq!(values[13], 0.3);
        assert_eq!("0:0.05:0.02".parse::<Range>().unwrap().values(), [0.0, 0.02, 0.04]);
        assert_eq!("0:3e-5:1e-5".parse::<Range>().unwrap().values(), [0.0, 1e-5, 2e-5, 3e-5]);
        assert_eq!("5:5:1".parse::<Range>().unwrap().values(), [5.0]);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for bad in ["", "1", "1:2", "1:2:3:4", "a:b:c", "0:1:"] {
            assert_eq!(bad.parse::<Range>(), Err(RangeError::Form(bad.into())));
        }
        for bad in ["1:0:0.1", "0:1:0", "0:1:-1", "0:1:nan", "0:inf:1", "0:1:1e-9"] {
            assert_eq!(bad.parse::<Range>(), Err(RangeError::Values(bad.into())));
        }
    }
}
