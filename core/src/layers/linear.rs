use super::Problem;
use crate::shape::Shape;

/// Fully connected layer: y = W x + b.
///
/// Weight (out_features, in_features), bias (out_features).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Linear {
    /// Number of neurons.
    pub out_features: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Linear {
    /// A layer of `out_features` neurons with bias.
    pub const fn new(out_features: usize) -> Self {
        Self { out_features, bias: true }
    }

    /// The same without bias.
    pub const fn without_bias(self) -> Self {
        Self { bias: false, ..self }
    }

    /// Shape of the output.
    ///
    /// # Errors
    /// No neurons, or an input that is not flat.
    pub fn output(&self, input: Shape) -> Result<Shape, Problem> {
        if self.out_features == 0 {
            return Err(Problem::Zero { what: "the number of output features" });
        }
        if !input.is_flat() {
            return Err(Problem::NotFlat);
        }
        Ok(Shape::flat(self.out_features))
    }
}
