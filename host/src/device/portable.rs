//! Core's plain kernels on one thread: slow, and the meaning of everything.

use super::kept::Kept;
use super::{Batch, Device, DeviceError, Evaluation, Gradient, Keeps, Outcome, Part, Step};
use crate::net::{LAYERS, NetPlan};
use smoothout::backend::{Backend, Base, Draw};
use smoothout::noise::Address;
use smoothout::plan::Tensor;
use smoothout::portable::{
    LengthError, Memory, MemoryError, Mode, NetworkObjective, NetworkPass, Parameters, Strategy,
};
use smoothout::step::Stepper;

/// A network on core's portable kernels.
#[derive(Debug)]
pub struct Portable {
    plan: Box<NetPlan>,
    workspace: Vec<f32>,
    tensors: Vec<Tensor>,
    kept: Kept,
    shadow: Vec<f32>,
    gradient: Vec<f32>,
    /// Running statistics from before the batch, and from before the step.
    backups: [Vec<f32>; 2],
}

/// What a pass needs, borrowed side by side.
struct Parts<'a> {
    plan: &'a NetPlan,
    workspace: &'a mut [f32],
    parameters: Parameters<'a>,
    statistics: &'a mut [f32],
    backups: &'a mut [Vec<f32>; 2],
}

fn pass<'a>(plan: &'a NetPlan, workspace: &'a mut [f32]) -> Result<NetworkPass<'a, f32, LAYERS>, DeviceError> {
    NetworkPass::new(plan, workspace)
        .ok_or_else(|| DeviceError::Step("the workspace is too short for the plan".into()))
}

impl Portable {
    /// A network with these weights, as many as the plan has parameters.
    pub fn new(plan: Box<NetPlan>, weights: Vec<f32>, keeps: Keeps) -> Self {
        let kept = Kept::new(&plan, weights, keeps);
        let zeros = vec![0.0; plan.parameters()];
        Self {
            workspace: vec![0.0; plan.workspace()],
            tensors: plan.tensors().copied().collect(),
            shadow: zeros.clone(),
            gradient: zeros,
            backups: [kept.statistics.clone(), kept.statistics.clone()],
            kept,
            plan,
        }
    }

    fn parts(&mut self) -> Result<Parts<'_>, DeviceError> {
        let memory = Memory {
            weights: &mut self.kept.weights,
            shadow: &mut self.shadow,
            scales: &mut [],
            gradient: &mut self.gradient,
            first: &mut self.kept.first,
            second: &mut self.kept.second,
            average: &mut self.kept.average,
        };
        Ok(Parts {
            plan: &self.plan,
            workspace: &mut self.workspace,
            parameters: Parameters::new(&self.tensors, memory, Strategy::Shadow).map_err(memory_error)?,
            statistics: &mut self.kept.statistics,
            backups: &mut self.backups,
        })
    }
}

fn memory_error(error: MemoryError) -> DeviceError {
    DeviceError::step(error)
}

fn batch_error(error: impl core::fmt::Display) -> DeviceError {
    DeviceError::Batch(error.to_string())
}

impl Device for Portable {
    fn plan(&self) -> &NetPlan {
        &self.plan
    }

    fn step(&mut self, stepper: &mut Stepper, step: &Step<'_>) -> Result<Outcome, DeviceError> {
        // The parameters live through the whole step: they remember noise that stays until the update.
        let Parts { plan, workspace, mut parameters, statistics, backups } = self.parts()?;
        let [of_batch, of_step] = backups;
        of_step.copy_from_slice(statistics);
        let mut run = || {
            let outcome = step.each_batch(|batch, at| {
                let ghosts = step.ghosts_of(batch, plan)?;
                let (pass, data) = (pass(plan, workspace)?, (batch.images, batch.labels));
                let mut objective =
                    NetworkObjective::new(pass, statistics, of_batch, data, ghosts).map_err(batch_error)?;
                let loss = stepper
                    .accumulate(&mut parameters, &mut objective, at, step.strength)
                    .map_err(DeviceError::step)?;
                Ok((loss, objective.correct()))
            })?;
            stepper.update(&mut parameters, &step.update, step.clip).map_err(DeviceError::step)?;
            Ok(outcome)
        };
        let result = run();
        if result.is_err() {
            statistics.copy_from_slice(of_step);
        }
        result
    }

    fn average(&mut self, share: f32) -> Result<(), DeviceError> {
        self.parts()?.parameters.average(share).map_err(memory_error)
    }

    fn evaluate(&mut self, batch: Batch<'_>, draw: Option<&Draw>) -> Result<Evaluation, DeviceError> {
        batch.check(&self.plan)?;
        let Parts { plan, workspace, mut parameters, statistics, .. } = self.parts()?;
        let mut pass = pass(plan, workspace)?;
        if let Some(draw) = draw {
            parameters.perturb(draw, Base::Clean).map_err(memory_error)?;
        }
        pass.forward(parameters.point(), statistics, batch.images, Mode::Evaluate).map_err(batch_error)?;
        let loss = pass.loss_only(batch.labels).map_err(batch_error)?;
        Ok(Evaluation { loss: f64::from(loss.mean) * batch.labels.len() as f64, correct: loss.correct })
    }

    fn gradient(&mut self, batch: Batch<'_>, training: Option<Address>) -> Result<Gradient, DeviceError> {
        batch.check(&self.plan)?;
        let mut gradient = vec![0.0; self.plan.parameters()];
        let Parts { plan, workspace, mut parameters, statistics, .. } = self.parts()?;
        let mut pass = pass(plan, workspace)?;
        let mode = training.map_or(Mode::Evaluate, Mode::Train);
        pass.forward(parameters.point(), statistics, batch.images, mode).map_err(batch_error)?;
        let logits = pass.logits().to_vec();
        let loss = pass.loss(batch.labels).map_err(batch_error)?;
        pass.backward(
            &mut parameters,
            |parameters| parameters.point(),
            statistics,
            batch.images,
            |_, tensor, row, values| {
                let start = tensor.offset + row * tensor.row_len;
                gradient[start..start + values.len()].copy_from_slice(values);
                Ok::<(), LengthError>(())
            },
        )
        .map_err(batch_error)?;
        if training.is_some() {
            pass.update_statistics(statistics).map_err(batch_error)?;
        }
        Ok(Gradient { loss: loss.mean, logits, gradient })
    }

    fn read(&self, part: Part) -> Result<Vec<f32>, DeviceError> {
        Ok(self.kept.read(part))
    }

    fn write(&mut self, part: Part, values: &[f32]) -> Result<(), DeviceError> {
        self.kept.write(part, values)
    }
}
