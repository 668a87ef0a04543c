use super::Problem;
use crate::shape::Shape;

/// Dropout of activations: in training, zero with probability p, else multiplied by 1 / (1 - p). Nothing in evaluation.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Dropout {
    /// Probability of a zero, in [0, 1).
    pub probability: f32,
}

impl Dropout {
    /// Shape of the output, that of the input.
    ///
    /// # Errors
    /// A probability outside of [0, 1).
    pub fn output(&self, input: Shape) -> Result<Shape, Problem> {
        if !(0.0..1.0).contains(&self.probability) {
            return Err(Problem::Probability { value: self.probability });
        }
        Ok(input)
    }
}
