//! What the algorithm asks of a machine ([`Backend`]) and of a loss ([`Objective`]).

use crate::noise::{Address, Noise};
use crate::optimizer::Update;
use crate::plan::{Role, Tensor};

/// Which parameters are perturbed, by role.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Selection {
    /// Weights of convolutions and linear layers.
    pub weights: bool,
    /// Biases of convolutions and linear layers.
    pub biases: bool,
    /// Scales and shifts of batch norms.
    pub norms: bool,
}

impl Default for Selection {
    /// Weights and biases, as the authors' `--exclude-bn`.
    fn default() -> Self {
        Self { weights: true, biases: true, norms: false }
    }
}

impl Selection {
    /// Whether tensors of this role are perturbed.
    pub const fn contains(&self, role: Role) -> bool {
        match role {
            Role::Weight => self.weights,
            Role::Bias => self.biases,
            Role::NormScale | Role::NormShift => self.norms,
        }
    }
}

/// One perturbation of all selected parameters.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Draw {
    /// Its distribution, scaling, strength and sign.
    pub noise: Noise,
    /// What is perturbed.
    pub selection: Selection,
    /// Where its bits come from.
    pub address: Address,
}

/// What noise is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Base {
    /// The clean weights: Algorithm 1.
    Clean,
    /// The present evaluation point, whose noise stays: training without de-noising (Tables III and IV).
    Perturbed,
}

/// What happens to gradients as they come.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Reception {
    /// stored gradient += weight * gradient.
    Add {
        /// Share of this gradient in the mean.
        weight: f32,
    },
    /// The clean weights are updated right there; no gradient is stored.
    Update(Update),
}

/// Where the parameters live and the operations on them run.
///
/// One invariant: between [`perturb`](Backend::perturb) and the next [`denoise`](Backend::denoise) the objective sees
/// w + θ, and `denoise` always brings the clean weights back: exactly (strategy *Shadow*: the perturbed copy stands
/// elsewhere) or within the bound that the backend states (strategy *Replay*: θ is made again and taken away).
pub trait Backend {
    /// A gradient as this backend's objectives hand it over, whole tensors or single filters.
    type Gradient<'g>;
    /// What can go wrong in it.
    type Error;

    /// Makes base + θ the evaluation point.
    ///
    /// # Errors
    /// The backend's own; the clean weights are untouched then, or come back by `denoise`.
    fn perturb(&mut self, draw: &Draw, base: Base) -> Result<(), Self::Error>;

    /// Makes w + scale * (stored gradient) the evaluation point: SAM's perturbation, of every parameter.
    ///
    /// # Errors
    /// The backend's own, also when it has no memory for this.
    fn ascend(&mut self, scale: f32) -> Result<(), Self::Error>;

    /// Makes the clean weights the evaluation point again. Does nothing when they are.
    ///
    /// # Errors
    /// The backend's own.
    fn denoise(&mut self) -> Result<(), Self::Error>;

    /// Makes the evaluation point the clean weights: what training without de-noising does.
    ///
    /// # Errors
    /// The backend's own.
    fn keep_noise(&mut self) -> Result<(), Self::Error>;

    /// Sets the stored gradient to 0.
    ///
    /// # Errors
    /// The backend's own.
    fn clear_gradient(&mut self) -> Result<(), Self::Error>;

    /// Takes the gradient of filters `first_row..` of a tensor. Each filter comes once a backward pass, at a moment
    /// when nothing needs its perturbed values any more.
    ///
    /// # Errors
    /// The backend's own.
    fn receive(
        &mut self,
        tensor: &Tensor,
        first_row: usize,
        gradient: Self::Gradient<'_>,
        reception: &Reception,
    ) -> Result<(), Self::Error>;

    /// Euclidean norm of the stored gradient.
    ///
    /// # Errors
    /// The backend's own.
    fn gradient_norm(&mut self) -> Result<f32, Self::Error>;

    /// Updates the clean weights by the stored gradient.
    ///
    /// # Errors
    /// The backend's own; the clean weights are those from before then.
    fn update(&mut self, update: &Update) -> Result<(), Self::Error>;

    /// average += share * (clean weights - average); see [`Averaging`](crate::averaging::Averaging).
    ///
    /// # Errors
    /// The backend's own, also when it keeps no average.
    fn average(&mut self, share: f32) -> Result<(), Self::Error>;
}

/// One forward and backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Pass {
    /// Ghost batch, from 0.
    pub ghost: usize,
    /// Address of what the pass itself draws at random: dropout masks. `draw` counts the passes of a step.
    pub address: Address,
    /// Whether running statistics follow this pass.
    pub statistics: bool,
}

/// A loss and its gradient at the backend's evaluation point.
pub trait Objective<B: Backend> {
    /// What can go wrong in it.
    type Error;

    /// Number of ghost batches of the present batch.
    fn ghosts(&self) -> usize;

    /// Mean loss of a ghost batch.
    ///
    /// # Errors
    /// The objective's own.
    fn forward(&mut self, backend: &mut B, pass: &Pass) -> Result<f32, Self::Error>;

    /// Hands the gradient of the loss of the last forward pass to [`Backend::receive`], in backward order.
    ///
    /// # Errors
    /// The objective's own.
    fn backward(
        &mut self,
        backend: &mut B,
        pass: &Pass,
        reception: &Reception,
    ) -> Result<(), Self::Error>;

    /// A step begins: what the objective itself remembers from pass to pass (running statistics) may be saved.
    fn begin(&mut self) {}

    /// The step failed: everything saved by `begin` comes back.
    fn rollback(&mut self) {}
}
