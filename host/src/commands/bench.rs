use super::{CommandError, start_threads};
use crate::device::{Batch, Device, Keeps, Step};
use crate::net::{NetPlan, initial_parameters};
use crate::options::{Config, MethodName, Options};
use crate::train::{self, TrainError, stepper};
use clap::Args;
use serde::Serialize;
use smoothout::ghost::GhostBatches;
use smoothout::network::Source;
use smoothout::optimizer::{Optimizer, Update};
use smoothout::plan::{Plan, Purpose};
use smoothout::step::Stepper;
use std::io::Write;
use std::time::{Duration, Instant};

/// Time training steps of SGD, SmoothOut and AdaSmoothOut in turn, on made-up images.
#[derive(Debug, Args)]
#[command(after_help = "Example:\n  smoothout bench --net c1 --batch 256 --threads 2")]
pub struct Bench {
    /// Seconds for each method
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Number of classes of `resnet`
    #[arg(long, default_value_t = 10)]
    classes: usize,
    #[command(flatten)]
    options: Options,
}

#[derive(Serialize)]
struct Line<'a> {
    net: String,
    batch: usize,
    ghosts: usize,
    threads: usize,
    device: String,
    method: &'a str,
    median_ms: f64,
    best_ms: f64,
    images_per_s: f64,
    gflop_per_s: f64,
    /// Median over rounds of this method's step over the same round's step of SGD, and its standard error.
    ratio_to_sgd: f64,
    ratio_error: f64,
    /// The time in a step that makes noise, and its share of the rest of the step; none where it cannot be told apart.
    noise_ms: Option<f64>,
    noise_overhead: Option<f64>,
    rounds: usize,
}

struct Case {
    name: &'static str,
    strength: f32,
    stepper: Stepper,
    /// Of a step and of the noise in it, one value a round.
    seconds: Vec<f64>,
    noise: Vec<f64>,
}

impl Bench {
    pub(super) fn run(self) -> Result<(), CommandError> {
        let config = self.options.resolve();
        start_threads(config.threads)?;
        let net = train::network(&config, self.classes)?;
        let count = if config.ghost == 0 { 1 } else { config.batch / config.ghost.min(config.batch) };
        let ghosts = GhostBatches::new(config.batch, count);
        let plan: Box<NetPlan> = Box::new(
            Plan::new(&net, ghosts.size(), Purpose::Training)
                .map_err(|e| TrainError::Network(e.to_string()))?,
        );
        let flops = step_flops(&plan) * config.batch as f64;
        let weights = initial_parameters(config.net, &plan, config.norm_init, config.seed);
        let keeps = Keeps { moments: 1, average: false };
        let mut device = train::device_of(config.device, plan, weights, keeps).map_err(TrainError::from)?;
        device.prepare(config.batch).map_err(TrainError::from)?;
        let (images, labels) = made_up(&*device, config.batch);
        let batch = [Batch { images: &images, labels: &labels }];
        let mut cases = Vec::new();
        for (name, method, strength) in [
            ("sgd", MethodName::Sgd, 0.0f32),
            ("smoothout", MethodName::Smoothout, 0.0375),
            ("adasmoothout", MethodName::Ada, 0.15),
        ] {
            let config = Config { method, strength: strength.into(), ..config.clone() };
            let stepper = stepper(&config)?;
            cases.push(Case { name, strength, stepper, seconds: Vec::new(), noise: Vec::new() });
        }
        let end = Instant::now() + Duration::from_secs_f64(self.seconds.max(0.0) * cases.len() as f64);
        let mut first = 0;
        for round in 0.. {
            // Each method goes first as often as the others: what a method leaves behind meets all of them.
            for turn in round..round + cases.len() {
                let turn = turn % cases.len();
                let case = &mut cases[turn];
                let (seconds, noise) = sample(&mut *device, case, &batch, count, &mut first)?;
                if round > 0 {
                    case.seconds.push(seconds);
                    case.noise.extend(noise);
                }
            }
            if round > 3 && Instant::now() > end {
                break;
            }
        }
        let out = &mut std::io::stdout();
        let of_sgd = cases[0].seconds.clone();
        for case in &cases {
            let times = quartiles(case.seconds.clone());
            let ratios = quartiles(case.seconds.iter().zip(&of_sgd).map(|(own, sgd)| own / sgd).collect());
            // A pause of the machine hits the rest of a step far more often than its noise: both are medians.
            let noise = Some(quartiles(case.noise.clone())[1]).filter(|n| n.is_finite());
            let line = Line {
                net: format!("{:?}", config.net).to_lowercase(),
                batch: config.batch,
                ghosts: ghosts.count(),
                threads: rayon::current_num_threads(),
                device: config.device.to_string(),
                method: case.name,
                median_ms: 1e3 * times[1],
                best_ms: 1e3 * case.seconds.iter().copied().fold(f64::INFINITY, f64::min),
                images_per_s: config.batch as f64 / times[1],
                gflop_per_s: 1e-9 * flops / times[1],
                ratio_to_sgd: ratios[1],
                // The standard error of a median, with a normal distribution's quartiles 1.35 deviations apart.
                ratio_error: 1.2533 * (ratios[2] - ratios[0]) / 1.349 / (case.seconds.len() as f64).sqrt(),
                noise_ms: noise.map(|n| 1e3 * n),
                noise_overhead: noise.map(|n| n / (times[1] - n)),
                rounds: case.seconds.len(),
            };
            serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        Ok(())
    }
}

/// Seconds of a step and of its noise: the mean of as many as take 20 ms together, as a shorter time says little on a shared machine.
fn sample(
    device: &mut dyn Device,
    case: &mut Case,
    batches: &[Batch<'_>],
    ghosts: usize,
    first: &mut u64,
) -> Result<(f64, Option<f64>), CommandError> {
    let noise = device.perturbing();
    let begin = Instant::now();
    let mut steps = 0;
    loop {
        let update = Update {
            optimizer: Optimizer::sgd(0.9),
            rate: 0.01,
            weight_decay: 1e-4,
            gradient_scale: 1.0,
            time: *first + 1,
        };
        let strength = case.strength;
        let step = Step { batches, ghosts, first: *first, strength, update, clip: Some(5.0) };
        device.step(&mut case.stepper, &step).map_err(TrainError::from)?;
        *first += 1;
        steps += 1;
        if begin.elapsed() > Duration::from_millis(20) {
            let step = |time: Duration| time.as_secs_f64() / f64::from(steps);
            let noise = device.perturbing().zip(noise).map(|(now, before)| step(now - before));
            return Ok((step(begin.elapsed()), noise));
        }
    }
}

/// Lower quartile, median and upper quartile; NaN of no values.
fn quartiles(mut values: Vec<f64>) -> [f64; 3] {
    values.sort_by(f64::total_cmp);
    [1, 2, 3].map(|quarter| values.get(values.len() * quarter / 4).copied().unwrap_or(f64::NAN))
}

/// Forward, weight gradient and input gradient of every convolution and linear layer but the first one's input gradient.
fn step_flops(plan: &NetPlan) -> f64 {
    let layer = |l: &smoothout::plan::PlannedLayer| {
        let first = l.input == Source::Input;
        (if first { 4.0 } else { 6.0 }) * l.macs() as f64
    };
    plan.layers().iter().map(layer).sum()
}

fn made_up(device: &dyn Device, batch: usize) -> (Vec<f32>, Vec<u32>) {
    let plan = device.plan();
    let mut state = 12345u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state >> 8
    };
    let images = (0..batch * plan.input().len()).map(|_| next() as f32 / 8_388_608.0 - 1.0).collect();
    let labels = (0..batch).map(|_| next() % plan.classes() as u32).collect();
    (images, labels)
}
