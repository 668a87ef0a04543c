use super::{Draws, FIXED_STEP, Method, MethodError, Renewal, SmoothOut, StepError};
use crate::backend::{Backend, Base, Objective, Pass, Reception};
use crate::noise::Address;
use crate::optimizer::{Update, clip_factor};

type StepResult<T, B, O> = Result<T, StepError<<B as Backend>::Error, <O as Objective<B>>::Error>>;

/// Takes steps: gradients of one or more batches, then an update.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stepper {
    method: Method,
    seed: u64,
    /// Batches whose gradients wait for the update.
    batches: u32,
    /// Whether noise that stays was added since the last update.
    noisy: bool,
}

impl Stepper {
    /// Steps by `method` with noise and dropout of this seed.
    ///
    /// # Errors
    /// No or an odd number of antithetic draws, or a radius that is not finite and positive.
    pub fn new(method: Method, seed: u64) -> Result<Self, MethodError> {
        match method {
            Method::SmoothOut(SmoothOut { draws, .. }) => {
                if draws.count == 0 {
                    return Err(MethodError::NoDraws);
                }
                if draws.antithetic && draws.count % 2 == 1 {
                    return Err(MethodError::OddDraws { count: draws.count });
                }
            }
            Method::Sam { radius } if !(radius.is_finite() && radius > 0.0) => {
                return Err(MethodError::Radius { value: radius });
            }
            Method::Sgd | Method::Sam { .. } => {}
        }
        Ok(Self { method, seed, batches: 0, noisy: false })
    }

    /// What is done to the weights before gradients are taken.
    pub const fn method(&self) -> Method {
        self.method
    }

    /// Seed of noise and dropout.
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// Adds the mean gradient of a batch to the stored gradient and returns the mean loss over ghost batches and draws.
    ///
    /// `step` counts the batches of the training and is part of every address; `strength` is a after the schedule.
    ///
    /// # Errors
    /// See [`StepError`]. The clean weights and running statistics from before come back, and the gradients
    /// of batches that were waiting for an update are dropped.
    pub fn accumulate<B: Backend, O: Objective<B>>(
        &mut self,
        backend: &mut B,
        objective: &mut O,
        step: u64,
        strength: f32,
    ) -> StepResult<f32, B, O> {
        objective.begin();
        let result = self.gradient(backend, objective, step, strength);
        let cleaned = if self.noisy && result.is_ok() {
            Ok(()) // the noise stays until the update
        } else {
            backend.denoise().map_err(StepError::Backend)
        };
        match result.and_then(|loss| cleaned.map(|()| loss)) {
            Ok(loss) => {
                self.batches += 1;
                Ok(loss)
            }
            Err(error) => {
                objective.rollback();
                self.abandon();
                Err(error)
            }
        }
    }

    /// Updates the clean weights by the mean of the stored gradients, clipped to norm `clip`.
    /// `update.gradient_scale` is multiplied by what that takes. Returns the norm before clipping,
    /// or `None` when nothing is clipped, as nobody needs it then.
    ///
    /// # Errors
    /// A norm that is not finite, or the backend's own; the clean weights are those from before.
    pub fn update<B: Backend>(
        &mut self,
        backend: &mut B,
        update: &Update,
        clip: Option<f32>,
    ) -> Result<Option<f32>, StepError<B::Error, core::convert::Infallible>> {
        let mut scale = update.gradient_scale / self.batches.max(1) as f32;
        let noisy = self.noisy;
        self.abandon();
        let mut norm = None;
        if let Some(limit) = clip {
            let value = backend.gradient_norm().map_err(StepError::Backend)? * scale;
            if !value.is_finite() {
                let _ = backend.denoise();
                return Err(StepError::Gradient { norm: value });
            }
            scale *= clip_factor(value, limit);
            norm = Some(value);
        }
        if noisy {
            backend.keep_noise().map_err(StepError::Backend)?;
        }
        backend.update(&Update { gradient_scale: scale, ..*update }).map_err(StepError::Backend)?;
        Ok(norm)
    }

    /// Algorithm 1 as it stands, without gradient memory: one draw, one ghost batch, no clipping;
    /// each tensor is denoised and updated as its gradient comes.
    ///
    /// # Errors
    /// See [`StepError`].
    pub fn fused<B: Backend, O: Objective<B>>(
        &mut self,
        backend: &mut B,
        objective: &mut O,
        step: u64,
        strength: f32,
        update: &Update,
    ) -> StepResult<f32, B, O> {
        objective.begin();
        let address = Address { seed: self.seed, step, draw: 0 };
        let pass = Pass { ghost: 0, address, statistics: true };
        let mut run = || -> StepResult<f32, B, O> {
            if let Method::SmoothOut(method) = self.method {
                let draw = method.draw(address, strength, false).map_err(StepError::Method)?;
                backend.perturb(&draw, Base::Clean).map_err(StepError::Backend)?;
            }
            let loss = finite_loss(objective.forward(backend, &pass), 0)?;
            let reception = Reception::Update(*update);
            objective.backward(backend, &pass, &reception).map_err(StepError::Objective)?;
            Ok(loss)
        };
        let result = run();
        if result.is_err() {
            objective.rollback();
        }
        backend.denoise().map_err(StepError::Backend)?;
        result
    }

    /// Forgets what waits for an update, as after a failure.
    fn abandon(&mut self) {
        self.batches = 0;
        self.noisy = false;
    }

    fn gradient<B: Backend, O: Objective<B>>(
        &mut self,
        backend: &mut B,
        objective: &mut O,
        step: u64,
        strength: f32,
    ) -> StepResult<f32, B, O> {
        if self.batches == 0 {
            backend.clear_gradient().map_err(StepError::Backend)?;
        }
        match self.method {
            Method::Sgd => self.all_ghosts(backend, objective, step, 0, 1, true),
            Method::SmoothOut(method) => self.smooth(&method, backend, objective, step, strength),
            Method::Sam { radius } => {
                if self.batches > 0 {
                    return Err(StepError::Method(MethodError::SamAccumulation));
                }
                let loss = self.all_ghosts(backend, objective, step, 0, 1, true)?;
                let norm = backend.gradient_norm().map_err(StepError::Backend)?;
                if !norm.is_finite() {
                    return Err(StepError::Gradient { norm });
                }
                backend.ascend(radius / (norm + 1e-12)).map_err(StepError::Backend)?;
                backend.clear_gradient().map_err(StepError::Backend)?;
                self.all_ghosts(backend, objective, step, 0, 1, false)?;
                Ok(loss)
            }
        }
    }

    /// Gradients of all ghost batches at the present point; this is draw `draw` of `draws`.
    fn all_ghosts<B: Backend, O: Objective<B>>(
        &self,
        backend: &mut B,
        objective: &mut O,
        step: u64,
        draw: u32,
        draws: u32,
        statistics: bool,
    ) -> StepResult<f32, B, O> {
        let ghosts = objective.ghosts();
        let mut mean = 0.0;
        for ghost in 0..ghosts {
            let number = (ghost as u32).wrapping_mul(draws).wrapping_add(draw);
            let address = Address { seed: self.seed, step, draw: number };
            let pass = Pass { ghost, address, statistics };
            let weight = 1.0 / (ghosts as f32 * draws as f32);
            mean += evaluate(backend, objective, &pass, weight)? / ghosts as f32;
        }
        Ok(mean)
    }

    fn smooth<B: Backend, O: Objective<B>>(
        &mut self,
        method: &SmoothOut,
        backend: &mut B,
        objective: &mut O,
        step: u64,
        strength: f32,
    ) -> StepResult<f32, B, O> {
        let Draws { count, antithetic, renewal } = method.draws;
        let ghosts = objective.ghosts();
        let mut mean = 0.0;
        // Draws of each ghost batch in turn, or all ghost batches under each draw in turn.
        let rounds = if renewal == Renewal::GhostBatch { ghosts } else { 1 };
        for round in 0..rounds {
            for m in 0..count {
                let pair = if antithetic { m / 2 } else { m };
                let number = (round as u32).wrapping_mul(count).wrapping_add(pair);
                let step_drawn = if renewal == Renewal::Never { FIXED_STEP } else { step };
                let address = Address { seed: self.seed, step: step_drawn, draw: number };
                let negative = antithetic && m % 2 == 1;
                let draw = method.draw(address, strength, negative).map_err(StepError::Method)?;
                let base = if self.noisy { Base::Perturbed } else { Base::Clean };
                backend.perturb(&draw, base).map_err(StepError::Backend)?;
                self.noisy = !method.denoise;
                mean += if renewal == Renewal::GhostBatch {
                    let number = (round as u32).wrapping_mul(count).wrapping_add(m);
                    let address = Address { seed: self.seed, step, draw: number };
                    let pass = Pass { ghost: round, address, statistics: true };
                    let share = 1.0 / (ghosts as f32 * count as f32);
                    evaluate(backend, objective, &pass, share)? * share
                } else {
                    self.all_ghosts(backend, objective, step, m, count, true)? / count as f32
                };
                if method.denoise {
                    backend.denoise().map_err(StepError::Backend)?;
                }
            }
        }
        Ok(mean)
    }
}

/// Loss of one pass, whose gradient is added with this weight.
fn evaluate<B: Backend, O: Objective<B>>(
    backend: &mut B,
    objective: &mut O,
    pass: &Pass,
    weight: f32,
) -> StepResult<f32, B, O> {
    let loss = finite_loss(objective.forward(backend, pass), pass.ghost)?;
    let reception = Reception::Add { weight };
    objective.backward(backend, pass, &reception).map_err(StepError::Objective)?;
    Ok(loss)
}

fn finite_loss<B, O>(loss: Result<f32, O>, ghost: usize) -> Result<f32, StepError<B, O>> {
    match loss {
        Ok(value) if value.is_finite() => Ok(value),
        Ok(value) => Err(StepError::Loss { value, ghost }),
        Err(error) => Err(StepError::Objective(error)),
    }
}
