use super::{Batch, Device, DeviceError, Evaluation, Gradient, Keeps, Outcome, Part, Step};
use crate::cpu::network::Network;
use crate::cpu::objective::CpuObjective;
use crate::net::{LAYERS, NetPlan, initial_statistics};
use smoothout::backend::{Backend, Base, Draw};
use core::convert::Infallible;
use smoothout::ghost::GhostBatches;
use smoothout::layers::Label;
use smoothout::noise::Address;
use smoothout::plan::Tensor;
use smoothout::portable::{
    Memory, MemoryError, Mode, NetworkObjective, NetworkPass, Parameters, Strategy,
};
use smoothout::step::Stepper;

/// What runs the passes.
#[derive(Debug)]
enum Kernels {
    /// Core's plain kernels on one thread, in this workspace: slow, and the meaning of everything.
    Portable(Vec<f32>),
    /// SIMD kernels on the thread pool.
    Cpu(Box<Network>),
}

/// A network in this machine's memory.
#[derive(Debug)]
pub struct Local {
    plan: Box<NetPlan>,
    kernels: Kernels,
    tensors: Vec<Tensor>,
    weights: Vec<f32>,
    shadow: Vec<f32>,
    gradient: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    average: Vec<f32>,
    statistics: Vec<f32>,
    backup: Vec<f32>,
}

impl Local {
    /// A network on core's portable kernels with these weights, as many as the plan has parameters.
    pub fn portable(plan: Box<NetPlan>, weights: Vec<f32>, keeps: Keeps) -> Self {
        let kernels = Kernels::Portable(vec![0.0; plan.workspace()]);
        Self::new(plan, kernels, weights, keeps)
    }

    /// The same on the CPU's SIMD kernels and the present thread pool.
    pub fn cpu(plan: Box<NetPlan>, weights: Vec<f32>, keeps: Keeps) -> Self {
        let kernels = Kernels::Cpu(Box::new(Network::new(&plan)));
        Self::new(plan, kernels, weights, keeps)
    }

    fn new(plan: Box<NetPlan>, kernels: Kernels, weights: Vec<f32>, keeps: Keeps) -> Self {
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
            kernels,
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
            kernels: &mut self.kernels,
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
    kernels: &'a mut Kernels,
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

impl Parts<'_> {
    /// Adds one batch's gradient; returns its loss and the images found and seen.
    fn accumulate(
        &mut self,
        stepper: &mut Stepper,
        batch: Batch<'_>,
        step: &Step<'_>,
        at: u64,
    ) -> Result<(f32, (usize, usize)), DeviceError> {
        let ghosts = GhostBatches::new(batch.labels.len(), step.ghosts);
        if ghosts.size() > self.plan.batch() || batch.images.len() != batch.labels.len() * self.plan.input().len() {
            return Err(DeviceError::Batch(format!(
                "ghost batches of {} do not fit a plan for {}",
                ghosts.size(),
                self.plan.batch()
            )));
        }
        let failed = |error: &dyn core::fmt::Display| DeviceError::Step(error.to_string());
        let parameters = &mut self.parameters;
        match self.kernels {
            Kernels::Portable(workspace) => {
                let pass = Self::pass(self.plan, workspace)?;
                let data = (batch.images, batch.labels);
                let mut objective = NetworkObjective::new(pass, self.statistics, self.backup, data, ghosts)
                    .map_err(|e| DeviceError::Batch(e.to_string()))?;
                let loss = stepper
                    .accumulate(parameters, &mut objective, at, step.strength)
                    .map_err(|e| failed(&e))?;
                Ok((loss, objective.correct()))
            }
            Kernels::Cpu(network) => {
                let mut objective = CpuObjective {
                    plan: self.plan,
                    network,
                    statistics: self.statistics,
                    backup: self.backup,
                    images: batch.images,
                    labels: batch.labels,
                    ghosts,
                    correct: (0, 0),
                };
                let loss = stepper
                    .accumulate(parameters, &mut objective, at, step.strength)
                    .map_err(|e| failed(&e))?;
                Ok((loss, objective.correct))
            }
        }
    }
}

fn memory(error: MemoryError) -> DeviceError {
    DeviceError::Step(error.to_string())
}

impl Device for Local {
    fn plan(&self) -> &NetPlan {
        &self.plan
    }

    fn step(&mut self, stepper: &mut Stepper, step: &Step<'_>) -> Result<Outcome, DeviceError> {
        let mut parts = self.parts().map_err(memory)?;
        let mut outcome = Outcome { loss: 0.0, correct: (0, 0) };
        let before = parts.statistics.clone();
        let mut run = || {
            for (index, batch) in step.batches.iter().enumerate() {
                let at = step.first + index as u64;
                let (loss, correct) = parts.accumulate(stepper, *batch, step, at)?;
                outcome.loss += loss / step.batches.len() as f32;
                outcome.correct.0 += correct.0;
                outcome.correct.1 += correct.1;
            }
            stepper
                .update(&mut parts.parameters, &step.update, step.clip)
                .map_err(|e| DeviceError::Step(e.to_string()))?;
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
        let point = parts.parameters.point();
        let label = |e: Label| DeviceError::Batch(e.to_string());
        let (mean, correct) = match parts.kernels {
            Kernels::Portable(workspace) => {
                let mut pass = Parts::pass(parts.plan, workspace)?;
                pass.forward(point, parts.statistics, batch.images, Mode::Evaluate);
                let loss = pass.loss_only(batch.labels).map_err(label)?;
                (f64::from(loss.mean), loss.correct)
            }
            Kernels::Cpu(network) => {
                network.forward(parts.plan, point, parts.statistics, batch.images, Mode::Evaluate);
                let loss = network.loss(parts.plan, batch.labels, false).map_err(label)?;
                (loss.mean, loss.correct)
            }
        };
        Ok(Evaluation { loss: mean * batch.labels.len() as f64, correct })
    }

    fn gradient(&mut self, batch: Batch<'_>, training: Option<Address>) -> Result<Gradient, DeviceError> {
        let mut parts = self.parts().map_err(memory)?;
        parts.fits(batch)?;
        let mode = training.map_or(Mode::Evaluate, Mode::Train);
        let mut gradient = vec![0.0; parts.plan.parameters()];
        let mut keep = |tensor: &Tensor, row: usize, values: &[f32]| {
            let start = tensor.offset + row * tensor.row_len;
            gradient[start..start + values.len()].copy_from_slice(values);
            Ok::<(), Infallible>(())
        };
        let label = |e: Label| DeviceError::Batch(e.to_string());
        let owner = &mut parts.parameters;
        let (loss, logits) = match parts.kernels {
            Kernels::Portable(workspace) => {
                let mut pass = Parts::pass(parts.plan, workspace)?;
                pass.forward(owner.point(), parts.statistics, batch.images, mode);
                let logits = pass.logits().to_vec();
                let loss = pass.loss(batch.labels).map_err(label)?;
                let Ok(()) = pass.backward(
                    owner,
                    |owner| owner.point(),
                    parts.statistics,
                    batch.images,
                    |_, tensor, row, values| keep(tensor, row, values),
                );
                if training.is_some() {
                    pass.update_statistics(parts.statistics);
                }
                (loss.mean, logits)
            }
            Kernels::Cpu(network) => {
                network.forward(parts.plan, owner.point(), parts.statistics, batch.images, mode);
                let logits = network.logits(parts.plan);
                let loss = network.loss(parts.plan, batch.labels, true).map_err(label)?;
                let Ok(()) = network.backward(
                    parts.plan,
                    owner,
                    |owner| owner.point(),
                    |_, tensor, values| keep(tensor, 0, values),
                );
                if training.is_some() {
                    network.update_statistics(parts.plan, parts.statistics);
                }
                (loss.mean as f32, logits)
            }
        };
        Ok(Gradient { loss, logits, gradient })
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
