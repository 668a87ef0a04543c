use super::{Batch, Device, DeviceError, Evaluation, Gradient, Keeps, Outcome, Part, Step};
use crate::net::{LAYERS, NetPlan, initial_statistics};
use smoothout::backend::{Backend, Base, Draw};
use smoothout::ghost::GhostBatches;
use smoothout::noise::Address;
use smoothout::plan::Tensor;
use smoothout::portable::{
    Memory, MemoryError, Mode, NetworkObjective, NetworkPass, Parameters, Strategy,
};
use smoothout::step::Stepper;

/// Core's plain kernels on one thread: slow, and the meaning of everything.
#[derive(Debug)]
pub struct Portable {
    plan: Box<NetPlan>,
    tensors: Vec<Tensor>,
    weights: Vec<f32>,
    shadow: Vec<f32>,
    gradient: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    average: Vec<f32>,
    statistics: Vec<f32>,
    backup: Vec<f32>,
    workspace: Vec<f32>,
}

impl Portable {
    /// A network with these weights, which must be as many as the plan has parameters.
    pub fn new(plan: Box<NetPlan>, weights: Vec<f32>, keeps: Keeps) -> Self {
        let kept = |yes: bool| vec![0.0; if yes { weights.len() } else { 0 }];
        Self {
            tensors: plan.tensors().copied().collect(),
            shadow: kept(true),
            gradient: kept(true),
            first: kept(keeps.moments > 0),
            second: kept(keeps.moments > 1),
            average: kept(keeps.average),
            statistics: initial_statistics(&plan),
            backup: vec![0.0; plan.statistics()],
            workspace: vec![0.0; plan.workspace()],
            weights,
            plan,
        }
    }

    fn parts(&mut self) -> Result<Parts<'_>, MemoryError> {
        let memory = Memory {
            weights: &mut self.weights,
            shadow: &mut self.shadow,
            scales: &mut [],
            gradient: &mut self.gradient,
            first: &mut self.first,
            second: &mut self.second,
            average: &mut self.average,
        };
        Ok(Parts {
            parameters: Parameters::new(&self.tensors, memory, Strategy::Shadow)?,
            plan: &self.plan,
            statistics: &mut self.statistics,
            backup: &mut self.backup,
            workspace: &mut self.workspace,
        })
    }

    fn values(&mut self, part: Part) -> &mut Vec<f32> {
        match part {
            Part::Weights => &mut self.weights,
            Part::Statistics => &mut self.statistics,
            Part::First => &mut self.first,
            Part::Second => &mut self.second,
            Part::Average => &mut self.average,
        }
    }
}

struct Parts<'a> {
    parameters: Parameters<'a>,
    plan: &'a NetPlan,
    statistics: &'a mut Vec<f32>,
    backup: &'a mut Vec<f32>,
    workspace: &'a mut Vec<f32>,
}

impl Parts<'_> {
    fn pass<'p>(plan: &'p NetPlan, workspace: &'p mut [f32]) -> Result<NetworkPass<'p, f32, LAYERS>, DeviceError> {
        NetworkPass::new(plan, workspace)
            .ok_or_else(|| DeviceError::Batch("the workspace is too short".into()))
    }

    fn fits(&self, batch: Batch<'_>) -> Result<(), DeviceError> {
        let (n, most) = (batch.labels.len(), self.plan.batch());
        if n == 0 || n > most || batch.images.len() != n * self.plan.input().len() {
            let message = format!(
                "{n} labels and {} values of images do not fit a plan for at most {most} images of {}",
                batch.images.len(),
                self.plan.input()
            );
            return Err(DeviceError::Batch(message));
        }
        Ok(())
    }
}

fn memory(error: MemoryError) -> DeviceError {
    DeviceError::Step(error.to_string())
}

impl Device for Portable {
    fn plan(&self) -> &NetPlan {
        &self.plan
    }

    fn step(&mut self, stepper: &mut Stepper, step: &Step<'_>) -> Result<Outcome, DeviceError> {
        let mut parts = self.parts().map_err(memory)?;
        let failed = |error: &dyn core::fmt::Display| DeviceError::Step(error.to_string());
        let mut outcome = Outcome { loss: 0.0, correct: (0, 0) };
        let before = parts.statistics.clone();
        let mut run = || {
            for (index, batch) in step.batches.iter().enumerate() {
                let pass = Parts::pass(parts.plan, parts.workspace)?;
                let ghosts = GhostBatches::new(batch.labels.len(), step.ghosts);
                let data = (batch.images, batch.labels);
                let mut objective =
                    NetworkObjective::new(pass, parts.statistics, parts.backup, data, ghosts)
                        .map_err(|e| DeviceError::Batch(e.to_string()))?;
                let at = step.first + index as u64;
                let loss = stepper
                    .accumulate(&mut parts.parameters, &mut objective, at, step.strength)
                    .map_err(|e| failed(&e))?;
                outcome.loss += loss / step.batches.len() as f32;
                outcome.correct.0 += objective.correct().0;
                outcome.correct.1 += objective.correct().1;
            }
            stepper
                .update(&mut parts.parameters, &step.update, step.clip)
                .map_err(|e| failed(&e))?;
            Ok(outcome)
        };
        let result = run();
        if result.is_err() {
            parts.statistics.copy_from_slice(&before);
        }
        result
    }

    fn average(&mut self, share: f32) -> Result<(), DeviceError> {
        self.parts().and_then(|mut parts| parts.parameters.average(share)).map_err(memory)
    }

    fn evaluate(&mut self, batch: Batch<'_>, draw: Option<&Draw>) -> Result<Evaluation, DeviceError> {
        let mut parts = self.parts().map_err(memory)?;
        parts.fits(batch)?;
        if let Some(draw) = draw {
            parts.parameters.perturb(draw, Base::Clean).map_err(memory)?;
        }
        let mut pass = Parts::pass(parts.plan, parts.workspace)?;
        pass.forward(parts.parameters.point(), parts.statistics, batch.images, Mode::Evaluate);
        let loss = pass.loss_only(batch.labels).map_err(|e| DeviceError::Batch(e.to_string()))?;
        let sum = f64::from(loss.mean) * batch.labels.len() as f64;
        Ok(Evaluation { loss: sum, correct: loss.correct })
    }

    fn gradient(&mut self, batch: Batch<'_>, training: Option<Address>) -> Result<Gradient, DeviceError> {
        let mut parts = self.parts().map_err(memory)?;
        parts.fits(batch)?;
        let mut pass = Parts::pass(parts.plan, parts.workspace)?;
        let mode = training.map_or(Mode::Evaluate, Mode::Train);
        let mut gradient = vec![0.0; parts.plan.parameters()];
        pass.forward(parts.parameters.point(), parts.statistics, batch.images, mode);
        let logits = pass.logits().to_vec();
        let loss = pass.loss(batch.labels).map_err(|e| DeviceError::Batch(e.to_string()))?;
        let Ok(()) = pass.backward(
            &mut parts.parameters,
            |parameters| parameters.point(),
            parts.statistics,
            batch.images,
            |_, tensor, row, values| {
                let start = tensor.offset + row * tensor.row_len;
                gradient[start..start + values.len()].copy_from_slice(values);
                Ok::<(), core::convert::Infallible>(())
            },
        );
        if training.is_some() {
            pass.update_statistics(parts.statistics);
        }
        Ok(Gradient { loss: loss.mean, logits, gradient })
    }

    fn read(&self, part: Part) -> Vec<f32> {
        match part {
            Part::Weights => self.weights.clone(),
            Part::Statistics => self.statistics.clone(),
            Part::First => self.first.clone(),
            Part::Second => self.second.clone(),
            Part::Average => self.average.clone(),
        }
    }

    fn write(&mut self, part: Part, values: &[f32]) -> Result<(), DeviceError> {
        let target = self.values(part);
        let (needed, given) = (target.len(), values.len());
        if needed != given {
            return Err(DeviceError::Length { part, needed, given });
        }
        target.copy_from_slice(values);
        Ok(())
    }
}
