//! Why a pass or an objective refuses what it is given.

use super::parameters::MemoryError;
use crate::layers::Label;
use core::fmt;

/// A slice is not as long as it has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct LengthError {
    /// What it holds.
    pub what: &'static str,
    /// Exactly, or at most, this many values.
    pub needed: usize,
    /// The number given.
    pub given: usize,
}

impl LengthError {
    pub(super) fn check(what: &'static str, needed: usize, given: usize) -> Result<(), Self> {
        if given == needed { Ok(()) } else { Err(Self { what, needed, given }) }
    }
}

impl fmt::Display for LengthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} values of {}, {} are needed", self.given, self.what, self.needed)
    }
}

impl core::error::Error for LengthError {}

/// Why a network's loss or its gradient has no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum ObjectiveError {
    /// A label is not a class.
    Label(Label),
    /// Images, labels or ghost batches do not fit the plan.
    Length(LengthError),
    /// The gradient could not be received.
    Memory(MemoryError),
}

impl fmt::Display for ObjectiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ObjectiveError::Label(error) => error.fmt(f),
            ObjectiveError::Length(error) => error.fmt(f),
            ObjectiveError::Memory(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for ObjectiveError {}

impl From<Label> for ObjectiveError {
    fn from(error: Label) -> Self {
        ObjectiveError::Label(error)
    }
}

impl From<LengthError> for ObjectiveError {
    fn from(error: LengthError) -> Self {
        ObjectiveError::Length(error)
    }
}

impl From<MemoryError> for ObjectiveError {
    fn from(error: MemoryError) -> Self {
        ObjectiveError::Memory(error)
    }
}
