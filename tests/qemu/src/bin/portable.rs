//! Whole trainings of every workload by every method, 50 steps, by sessions and by core's portable backend (the program's
//! `--device portable`): how far they are apart.
//!
//! Both make the same noise to the bit and sum in another order. With u = 2^-24, R the terms of all sums on the longest path
//! through the network and g the gradients, a gradient is R u |g| off at most; momentum m brings it into the weights
//! rate / (1 - m) times, and an update rounds by 4 u |w|. So weights may be rate / (1 - m) R u (|g1| + ... + |gt|) + 4 t u |w|
//! apart after t steps, and losses 2 |g| times that and R u (1 + loss) for their own sums. That what is off grows from step
//! to step, with the curvature and with noise that is scaled to the weights' norms, is not granted: roundings are not all
//! of one sign, and less than a tenth of the tolerance is used.
//!
//! Not on full boards, Not on soft boards, Not on small boards: they compute what the host computes.

use smoothout::ghost::GhostBatches;
use smoothout::micro::{Config, Session, Slices};
use smoothout::network::Layer;
use smoothout::optimizer::{Optimizer, Update};
use smoothout::plan::{Plan, PlannedLayer, Purpose, Tensor};
use smoothout::portable::{Memory, NetworkObjective, NetworkPass, Parameters, Strategy};
use smoothout::step::{Method, SmoothOut, Stepper};
use smoothout_qemu::workloads::{LABELS, W1, W2, W3, W3B, W4, Workload};
use smoothout_qemu::{finish, say};
use std::error::Error;

const STEPS: usize = 50;
const RATE: f32 = 0.01;
const MOMENTUM: f32 = 0.9;
const U: f64 = 1.0 / 16_777_216.0;

fn main() {
    finish(run().map_err(|error| &*error.to_string().leak()))
}

fn run() -> Result<(), Box<dyn Error>> {
    for (name, method) in [
        ("SGD", Method::Sgd),
        ("SmoothOut", Method::SmoothOut(SmoothOut::constant())),
        ("AdaSmoothOut", Method::SmoothOut(SmoothOut::adaptive())),
    ] {
        let run = Run { name, method };
        run.compare(&W1, 1)?;
        run.compare(&W1, 8)?;
        run.compare(&W2, 1)?;
        run.compare(&W2, 8)?;
        run.compare(&W3, 1)?;
        run.compare(&W3, 8)?;
        run.compare(&W3B, 8)?;
        run.compare(&W4, 1)?;
    }
    Ok(())
}

struct Run {
    name: &'static str,
    method: Method,
}

impl Run {
    fn compare<const N: usize>(&self, workload: &'static Workload<N>, batch: usize) -> Result<(), Box<dyn Error>> {
        let plan = Plan::new(&workload.network()?, batch, Purpose::Training)?;
        let model = Slices { parameters: workload.parameters, statistics: workload.statistics };
        let config = Config { optimizer: Optimizer::sgd(MOMENTUM), ..Config::new(self.method, RATE) };
        let mut arena = vec![0.0; Session::required(&plan, &config)?];
        let mut session = Session::<N>::new(&plan, &model, config, &mut arena)?;
        let mut portable = Portable::new(&plan, workload, config)?;
        let sums = roundings(&plan);
        let (mut gradients, mut of_losses, mut of_weights) = (0.0, 0.0f64, 0.0f64);
        for step in 0..STEPS {
            let (first, len) = (step * batch % 8, workload.input.len());
            let images = &workload.images[first * len..(first + batch) * len];
            let labels = &LABELS[first..first + batch];
            let before = tolerance(sums, gradients, step, &portable.weights);
            let ours = f64::from(session.step(images, labels)?.loss);
            let loss = f64::from(portable.step(images, labels)?);
            let gradient = norm(portable.gradient.iter().copied());
            gradients += gradient;
            let apart = norm(session.weights().iter().zip(&portable.weights).map(|(a, b)| a - b));
            let allowed = tolerance(sums, gradients, step + 1, &portable.weights);
            of_weights = of_weights.max(apart / allowed);
            of_losses = of_losses.max((ours - loss).abs() / (2.0 * gradient * before + sums * U * (1.0 + loss)));
        }
        let per_mille = |share: f64| (share * 1000.0).ceil() as u32;
        let (weights, losses) = (per_mille(of_weights), per_mille(of_losses));
        say!(workload.name, "/", batch, " ", self.name, ": per mille of the tolerance: weights ", weights, ", losses ", losses);
        if of_weights <= 1.0 && of_losses <= 1.0 { Ok(()) } else { Err("sessions and the portable backend differ".into()) }
    }
}

fn tolerance(sums: f64, gradients: f64, steps: usize, weights: &[f32]) -> f64 {
    let of_gradients = f64::from(RATE / (1.0 - MOMENTUM)) * sums * U * gradients;
    of_gradients + 4.0 * steps as f64 * U * norm(weights.iter().copied())
}

/// R: as in core's conformance suite.
fn roundings<const N: usize>(plan: &Plan<N>) -> f64 {
    let of = |layer: &PlannedLayer| {
        let values = plan.batch() * layer.output_shape.pixels();
        match (&layer.layer, layer.weight) {
            (Layer::BatchNorm(_), _) => 4 * values + 16,
            (_, Some(weight)) => weight.row_len + 1 + weight.len().div_ceil(layer.input_shape.channels),
            _ => 0,
        }
    };
    let path: usize = plan.layers().iter().map(of).sum();
    let gradient = plan.layers().iter().map(|l| plan.batch() * l.output_shape.pixels()).max().unwrap_or(0);
    (path + gradient + plan.classes() + 8) as f64
}

fn norm(values: impl Iterator<Item = f32>) -> f64 {
    values.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt()
}

/// The same training by the portable backend, with shadow weights.
struct Portable<'p, const N: usize> {
    plan: &'p Plan<N>,
    config: Config<'p>,
    stepper: Stepper,
    weights: Vec<f32>,
    gradient: Vec<f32>,
    first: Vec<f32>,
    statistics: Vec<f32>,
    steps: u64,
}

impl<'p, const N: usize> Portable<'p, N> {
    fn new(plan: &'p Plan<N>, workload: &Workload<N>, config: Config<'p>) -> Result<Self, Box<dyn Error>> {
        let zeros = vec![0.0; plan.parameters()];
        Ok(Self {
            plan,
            config,
            stepper: Stepper::new(config.method, config.seed)?,
            weights: workload.parameters.to_vec(),
            gradient: zeros.clone(),
            first: zeros,
            statistics: workload.statistics.to_vec(),
            steps: 0,
        })
    }

    fn step(&mut self, images: &[f32], labels: &[u32]) -> Result<f32, Box<dyn Error>> {
        let tensors: Vec<Tensor> = self.plan.tensors().copied().collect();
        let mut shadow = self.weights.clone();
        let memory = Memory {
            weights: &mut self.weights,
            shadow: &mut shadow,
            scales: &mut [],
            gradient: &mut self.gradient,
            first: &mut self.first,
            second: &mut [],
            average: &mut [],
        };
        let mut parameters = Parameters::new(&tensors, memory, Strategy::Shadow).map_err(|e| e.to_string())?;
        let mut workspace = vec![0.0; self.plan.workspace()];
        let pass = NetworkPass::new(self.plan, &mut workspace).ok_or("the workspace is too short")?;
        let mut backup = self.statistics.clone();
        let cut = GhostBatches::new(labels.len(), 1);
        let mut objective = NetworkObjective::new(pass, &mut self.statistics, &mut backup, (images, labels), cut)
            .map_err(|error| error.to_string())?;
        let Config { optimizer, rate, weight_decay, strength, clip, .. } = self.config;
        let loss = self
            .stepper
            .accumulate(&mut parameters, &mut objective, self.steps, strength)
            .map_err(|error| error.to_string())?;
        self.steps += 1;
        let update = Update { optimizer, rate, weight_decay, gradient_scale: 1.0, time: self.steps };
        self.stepper.update(&mut parameters, &update, clip).map_err(|error| error.to_string())?;
        Ok(loss)
    }
}
