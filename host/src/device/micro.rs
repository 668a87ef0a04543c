//! The microcontroller's backend on this machine: what a chip would do, to the bit.

use super::kept::Kept;
use super::{Batch, Device, DeviceError, Evaluation, Gradient, Keeps, Outcome, Part, Step};
use crate::net::{LAYERS, NetPlan};
use smoothout::backend::Draw;
use smoothout::micro::{Config, Counters, Session, SessionError, Slices};
use smoothout::noise::Address;
use smoothout::optimizer::Optimizer;
use smoothout::step::{Method, Stepper};
use std::panic::resume_unwind;
use std::thread;

/// A network in sessions of [`smoothout::micro`]: each call begins one where the last one ended.
///
/// A batch that is larger than the plan's is cut into ghost batches of the plan's size or a little less, as a session
/// does it, whatever the run's number of ghost batches would make of a smaller last batch.
#[derive(Debug)]
pub struct Micro {
    plan: Box<NetPlan>,
    kept: Kept,
    arena: Vec<f32>,
}

impl Micro {
    /// A network with these weights, as many as the plan has parameters.
    pub fn new(plan: Box<NetPlan>, weights: Vec<f32>, keeps: Keeps) -> Self {
        Self { kept: Kept::new(&plan, weights, keeps), arena: Vec::new(), plan }
    }

    /// A session at the present weights and statistics; it knows nothing of moments.
    fn session<'s>(
        plan: &NetPlan,
        weights: &'s [f32],
        statistics: &'s [f32],
        arena: &'s mut Vec<f32>,
        config: Config<'s>,
    ) -> Result<Session<'s, 's, LAYERS>, DeviceError> {
        let needed = Session::required(plan, &config).map_err(failed)?;
        arena.resize(needed, 0.0);
        Session::new(plan, &Slices { parameters: weights, statistics }, config, arena).map_err(failed)
    }

    /// Takes a session's state: weights, moments, statistics.
    fn take(&mut self, state: &[f32], moments: usize) {
        let Kept { weights, first, second, statistics, .. } = &mut self.kept;
        let mut rest = state;
        for (number, target) in [weights, first, second, statistics].into_iter().enumerate() {
            if number == 3 || number <= moments {
                let (part, after) = rest.split_at(target.len());
                target.copy_from_slice(part);
                rest = after;
            }
        }
    }

    /// In evaluation mode.
    fn evaluation_gradient(&mut self, batch: Batch<'_>) -> Result<Gradient, DeviceError> {
        let config = Config::new(Method::Sgd, 0.0);
        let mut gradient = vec![0.0; self.kept.weights.len()];
        let (loss, logits) = on_a_large_stack(|| {
            let mut session =
                Self::session(&self.plan, &self.kept.weights, &self.kept.statistics, &mut self.arena, config)?;
            let logits = session.infer(batch.images).map_err(failed)?.to_vec();
            let loss = session.gradient(batch.images, batch.labels, &mut gradient).map_err(failed)?;
            Ok((loss, logits))
        })?;
        Ok(Gradient { loss, logits, gradient })
    }
}

fn failed(error: SessionError) -> DeviceError {
    match error {
        SessionError::Length { .. } | SessionError::Label(_) => DeviceError::Batch(error.to_string()),
        _ => DeviceError::step(error),
    }
}

/// Runs a session where there is room for it: one of [`LAYERS`] layers is a value of megabytes, as nothing in core takes
/// memory from an allocator.
fn on_a_large_stack<R: Send>(work: impl FnOnce() -> Result<R, DeviceError> + Send) -> Result<R, DeviceError> {
    let builder = thread::Builder::new().stack_size(64 << 20);
    thread::scope(|scope| match builder.spawn_scoped(scope, work).map_err(DeviceError::step)?.join() {
        Ok(result) => result,
        Err(panic) => resume_unwind(panic),
    })
}

impl Device for Micro {
    fn plan(&self) -> &NetPlan {
        &self.plan
    }

    fn step(&mut self, stepper: &mut Stepper, step: &Step<'_>) -> Result<Outcome, DeviceError> {
        let update = &step.update;
        let config = Config {
            method: stepper.method(),
            seed: stepper.seed(),
            optimizer: update.optimizer,
            weight_decay: update.weight_decay,
            strength: step.strength,
            clip: step.clip,
            accumulate: step.batches.len() > 1 || step.ghosts > 1,
            ..Config::new(Method::Sgd, update.rate)
        };
        if update.gradient_scale != 1.0 {
            return Err(DeviceError::Step("sessions do not scale gradients".into()));
        }
        let moments = [&self.kept.first, &self.kept.second].map(|moment| &moment[..]);
        let moments = &moments[..config.optimizer.moments()];
        let state = [&[&self.kept.weights[..]], moments, &[&self.kept.statistics[..]]].concat().concat();
        let counters = Counters { batches: step.first, updates: update.time.saturating_sub(1) };
        let (outcome, state) = on_a_large_stack(|| {
            let mut session =
                Self::session(&self.plan, &self.kept.weights, &self.kept.statistics, &mut self.arena, config)?;
            session.restore(&state, counters).map_err(failed)?;
            let outcome = match step.batches {
                [batch] => {
                    let outcome = session.step(batch.images, batch.labels).map_err(failed)?;
                    Outcome { loss: outcome.loss, correct: (outcome.correct, outcome.images) }
                }
                _ => {
                    let outcome = step.each_batch(|batch, _| {
                        let outcome = session.accumulate(batch.images, batch.labels).map_err(failed)?;
                        Ok((outcome.loss, (outcome.correct, outcome.images)))
                    })?;
                    session.update().map_err(failed)?;
                    outcome
                }
            };
            Ok((outcome, session.state().to_vec()))
        })?;
        self.take(&state, config.optimizer.moments());
        Ok(outcome)
    }

    fn average(&mut self, share: f32) -> Result<(), DeviceError> {
        if self.kept.average.is_empty() {
            return Err(DeviceError::Step("no average is kept".into()));
        }
        self.kept.average.iter_mut().zip(&self.kept.weights).for_each(|(a, w)| *a += share * (w - *a));
        Ok(())
    }

    fn evaluate(&mut self, batch: Batch<'_>, draw: Option<&Draw>) -> Result<Evaluation, DeviceError> {
        batch.check(&self.plan)?;
        let config = Config::new(Method::Sgd, 0.0);
        let outcome = on_a_large_stack(|| {
            let mut session =
                Self::session(&self.plan, &self.kept.weights, &self.kept.statistics, &mut self.arena, config)?;
            session.evaluate_at(batch.images, batch.labels, draw.copied()).map_err(failed)
        })?;
        Ok(Evaluation { loss: f64::from(outcome.loss) * batch.labels.len() as f64, correct: outcome.correct })
    }

    /// In training mode the gradient is what momentum becomes in a first step at rate 0.
    fn gradient(&mut self, batch: Batch<'_>, training: Option<Address>) -> Result<Gradient, DeviceError> {
        batch.check(&self.plan)?;
        let Some(Address { seed, step, .. }) = training else { return self.evaluation_gradient(batch) };
        let config = Config { seed, optimizer: Optimizer::sgd(0.5), ..Config::new(Method::Sgd, 0.0) };
        let parameters = self.kept.weights.len();
        let (loss, logits, state) = on_a_large_stack(|| {
            let mut session =
                Self::session(&self.plan, &self.kept.weights, &self.kept.statistics, &mut self.arena, config)?;
            session.set_counters(Counters { batches: step, updates: 0 });
            session.begin(batch.images, batch.labels).map_err(failed)?;
            let mut logits = Vec::new();
            loop {
                let outcome = session.advance(batch.images, batch.labels).map_err(failed)?;
                if let Some(of_pass) = session.pass_logits() {
                    logits = of_pass.to_vec();
                }
                if let Some(outcome) = outcome {
                    return Ok((outcome.loss, logits, session.state().to_vec()));
                }
            }
        })?;
        self.kept.statistics = state[2 * parameters..].to_vec();
        Ok(Gradient { loss, logits, gradient: state[parameters..2 * parameters].to_vec() })
    }

    fn read(&self, part: Part) -> Result<Vec<f32>, DeviceError> {
        Ok(self.kept.read(part))
    }

    fn write(&mut self, part: Part, values: &[f32]) -> Result<(), DeviceError> {
        self.kept.write(part, values)
    }
}
