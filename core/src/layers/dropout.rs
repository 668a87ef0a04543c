use super::Problem;
use crate::dropout_mask::DropoutMask;
use crate::noise::Address;
use crate::real::Real;
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

/// Portable kernels; images one after the other, each with its own mask.
impl Dropout {
    pub(crate) fn forward<T: Real>(
        &self,
        address: Address,
        layer: u32,
        batch: usize,
        x: &[T],
        y: &mut [T],
    ) {
        self.each(address, layer, batch, x.len(), |i, factor: T| y[i] = x[i] * factor);
    }

    /// dx += dy under the mask.
    pub(crate) fn backward<T: Real>(
        &self,
        address: Address,
        layer: u32,
        batch: usize,
        dy: &[T],
        dx: &mut [T],
    ) {
        self.each(address, layer, batch, dy.len(), |i, factor: T| dx[i] = dx[i] + dy[i] * factor);
    }

    fn each<T: Real>(
        &self,
        address: Address,
        layer: u32,
        batch: usize,
        len: usize,
        mut each: impl FnMut(usize, T),
    ) {
        let mask = DropoutMask::new(address, layer, self.probability);
        let image_len = len / batch.max(1);
        for image in 0..batch {
            for (i, factor) in mask.factors(image as u32).take(image_len).enumerate() {
                each(image * image_len + i, T::from_f32(factor));
            }
        }
    }
}
