//! The mean cross-entropy of a network over a batch, by the CPU's kernels.

use super::deliver::Deliver;
use super::network::Network;
use super::parameters::{NotKept, Parameters};
use smoothout::backend::{Backend, Objective, Pass, Reception};
use smoothout::ghost::GhostBatches;
use smoothout::layers::Label;
use smoothout::plan::Tensor;
use smoothout::portable::Mode;

/// As [`NetworkObjective`](smoothout::portable::NetworkObjective), on the CPU's kernels.
#[derive(Debug)]
pub struct CpuObjective<'a> {
    /// The kernels, compiled from a plan.
    pub network: &'a mut Network,
    /// The plan's parameter table.
    pub tensors: &'a [Tensor],
    /// Running statistics.
    pub statistics: &'a mut [f32],
    /// As long; those from before the batch.
    pub backup: &'a mut [f32],
    /// (n, C, H, W).
    pub images: &'a [f32],
    /// n classes.
    pub labels: &'a [u32],
    /// The batch's ghost batches, none larger than the plan's batch.
    pub ghosts: GhostBatches,
    /// Images found and seen since the batch began.
    pub correct: (usize, usize),
}

/// Why a network's loss has no value, or its gradient no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectiveError {
    /// A label is not a class.
    #[error("{0}")]
    Label(Label),
    /// The parameters cannot take the gradient.
    #[error(transparent)]
    Parameters(#[from] NotKept),
}

impl Objective<Parameters> for CpuObjective<'_> {
    type Error = ObjectiveError;

    fn ghosts(&self) -> usize {
        self.ghosts.count()
    }

    fn forward(&mut self, backend: &mut Parameters, pass: &Pass) -> Result<f32, ObjectiveError> {
        let range = self.ghosts.range(pass.ghost);
        let len = self.images.len() / self.labels.len().max(1);
        let images = &self.images[range.start * len..range.end * len];
        let labels = &self.labels[range];
        self.network.forward(backend.point(), self.statistics, images, Mode::Train(pass.address));
        let loss = self.network.loss(labels, true).map_err(ObjectiveError::Label)?;
        if pass.statistics && loss.mean.is_finite() {
            self.network.update_statistics(self.statistics);
        }
        self.correct.0 += loss.correct;
        self.correct.1 += labels.len();
        Ok(loss.mean as f32)
    }

    fn backward(
        &mut self,
        backend: &mut Parameters,
        _: &Pass,
        reception: &Reception,
    ) -> Result<(), ObjectiveError> {
        match reception {
            Reception::Add { weight } => {
                let (point, gradient, deliver) = backend.gradients(*weight);
                self.network.backward(point, gradient, deliver);
            }
            Reception::Update(_) => {
                let mut gradient = vec![0.0; backend.point().len()];
                self.network.backward(backend.point(), &mut gradient, Deliver::OVERWRITE);
                for tensor in self.tensors.iter().rev() {
                    backend.receive(tensor, 0, &gradient[tensor.range()], reception)?;
                }
            }
        }
        Ok(())
    }

    fn begin(&mut self) {
        self.backup.copy_from_slice(self.statistics);
        self.correct = (0, 0);
    }

    fn rollback(&mut self) {
        self.statistics.copy_from_slice(self.backup);
    }
}
