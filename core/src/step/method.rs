//! What a step does to the weights before it takes gradients.

use super::MethodError;
use crate::backend::{Draw, Selection};
use crate::noise::{Address, Distribution, Noise, Scaling};

/// When the noise is drawn anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Renewal {
    /// For each ghost batch: the authors' program.
    #[default]
    GhostBatch,
    /// Once a step: Algorithm 1.
    Step,
    /// Never: the perturbations are fixed for the whole training (equation 1, figure 1(c)).
    Never,
}

/// How many perturbations a gradient is averaged over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Draws {
    /// Perturbations for each ghost batch.
    pub count: u32,
    /// Whether each second one is the first one's negative.
    pub antithetic: bool,
    /// When they are drawn anew.
    pub renewal: Renewal,
}

impl Default for Draws {
    fn default() -> Self {
        Self { count: 1, antithetic: false, renewal: Renewal::default() }
    }
}

/// The step whose draws stand for the whole training when they are never renewed; no training gets that far.
pub const FIXED_STEP: u64 = u64::MAX;

/// SmoothOut and AdaSmoothOut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SmoothOut {
    /// Distribution of the noise.
    pub distribution: Distribution,
    /// Its scaling; per filter is AdaSmoothOut.
    pub scaling: Scaling,
    /// What is perturbed.
    pub selection: Selection,
    /// Number and renewal of draws.
    pub draws: Draws,
    /// Whether noise is taken away before the update.
    pub denoise: bool,
}

impl SmoothOut {
    /// Uniform noise of one strength for all (section III-A), drawn once for each ghost batch.
    pub fn constant() -> Self {
        Self {
            distribution: Distribution::Uniform,
            scaling: Scaling::Constant,
            selection: Selection::default(),
            draws: Draws::default(),
            denoise: true,
        }
    }

    /// AdaSmoothOut: uniform noise scaled to each filter's norm (section III-D).
    pub fn adaptive() -> Self {
        Self { scaling: Scaling::PerFilter, ..Self::constant() }
    }

    /// One draw of it.
    pub(super) fn draw(&self, address: Address, strength: f32, negative: bool) -> Result<Draw, MethodError> {
        let noise = Noise::new(self.distribution, self.scaling, strength)
            .map_err(MethodError::Noise)?;
        let noise = if negative { noise.negated() } else { noise };
        Ok(Draw { noise, selection: self.selection, address })
    }
}

/// What is done to the weights before gradients are taken.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Method {
    /// Nothing.
    Sgd,
    /// Random noise.
    SmoothOut(SmoothOut),
    /// The worst direction to first order: θ = radius * g / ‖g‖ over all parameters (SAM, Foret et al. 2021).
    Sam {
        /// Length of θ.
        radius: f32,
    },
}
