//! What the suite finds.

use core::fmt;

/// What was compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Check {
    /// The case does not fit the suite's own memory.
    Memory,
    /// The backend reported an error: distance 1, tolerance 0.
    Error,
    /// The reference itself against values of PyTorch in float64, for single layers and networks.
    Golden,
    /// Loss at the clean weights before training.
    Evaluation,
    /// Hits at the clean weights before training.
    Hits,
    /// Loss of a step.
    Loss,
    /// Weights after a step.
    Weights,
    /// Running statistics after a step.
    Statistics,
    /// A batch that is not finite is refused: distance 1 if it is not.
    Refusal,
    /// The clean weights and running statistics after that.
    Restored,
}

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Finding {
    /// Name of the case.
    pub case: &'static str,
    /// Steps taken before.
    pub step: u64,
    /// What was compared.
    pub check: Check,
    /// Distance from the reference.
    pub distance: f64,
    /// What it may be.
    pub tolerance: f64,
}

impl Finding {
    /// Whether the distance is within the tolerance.
    pub fn passes(&self) -> bool {
        self.distance <= self.tolerance
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { case, step, check, distance, tolerance } = self;
        write!(f, "{case}, step {step}: {check:?} is {distance:.3e} off, {tolerance:.3e} is allowed")
    }
}

/// What came of the suite.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Summary {
    /// Cases that the backend was taken through.
    pub cases: usize,
    /// Cases that it does not support.
    pub unsupported: usize,
    /// Comparisons.
    pub checks: usize,
    /// Comparisons outside of their tolerance.
    pub failures: usize,
    /// Largest distance, as a share of its tolerance.
    pub worst: f64,
}
