use crate::layers::Label;
use crate::optimizer::ConstantError;
use crate::step::MethodError;
use core::fmt;

/// Why a session cannot begin or go on. The weights are the clean ones from before the call.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum SessionError {
    /// The arena is too small.
    Arena {
        /// Values needed.
        needed: usize,
        /// Values given.
        given: usize,
    },
    /// The plan is for inference, and training was asked for.
    Inference,
    /// A slice of the caller's has the wrong length.
    Length {
        /// Which one.
        what: &'static str,
        /// Values needed, exactly or at most.
        needed: usize,
        /// Values given.
        given: usize,
    },
    /// The method cannot be run.
    Method(MethodError),
    /// This is not for the microcontroller.
    Unsupported {
        /// What was asked for.
        what: &'static str,
    },
    /// A constant of the optimizer is out of its range.
    Optimizer(ConstantError),
    /// A label is not a class.
    Label(Label),
    /// The loss is infinite or not a number.
    Loss {
        /// The loss.
        value: f32,
    },
    /// Mean or variance of a batch norm's channel in the batch is infinite or not a number.
    Statistic {
        /// The mean or the variance.
        value: f32,
    },
    /// The norm of the gradient is infinite or not a number.
    Gradient {
        /// The norm.
        norm: f32,
    },
    /// The session has no room for all stages of the plan.
    TooManyStages {
        /// The stages that it has room for.
        capacity: usize,
    },
    /// A length does not fit the machine's word.
    TooLarge,
    /// Buffers overlap that must not: a fault of this library.
    Layout,
    /// A step was begun and not finished, or none was begun.
    Order {
        /// What has to come first.
        first: &'static str,
    },
}

impl fmt::Display for SessionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            SessionError::Arena { needed, given } => {
                let missing = needed.saturating_sub(given);
                write!(f, "the arena holds {given} values, {needed} are needed: {missing} are missing")
            }
            SessionError::Inference => write!(f, "the plan is for inference alone"),
            SessionError::Length { what, needed, given } => {
                write!(f, "{given} values of {what}, {needed} are needed")
            }
            SessionError::Method(error) => error.fmt(f),
            SessionError::Unsupported { what } => write!(f, "the microcontroller backend has no {what}"),
            SessionError::Optimizer(error) => error.fmt(f),
            SessionError::Label(error) => error.fmt(f),
            SessionError::Loss { value } => write!(f, "the loss is {value}"),
            SessionError::Statistic { value } => write!(f, "a mean or variance in a batch norm is {value}"),
            SessionError::Gradient { norm } => write!(f, "the norm of the gradient is {norm}"),
            SessionError::TooManyStages { capacity } => {
                write!(f, "the plan has more than the {capacity} stages that the session has room for")
            }
            SessionError::TooLarge => write!(f, "a length does not fit the machine's word"),
            SessionError::Layout => write!(f, "buffers overlap that must not: a fault of smoothout"),
            SessionError::Order { first } => write!(f, "{first} first"),
        }
    }
}

impl core::error::Error for SessionError {}
