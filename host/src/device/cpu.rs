//! The CPU's SIMD kernels on the thread pool.
//!
//! Steps and evaluations run on a thread of the pool, so that a kernel's work is found by the others without waking
//! them from outside for each of the some hundred calls of a step.

use super::{Batch, Device, DeviceError, Evaluation, Gradient, Keeps, Outcome, Part, Step};
use crate::cpu::deliver::Deliver;
use crate::cpu::network::Network;
use crate::cpu::objective::CpuObjective;
use crate::cpu::parameters::Parameters;
use crate::net::{NetPlan, initial_statistics};
use smoothout::backend::{Backend, Base, Draw};
use smoothout::layers::Label;
use smoothout::noise::Address;
use smoothout::plan::Tensor;
use smoothout::portable::Mode;
use smoothout::step::Stepper;
use std::time::Duration;

/// A network on the CPU.
#[derive(Debug)]
pub struct Cpu {
    plan: Box<NetPlan>,
    network: Network,
    tensors: Vec<Tensor>,
    parameters: Parameters,
    statistics: Vec<f32>,
    /// Running statistics from before the batch, and from before the step.
    backups: [Vec<f32>; 2],
}

impl Cpu {
    /// A network with these weights, as many as the plan has parameters, for the present thread pool.
    ///
    /// # Panics
    /// Their number is not the plan's.
    pub fn new(plan: Box<NetPlan>, weights: &[f32], keeps: Keeps) -> Self {
        let tensors: Vec<Tensor> = plan.tensors().copied().collect();
        let statistics = initial_statistics(&plan);
        Self {
            network: Network::new(&plan),
            parameters: Parameters::new(tensors.clone(), weights, keeps),
            backups: [statistics.clone(), statistics.clone()],
            tensors,
            statistics,
            plan,
        }
    }

    fn part(&self, part: Part) -> &[f32] {
        match part {
            Part::Weights => &self.parameters.weights,
            Part::Statistics => &self.statistics,
            Part::First => &self.parameters.first,
            Part::Second => &self.parameters.second,
            Part::Average => &self.parameters.average,
        }
    }

    fn step_in_pool(&mut self, stepper: &mut Stepper, step: &Step<'_>) -> Result<Outcome, DeviceError> {
        let Self { plan, network, tensors, parameters, statistics, backups } = self;
        let [of_batch, of_step] = backups;
        of_step.copy_from_slice(statistics);
        let mut run = || {
            let outcome = step.each_batch(|batch, at| {
                let ghosts = step.ghosts_of(batch, plan)?;
                let mut objective = CpuObjective {
                    network,
                    tensors,
                    statistics,
                    backup: of_batch,
                    images: batch.images,
                    labels: batch.labels,
                    ghosts,
                    correct: (0, 0),
                };
                let loss = stepper
                    .accumulate(parameters, &mut objective, at, step.strength)
                    .map_err(DeviceError::step)?;
                Ok((loss, objective.correct))
            })?;
            stepper.update(parameters, &step.update, step.clip).map_err(DeviceError::step)?;
            Ok(outcome)
        };
        let result = run();
        if result.is_err() {
            self.statistics.copy_from_slice(&self.backups[1]);
        }
        result
    }

    fn evaluate_in_pool(&mut self, batch: Batch<'_>, draw: Option<&Draw>) -> Result<Evaluation, DeviceError> {
        batch.check(&self.plan)?;
        let Self { network, parameters, statistics, .. } = self;
        if let Some(draw) = draw {
            parameters.perturb(draw, Base::Clean).map_err(DeviceError::step)?;
        }
        network.forward(parameters.point(), statistics, batch.images, Mode::Evaluate);
        parameters.denoise().map_err(DeviceError::step)?;
        let loss = network.loss(batch.labels, false).map_err(batch_error)?;
        Ok(Evaluation { loss: loss.mean * batch.labels.len() as f64, correct: loss.correct })
    }
}

fn batch_error(error: Label) -> DeviceError {
    DeviceError::Batch(error.to_string())
}

impl Device for Cpu {
    fn plan(&self) -> &NetPlan {
        &self.plan
    }

    fn step(&mut self, stepper: &mut Stepper, step: &Step<'_>) -> Result<Outcome, DeviceError> {
        rayon::scope(|_| self.step_in_pool(stepper, step))
    }

    fn average(&mut self, share: f32) -> Result<(), DeviceError> {
        self.parameters.average(share).map_err(DeviceError::step)
    }

    fn evaluate(&mut self, batch: Batch<'_>, draw: Option<&Draw>) -> Result<Evaluation, DeviceError> {
        rayon::scope(|_| self.evaluate_in_pool(batch, draw))
    }

    fn gradient(&mut self, batch: Batch<'_>, training: Option<Address>) -> Result<Gradient, DeviceError> {
        batch.check(&self.plan)?;
        let Self { network, parameters, statistics, .. } = self;
        let mode = training.map_or(Mode::Evaluate, Mode::Train);
        network.forward(parameters.point(), statistics, batch.images, mode);
        let logits = network.logits();
        let loss = network.loss(batch.labels, true).map_err(batch_error)?;
        let mut gradient = vec![0.0; self.plan.parameters()];
        network.backward(parameters.point(), &mut gradient, Deliver::OVERWRITE);
        if training.is_some() {
            network.update_statistics(statistics);
        }
        Ok(Gradient { loss: loss.mean as f32, logits, gradient })
    }

    fn read(&self, part: Part) -> Result<Vec<f32>, DeviceError> {
        Ok(self.part(part).to_vec())
    }

    fn write(&mut self, part: Part, values: &[f32]) -> Result<(), DeviceError> {
        let (needed, given) = (self.part(part).len(), values.len());
        if needed != given {
            return Err(DeviceError::Length { part, needed, given });
        }
        let target = match part {
            Part::Weights => &mut self.parameters.weights[..],
            Part::Statistics => &mut self.statistics,
            Part::First => &mut self.parameters.first,
            Part::Second => &mut self.parameters.second,
            Part::Average => &mut self.parameters.average,
        };
        target.copy_from_slice(values);
        Ok(())
    }

    fn perturbing(&self) -> Option<Duration> {
        Some(self.parameters.perturbing)
    }
}
