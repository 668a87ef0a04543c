use crate::noise::NoiseError;
use core::fmt;

/// A method that cannot be run.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum MethodError {
    /// No draws.
    NoDraws,
    /// Antithetic draws come in pairs.
    OddDraws {
        /// The number given.
        count: u32,
    },
    /// SAM's radius is not finite and positive.
    Radius {
        /// The radius given.
        value: f32,
    },
    /// The noise cannot be.
    Noise(NoiseError),
    /// SAM's first gradient would overwrite those of the batches before it.
    SamAccumulation,
}

impl fmt::Display for MethodError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MethodError::NoDraws => write!(f, "the number of draws is 0"),
            MethodError::OddDraws { count } => {
                write!(f, "antithetic draws come in pairs: {count} is odd")
            }
            MethodError::Radius { value } => {
                write!(f, "SAM's radius {value} is not a finite positive number")
            }
            MethodError::Noise(error) => error.fmt(f),
            MethodError::SamAccumulation => {
                write!(f, "SAM cannot accumulate gradients over several batches")
            }
        }
    }
}

impl core::error::Error for MethodError {}

/// Why a step failed. The clean weights are those from before it.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StepError<B, O> {
    /// The method cannot be run.
    Method(MethodError),
    /// The loss is infinite or not a number.
    Loss {
        /// The loss.
        value: f32,
        /// Ghost batch in which it arose.
        ghost: usize,
    },
    /// The norm of the gradient is infinite or not a number.
    Gradient {
        /// The norm.
        norm: f32,
    },
    /// The backend failed.
    Backend(B),
    /// The objective failed.
    Objective(O),
}

impl<B: fmt::Display, O: fmt::Display> fmt::Display for StepError<B, O> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StepError::Method(error) => error.fmt(f),
            StepError::Loss { value, ghost } => {
                write!(f, "the loss of ghost batch {ghost} is {value}")
            }
            StepError::Gradient { norm } => write!(f, "the norm of the gradient is {norm}"),
            StepError::Backend(error) => error.fmt(f),
            StepError::Objective(error) => error.fmt(f),
        }
    }
}

impl<B, O> core::error::Error for StepError<B, O>
where
    B: fmt::Debug + fmt::Display,
    O: fmt::Debug + fmt::Display,
{
}
