use super::{Config, Model, SessionError};
use crate::backend::Draw;
use crate::noise::{Address, Noise};
use crate::optimizer::Update;
use crate::plan::Plan;
use crate::portable::{Mode, NetworkPass};
use crate::step::{Method, MethodError};
use core::marker::PhantomData;

/// What came of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Outcome {
    /// Mean loss; of a training step at the perturbed weights.
    pub loss: f32,
    /// Images whose class was found.
    pub correct: usize,
    /// Images seen.
    pub images: usize,
}

/// How far a training has come; with [`Session::state`] all that has to outlive a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Counters {
    /// Batches so far: the step in the address of the noise.
    pub batches: u64,
    /// Updates so far.
    pub updates: u64,
}

/// A training over one arena, which holds everything that changes; `'m` is the model's life, `'a` the arena's.
#[derive(Debug)]
pub struct Session<'m, 'a, const N: usize> {
    plan: Plan<N>,
    config: Config<'m>,
    counters: Counters,
    arena: &'a mut [f32],
    logits: usize,
    begun: bool,
    model: PhantomData<&'m ()>,
}

impl<'m, 'a, const N: usize> Session<'m, 'a, N> {
    /// Length of the arena, in values of 4 bytes: exactly what [`new`](Self::new) needs.
    ///
    /// # Errors
    /// What `new` would refuse but the arena.
    pub fn required(plan: &Plan<N>, config: &Config<'_>) -> Result<usize, SessionError> {
        check(config)?;
        Ok(state_len(plan, config) + 2 * plan.parameters() + plan.workspace())
    }

    /// A session that begins with the model's parameters and statistics.
    ///
    /// # Errors
    /// An arena that is too small, a model of another network, or a method or optimizer that cannot be.
    pub fn new(
        plan: &Plan<N>,
        model: &impl Model<'m>,
        config: Config<'m>,
        arena: &'a mut [f32],
    ) -> Result<Self, SessionError> {
        let (needed, given) = (Self::required(plan, &config)?, arena.len());
        if given < needed {
            return Err(SessionError::Arena { needed, given });
        }
        let exact = |what, given, needed| {
            let error = SessionError::Length { what, needed, given };
            if given == needed { Ok(()) } else { Err(error) }
        };
        arena.fill(0.0);
        for tensor in plan.tensors() {
            let weights = model.tensor(tensor);
            exact("a tensor of the model", weights.len(), tensor.len())?;
            for row in 0..tensor.rows {
                let start = row * tensor.row_len;
                let at = tensor.offset + start;
                weights.read(row, start, &mut arena[at..at + tensor.row_len]);
            }
        }
        exact("the model's statistics", model.statistics().len(), plan.statistics())?;
        let end = state_len(plan, &config);
        model.statistics().read(0, 0, &mut arena[end - plan.statistics()..end]);
        let counters = Counters::default();
        Ok(Self { plan: plan.clone(), config, counters, arena, logits: 0, begun: false, model: PhantomData })
    }

    /// Trains on one batch of at most the plan's images (n, C, H, W): perturb, forward, backward, update.
    ///
    /// # Errors
    /// Images or labels that do not fit, or a loss that is not finite; the weights are the clean ones from before.
    pub fn step(&mut self, images: &[f32], labels: &[u32]) -> Result<Outcome, SessionError> {
        self.fits(images, labels)?;
        let step = self.counters.batches;
        let address = Address { seed: self.config.seed, step, draw: 0 };
        let state = self.state_len();
        let parameters = self.plan.parameters();
        let (state, rest) = self.arena.split_at_mut(state);
        let (weights, state) = state.split_at_mut(parameters);
        let (moments, statistics) = state.split_at_mut(state.len() - self.plan.statistics());
        let (first, second) = moments.split_at_mut(moments.len().min(parameters));
        let (point, rest) = rest.split_at_mut(parameters);
        let (gradient, rest) = rest.split_at_mut(parameters);
        point.copy_from_slice(weights);
        if let Method::SmoothOut(method) = self.config.method {
            let noise = Noise::new(method.distribution, method.scaling, self.config.strength)
                .map_err(|e| SessionError::Method(MethodError::Noise(e)))?;
            let draw = Draw { noise, selection: method.selection, address };
            for tensor in self.plan.tensors().filter(|t| draw.selection.contains(t.role)) {
                let key = address.tensor(tensor.index);
                for row in 0..tensor.rows {
                    let at = tensor.offset + row * tensor.row_len;
                    noise.add(key, row * tensor.row_len, &mut point[at..at + tensor.row_len]);
                }
            }
        }
        let needed = self.plan.workspace();
        let given = rest.len();
        let mut pass =
            NetworkPass::new(&self.plan, rest).ok_or(SessionError::Arena { needed, given })?;
        pass.forward(point, statistics, images, Mode::Train(address));
        let loss = pass.loss(labels).map_err(SessionError::Label)?;
        if !loss.mean.is_finite() {
            return Err(SessionError::Loss { value: loss.mean });
        }
        pass.update_statistics(statistics);
        let Ok(()) = pass.backward(point, |p| p, statistics, images, |_, tensor, row, values| {
            let at = tensor.offset + row * tensor.row_len;
            gradient[at..at + values.len()].copy_from_slice(values);
            Ok::<(), core::convert::Infallible>(())
        });
        self.counters.batches += 1;
        self.counters.updates += 1;
        let update = Update {
            optimizer: self.config.optimizer,
            rate: self.config.rate,
            weight_decay: self.config.weight_decay,
            gradient_scale: 1.0,
            time: self.counters.updates,
        };
        update.apply(weights, gradient, first, second);
        Ok(Outcome { loss: loss.mean, correct: loss.correct, images: labels.len() })
    }

    /// Begins a step that [`advance`](Self::advance) takes in pieces.
    ///
    /// # Errors
    /// Images or labels that do not fit, or a step that was begun and not finished.
    pub fn begin(&mut self, images: &[f32], labels: &[u32]) -> Result<(), SessionError> {
        self.fits(images, labels)?;
        if self.begun {
            return Err(SessionError::Order { first: "the step that was begun has to end" });
        }
        self.begun = true;
        Ok(())
    }

    /// Does one piece of the step, with the same images and labels as [`begin`](Self::begin); `None` while it goes on.
    ///
    /// # Errors
    /// No step was begun, or what [`step`](Self::step) reports; the step has ended then.
    pub fn advance(&mut self, images: &[f32], labels: &[u32]) -> Result<Option<Outcome>, SessionError> {
        if !self.begun {
            return Err(SessionError::Order { first: "a step has to begin" });
        }
        self.begun = false;
        self.step(images, labels).map(Some)
    }

    /// Drops the step that was begun; does nothing when there is none.
    pub fn abort(&mut self) {
        self.begun = false;
    }

    /// Logits (n, classes) of at most the plan's images, with running statistics.
    ///
    /// # Errors
    /// Images that do not fit.
    pub fn infer(&mut self, images: &[f32]) -> Result<&[f32], SessionError> {
        self.forward(images)?;
        Ok(self.arena.get(self.logits..).unwrap_or_default().get(..self.count(images) * self.plan.classes()).unwrap_or_default())
    }

    /// Loss and images found of at most the plan's images, with running statistics and clean weights.
    ///
    /// # Errors
    /// Images or labels that do not fit.
    pub fn evaluate(&mut self, images: &[f32], labels: &[u32]) -> Result<Outcome, SessionError> {
        self.fits(images, labels)?;
        let classes = self.plan.classes();
        let logits = self.infer(images)?;
        let loss = crate::layers::softmax_cross_entropy(classes, logits, labels, &mut [])
            .map_err(SessionError::Label)?;
        Ok(Outcome { loss: loss.mean, correct: loss.correct, images: labels.len() })
    }

    /// Sets the learning rate of the next steps.
    pub fn set_rate(&mut self, rate: f32) {
        self.config.rate = rate;
    }

    /// Sets the strength of the noise of the next steps.
    pub fn set_strength(&mut self, strength: f32) {
        self.config.strength = strength;
    }

    /// The trained weights, tensor after tensor in the plan's order.
    pub fn weights(&self) -> &[f32] {
        self.arena.get(..self.plan.parameters()).unwrap_or_default()
    }

    /// All that training changes, in one run: trained weights, first moments, second moments, running statistics.
    pub fn state(&self) -> &[f32] {
        self.arena.get(..self.state_len()).unwrap_or_default()
    }

    /// How far the training has come.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// The state has another length.
    pub fn restore(&mut self, state: &[f32], counters: Counters) -> Result<(), SessionError> {
        let (needed, given) = (self.state_len(), state.len());
        if needed != given {
            return Err(SessionError::Length { what: "the saved state", needed, given });
        }
        self.arena.iter_mut().zip(state).for_each(|(to, from)| *to = *from);
        self.counters = counters;
        Ok(())
    }

    fn state_len(&self) -> usize {
        state_len(&self.plan, &self.config)
    }

    fn count(&self, images: &[f32]) -> usize {
        images.len() / self.plan.input().len().max(1)
    }

    fn fits(&self, images: &[f32], labels: &[u32]) -> Result<(), SessionError> {
        let (needed, given) = (labels.len() * self.plan.input().len(), images.len());
        if needed != given {
            return Err(SessionError::Length { what: "the images", needed, given });
        }
        let (needed, given) = (self.plan.batch(), labels.len());
        if given == 0 || given > needed {
            return Err(SessionError::Length { what: "labels", needed, given });
        }
        Ok(())
    }

    fn forward(&mut self, images: &[f32]) -> Result<(), SessionError> {
        let state = self.state_len();
        let parameters = self.plan.parameters();
        let (state, rest) = self.arena.split_at_mut(state);
        let (weights, state) = state.split_at_mut(parameters);
        let (_, statistics) = state.split_at_mut(state.len() - self.plan.statistics());
        let (_, rest) = rest.split_at_mut(2 * parameters);
        let needed = self.plan.workspace();
        let given = rest.len();
        let mut pass =
            NetworkPass::new(&self.plan, rest).ok_or(SessionError::Arena { needed, given })?;
        pass.forward(weights, statistics, images, Mode::Evaluate);
        self.logits = self.arena.len() - given + self.plan.layers().last().map_or(0, |l| l.output);
        Ok(())
    }
}

fn state_len<const N: usize>(plan: &Plan<N>, config: &Config<'_>) -> usize {
    plan.parameters() * (1 + config.optimizer.moments()) + plan.statistics()
}

fn check(config: &Config<'_>) -> Result<(), SessionError> {
    config.optimizer.check().map_err(SessionError::Optimizer)?;
    match config.method {
        Method::Sam { .. } => return Err(SessionError::Unsupported { what: "SAM" }),
        Method::SmoothOut(method) if !method.denoise => {
            return Err(SessionError::Unsupported { what: "noise that stays" });
        }
        Method::SmoothOut(method) if method.draws.count != 1 => {
            return Err(SessionError::Unsupported { what: "more than one draw yet" });
        }
        _ => {}
    }
    if config.keeps_gradient() {
        return Err(SessionError::Unsupported { what: "gradient memory yet" });
    }
    if config.trained != super::Trained::all() {
        return Err(SessionError::Unsupported { what: "frozen layers yet" });
    }
    Ok(())
}
