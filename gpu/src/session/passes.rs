//! Single passes of a session, waited for: evaluations and gradients of one batch.

use super::{Outcome, Session};
use crate::batch::Feed;
use crate::deliver::Deliver;
use crate::error::Result;
use crate::ghosts::Ghosts;
use crate::network::{Mask, Mode, Point};
use crate::noise::Draws;
use smoothout::backend::{Base, Draw};
use smoothout::noise::Address;

impl Session {
    /// Evaluates at most the plan's batch with running statistics, at the clean weights or under a draw. The loss is the
    /// mean.
    ///
    /// # Errors
    /// A label that is not a class, a batch that does not fit, or the driver's.
    pub fn evaluate(&mut self, batch: &Feed<'_>, draw: Option<&Draw>) -> Result<Outcome> {
        self.gpu.enter()?;
        let mut start = self.parameters.weights.pointer();
        if let Some(draw) = draw {
            self.parameters.perturb(&Draws::one(draw), Base::Clean, Some(self.network.packed_copies()))?;
            start = self.parameters.copy(0);
        }
        let images = self.pass(batch, Point { start, pitch: 0, packed: draw.is_some() }, Mode::Evaluate)?;
        self.network.loss(false)?;
        let (loss, correct) = self.network.results()?.first().copied().unwrap_or_default();
        Ok(Outcome { loss, correct: (correct, images) })
    }

    /// Loss, logits (n, classes) and gradient at the clean weights: of training with dropout masks of `training`, which
    /// changes the running statistics as training does, or else of evaluation.
    ///
    /// # Errors
    /// A label that is not a class, a batch that does not fit, or the driver's.
    pub fn gradient(&mut self, batch: &Feed<'_>, training: Option<Address>) -> Result<(f64, Vec<f32>, Vec<f32>)> {
        self.gpu.enter()?;
        let mode = training.map_or(Mode::Evaluate, |address| Mode::Train(Mask { address, step: 0 }));
        let point = Point { start: self.parameters.weights.pointer(), pitch: 0, packed: false };
        self.pass(batch, point, mode)?;
        self.network.loss(true)?;
        let logits = self.network.logits()?;
        let (loss, _) = self.network.results()?.first().copied().unwrap_or_default();
        let (gradient, _) = self.parameters.gradients(1.0);
        self.network.backward(point, self.statistics.pointer(), gradient, Deliver::OVERWRITE)?;
        let gradient = self.parameters.gradient.to_vec(&self.gpu)?;
        self.parameters.clear_gradient();
        if training.is_some() {
            self.network.follow(self.statistics.pointer(), self.none.pointer())?;
        }
        Ok((loss, logits, gradient))
    }

    /// Runs a batch of one ghost batch forward and returns its images.
    fn pass(&mut self, batch: &Feed<'_>, point: Point, mode: Mode) -> Result<usize> {
        let images = batch.images();
        self.batches.load(batch)?;
        let input = self.batches.input(0);
        self.network.forward(point, self.statistics.pointer(), input, Ghosts::one(images), mode)?;
        Ok(images)
    }
}
