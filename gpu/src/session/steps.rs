//! Steps of a session: launched, not waited for, and looked at later.

use super::backend::Passes;
use super::{RECORD, Session, WINDOW};
use crate::batch::Feed;
use crate::error::GpuError;
use crate::pointer::Pointer;
use crate::update::restore;
use smoothout::ghost::GhostBatches;
use smoothout::optimizer::Update;
use smoothout::step::{StepError, Stepper};

/// One update and the batches that it is made from.
#[derive(Debug)]
pub struct Step<'a> {
    /// The batches; more than one with gradient accumulation.
    pub batches: &'a [Feed<'a>],
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

/// What came of a step, or of an evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Mean loss over batches, ghost batches and draws, at the evaluation points.
    pub loss: f64,
    /// Images whose class was found, over all passes, and the number of images of all passes.
    pub correct: (usize, usize),
}

/// A step that failed: weights, moments and statistics are those from before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Why.
    pub cause: StepError<GpuError, GpuError>,
    /// Steps that were launched after it, and had no effect.
    pub later: usize,
    /// What came of those before it, since the last look.
    pub before: Vec<Outcome>,
}

impl From<GpuError> for Failure {
    fn from(error: GpuError) -> Self {
        Self { cause: StepError::Backend(error), later: 0, before: Vec::new() }
    }
}

impl Session {
    /// Launches a step, and looks at what came of the last ones when there are [`WINDOW`] of them. Returns what was seen.
    ///
    /// # Errors
    /// A method that cannot be run, a batch that does not fit, the driver's, or a step that failed since the last look.
    pub fn step(
        &mut self,
        stepper: &mut Stepper,
        step: &Step<'_>,
    ) -> std::result::Result<Vec<Outcome>, Failure> {
        self.gpu.enter()?;
        self.gpu.copy(self.statistics.pointer(), self.backup.pointer(), self.statistics.len())?;
        self.seen.push(0);
        let launched = self.launch(stepper, step);
        if let Err(cause) = launched {
            self.seen.pop();
            self.queue.clear();
            self.parameters.clear_gradient();
            // What failed is told; a device that fails here again has nothing more to tell.
            let _ = self.gpu.copy(self.backup.pointer(), self.statistics.pointer(), self.statistics.len());
            return Err(Failure { cause, later: 0, before: self.settle().unwrap_or_default() });
        }
        if self.seen.len() == WINDOW { self.settle() } else { Ok(Vec::new()) }
    }

    fn launch(
        &mut self,
        stepper: &mut Stepper,
        step: &Step<'_>,
    ) -> std::result::Result<(), StepError<GpuError, GpuError>> {
        let share = 1.0 / step.batches.len() as f32;
        for (index, feed) in step.batches.iter().enumerate() {
            let images = feed.images();
            let ghosts = GhostBatches::new(images, step.ghosts);
            if images == 0 || ghosts.size() > self.size {
                let (needed, given) = (self.size, ghosts.size());
                return Err(StepError::Backend(GpuError::Length { what: "images of a ghost batch", needed, given }));
            }
            self.batches.load(feed).map_err(StepError::Backend)?;
            self.queue.begin(ghosts, share, stepper.method());
            let at = step.first + index as u64;
            stepper.accumulate(self, &mut Passes(ghosts), at, step.strength)?;
            self.flush().map_err(StepError::Backend)?;
        }
        self.clip = step.clip;
        stepper.update(self, &step.update, None).map_err(without_objective)?;
        let (before, running, failed) = (self.backup.pointer(), self.statistics.pointer(), self.parameters.failed());
        restore(&self.gpu, before, running, self.statistics.len(), self.number(), failed).map_err(StepError::Backend)
    }

    /// Number of the step under way since the last look, from 1.
    pub(crate) fn number(&self) -> i32 {
        self.seen.len() as i32
    }

    /// Where the losses of the step under way are recorded.
    pub(crate) fn record(&self) -> Pointer {
        self.record.pointer().at(2 * RECORD * self.seen.len().saturating_sub(1))
    }

    /// Waits for all steps and returns what came of them, of those since the last look.
    ///
    /// # Errors
    /// One that failed, or the driver's.
    pub fn settle(&mut self) -> std::result::Result<Vec<Outcome>, Failure> {
        self.gpu.enter()?;
        let mut record = vec![0.0; RECORD * self.seen.len()];
        self.record.read(&self.gpu, 0, &mut record)?;
        let failed = self.parameters.take_failure()?;
        self.record.clear(&self.gpu)?;
        let outcome = |(pair, seen): (&[f64], usize)| Outcome { loss: pair[0], correct: (pair[1] as usize, seen) };
        let mut outcomes: Vec<Outcome> = record.chunks_exact(RECORD).zip(self.seen.drain(..)).map(outcome).collect();
        let Some((number, ghost)) = failed else { return Ok(outcomes) };
        let later = outcomes.len().saturating_sub(number);
        outcomes.truncate(number);
        let value = outcomes.pop().map_or(f32::NAN, |outcome| outcome.loss as f32);
        let cause = match usize::try_from(ghost) {
            Ok(ghost) => StepError::Loss { value, ghost },
            Err(_) => StepError::Gradient { norm: self.parameters.read_norm()? as f32 },
        };
        Err(Failure { cause, later, before: outcomes })
    }
}

fn without_objective(error: StepError<GpuError, std::convert::Infallible>) -> StepError<GpuError, GpuError> {
    match error {
        StepError::Method(error) => StepError::Method(error),
        StepError::Loss { value, ghost } => StepError::Loss { value, ghost },
        StepError::Gradient { norm } => StepError::Gradient { norm },
        StepError::Backend(error) => StepError::Backend(error),
        StepError::Objective(never) => match never {},
    }
}
