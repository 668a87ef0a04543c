//! The conformance suite: holds any backend to the meaning of core's layers and steps.
//!
//! A backend takes part by two small traits: a [`Backend`] begins the training of a [`Task`], a [`Training`] steps,
//! evaluates and shows its weights. [`run`] takes it through every [`Case`] (single layers, small networks, whole
//! steps of every method and optimizer) and compares losses, hits, weights and running statistics with a reference
//! that is Algorithm 1 in f64 on core's kernels, at the exact f32 points w + θ. No allocator is needed: the suite runs
//! on a microcontroller as on a PC.
//!
//! **Golden values.** The reference in turn is held to PyTorch in float64, for every single layer and network: its loss in
//! evaluation and in training, and its gradient by two numbers. `tests/golden/conformance.py` made them.
//!
//! **Single layers.** Plain SGD at the rate 1024 shows gradients through the weights: w' = w − 1024 g holds g with a
//! rounding error of 2^-24 of the larger one. So a backend need not be able to hand over a gradient.
//!
//! **Whole steps.** Before each step the reference takes over the backend's own weights, so that errors do not grow from
//! step to step; moments it keeps itself. In the end a batch with a pixel that is not a number must be refused, and the
//! clean weights be back.
//!
//! **Tolerances.** u = 2^-24 is half a unit in the last place of 1. A sum of n products in any order has at most n
//! roundings, each of at most u of a partial sum; layers behind each other add up theirs. With R the sum of the terms of
//! all forward and backward sums on the longest path, a gradient may differ by R u ‖g‖, in the Euclidean norm over all
//! parameters. Partial sums can be larger than their result, but roundings are not all of one sign: core's f32 kernels
//! use less than a tenth of this. A loss may differ by R u (1 + the largest logit), running statistics by R u of their
//! norm. A step may differ by its rate times what the gradients so far may, 2 / eps times that with Adam, 4 times with SAM, whose
//! second gradient inherits the first one's errors. Where a backend rounds the factors of its products to fewer digits
//! ([`Backend::factor_roundoff`], r), every product is off by 2 r more, but not every sum's roundings: with P the products behind each
//! other, three a layer (forward, data gradient, weight gradient), R u becomes R u + 2 P r. A step may also differ by
//! 4 u (‖w‖ + ‖w + θ‖ + ‖change‖) for its own roundings and those of noise added and taken away in place
//! (see [`Noise::take_away`](crate::noise::Noise::take_away)).

mod cases;
mod compare;
mod finding;
mod golden;
mod micro;
mod reference;

pub use cases::{BATCH, CASES, Case, LAYERS, Recipe};
pub use compare::{Memory, run};
pub use finding::{Check, Finding, Summary};
pub use micro::Micro;

use crate::network::Network;

/// A training to begin.
#[derive(Clone, Copy, Debug)]
pub struct Task<'t> {
    /// The network.
    pub network: &'t Network<LAYERS>,
    /// Images of each batch.
    pub batch: usize,
    /// Its first parameters, in the plan's order.
    pub parameters: &'t [f32],
    /// Its first running statistics, in the plan's order.
    pub statistics: &'t [f32],
    /// How it is trained.
    pub recipe: Recipe,
}

/// Whether a backend can do what a task asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// The training was handed over.
    Done,
    /// The backend does not have this layer, method or optimizer.
    Unsupported,
}

/// A training that was begun.
pub trait Training {
    /// What can go wrong in it.
    type Error;

    /// Takes the next step, the first one with number 0 in its address, on images (n, C, H, W). Returns the mean loss
    /// at the evaluation points.
    ///
    /// # Errors
    /// The loss is not finite; the clean weights and the statistics from before are back.
    fn step(&mut self, images: &[f32], labels: &[u32]) -> Result<f32, Self::Error>;

    /// Mean loss and hits at the clean weights, with running statistics and no dropout.
    ///
    /// # Errors
    /// The backend's own.
    fn evaluate(&mut self, images: &[f32], labels: &[u32]) -> Result<(f32, usize), Self::Error>;

    /// Copies the clean weights and the running statistics.
    ///
    /// # Errors
    /// The backend's own.
    fn read(&mut self, parameters: &mut [f32], statistics: &mut [f32]) -> Result<(), Self::Error>;
}

/// What the suite takes a training through; [`Backend::train`] calls it once.
pub type Drive<'d, E> = &'d mut dyn FnMut(&mut dyn Training<Error = E>) -> Result<(), E>;

/// A backend under test.
pub trait Backend {
    /// What can go wrong in it.
    type Error;

    /// Begins the task and hands the training to `drive`, or says that it cannot.
    ///
    /// # Errors
    /// The backend's own, and those that `drive` passes on.
    fn train(&mut self, task: &Task<'_>, drive: Drive<'_, Self::Error>) -> Result<Support, Self::Error>;

    /// Largest relative error with which the factors of products in convolutions and linear layers are rounded: 2⁻¹¹ for
    /// tf32, 2⁻⁸ for bf16, 0 where they are f32.
    fn factor_roundoff(&self) -> f64 {
        0.0
    }
}

#[cfg(test)]
mod tests;
