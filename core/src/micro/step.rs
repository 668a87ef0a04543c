//! A step, whole or in pieces.

use super::loss::cross_entropy;
use super::parts::{Norms, Parts};
use super::session::OVERLAP;
use super::slices::{apart, copy, take, take_mut};
use super::stage::{Head, PART, Stage};
use super::update::{Receive, Rule};
use super::work::Phase;
use super::{Outcome, Session, SessionError, built, log};
use crate::ghost::GhostBatches;
use crate::noise::norm;
use crate::optimizer::clip_factor;

impl<const N: usize> Session<'_, '_, N> {
    /// Trains on one batch, images (n, C, H, W): perturb, forward, backward, update. Where the session keeps gradients,
    /// more images than the plan's batch are cut into ghost batches.
    ///
    /// # Errors
    /// Images or labels that do not fit, or a loss, a batch's statistic or a gradient's norm that is not finite; weights and
    /// statistics are those from before.
    pub fn step(&mut self, images: &[f32], labels: &[u32]) -> Result<Outcome, SessionError> {
        self.begin(images, labels)?;
        self.finish(images, labels)
    }

    /// Adds a batch's gradient to those that wait for [`update`](Self::update).
    ///
    /// # Errors
    /// The session keeps no gradient, and those of [`step`](Self::step).
    pub fn accumulate(&mut self, images: &[f32], labels: &[u32]) -> Result<Outcome, SessionError> {
        if !self.settings.accumulate {
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
        self.begin_update().inspect_err(log::refused)?;
        while self.work.phase != Phase::Idle {
            self.update_part(usize::MAX)?;
        }
        Ok(())
    }

    /// Begins a step that [`advance`](Self::advance) takes in pieces.
    ///
    /// # Errors
    /// Images or labels that do not fit, a step that was begun and not finished, or noise that cannot be.
    #[inline(never)] // As below: its frame is gone when the pieces of the step need theirs.
    pub fn begin(&mut self, images: &[f32], labels: &[u32]) -> Result<(), SessionError> {
        self.prepare(images, labels).inspect_err(log::refused)
    }

    fn prepare(&mut self, images: &[f32], labels: &[u32]) -> Result<(), SessionError> {
        self.idle()?;
        if !self.training {
            return Err(SessionError::Inference);
        }
        let most = if self.layout.keeps_gradient() { usize::MAX } else { self.batch };
        self.fits(images, labels, most)?;
        let ghosts = GhostBatches::new(labels.len(), labels.len().div_ceil(self.batch.max(1)));
        self.work.begin(&self.settings, ghosts)?;
        let parts = Parts::new(&self.stages, self.arena, &self.layout, &self.settings.terms).ok_or(OVERLAP)?;
        if let Some(Norms { running, backup, .. }) = Norms::new(parts.norms, parts.statistics) {
            copy(running, backup);
        }
        if self.waiting == 0 {
            parts.state.gradient.fill(0.0);
        }
        self.work.start_pass(&self.settings, self.counters.batches).map_err(SessionError::Method)
    }

    /// Does one piece of the step, with the same images and labels as [`begin`](Self::begin); `None` while it goes on.
    ///
    /// A piece is one filter or channel of one stage over the images of a ghost batch, forward or backward, the loss, or
    /// the update of 128 weights of a stored gradient.
    ///
    /// # Errors
    /// No step was begun, or what [`step`](Self::step) reports; the step has ended then.
    pub fn advance(&mut self, images: &[f32], labels: &[u32]) -> Result<Option<Outcome>, SessionError> {
        self.piece(images, labels, 1)?;
        Ok(self.outcome())
    }

    /// Logits (n, classes) of the present pass: there between its forward pass and its loss, for whoever calls
    /// [`advance`](Self::advance).
    pub fn pass_logits(&self) -> Option<&[f32]> {
        let last = self.stages.last().filter(|_| self.work.phase == Phase::Loss)?;
        let start = self.layout.total(0)? + last.output;
        self.arena.get(start..)?.get(..self.work.pass.images * self.classes())
    }

    /// Drops the step that was begun and the gradients that wait; does nothing when there are none.
    ///
    /// Noise is nowhere in the weights, so that they are clean at every moment. A session that stores gradients changes
    /// them in the update alone, which is ended when it has begun: the step is dropped whole, or done whole. One without
    /// stored gradient updates filter by filter in the backward pass, from the last layer on: what it has updated by then
    /// stays so, as there is nothing to go back to, and each filter, with its moments, is that from before the step or that
    /// from after it. Whoever needs all or nothing lets the step end, or stores gradients.
    pub fn abort(&mut self) {
        let begun = self.work.phase == Phase::Update && (1..usize::MAX).contains(&self.work.row);
        if built::GRADIENT && begun && self.update_part(usize::MAX).is_ok() {
            return;
        }
        if self.work.phase != Phase::Idle
            && let Some(parts) = Parts::new(&self.stages, self.arena, &self.layout, &self.settings.terms)
            && let Some(Norms { running, backup, .. }) = Norms::new(parts.norms, parts.statistics)
        {
            copy(backup, running);
        }
        self.work.phase = Phase::Idle;
        self.waiting = 0;
    }

    fn finish(&mut self, images: &[f32], labels: &[u32]) -> Result<Outcome, SessionError> {
        loop {
            self.piece(images, labels, usize::MAX)?;
            if let Some(outcome) = self.outcome() {
                return Ok(outcome);
            }
        }
    }

    /// Does at most `most` rows of the present stage.
    fn piece(&mut self, images: &[f32], labels: &[u32], most: usize) -> Result<(), SessionError> {
        let result = match self.work.phase {
            Phase::Idle => Err(SessionError::Order { first: "a step has to begin" }),
            Phase::Forward | Phase::Backward => self.rows(images, most).ok_or(OVERLAP),
            Phase::Loss => self.loss(labels),
            Phase::Update if built::GRADIENT => self.update_part(most),
            Phase::Update => Err(OVERLAP),
        };
        if let Err(error) = result {
            self.abort();
            log::refused(&error);
            return Err(error);
        }
        if let Some(outcome) = self.outcome() {
            log::stepped(self.counters, outcome);
        }
        Ok(())
    }

    /// What came of the step, when it has ended.
    fn outcome(&self) -> Option<Outcome> {
        (self.work.phase == Phase::Idle).then(|| self.work.outcome(&self.settings))
    }

    /// Runs rows of the present stage, forward or backward.
    #[inline(never)]
    fn rows(&mut self, images: &[f32], most: usize) -> Option<()> {
        let image_len = self.image_len();
        let mut parts = Parts::new(&self.stages, self.arena, &self.layout, &self.settings.terms)?;
        let work = &mut self.work;
        let stage = self.stages.get(usize::from(work.stage))?;
        let end = stage.shape().channels.min(work.row.saturating_add(most));
        let rows = work.row..end;
        let ghost = work.ghost(&self.settings);
        let images = images.get(ghost.start * image_len..ghost.end * image_len)?;
        let forward = work.phase == Phase::Forward;
        if forward {
            work.pass.forward(stage, rows, &mut parts, images, &mut work.at)?;
        } else if stage.live {
            let receive = &work.receive;
            work.pass.backward(stage, rows, &mut parts, images, &mut work.at, receive)?;
        }
        work.row = end;
        if end < stage.shape().channels && (forward || stage.live) {
            return Some(());
        }
        work.row = 0;
        if forward {
            work.stage += 1;
            if usize::from(work.stage) == self.stages.len() {
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
    #[inline(never)]
    fn loss(&mut self, labels: &[u32]) -> Result<(), SessionError> {
        let classes = self.classes();
        let mut parts = Parts::new(&self.stages, self.arena, &self.layout, &self.settings.terms).ok_or(OVERLAP)?;
        let work = &mut self.work;
        let ghost = work.ghost(&self.settings);
        let labels = labels.get(ghost).ok_or(SessionError::Order { first: "the same labels" })?;
        let last = self.stages.last().ok_or(OVERLAP)?;
        let len = labels.len() * classes;
        let gradient = if last.live { last.gradient..last.gradient + len } else { 0..0 };
        let ranges = [last.output..last.output + len, gradient, 0..0, 0..0, 0..0];
        let Some([logits, gradient, ..]) = apart(parts.values, ranges) else { return Err(OVERLAP) };
        let loss =
            cross_entropy(classes, logits, labels, gradient).map_err(SessionError::Label)?;
        if !loss.mean.is_finite() {
            return Err(SessionError::Loss { value: loss.mean });
        }
        for stage in self.stages.iter().filter(|stage| stage.uses_batch()) {
            follow(stage, labels.len(), &mut parts)?;
        }
        work.add(&loss, &self.settings);
        if self.layout.keeps_gradient() {
            work.receive = Receive::Add(work.share(&self.settings));
        } else {
            let rule = Rule::new(self.settings.terms.optimizer, 1.0, self.counters.updates + 1);
            work.receive = Receive::Update(rule);
        }
        work.phase = Phase::Backward;
        work.stage = self.stages.len().saturating_sub(1) as u16;
        Ok(())
    }

    /// After the backward pass: the next one, or the update.
    #[inline(never)]
    fn end_pass(&mut self) {
        self.work.number += 1;
        if built::GRADIENT && self.work.number < self.work.passes(&self.settings) {
            // The noise was valid for the first pass.
            let _ = self.work.start_pass(&self.settings, self.counters.batches);
            return;
        }
        self.counters.batches += 1;
        self.work.phase = Phase::Idle;
        if !self.layout.keeps_gradient() {
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
    #[inline(never)]
    fn begin_update(&mut self) -> Result<(), SessionError> {
        let parts = Parts::new(&self.stages, self.arena, &self.layout, &self.settings.terms).ok_or(OVERLAP)?;
        let mut scale = 1.0 / self.waiting.max(1) as f32;
        if let Some(limit) = self.settings.clip {
            let value = norm(parts.state.gradient) * scale;
            if !value.is_finite() {
                self.abort();
                return Err(SessionError::Gradient { norm: value });
            }
            scale *= clip_factor(value, limit);
        }
        let rule = Rule::new(self.settings.terms.optimizer, scale, self.counters.updates + 1);
        self.work.receive = Receive::Update(rule);
        self.work.phase = Phase::Update;
        self.work.row = 0;
        Ok(())
    }

    /// Updates the next weights by the stored gradient.
    #[inline(never)]
    fn update_part(&mut self, most: usize) -> Result<(), SessionError> {
        if self.work.row == usize::MAX {
            return self.begin_update();
        }
        let parts = Parts::new(&self.stages, self.arena, &self.layout, &self.settings.terms).ok_or(OVERLAP)?;
        let start = self.work.row;
        let end = start.saturating_add(most.saturating_mul(PART)).min(self.layout.trained);
        if let Receive::Update(rule) = &self.work.receive {
            let mut state = parts.state;
            let gradient = core::mem::take(&mut state.gradient).get(start..end).ok_or(OVERLAP)?;
            rule.update(&mut state, start..end, 1.0, gradient).ok_or(OVERLAP)?;
        }
        self.work.row = end;
        if end == self.layout.trained {
            self.counters.updates += 1;
            self.waiting = 0;
            self.work.phase = Phase::Idle;
        }
        Ok(())
    }
}

/// Moves a batch norm's running statistics towards the batch's. The loss can be finite where these are not: an infinite
/// variance makes zeros of its channel.
fn follow(stage: &Stage<'_>, images: usize, parts: &mut Parts<'_>) -> Result<(), SessionError> {
    let Head::BatchNorm(norm) = &stage.head else { return Ok(()) };
    let len = 2 * stage.head_shape().channels;
    let Norms { running, present, .. } = Norms::new(parts.norms, parts.statistics).ok_or(OVERLAP)?;
    let batch = take(present, 2 * stage.kept, len).ok_or(OVERLAP)?;
    if let Some(value) = batch.iter().find(|value| !value.is_finite()) {
        return Err(SessionError::Statistic { value: *value });
    }
    let running = take_mut(running, stage.kept, len).ok_or(OVERLAP)?;
    norm.update_running(images * stage.head_shape().pixels(), batch, running);
    Ok(())
}
