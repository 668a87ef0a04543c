//! The same training by the portable backend, with shadow weights.

use super::Config;
use super::networks::{Case, N};
use crate::ghost::GhostBatches;
use crate::optimizer::Update;
use crate::plan::{Plan, Tensor};
use crate::portable::{Memory, NetworkObjective, NetworkPass, Parameters, Strategy};
use crate::step::Stepper;
use std::vec;
use std::vec::Vec;

pub struct Reference<'c> {
    case: &'c Case,
    plan: &'c Plan<N>,
    config: Config<'c>,
    stepper: Stepper,
    pub weights: Vec<f32>,
    pub statistics: Vec<f32>,
    first: Vec<f32>,
    second: Vec<f32>,
    steps: u64,
}

impl<'c> Reference<'c> {
    pub fn new(case: &'c Case, plan: &'c Plan<N>, config: Config<'c>) -> Self {
        let zeros = vec![0.0; plan.parameters()];
        Self {
            case,
            plan,
            config,
            stepper: Stepper::new(config.method, config.seed).expect("valid"),
            weights: case.parameters.clone(),
            statistics: case.statistics.clone(),
            first: zeros.clone(),
            second: zeros,
            steps: 0,
        }
    }

    /// One step over the case's images in this many ghost batches; returns the loss.
    pub fn step(&mut self, ghosts: usize) -> f32 {
        let Self { case, plan, config, .. } = self;
        let tensors: Vec<Tensor> = plan.tensors().copied().collect();
        let (mut shadow, mut gradient) = (self.weights.clone(), self.weights.clone());
        let memory = Memory {
            weights: &mut self.weights,
            shadow: &mut shadow,
            scales: &mut [],
            gradient: &mut gradient,
            first: &mut self.first,
            second: &mut self.second,
            average: &mut [],
        };
        let mut parameters = Parameters::new(&tensors, memory, Strategy::Shadow).expect("fits");
        let mut workspace = vec![0.0; plan.workspace()];
        let pass = NetworkPass::new(plan, &mut workspace).expect("long enough");
        let mut backup = self.statistics.clone();
        let data = (&case.images[..], &case.labels[..]);
        let cut = GhostBatches::new(case.labels.len(), ghosts);
        let mut objective =
            NetworkObjective::new(pass, &mut self.statistics, &mut backup, data, cut).expect("fits");
        let stepper = &mut self.stepper;
        let loss = stepper
            .accumulate(&mut parameters, &mut objective, self.steps, config.strength)
            .expect("finite");
        self.steps += 1;
        let update = Update {
            optimizer: config.optimizer,
            rate: config.rate,
            weight_decay: config.weight_decay,
            gradient_scale: 1.0,
            time: self.steps,
        };
        stepper.update(&mut parameters, &update, config.clip).expect("finite");
        loss
    }
}
