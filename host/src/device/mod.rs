//! A network on a device: its parameters, running statistics and optimizer memory, and the passes over batches.

mod cpu;
#[cfg(feature = "cuda")]
mod cuda;
mod kept;
mod micro;
mod portable;
mod statistics;

pub use crate::cpu::parameters::Keeps;
pub use cpu::Cpu;
#[cfg(feature = "cuda")]
pub use cuda::Cuda;
pub use micro::Micro;
pub use portable::Portable;
pub use statistics::BatchStatistics;

use crate::data::Split;
use crate::net::NetPlan;
use smoothout::backend::Draw;
use smoothout::ghost::GhostBatches;
use smoothout::noise::Address;
use smoothout::optimizer::Update;
use smoothout::step::Stepper;
use std::ops::Range;
use std::time::Duration;

/// Images (n, C, H, W), already normalised, with their labels.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// n * C * H * W values.
    pub images: &'a [f32],
    /// n classes.
    pub labels: &'a [u32],
}

impl Batch<'_> {
    /// Whether the batch is one pass of a plan.
    fn check(&self, plan: &NetPlan) -> Result<(), DeviceError> {
        let (n, most) = (self.labels.len(), plan.batch());
        if n == 0 || n > most || self.images.len() != n * plan.input().len() {
            return Err(DeviceError::Batch(format!(
                "{n} labels and {} values of images do not fit a plan for at most {most} images of {}",
                self.images.len(),
                plan.input()
            )));
        }
        Ok(())
    }
}

/// One update and the batches that it is made from.
#[derive(Debug)]
pub struct Step<'a> {
    /// The batches; more than one with gradient accumulation.
    pub batches: &'a [Batch<'a>],
    /// Ghost batches that each batch is cut into.
    pub ghosts: usize,
    /// Batches of the training before these.
    pub first: u64,
    /// Strength of the noise, after the schedule.
    pub strength: f32,
    /// The update.
    pub update: Update,
    /// Largest norm of the gradient.
    pub clip: Option<f32>,
}

impl Step<'_> {
    /// Hands each batch with its number to `accumulate`, which returns its loss and the images found and seen.
    fn each_batch(
        &self,
        mut accumulate: impl FnMut(&Batch<'_>, u64) -> Result<(f32, (usize, usize)), DeviceError>,
    ) -> Result<Outcome, DeviceError> {
        let mut outcome = Outcome { loss: 0.0, correct: (0, 0) };
        for (index, batch) in self.batches.iter().enumerate() {
            let (loss, correct) = accumulate(batch, self.first + index as u64)?;
            outcome.loss += loss / self.batches.len() as f32;
            outcome.correct.0 += correct.0;
            outcome.correct.1 += correct.1;
        }
        Ok(outcome)
    }

    /// The ghost batches of a batch, each of them one pass of the plan.
    fn ghosts_of(&self, batch: &Batch<'_>, plan: &NetPlan) -> Result<GhostBatches, DeviceError> {
        let (n, most) = (batch.labels.len(), plan.batch());
        let ghosts = GhostBatches::new(n, self.ghosts);
        if n == 0 || ghosts.size() > most || batch.images.len() != n * plan.input().len() {
            return Err(DeviceError::Batch(format!(
                "{n} labels and {} values of images in ghost batches of {} do not fit a plan for at most {most} images of {}",
                batch.images.len(),
                ghosts.size(),
                plan.input()
            )));
        }
        Ok(ghosts)
    }
}

/// What came of a step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Outcome {
    /// Mean loss over batches, ghost batches and draws, at the evaluation points.
    pub loss: f32,
    /// Images whose class was found, over all passes, and the number of images of all passes.
    pub correct: (usize, usize),
}

/// A step that failed: the device is as it was before it.
#[derive(Debug)]
pub struct Failed {
    /// Why.
    pub cause: DeviceError,
    /// Steps that were begun after it, and had no effect.
    pub later: u64,
    /// What came of those before it that was not told yet.
    pub before: Vec<Outcome>,
}

impl From<DeviceError> for Failed {
    fn from(cause: DeviceError) -> Self {
        Self { cause, later: 0, before: Vec::new() }
    }
}

/// What came of an evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Sum of the losses of all images.
    pub loss: f64,
    /// Images whose class was found.
    pub correct: usize,
}

/// Loss, logits and gradient of a batch.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gradient {
    /// Mean loss.
    pub loss: f32,
    /// (n, classes).
    pub logits: Vec<f32>,
    /// All parameters' gradients, in the plan's order.
    pub gradient: Vec<f32>,
}

/// Parts of what a device remembers. All but the statistics are in the plan's parameter order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Clean weights.
    Weights,
    /// Running statistics.
    Statistics,
    /// Momentum, or Adam's first moment; empty when the optimizer has none.
    First,
    /// Adam's second moment; empty when the optimizer has none.
    Second,
    /// Average of the weights; empty when there is none.
    Average,
}

/// What a device cannot do.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The loss, gradient or method is at fault; the clean weights are those from before the step.
    #[error("{0}")]
    Step(String),
    /// The batch is at fault.
    #[error("{0}")]
    Batch(String),
    /// The GPU or its driver is at fault, or there is none.
    #[error("{0}")]
    Gpu(String),
    /// The program knows no GPUs.
    #[error("this program was built without GPUs; build it with: cargo build --release --features cuda")]
    NotBuilt,
    /// A part has another length.
    #[error("{part:?} holds {needed} values, {given} were given")]
    Length {
        /// Which part.
        part: Part,
        /// Its length.
        needed: usize,
        /// The number of values given.
        given: usize,
    },
}

impl DeviceError {
    fn step(error: impl core::fmt::Display) -> Self {
        Self::Step(error.to_string())
    }
}

/// A network on a device.
pub trait Device {
    /// The plan that it runs, whose batch is the largest ghost batch.
    fn plan(&self) -> &NetPlan;

    /// Takes one step.
    ///
    /// # Errors
    /// A loss or gradient that is not finite, or a method that cannot be run: weights and statistics are as before.
    fn step(&mut self, stepper: &mut Stepper, step: &Step<'_>) -> Result<Outcome, DeviceError>;

    /// Makes room for batches of so many images.
    ///
    /// # Errors
    /// There is not enough.
    fn prepare(&mut self, images: usize) -> Result<(), DeviceError> {
        let _ = images;
        Ok(())
    }

    /// Takes one step, or begins it where the device works while the program goes on. Returns what came of the steps that
    /// are known to have ended since the last call.
    ///
    /// # Errors
    /// This step failed, or one that was begun before it.
    fn begin(&mut self, stepper: &mut Stepper, step: &Step<'_>) -> Result<Vec<Outcome>, Failed> {
        Ok(vec![self.step(stepper, step)?])
    }

    /// Takes the images of a training split whole, for [`begin_of_epoch`](Self::begin_of_epoch); `false` where it does not,
    /// and batches come from the host.
    ///
    /// # Errors
    /// The device failed.
    fn adopt(&mut self, split: &Split) -> Result<bool, DeviceError> {
        let _ = split;
        Ok(false)
    }

    /// An epoch of the adopted split begins: its order and augmentation are those of [`Split::epoch`].
    ///
    /// # Errors
    /// The device failed, or has not adopted a split.
    fn arrange(&mut self, seed: u64, epoch: u64) -> Result<(), DeviceError> {
        let _ = (seed, epoch);
        Err(DeviceError::Step("the device has no images of its own".into()))
    }

    /// As [`begin`](Self::begin), on batches of the adopted split: these places in the epoch's order, in the place of
    /// `step.batches`.
    ///
    /// # Errors
    /// As there, and when no epoch was arranged.
    fn begin_of_epoch(
        &mut self,
        stepper: &mut Stepper,
        step: &Step<'_>,
        places: &[Range<usize>],
    ) -> Result<Vec<Outcome>, Failed> {
        let _ = (stepper, step, places);
        Err(DeviceError::Step("the device has no images of its own".into()).into())
    }

    /// What it is, where that is not the program's own machine.
    fn describe(&self) -> Option<String> {
        None
    }

    /// Waits for all steps that were begun, and returns what came of those that was not told yet.
    ///
    /// # Errors
    /// One of them failed.
    fn settle(&mut self) -> Result<Vec<Outcome>, Failed> {
        Ok(Vec::new())
    }

    /// average += share * (weights - average).
    ///
    /// # Errors
    /// There is no average.
    fn average(&mut self, share: f32) -> Result<(), DeviceError>;

    /// Evaluates at most the plan's batch with running statistics, at the clean weights or under a draw.
    ///
    /// # Errors
    /// A label that is not a class, or a batch that does not fit.
    fn evaluate(&mut self, batch: Batch<'_>, draw: Option<&Draw>) -> Result<Evaluation, DeviceError>;

    /// Loss, logits and gradient at the clean weights: of training with dropout masks of `training`, which changes
    /// the running statistics as training does, or else of evaluation.
    ///
    /// # Errors
    /// A label that is not a class, or a batch that does not fit.
    fn gradient(&mut self, batch: Batch<'_>, training: Option<Address>) -> Result<Gradient, DeviceError>;

    /// A copy of one part.
    ///
    /// # Errors
    /// The device failed.
    fn read(&self, part: Part) -> Result<Vec<f32>, DeviceError>;

    /// Overwrites one part.
    ///
    /// # Errors
    /// The length differs.
    fn write(&mut self, part: Part, values: &[f32]) -> Result<(), DeviceError>;

    /// Time that perturbing the weights has taken so far; none where it is not timed or no pass of its own.
    fn perturbing(&self) -> Option<Duration> {
        None
    }
}
