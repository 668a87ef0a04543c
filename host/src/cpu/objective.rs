//! The mean cross-entropy of a network over a batch, by the CPU's kernels.

use super::network::Network;
use crate::net::NetPlan;
use smoothout::backend::{Backend, Objective, Pass, Reception};
use smoothout::ghost::GhostBatches;
use smoothout::portable::{Mode, ObjectiveError, Parameters};

/// As [`NetworkObjective`](smoothout::portable::NetworkObjective), on the CPU's kernels.
#[derive(Debug)]
pub struct CpuObjective<'a> {
    /// The plan that the network was compiled from.
    pub plan: &'a NetPlan,
    /// The kernels.
    pub network: &'a mut Network,
    /// Running statistics.
    pub statistics: &'a mut [f32],
    /// As long; those from before the step.
    pub backup: &'a mut [f32],
    /// (n, C, H, W).
    pub images: &'a [f32],
    /// n classes.
    pub labels: &'a [u32],
    /// The batch's ghost batches, none larger than the plan's batch.
    pub ghosts: GhostBatches,
    /// Images found and seen since the step began.
    pub correct: (usize, usize),
}

impl Objective<Parameters<'_>> for CpuObjective<'_> {
    type Error = ObjectiveError;

    fn ghosts(&self) -> usize {
        self.ghosts.count()
    }

    fn forward(&mut self, backend: &mut Parameters<'_>, pass: &Pass) -> Result<f32, ObjectiveError> {
        let range = self.ghosts.range(pass.ghost);
        let len = self.plan.input().len();
        let images = &self.images[range.start * len..range.end * len];
        let labels = &self.labels[range];
        let mode = Mode::Train(pass.address);
        self.network.forward(self.plan, backend.point(), self.statistics, images, mode);
        let loss = self.network.loss(self.plan, labels, true).map_err(ObjectiveError::Label)?;
        if pass.statistics && loss.mean.is_finite() {
            self.network.update_statistics(self.plan, self.statistics);
        }
        self.correct.0 += loss.correct;
        self.correct.1 += labels.len();
        Ok(loss.mean as f32)
    }

    fn backward(
        &mut self,
        backend: &mut Parameters<'_>,
        _: &Pass,
        reception: &Reception,
    ) -> Result<(), ObjectiveError> {
        let receive = |backend: &mut Parameters<'_>, tensor: &_, gradient: &[f32]| {
            backend.receive(tensor, 0, gradient, reception)
        };
        self.network
            .backward(self.plan, backend, |backend| backend.point(), receive)
            .map_err(ObjectiveError::Memory)
    }

    fn begin(&mut self) {
        self.backup.copy_from_slice(self.statistics);
        self.correct = (0, 0);
    }

    fn rollback(&mut self) {
        self.statistics.copy_from_slice(self.backup);
    }
}
