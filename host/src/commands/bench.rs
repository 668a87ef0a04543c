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
    ratio_to_sgd: f64,
    steps: usize,
}

struct Case {
    name: &'static str,
    config: Config,
    stepper: Stepper,
    times: Vec<Duration>,
    ratios: Vec<f64>,
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
        let mut device = train::device_of(config.device, plan, weights, keeps);
        let (images, labels) = made_up(&*device, config.batch);
        let batch = [Batch { images: &images, labels: &labels }];
        let mut cases = Vec::new();
        for (name, method, strength) in [
            ("sgd", MethodName::Sgd, 0.0),
            ("smoothout", MethodName::Smoothout, 0.0375),
            ("adasmoothout", MethodName::Ada, 0.15),
        ] {
            let config = Config { method, strength, ..config.clone() };
            let stepper = stepper(&config)?;
            cases.push(Case { name, config, stepper, times: Vec::new(), ratios: Vec::new() });
        }
        let end = Instant::now() + Duration::from_secs_f64(self.seconds.max(0.0) * cases.len() as f64);
        let mut first = 0;
        for round in 0.. {
            let mut of_sgd = 0.0;
            for case in &mut cases {
                let times = steps(&mut *device, case, &batch, count, &mut first)?;
                let median = median(&mut times.iter().map(Duration::as_secs_f64).collect::<Vec<_>>());
                if case.name == "sgd" {
                    of_sgd = median;
                }
                if round > 0 {
                    case.times.extend(times);
                    case.ratios.push(median / of_sgd);
                }
            }
            if round > 2 && Instant::now() > end {
                break;
            }
        }
        let out = &mut std::io::stdout();
        for case in &mut cases {
            let mut seconds: Vec<f64> = case.times.iter().map(Duration::as_secs_f64).collect();
            let middle = median(&mut seconds);
            let line = Line {
                net: format!("{:?}", config.net).to_lowercase(),
                batch: config.batch,
                ghosts: ghosts.count(),
                threads: rayon::current_num_threads(),
                device: format!("{:?}", config.device).to_lowercase(),
                method: case.name,
                median_ms: 1e3 * middle,
                best_ms: 1e3 * seconds.first().copied().unwrap_or(f64::NAN),
                images_per_s: config.batch as f64 / middle,
                gflop_per_s: 1e-9 * flops / middle,
                ratio_to_sgd: median(&mut case.ratios),
                steps: seconds.len(),
            };
            serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from)?;
            writeln!(out)?;
        }
        Ok(())
    }
}

/// About 0.3 s of steps, at least one; the first after a change of method is not counted.
fn steps(
    device: &mut dyn Device,
    case: &mut Case,
    batches: &[Batch<'_>],
    ghosts: usize,
    first: &mut u64,
) -> Result<Vec<Duration>, CommandError> {
    let mut times = Vec::new();
    let begin = Instant::now();
    let mut warm = true;
    while warm || times.is_empty() || begin.elapsed() < Duration::from_millis(300) {
        let update = Update {
            optimizer: Optimizer::sgd(0.9),
            rate: 0.01,
            weight_decay: 1e-4,
            gradient_scale: 1.0,
            time: *first + 1,
        };
        let strength = case.config.strength;
        let step = Step { batches, ghosts, first: *first, strength, update, clip: Some(5.0) };
        let start = Instant::now();
        device.step(&mut case.stepper, &step).map_err(TrainError::from)?;
        if !warm {
            times.push(start.elapsed());
        }
        warm = false;
        *first += 1;
    }
    Ok(times)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
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
