//! The step: Algorithm 1 of the paper and its variants, over any backend and objective.

mod error;
mod method;
mod stepper;

pub use error::{MethodError, StepError};
pub use method::{Draws, FIXED_STEP, Method, Renewal, SmoothOut};
pub use stepper::Stepper;
