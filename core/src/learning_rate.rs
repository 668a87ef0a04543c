//! Learning rates: regimes, cosine, warm-up, and scaling with the batch size.

use core::fmt;
use heapless::Vec;

/// Most changes that a regime can hold.
pub const REGIME_CAPACITY: usize = 16;

/// How the learning rate is scaled for large batches (Hoffer et al. 2017: sqrt; Goyal et al. 2017: linear).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BatchScaling {
    /// Not at all.
    #[default]
    None,
    /// With the square root of the ratio.
    Sqrt,
    /// With the ratio.
    Linear,
}

impl BatchScaling {
    /// Factor for `batch` images an update over a base of `base` images; the ratio is rounded down as in the
    /// authors' program, and is at least 1. A base of 0 counts as 1.
    pub fn factor(self, batch: usize, base: usize) -> f32 {
        let ratio = (batch / base.max(1)).max(1) as f64;
        match self {
            BatchScaling::None => 1.0,
            BatchScaling::Sqrt => libm::sqrt(ratio) as f32,
            BatchScaling::Linear => ratio as f32,
        }
    }
}

/// The shape of the learning rate over the epochs.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
enum Shape {
    Steps(Vec<(u32, f32), REGIME_CAPACITY>),
    Cosine { last: f32 },
}

/// Learning rate of each update.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LearningRate {
    base: f32,
    scale: f32,
    warm_up: u64,
    shape: Shape,
}

/// A learning rate that cannot be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum RateError {
    /// A rate is negative or not finite.
    Rate {
        /// The rate given.
        value: f32,
    },
    /// The epochs of a regime do not rise.
    Order {
        /// The epoch that does not come after the one before it.
        epoch: u32,
    },
    /// A regime has more changes than [`REGIME_CAPACITY`].
    TooManyChanges,
}

impl fmt::Display for RateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RateError::Rate { value } => {
                write!(f, "learning rate {value} is not a finite number of at least 0")
            }
            RateError::Order { epoch } => {
                write!(f, "epoch {epoch} of the regime does not come after the one before it")
            }
            RateError::TooManyChanges => {
                write!(f, "a regime holds at most {REGIME_CAPACITY} changes")
            }
        }
    }
}

impl core::error::Error for RateError {}

fn checked(value: f32) -> Result<f32, RateError> {
    if value.is_finite() && value >= 0.0 { Ok(value) } else { Err(RateError::Rate { value }) }
}

impl LearningRate {
    /// The same rate throughout.
    ///
    /// # Errors
    /// The rate is negative or not finite.
    pub fn constant(base: f32) -> Result<Self, RateError> {
        Ok(Self { base: checked(base)?, scale: 1.0, warm_up: 0, shape: Shape::Steps(Vec::new()) })
    }

    /// `base` until the first change; from epoch `changes[i].0` on the rate is `changes[i].1`.
    ///
    /// # Errors
    /// A rate is negative or not finite, the epochs do not rise, or there are too many changes.
    pub fn regime(base: f32, changes: &[(u32, f32)]) -> Result<Self, RateError> {
        let mut steps = Vec::new();
        let mut previous = None;
        for &(epoch, rate) in changes {
            if previous.is_some_and(|p| epoch <= p) {
                return Err(RateError::Order { epoch });
            }
            previous = Some(epoch);
            steps.push((epoch, checked(rate)?)).map_err(|_| RateError::TooManyChanges)?;
        }
        Ok(Self { base: checked(base)?, scale: 1.0, warm_up: 0, shape: Shape::Steps(steps) })
    }

    /// From `base` to `last` along half a cosine over the whole training (Loshchilov and Hutter 2017, without restarts).
    ///
    /// # Errors
    /// A rate is negative or not finite.
    pub fn cosine(base: f32, last: f32) -> Result<Self, RateError> {
        let shape = Shape::Cosine { last: checked(last)? };
        Ok(Self { base: checked(base)?, scale: 1.0, warm_up: 0, shape })
    }

    /// The same with a linear rise over the first `updates` updates, the first one at 1/updates of the rate.
    pub fn warm_up(self, updates: u64) -> Self {
        Self { warm_up: updates, ..self }
    }

    /// The same with every rate multiplied by `factor`, as by [`BatchScaling::factor`].
    ///
    /// # Errors
    /// The factor is negative or not finite.
    pub fn scaled(self, factor: f32) -> Result<Self, RateError> {
        Ok(Self { scale: self.scale * checked(factor)?, ..self })
    }

    /// The rate of update `update` of `total`, which belongs to `epoch`; all count from 0.
    pub fn at(&self, epoch: u32, update: u64, total: u64) -> f32 {
        let rate = match &self.shape {
            Shape::Steps(steps) => {
                let changed = steps.iter().rev().find(|(from, _)| *from <= epoch);
                changed.map_or(self.base, |(_, rate)| *rate)
            }
            Shape::Cosine { last } => {
                let progress = (update as f64 / total.max(1) as f64).min(1.0);
                let share = (libm::cos(core::f64::consts::PI * progress) + 1.0) / 2.0;
                last + (self.base - last) * share as f32
            }
        };
        let rise = if update < self.warm_up {
            (update + 1) as f32 / self.warm_up as f32
        } else {
            1.0
        };
        rate * self.scale * rise
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regimes_step_at_their_epochs() {
        let rate = LearningRate::regime(0.1, &[(81, 0.01), (122, 0.001)]).expect("rises");
        for (epoch, expected) in [(0, 0.1), (80, 0.1), (81, 0.01), (121, 0.01), (122, 0.001), (999, 0.001)] {
            assert_eq!(rate.at(epoch, 0, 1), expected);
        }
        let scaled = rate.scaled(BatchScaling::Sqrt.factor(2048, 128)).expect("finite");
        assert_eq!(scaled.at(0, 0, 1), 0.4);
    }

    #[test]
    fn cosine_and_warm_up() {
        let rate = LearningRate::cosine(1.0, 0.0).expect("finite").warm_up(4);
        assert_eq!(rate.at(0, 0, 1000), 0.25);
        assert!((rate.at(0, 500, 1000) - 0.5).abs() < 1e-6);
        assert!(rate.at(0, 1000, 1000).abs() < 1e-6);
    }

    #[test]
    fn scaling_is_the_authors() {
        assert_eq!(BatchScaling::Sqrt.factor(5000, 128), 39f32.sqrt());
        assert_eq!(BatchScaling::Linear.factor(6000, 128), 46.0);
        assert_eq!(BatchScaling::Sqrt.factor(64, 128), 1.0);
    }

    #[test]
    fn impossible_rates_are_refused() {
        assert_eq!(LearningRate::constant(-1.0), Err(RateError::Rate { value: -1.0 }));
        assert!(LearningRate::cosine(f32::NAN, 0.0).is_err());
        assert_eq!(
            LearningRate::regime(0.1, &[(5, 0.1), (5, 0.2)]),
            Err(RateError::Order { epoch: 5 })
        );
    }
}
