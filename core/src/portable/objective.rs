use super::error::{LengthError, ObjectiveError};
use super::network::{Mode, NetworkPass};
use super::parameters::Parameters;
use crate::backend::{Backend, Objective, Pass, Reception};
use crate::ghost::GhostBatches;

/// The mean cross-entropy of a network over a batch, by the portable kernels.
#[derive(Debug)]
pub struct NetworkObjective<'a, const N: usize> {
    pass: NetworkPass<'a, f32, N>,
    statistics: &'a mut [f32],
    /// Running statistics from before the step.
    backup: &'a mut [f32],
    images: &'a [f32],
    labels: &'a [u32],
    ghosts: GhostBatches,
    image_len: usize,
    correct: (usize, usize),
}

impl<'a, const N: usize> NetworkObjective<'a, N> {
    /// The objective over `images` (n, C, H, W) and `labels` (n), cut into ghost batches that fit the plan's batch.
    /// `statistics` are the running ones, `backup` is as long.
    ///
    /// # Errors
    /// Lengths that do not fit together.
    pub fn new(
        pass: NetworkPass<'a, f32, N>,
        statistics: &'a mut [f32],
        backup: &'a mut [f32],
        (images, labels): (&'a [f32], &'a [u32]),
        ghosts: GhostBatches,
    ) -> Result<Self, ObjectiveError> {
        let plan = pass.plan();
        let image_len = plan.input().len();
        LengthError::check("images", labels.len() * image_len, images.len())?;
        LengthError::check("statistics", plan.statistics(), statistics.len())?;
        LengthError::check("saved statistics", plan.statistics(), backup.len())?;
        if ghosts.size() > plan.batch() {
            let (needed, given) = (plan.batch(), ghosts.size());
            return Err(LengthError { what: "a ghost batch", needed, given }.into());
        }
        Ok(Self { pass, statistics, backup, images, labels, ghosts, image_len, correct: (0, 0) })
    }

    /// Images whose class was the most likely one, and all images, over the forward passes since the batch began.
    pub const fn correct(&self) -> (usize, usize) {
        self.correct
    }

    fn ghost(&self, pass: &Pass) -> (&'a [f32], &'a [u32]) {
        let range = self.ghosts.range(pass.ghost);
        let values = range.start * self.image_len..range.end * self.image_len;
        (&self.images[values], &self.labels[range])
    }
}

impl<const N: usize> Objective<Parameters<'_>> for NetworkObjective<'_, N> {
    type Error = ObjectiveError;

    fn ghosts(&self) -> usize {
        self.ghosts.count()
    }

    fn forward(
        &mut self,
        backend: &mut Parameters<'_>,
        pass: &Pass,
    ) -> Result<f32, ObjectiveError> {
        let (images, labels) = self.ghost(pass);
        let mode = Mode::Train(pass.address);
        self.pass.forward(backend.point(), self.statistics, images, mode)?;
        let loss = self.pass.loss(labels)?;
        if pass.statistics && loss.mean.is_finite() {
            self.pass.update_statistics(self.statistics)?;
        }
        self.correct.0 += loss.correct;
        self.correct.1 += labels.len();
        Ok(loss.mean)
    }

    fn backward(
        &mut self,
        backend: &mut Parameters<'_>,
        pass: &Pass,
        reception: &Reception,
    ) -> Result<(), ObjectiveError> {
        let (images, _) = self.ghost(pass);
        self.pass.backward(
            backend,
            |backend| backend.point(),
            self.statistics,
            images,
            |backend, tensor, row, gradient| Ok(backend.receive(tensor, row, gradient, reception)?),
        )
    }

    fn begin(&mut self) {
        self.backup.copy_from_slice(self.statistics);
        self.correct = (0, 0);
    }

    fn rollback(&mut self) {
        self.statistics.copy_from_slice(self.backup);
    }
}
