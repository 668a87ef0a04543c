use super::Problem;
use crate::shape::Shape;

/// Batch normalisation: y = (x - mean) / sqrt(var + eps) * scale + shift, for each channel (Ioffe and Szegedy, 2015).
///
/// In training, mean and (biased) variance are those of the ghost batch, over images and pixels, and the running
/// statistics move towards them: running = (1 - momentum) * running + momentum * batch, with the unbiased variance.
/// In evaluation the running statistics are used. Scale is the parameter `weight`, shift is `bias`, as PyTorch names them.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BatchNorm {
    /// Added to the variance.
    pub eps: f32,
    /// Share of the newest batch in the running statistics.
    pub momentum: f32,
}

impl Default for BatchNorm {
    /// PyTorch's defaults: eps 1e-5, momentum 0.1.
    fn default() -> Self {
        Self { eps: 1e-5, momentum: 0.1 }
    }
}

impl BatchNorm {
    /// Shape of the output, that of the input.
    ///
    /// # Errors
    /// `eps` is not finite and positive, or `momentum` is not in (0, 1].
    pub fn output(&self, input: Shape) -> Result<Shape, Problem> {
        if !(self.eps.is_finite() && self.eps > 0.0) {
            return Err(Problem::Constant { what: "eps", value: self.eps });
        }
        if !(self.momentum > 0.0 && self.momentum <= 1.0) {
            return Err(Problem::Constant { what: "momentum", value: self.momentum });
        }
        Ok(input)
    }
}
