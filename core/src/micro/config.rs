//! What a session does and what it trains.

use crate::network::Layer;
use super::update::Terms;
use super::{SessionError, built};
use crate::optimizer::Optimizer;
use crate::plan::{PlannedLayer, Role, Tensor};
use crate::step::{Draws, Method, SmoothOut, Stepper};

/// What a session does. Everything here decides how much memory it needs; see
/// [`Session::required`](super::Session::required).
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Config<'c> {
    /// Noise or none.
    pub method: Method,
    /// Seed of noise and dropout masks.
    pub seed: u64,
    /// The optimizer: one buffer as large as the trained weights for momentum, two for Adam.
    pub optimizer: Optimizer,
    /// Learning rate of the first step; see [`Session::set_rate`](super::Session::set_rate).
    pub rate: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Strength of the noise (a) of the first step; see [`Session::set_strength`](super::Session::set_strength).
    pub strength: f32,
    /// Largest norm of the gradient; needs memory for the gradient.
    pub clip: Option<f32>,
    /// Whether gradients of several batches are summed before an update; needs memory for the gradient.
    pub accumulate: bool,
    /// What is trained.
    pub trained: Trained<'c>,
}

impl Config<'_> {
    /// All parameters, by this method, with plain SGD at this rate; strength 0.1, seed 0.
    pub const fn new(method: Method, rate: f32) -> Self {
        Self {
            method,
            seed: 0,
            optimizer: Optimizer::sgd(0.0),
            rate,
            weight_decay: 0.0,
            strength: 0.1,
            clip: None,
            accumulate: false,
            trained: Trained::all(),
        }
    }

    /// What a session keeps.
    pub(super) const fn settings(&self) -> Settings {
        Settings {
            smooth_out: match self.method {
                Method::SmoothOut(method) => Some(method),
                _ => None,
            },
            seed: self.seed,
            terms: Terms { optimizer: self.optimizer, rate: self.rate, weight_decay: self.weight_decay },
            strength: self.strength,
            clip: self.clip,
            accumulate: self.accumulate,
        }
    }

    /// Refuses what cannot be done.
    pub(super) fn check(&self) -> Result<(), SessionError> {
        // First what is left out, so that no code is there for the rest of it.
        built::check_optimizer(&self.optimizer)?;
        built::check_method(&self.method)?;
        built::check_gradient(self.needs_gradient())?;
        self.optimizer.check().map_err(SessionError::Optimizer)?;
        Stepper::new(self.method, self.seed).map_err(SessionError::Method)?;
        let unsupported = |what| Err(SessionError::Unsupported { what });
        match self.method {
            Method::Sam { .. } => unsupported("SAM"),
            Method::SmoothOut(method) if !method.denoise => unsupported("training without de-noising"),
            _ => Ok(()),
        }
    }

    /// Whether gradients are kept until the update: several draws, accumulation, or clipping.
    pub const fn keeps_gradient(&self) -> bool {
        built::GRADIENT && self.needs_gradient()
    }

    pub(super) const fn needs_gradient(&self) -> bool {
        let draws = match self.method {
            Method::SmoothOut(method) => method.draws.count,
            _ => 1,
        };
        draws > 1 || self.accumulate || self.clip.is_some()
    }
}

/// What a session keeps of its configuration.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub smooth_out: Option<SmoothOut>,
    pub seed: u64,
    pub terms: Terms,
    pub strength: f32,
    pub clip: Option<f32>,
    pub accumulate: bool,
}

impl Settings {
    pub(super) fn draws(&self) -> Draws {
        let draws = self.smooth_out.map_or_else(Draws::default, |method| method.draws);
        if built::GRADIENT { draws } else { Draws { renewal: draws.renewal, ..Draws::default() } }
    }
}

/// Layers, by their index in the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Layers<'c> {
    /// All of them.
    All,
    /// This one and those after it: the prefix before it is frozen.
    From(usize),
    /// These.
    Only(&'c [usize]),
}

/// What is trained. Everything else is frozen: read from the model where it lies, never perturbed, and a frozen batch
/// norm uses its running statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Trained<'c> {
    /// Layers of which something is trained.
    pub layers: Layers<'c>,
    /// Whether of these only the biases and the shifts of batch norms are trained.
    pub biases_only: bool,
    /// Of convolutions and linear layers every how many-th filter is trained, from the first on: 1 trains all.
    pub every: usize,
}

impl Trained<'_> {
    /// Everything.
    pub const fn all() -> Self {
        Self { layers: Layers::All, biases_only: false, every: 1 }
    }

    /// Every how many-th row of a tensor of layer `index` is trained; 0 when none is.
    pub fn stride(&self, index: usize, layer: &PlannedLayer, tensor: &Tensor) -> usize {
        let chosen = match self.layers {
            Layers::All => true,
            Layers::From(first) => index >= first,
            Layers::Only(layers) => layers.contains(&index),
        };
        let wanted = !self.biases_only || matches!(tensor.role, Role::Bias | Role::NormShift);
        match (chosen && wanted, layer.layer) {
            (false, _) => 0,
            (true, Layer::BatchNorm(_)) => 1,
            (true, _) => self.every,
        }
    }
}
