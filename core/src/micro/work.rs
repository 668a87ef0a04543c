//! How far a step has come.

use super::pass::Pass;
use super::update::Receive;
use super::{Config, Outcome, SessionError};
use crate::backend::Draw;
use crate::ghost::GhostBatches;
use crate::layers::Loss;
use crate::noise::sequence::Sequence;
use crate::noise::{Address, Noise};
use crate::step::{Draws, FIXED_STEP, Method, MethodError, Renewal};

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
    /// The present pass, of `passes`.
    pub number: u32,
    pub passes: u32,
    pub stage: usize,
    /// The next row of the stage, or weight of the update.
    pub row: usize,
    /// Where the noise of the present stage's weight stands.
    pub at: Option<Sequence>,
    pub pass: Pass,
    pub receive: Receive,
    pub ghosts: GhostBatches,
    /// Whether an update follows the gradient.
    pub update: bool,
    pub outcome: Outcome,
    draws: Draws,
    seed: u64,
    step: u64,
}

impl Default for Work {
    fn default() -> Self {
        Self {
            phase: Phase::Idle,
            number: 0,
            passes: 0,
            stage: 0,
            row: 0,
            at: None,
            pass: Pass { images: 0, training: None, draw: None },
            receive: Receive::Add(0.0),
            ghosts: GhostBatches::new(0, 1),
            update: true,
            outcome: Outcome::default(),
            draws: Draws::default(),
            seed: 0,
            step: 0,
        }
    }
}

impl Work {
    /// Step number `step`, before its first pass.
    pub(super) fn new(
        config: &Config<'_>,
        ghosts: GhostBatches,
        step: u64,
    ) -> Result<Self, SessionError> {
        let draws = match config.method {
            Method::SmoothOut(method) => method.draws,
            _ => Draws::default(),
        };
        let passes = u32::try_from(ghosts.count())
            .ok()
            .and_then(|count| count.checked_mul(draws.count))
            .ok_or(SessionError::TooLarge)?;
        Ok(Self { passes, ghosts, draws, seed: config.seed, step, ..Self::default() })
    }

    /// Ghost batch and draw of the present pass: draws of each ghost batch in turn, or all ghost batches under each draw
    /// in turn.
    fn position(&self) -> (u32, u32) {
        let (draws, ghosts) = (self.draws.count.max(1), (self.ghosts.count() as u32).max(1));
        if self.draws.renewal == Renewal::GhostBatch {
            (self.number / draws, self.number % draws)
        } else {
            (self.number % ghosts, self.number / ghosts)
        }
    }

    /// The present ghost batch.
    pub(super) fn ghost(&self) -> usize {
        self.position().0 as usize
    }

    /// Share of a pass in the batch's mean.
    pub(super) fn share(&self) -> f32 {
        1.0 / self.passes as f32
    }

    /// Counts a pass.
    pub(super) fn add(&mut self, loss: &Loss<f32>, images: usize) {
        self.outcome.loss += loss.mean * self.share();
        self.outcome.correct += loss.correct;
        self.outcome.images += images;
    }

    /// Begins pass `number`; the addresses are those of [`Stepper`](crate::step::Stepper).
    pub(super) fn start_pass(&mut self, config: &Config<'_>) -> Result<(), MethodError> {
        let Draws { count, antithetic, renewal } = self.draws;
        let (ghost, m) = self.position();
        let (seed, step) = (self.seed, self.step);
        let training = Address { seed, step, draw: ghost.wrapping_mul(count).wrapping_add(m) };
        let draw = match config.method {
            Method::SmoothOut(method) => {
                let pair = if antithetic { m / 2 } else { m };
                let round = if renewal == Renewal::GhostBatch { ghost } else { 0 };
                let draw = round.wrapping_mul(count).wrapping_add(pair);
                let step = if renewal == Renewal::Never { FIXED_STEP } else { step };
                let noise = Noise::new(method.distribution, method.scaling, config.strength)
                    .map_err(MethodError::Noise)?;
                let noise = if antithetic && m % 2 == 1 { noise.negated() } else { noise };
                let address = Address { seed, step, draw };
                Some(Draw { noise, selection: method.selection, address })
            }
            _ => None,
        };
        let images = self.ghosts.range(ghost as usize).len();
        self.pass = Pass { images, training: Some(training), draw };
        (self.phase, self.stage, self.row, self.at) = (Phase::Forward, 0, 0, None);
        Ok(())
    }
}
