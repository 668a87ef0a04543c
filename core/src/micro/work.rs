//! How far a step has come.

use super::config::Settings;
use super::pass::Pass;
use super::update::Receive;
use super::{Outcome, SessionError, built};
use crate::dropout_mask::Masks;
use crate::ghost::GhostBatches;
use crate::layers::Loss;
use crate::noise::sequence::Sequence;
use crate::noise::{Address, Noise};
use crate::step::{Draws, FIXED_STEP, MethodError, Renewal};
use core::ops::Range;

/// What a step does next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// There is no step.
    #[default]
    Idle,
    Forward,
    Loss,
    Backward,
    Update,
}

/// A step: its passes over ghost batches and draws, and where it stands in the present one.
#[derive(Clone, Debug)]
pub(super) struct Work {
    pub phase: Phase,
    /// Whether an update follows the gradient.
    pub update: bool,
    /// The present pass.
    pub number: u32,
    pub stage: u16,
    /// The next row of the stage, or weight of the update.
    pub row: usize,
    /// Where the noise of the present stage's weight stands.
    pub at: Option<Sequence>,
    pub pass: Pass,
    pub receive: Receive,
    pub ghosts: GhostBatches,
    /// Mean loss so far, and images whose class was found.
    loss: f32,
    correct: usize,
}

impl Work {
    pub(super) const IDLE: Self = Self {
        phase: Phase::Idle,
        update: true,
        number: 0,
        stage: 0,
        row: 0,
        at: None,
        pass: Pass::NONE,
        receive: Receive::Add(0.0),
        ghosts: GhostBatches::new(0, 1),
        loss: 0.0,
        correct: 0,
    };

    /// Begins a step before its first pass.
    pub(super) fn begin(&mut self, settings: &Settings, ghosts: GhostBatches) -> Result<(), SessionError> {
        u32::try_from(ghosts.count())
            .ok()
            .and_then(|count| count.checked_mul(settings.draws().count))
            .ok_or(SessionError::TooLarge)?;
        (self.update, self.number, self.ghosts) = (true, 0, ghosts);
        (self.loss, self.correct) = (0.0, 0);
        Ok(())
    }

    /// Number of passes.
    pub(super) fn passes(&self, settings: &Settings) -> u32 {
        self.ghosts.count() as u32 * settings.draws().count
    }

    /// What came of the step.
    pub(super) fn outcome(&self, settings: &Settings) -> Outcome {
        let images = self.ghosts.images() * settings.draws().count as usize;
        Outcome { loss: self.loss, correct: self.correct, images }
    }

    /// Ghost batch and draw of the present pass: draws of each ghost batch in turn, or all ghost batches under each draw
    /// in turn.
    fn position(&self, draws: Draws) -> (u32, u32) {
        if !built::GRADIENT {
            return (0, 0);
        }
        let (count, ghosts) = (draws.count.max(1), (self.ghosts.count() as u32).max(1));
        if draws.renewal == Renewal::GhostBatch {
            (self.number / count, self.number % count)
        } else {
            (self.number % ghosts, self.number / ghosts)
        }
    }

    /// Images of the present ghost batch.
    pub(super) fn ghost(&self, settings: &Settings) -> Range<usize> {
        self.ghosts.range(self.position(settings.draws()).0 as usize)
    }

    /// Share of a pass in the batch's mean.
    pub(super) fn share(&self, settings: &Settings) -> f32 {
        1.0 / self.passes(settings) as f32
    }

    /// Counts a pass.
    pub(super) fn add(&mut self, loss: &Loss<f32>, settings: &Settings) {
        self.loss += loss.mean * self.share(settings);
        self.correct += loss.correct;
    }

    /// Begins pass `number` of step `step`; the addresses are those of [`Stepper`](crate::step::Stepper).
    pub(super) fn start_pass(&mut self, settings: &Settings, step: u64) -> Result<(), MethodError> {
        let Draws { count, antithetic, renewal } = settings.draws();
        let (ghost, m) = self.position(settings.draws());
        let seed = settings.seed;
        let masks = if built::ELEMENTWISE {
            Masks::new(Address { seed, step, draw: ghost.wrapping_mul(count).wrapping_add(m) })
        } else {
            Masks::NONE
        };
        let images = self.ghosts.range(ghost as usize).len();
        self.pass = Pass { images, training: true, masks, ..Pass::NONE };
        if let Some(method) = settings.smooth_out {
            let pair = if antithetic { m / 2 } else { m };
            let round = if renewal == Renewal::GhostBatch { ghost } else { 0 };
            let draw = round.wrapping_mul(count).wrapping_add(pair);
            let step = if renewal == Renewal::Never { FIXED_STEP } else { step };
            let noise = Noise::new(method.distribution, method.scaling, settings.strength)
                .map_err(MethodError::Noise)?;
            self.pass.noise = Some(if antithetic && m % 2 == 1 { noise.negated() } else { noise });
            self.pass.selection = method.selection;
            self.pass.key = Address { seed, step, draw }.key();
        }
        (self.phase, self.stage, self.row, self.at) = (Phase::Forward, 0, 0, None);
        Ok(())
    }
}
