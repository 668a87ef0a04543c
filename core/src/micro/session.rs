use super::layout::{BLOCK, Layout, lay_out};
use super::loss::cross_entropy;
use super::pass::{Parts, Pass};
use super::stage::{Stage, compile};
use super::update::{Receive, Rule};
use super::work::{Phase, Work};
use super::{Config, Model, SessionError};
use crate::backend::Draw;
use crate::ghost::GhostBatches;
use crate::network::Layer;
use crate::noise::norm;
use crate::optimizer::clip_factor;
use crate::plan::{Plan, Purpose};
use heapless::Vec;

/// What came of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Outcome {
    /// Mean loss; of a training step at the perturbed weights.
    pub loss: f32,
    /// Images whose class was found, over all passes.
    pub correct: usize,
    /// Images of all passes: those of the batch, times the number of draws.
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
    stages: Vec<Stage<'m>, N>,
    layout: Layout,
    config: Config<'m>,
    counters: Counters,
    /// Batches whose gradients wait for an update.
    waiting: u32,
    work: Work,
    arena: &'a mut [f32],
    training: bool,
    batch: usize,
    image_len: usize,
    classes: usize,
}

/// The buffers of a stage overlap where they must not, which [`lay_out`] rules out.
const OVERLAP: SessionError = SessionError::Layout;

impl<'m, 'a, const N: usize> Session<'m, 'a, N> {
    /// Length of the arena, in values of 4 bytes: exactly what [`new`](Self::new) needs.
    ///
    /// # Errors
    /// What `new` would refuse but the arena and the model.
    pub fn required(plan: &Plan<N>, config: &Config<'_>) -> Result<usize, SessionError> {
        let (_, layout) = prepare(plan, None, config)?;
        layout.total().ok_or(SessionError::TooLarge)
    }

    /// A session that begins with the model's parameters and statistics.
    ///
    /// # Errors
    /// An arena that is too small, a model of another network, or a configuration that cannot be.
    pub fn new(
        plan: &Plan<N>,
        model: &impl Model<'m>,
        config: Config<'m>,
        arena: &'a mut [f32],
    ) -> Result<Self, SessionError> {
        let exact = |what, given, needed| {
            let error = SessionError::Length { what, needed, given };
            if given == needed { Ok(()) } else { Err(error) }
        };
        for tensor in plan.tensors() {
            exact("a tensor of the model", model.tensor(tensor).len(), tensor.len())?;
        }
        exact("the model's statistics", model.statistics().len(), plan.statistics())?;
        let (stages, layout) = prepare(plan, Some(model), &config)?;
        let needed = layout.total().ok_or(SessionError::TooLarge)?;
        let given = arena.len();
        let arena = arena.get_mut(..needed).ok_or(SessionError::Arena { needed, given })?;
        arena.fill(0.0);
        let mut session = Self {
            stages,
            layout,
            config,
            counters: Counters::default(),
            waiting: 0,
            work: Work::default(),
            arena,
            training: plan.purpose() == Purpose::Training,
            batch: plan.batch(),
            image_len: plan.input().len(),
            classes: plan.classes(),
        };
        session.load(model).ok_or(OVERLAP)?;
        Ok(session)
    }

    /// Copies the trained weights and the statistics from the model.
    fn load(&mut self, model: &impl Model<'m>) -> Option<()> {
        let parts = Parts::new(self.arena, &self.layout)?;
        for stage in &self.stages {
            for parameter in [&stage.weight, &stage.bias].into_iter().flatten() {
                for row in 0..stage.shape.channels {
                    if let Some(range) = parameter.range(row) {
                        let to = parts.state.weights.get_mut(range)?;
                        parameter.model.read(row, row * parameter.row_len, to);
                    }
                }
            }
        }
        model.statistics().read(0, 0, parts.statistics);
        Some(())
    }

    /// Trains on one batch, images (n, C, H, W): perturb, forward, backward, update. Where the session keeps gradients,
    /// more images than the plan's batch are cut into ghost batches.
    ///
    /// # Errors
    /// Images or labels that do not fit, or a loss or gradient that is not finite; weights and statistics are those from
    /// before.
    pub fn step(&mut self, images: &[f32], labels: &[u32]) -> Result<Outcome, SessionError> {
        self.begin(images, labels)?;
        self.finish(images, labels)
    }

    /// Adds a batch's gradient to those that wait for [`update`](Self::update).
    ///
    /// # Errors
    /// The session keeps no gradient, and those of [`step`](Self::step).
    pub fn accumulate(&mut self, images: &[f32], labels: &[u32]) -> Result<Outcome, SessionError> {
        if !self.config.accumulate {
            return Err(SessionError::Unsupported { what: "accumulation unless it is configured" });
        }
        self.begin(images, labels)?;
        self.work.update = false;
        self.finish(images, labels)
    }

    /// Updates the weights by the mean of the gradients that wait.
    ///
    /// # Errors
    /// No gradient waits, or its norm is not finite.
    pub fn update(&mut self) -> Result<(), SessionError> {
        if self.work.phase != Phase::Idle || self.waiting == 0 {
            return Err(SessionError::Order { first: "a gradient has to be accumulated" });
        }
        self.begin_update()?;
        while self.work.phase != Phase::Idle {
            self.update_part(usize::MAX)?;
        }
        Ok(())
    }

    /// Begins a step that [`advance`](Self::advance) takes in pieces.
    ///
    /// # Errors
    /// Images or labels that do not fit, a step that was begun and not finished, or noise that cannot be.
    pub fn begin(&mut self, images: &[f32], labels: &[u32]) -> Result<(), SessionError> {
        self.idle()?;
        if !self.training {
            return Err(SessionError::Inference);
        }
        let most = if self.config.keeps_gradient() { usize::MAX } else { self.batch };
        self.fits(images, labels, most)?;
        let ghosts = GhostBatches::new(labels.len(), labels.len().div_ceil(self.batch.max(1)));
        self.work = Work::new(&self.config, ghosts, self.counters.batches)?;
        let parts = Parts::new(self.arena, &self.layout).ok_or(OVERLAP)?;
        copy(parts.statistics, parts.backup);
        if self.waiting == 0 {
            parts.state.gradient.fill(0.0);
        }
        self.work.start_pass(&self.config).map_err(SessionError::Method)
    }

    /// Does one piece of the step, with the same images and labels as [`begin`](Self::begin); `None` while it goes on.
    ///
    /// A piece is one filter or channel of one stage over the images of a ghost batch, forward or backward, the loss, or
    /// the update of 128 weights of a stored gradient.
    ///
    /// # Errors
    /// No step was begun, or what [`step`](Self::step) reports; the step has ended then.
    pub fn advance(&mut self, images: &[f32], labels: &[u32]) -> Result<Option<Outcome>, SessionError> {
        self.piece(images, labels, 1)
    }

    /// Logits (n, classes) of the present pass: there between its forward pass and its loss, for whoever calls
    /// [`advance`](Self::advance).
    pub fn pass_logits(&self) -> Option<&[f32]> {
        let last = self.stages.last().filter(|_| self.work.phase == Phase::Loss)?;
        let start = self.arena.len().checked_sub(self.layout.values)? + last.output;
        self.arena.get(start..)?.get(..self.work.pass.images * self.classes)
    }

    /// Drops the step that was begun and the gradients that wait; does nothing when there are none. Noise is nowhere in
    /// the weights, so they are clean at every moment; what a session without stored gradient has already updated, from
    /// the last layer on, stays updated.
    pub fn abort(&mut self) {
        if self.work.phase != Phase::Idle
            && let Some(parts) = Parts::new(self.arena, &self.layout)
        {
            copy(parts.backup, parts.statistics);
        }
        self.work.phase = Phase::Idle;
        self.waiting = 0;
    }

    fn finish(&mut self, images: &[f32], labels: &[u32]) -> Result<Outcome, SessionError> {
        loop {
            if let Some(outcome) = self.piece(images, labels, usize::MAX)? {
                return Ok(outcome);
            }
        }
    }

    /// Does at most `most` rows of the present stage.
    fn piece(
        &mut self,
        images: &[f32],
        labels: &[u32],
        most: usize,
    ) -> Result<Option<Outcome>, SessionError> {
        let result = match self.work.phase {
            Phase::Idle => Err(SessionError::Order { first: "a step has to begin" }),
            Phase::Forward | Phase::Backward => self.rows(images, most).ok_or(OVERLAP),
            Phase::Loss => self.loss(labels),
            Phase::Update => self.update_part(most),
        };
        if let Err(error) = result {
            self.abort();
            return Err(error);
        }
        Ok((self.work.phase == Phase::Idle).then_some(self.work.outcome))
    }

    /// Runs rows of the present stage, forward or backward.
    fn rows(&mut self, images: &[f32], most: usize) -> Option<()> {
        let mut parts = Parts::new(self.arena, &self.layout)?;
        let work = &mut self.work;
        let stage = self.stages.get(work.stage)?;
        let end = stage.shape.channels.min(work.row.saturating_add(most));
        let rows = work.row..end;
        let ghost = work.ghosts.range(work.ghost());
        let images = images.get(ghost.start * self.image_len..ghost.end * self.image_len)?;
        let forward = work.phase == Phase::Forward;
        if forward {
            work.pass.forward(stage, rows, &mut parts, images, &mut work.at)?;
        } else if stage.live {
            let receive = &work.receive;
            work.pass.backward(stage, rows, &mut parts, images, &mut work.at, receive)?;
        }
        work.row = end;
        if end < stage.shape.channels && (forward || stage.live) {
            return Some(());
        }
        work.row = 0;
        if forward {
            work.stage += 1;
            if work.stage == self.stages.len() {
                work.phase = Phase::Loss;
            }
        } else if let Some(before) = work.stage.checked_sub(1) {
            work.stage = before;
        } else {
            self.end_pass();
        }
        Some(())
    }

    /// The loss of a pass; running statistics follow it.
    fn loss(&mut self, labels: &[u32]) -> Result<(), SessionError> {
        let mut parts = Parts::new(self.arena, &self.layout).ok_or(OVERLAP)?;
        let work = &mut self.work;
        let ghost = work.ghosts.range(work.ghost());
        let labels = labels.get(ghost).ok_or(SessionError::Order { first: "the same labels" })?;
        let last = self.stages.last().ok_or(OVERLAP)?;
        let len = labels.len() * self.classes;
        let gradient = if last.live { last.gradient..last.gradient + len } else { 0..0 };
        let [logits, gradient] = parts
            .values
            .get_disjoint_mut([last.output..last.output + len, gradient])
            .map_err(|_| OVERLAP)?;
        let loss =
            cross_entropy(self.classes, logits, labels, gradient).map_err(SessionError::Label)?;
        if !loss.mean.is_finite() {
            return Err(SessionError::Loss { value: loss.mean });
        }
        for stage in self.stages.iter().filter(|stage| stage.uses_batch()) {
            follow(stage, labels.len(), &mut parts).ok_or(OVERLAP)?;
        }
        work.add(&loss, labels.len());
        if self.config.keeps_gradient() {
            work.receive = Receive::Add(work.share());
        } else {
            work.receive = Receive::Update(Rule::new(self.config.update(self.counters.updates + 1, 1.0)));
        }
        work.phase = Phase::Backward;
        work.stage = self.stages.len().saturating_sub(1);
        Ok(())
    }

    /// After the backward pass: the next one, or the update.
    fn end_pass(&mut self) {
        self.work.number += 1;
        if self.work.number < self.work.passes {
            // The noise was valid for the first pass.
            let _ = self.work.start_pass(&self.config);
            return;
        }
        self.counters.batches += 1;
        self.work.phase = Phase::Idle;
        if !self.config.keeps_gradient() {
            self.counters.updates += 1;
            return;
        }
        self.waiting += 1;
        if self.work.update {
            self.work.phase = Phase::Update;
            self.work.row = usize::MAX;
        }
    }

    /// Norm, clipping and rule of the update.
    fn begin_update(&mut self) -> Result<(), SessionError> {
        let parts = Parts::new(self.arena, &self.layout).ok_or(OVERLAP)?;
        let mut scale = 1.0 / self.waiting.max(1) as f32;
        if let Some(limit) = self.config.clip {
            let value = norm(parts.state.gradient) * scale;
            if !value.is_finite() {
                self.abort();
                return Err(SessionError::Gradient { norm: value });
            }
            scale *= clip_factor(value, limit);
        }
        let update = self.config.update(self.counters.updates + 1, scale);
        self.work.receive = Receive::Update(Rule::new(update));
        self.work.phase = Phase::Update;
        self.work.row = 0;
        Ok(())
    }

    /// Updates the next weights by the stored gradient.
    fn update_part(&mut self, most: usize) -> Result<(), SessionError> {
        if self.work.row == usize::MAX {
            return self.begin_update();
        }
        let parts = Parts::new(self.arena, &self.layout).ok_or(OVERLAP)?;
        let start = self.work.row;
        let end = start.saturating_add(most.saturating_mul(BLOCK)).min(self.layout.trained);
        if let Receive::Update(rule) = &self.work.receive {
            let state = parts.state;
            let gradient = state.gradient.get(start..end).ok_or(OVERLAP)?;
            rule.update(state.weights, state.first, state.second, start..end, gradient)
                .ok_or(OVERLAP)?;
        }
        self.work.row = end;
        if end == self.layout.trained {
            self.counters.updates += 1;
            self.waiting = 0;
            self.work.phase = Phase::Idle;
        }
        Ok(())
    }

    /// Logits (n, classes) of at most the plan's images, with running statistics.
    ///
    /// # Errors
    /// Images that do not fit, or a step that was begun and not finished.
    pub fn infer(&mut self, images: &[f32]) -> Result<&[f32], SessionError> {
        self.logits(images, None)
    }

    /// Loss and images found of any number of images, with running statistics and clean weights.
    ///
    /// # Errors
    /// Images or labels that do not fit, or a step that was begun and not finished.
    pub fn evaluate(&mut self, images: &[f32], labels: &[u32]) -> Result<Outcome, SessionError> {
        self.evaluate_at(images, labels, None)
    }

    /// The same at the weights perturbed by `draw`.
    ///
    /// # Errors
    /// Those of [`evaluate`](Self::evaluate).
    pub fn evaluate_at(
        &mut self,
        images: &[f32],
        labels: &[u32],
        draw: Option<Draw>,
    ) -> Result<Outcome, SessionError> {
        self.fits(images, labels, usize::MAX)?;
        let (batch, image_len, classes) = (self.batch.max(1), self.image_len.max(1), self.classes);
        let mut outcome = Outcome { images: labels.len(), ..Outcome::default() };
        let batches = images.chunks(batch.saturating_mul(image_len).max(1)).zip(labels.chunks(batch));
        for (number, (images, labels)) in batches.enumerate() {
            let logits = self.logits(images, draw)?;
            let loss = cross_entropy(classes, logits, labels, &mut []).map_err(|label| {
                SessionError::Label(crate::layers::Label { image: number * batch + label.image, ..label })
            })?;
            outcome.loss += loss.mean * (labels.len() as f32 / outcome.images as f32);
            outcome.correct += loss.correct;
        }
        Ok(outcome)
    }

    fn logits(&mut self, images: &[f32], draw: Option<Draw>) -> Result<&[f32], SessionError> {
        self.idle()?;
        let count = images.len() / self.image_len.max(1);
        let (needed, given) = (self.batch * self.image_len, images.len());
        if given > needed || count == 0 || count * self.image_len != given {
            return Err(SessionError::Length { what: "the images", needed, given });
        }
        let pass = Pass { images: count, training: None, draw };
        let mut parts = Parts::new(self.arena, &self.layout).ok_or(OVERLAP)?;
        for stage in &self.stages {
            pass.forward(stage, 0..stage.shape.channels, &mut parts, images, &mut None)
                .ok_or(OVERLAP)?;
        }
        let start = self.stages.last().map_or(0, |stage| stage.output);
        parts.values.get(start..start + count * self.classes).ok_or(OVERLAP)
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
        self.arena.get(..self.layout.trained).unwrap_or_default()
    }

    /// All that training changes, in one run: trained weights, first moments, second moments, running statistics.
    pub fn state(&self) -> &[f32] {
        self.arena.get(..self.layout.state()).unwrap_or_default()
    }

    /// [`state`](Self::state) to be overwritten by a saved one, where there is no memory for a copy; drops a step that
    /// was begun. [`set_counters`](Self::set_counters) goes with it.
    pub fn state_mut(&mut self) -> &mut [f32] {
        self.abort();
        self.arena.get_mut(..self.layout.state()).unwrap_or_default()
    }

    /// Sets how far the training has come.
    pub const fn set_counters(&mut self, counters: Counters) {
        self.counters = counters;
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
        let (needed, given) = (self.layout.state(), state.len());
        if needed != given {
            return Err(SessionError::Length { what: "the saved state", needed, given });
        }
        copy(state, self.state_mut());
        self.counters = counters;
        Ok(())
    }

    fn idle(&self) -> Result<(), SessionError> {
        if self.work.phase == Phase::Idle {
            return Ok(());
        }
        Err(SessionError::Order { first: "the step that was begun has to end" })
    }

    fn fits(&self, images: &[f32], labels: &[u32], most: usize) -> Result<(), SessionError> {
        let (needed, given) = (labels.len().saturating_mul(self.image_len), images.len());
        if needed != given {
            return Err(SessionError::Length { what: "the images", needed, given });
        }
        let given = labels.len();
        if given == 0 || given > most {
            return Err(SessionError::Length { what: "labels", needed: most, given });
        }
        Ok(())
    }
}

fn copy(from: &[f32], to: &mut [f32]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
}

/// Moves a batch norm's running statistics towards the batch's.
fn follow(stage: &Stage<'_>, images: usize, parts: &mut Parts<'_>) -> Option<()> {
    let Layer::BatchNorm(norm) = &stage.layer else { return Some(()) };
    let len = 2 * stage.head_shape.channels;
    let batch = parts.norms.get(2 * stage.statistics..)?.get(..len)?;
    let running = parts.statistics.get_mut(stage.statistics..)?.get_mut(..len)?;
    norm.update_running(images * stage.head_shape.pixels(), batch, running);
    Some(())
}

/// Stages and layout, after all checks.
fn prepare<'m, const N: usize>(
    plan: &Plan<N>,
    model: Option<&dyn Model<'m>>,
    config: &Config<'_>,
) -> Result<(Vec<Stage<'m>, N>, Layout), SessionError> {
    config.check()?;
    let (mut stages, trained) = compile(plan, model, config)?;
    let layout = lay_out(plan, &mut stages, trained, config)?;
    Ok((stages, layout))
}
