//! Optimizers in PyTorch's semantics, and what one update needs to know.

use core::fmt;

/// A rule by which gradients change weights.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Optimizer {
    /// v = momentum v + g; w -= rate v, or with Nesterov w -= rate (g + momentum v).
    Sgd {
        /// Share of the past in v, in [0, 1); 0 needs no memory.
        momentum: f32,
        /// Whether to look ahead (Nesterov).
        nesterov: bool,
    },
    /// Kingma and Ba 2015; weight decay is part of the gradient, or decoupled (AdamW, Loshchilov and Hutter 2019).
    Adam {
        /// Decay rates of the two moments, in [0, 1).
        betas: [f32; 2],
        /// Added to the root of the second moment.
        eps: f32,
        /// Whether weight decay is decoupled from the gradient: AdamW.
        decoupled: bool,
    },
}

impl Optimizer {
    /// SGD with this momentum.
    pub const fn sgd(momentum: f32) -> Self {
        Optimizer::Sgd { momentum, nesterov: false }
    }

    /// Adam with PyTorch's constants.
    pub const fn adam() -> Self {
        Optimizer::Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: false }
    }

    /// AdamW with PyTorch's constants.
    pub const fn adamw() -> Self {
        Optimizer::Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: true }
    }

    /// Number of f32 values of memory for each weight: 0, 1 or 2.
    pub const fn moments(&self) -> usize {
        match self {
            Optimizer::Sgd { momentum, .. } => (*momentum != 0.0) as usize,
            Optimizer::Adam { .. } => 2,
        }
    }

    /// Checks the constants.
    ///
    /// # Errors
    /// Names the first constant that is out of its range.
    pub fn check(&self) -> Result<(), ConstantError> {
        let share = |name, value: f32| {
            if (0.0..1.0).contains(&value) { Ok(()) } else { Err(ConstantError { name, value }) }
        };
        match *self {
            Optimizer::Sgd { momentum, nesterov } => {
                share("momentum", momentum)?;
                if nesterov && momentum == 0.0 {
                    return Err(ConstantError { name: "momentum of Nesterov", value: momentum });
                }
                Ok(())
            }
            Optimizer::Adam { betas: [first, second], eps, .. } => {
                share("first beta", first)?;
                share("second beta", second)?;
                if eps.is_finite() && eps > 0.0 {
                    Ok(())
                } else {
                    Err(ConstantError { name: "eps", value: eps })
                }
            }
        }
    }
}

/// A constant out of its range.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ConstantError {
    /// Which constant.
    pub name: &'static str,
    /// The value given.
    pub value: f32,
}

impl fmt::Display for ConstantError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} cannot be {}", self.name, self.value)
    }
}

impl core::error::Error for ConstantError {}

/// One update of the weights.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Update {
    /// The rule.
    pub optimizer: Optimizer,
    /// Learning rate.
    pub rate: f32,
    /// Weight decay, at the clean weights, of all parameters.
    pub weight_decay: f32,
    /// The gradient is multiplied by this first: mean over batches and clipping.
    pub gradient_scale: f32,
    /// Updates since the moments were 0, this one included: from 1.
    pub time: u64,
}

impl Update {
    /// Adam's bias corrections at this time: 1 / (1 - beta^t) for both moments, the second one's square root.
    pub fn bias_corrections(&self) -> [f32; 2] {
        let Optimizer::Adam { betas: [first, second], .. } = self.optimizer else {
            return [1.0, 1.0];
        };
        let left = |beta: f32| 1.0 - libm::pow(f64::from(beta), self.time as f64);
        [(1.0 / left(first)) as f32, (1.0 / libm::sqrt(left(second))) as f32]
    }

    /// Updates one run of weights in place; `first` and `second` hold the moments that the optimizer keeps
    /// (empty where it keeps none). This is the meaning that every backend is held to.
    pub fn apply(
        &self,
        weights: &mut [f32],
        gradient: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let (scale, decay, rate) = (self.gradient_scale, self.weight_decay, self.rate);
        match self.optimizer {
            Optimizer::Sgd { momentum: 0.0, .. } => {
                for (w, g) in weights.iter_mut().zip(gradient) {
                    *w -= rate * (g * scale + decay * *w);
                }
            }
            Optimizer::Sgd { momentum, nesterov } => {
                for ((w, g), v) in weights.iter_mut().zip(gradient).zip(first) {
                    let g = g * scale + decay * *w;
                    *v = momentum * *v + g;
                    *w -= rate * if nesterov { g + momentum * *v } else { *v };
                }
            }
            Optimizer::Adam { betas: [b1, b2], eps, decoupled } => {
                let [c1, c2] = self.bias_corrections();
                let step = rate * c1;
                let (in_gradient, apart) = if decoupled { (0.0, decay) } else { (decay, 0.0) };
                let keep = 1.0 - rate * apart;
                for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
                    let g = g * scale + in_gradient * *w;
                    *m += (1.0 - b1) * (g - *m);
                    *v = b2 * *v + (1.0 - b2) * g * g;
                    *w = *w * keep - step * *m / (libm::sqrtf(*v) * c2 + eps);
                }
            }
        }
    }
}

/// Factor that clips a gradient of this norm to `limit`: limit / (norm + 1e-6), never more than 1
/// (PyTorch's `clip_grad_norm_`, which the authors call with 5).
pub fn clip_factor(norm: f32, limit: f32) -> f32 {
    let factor = limit / (norm + 1e-6);
    if factor < 1.0 { factor } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(optimizer: Optimizer, weight_decay: f32) -> f32 {
        let (mut w, mut m, mut v) = ([1.0f32], [0.0f32], [0.0f32]);
        for time in 1..=3 {
            let gradient = [0.5 * time as f32];
            let update =
                Update { optimizer, rate: 0.1, weight_decay, gradient_scale: 1.0, time };
            update.apply(&mut w, &gradient, &mut m, &mut v);
        }
        w[0]
    }

    /// Values printed by torch.optim with the same three gradients 0.5, 1, 1.5 from w = 1.
    #[test]
    fn three_steps_equal_pytorchs() {
        let close = |a: f32, b: f32| assert!((a - b).abs() < 2e-7, "{a} {b}");
        close(run(Optimizer::sgd(0.0), 0.01), SGD);
        close(run(Optimizer::sgd(0.9), 0.01), MOMENTUM);
        close(run(Optimizer::Sgd { momentum: 0.9, nesterov: true }, 0.01), NESTEROV);
        close(run(Optimizer::adam(), 0.01), ADAM);
        close(run(Optimizer::adamw(), 0.01), ADAMW);
    }

    const SGD: f32 = 0.697_203;
    const MOMENTUM: f32 = 0.519_184_77;
    const NESTEROV: f32 = 0.264_890_46;
    const ADAM: f32 = 0.707_453_3;
    const ADAMW: f32 = 0.704_981_15;

    #[test]
    fn clipping_shortens_only_long_gradients() {
        assert_eq!(clip_factor(4.0, 5.0), 1.0);
        assert_eq!(clip_factor(10.0, 5.0), 5.0 / (10.0 + 1e-6));
        assert_eq!(clip_factor(0.0, 5.0), 1.0);
    }

    #[test]
    fn constants_out_of_range_are_named() {
        let error = Optimizer::sgd(1.0).check().expect_err("out of range");
        assert_eq!(error, ConstantError { name: "momentum", value: 1.0 });
        assert!(Optimizer::sgd(f32::NAN).check().is_err());
        assert!(Optimizer::Sgd { momentum: 0.0, nesterov: true }.check().is_err());
        assert!(Optimizer::adam().check().is_ok());
    }
}
