use super::TrainError;
use super::data::open_data;
use crate::data::Data;
use crate::device::{Cpu, Device, DeviceError, Keeps, Micro, Portable};
use crate::net::{Net, NetPlan, initial_parameters};
use crate::options::{
    AverageName, Config, DeviceName, DistributionName, MethodName, OptimizerName, RateShape,
    RenewalName, ScalingName, ScalingRule, ScheduleName,
};
use smoothout::averaging::Averaging;
use smoothout::backend::Selection;
use smoothout::ghost::GhostBatches;
use smoothout::learning_rate::{BatchScaling, LearningRate, RateError};
use smoothout::noise::{Distribution, Noise, Scaling};
use smoothout::optimizer::Optimizer;
use smoothout::plan::{Plan, Purpose};
use smoothout::schedule::Schedule;
use smoothout::step::{Draws, Method, Renewal, SmoothOut, Stepper};

/// Everything that a configuration decides, checked.
#[derive(Debug)]
pub struct Setup {
    /// The data.
    pub data: Data,
    /// The steps.
    pub stepper: Stepper,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// The learning rate.
    pub rate: LearningRate,
    /// The strength of the noise; 0 without any.
    pub strength: f32,
    /// The strength's schedule.
    pub schedule: Schedule,
    /// The average of the weights.
    pub averaging: Averaging,
    /// Ghost batches that every batch is cut into.
    pub ghosts: usize,
    /// Updates of an epoch.
    pub updates: u64,
    /// Batches of an epoch.
    pub batches: u64,
    /// Largest norm of the gradient.
    pub clip: Option<f32>,
}

fn option(option: &'static str, problem: impl core::fmt::Display) -> TrainError {
    TrainError::Option { option, problem: problem.to_string() }
}

/// Core's distribution of this name.
pub const fn distribution(name: DistributionName) -> Distribution {
    match name {
        DistributionName::Uniform => Distribution::Uniform,
        DistributionName::Gaussian => Distribution::Gaussian,
        DistributionName::Dropout => Distribution::Dropout,
    }
}

/// Core's scaling of this name.
pub const fn scaling(name: ScalingName) -> Scaling {
    match name {
        ScalingName::Constant => Scaling::Constant,
        ScalingName::Weight => Scaling::PerWeight,
        ScalingName::Filter => Scaling::PerFilter,
    }
}

impl Setup {
    /// Checks a configuration and opens its data.
    ///
    /// # Errors
    /// The first option whose value is impossible, or the data at fault.
    pub fn new(config: &Config) -> Result<Self, TrainError> {
        check_numbers(config)?;
        let stepper = stepper(config)?;
        let optimizer = optimizer(config);
        optimizer.check().map_err(|e| option("--optimizer", e))?;
        let data = open_data(config, network(config, 1)?.input())?;
        if config.batch > data.train.len() {
            let problem = format!("{} is more than the {} training images", config.batch, data.train.len());
            return Err(option("--batch", problem));
        }
        check_ghosts(config, &data)?;
        let largest = GhostBatches::new(config.batch, config.batch / ghost(config)).size();
        plan(&network(config, data.classes)?, &data, largest)?;
        let batches = data.train.len().div_ceil(config.batch) as u64;
        let updates = batches.div_ceil(u64::from(config.accumulate));
        Ok(Self {
            ghosts: config.batch / ghost(config),
            stepper,
            optimizer,
            strength: if config.method == MethodName::Sgd { 0.0 } else { strength(config)? },
            rate: rate(config, updates)?,
            schedule: match config.schedule {
                ScheduleName::Constant => Schedule::Constant,
                ScheduleName::Anneal => Schedule::Anneal,
                ScheduleName::TanhRising => Schedule::TanhRising,
                ScheduleName::TanhFalling => Schedule::TanhFalling,
            },
            averaging: match config.average {
                AverageName::None => Averaging::None,
                AverageName::Swa => Averaging::Swa {
                    start: (u64::from(config.epochs) * 3 / 4).max(1) * updates - 1,
                    every: updates,
                },
                AverageName::Ema => Averaging::Ema { decay: config.ema_decay },
            },
            updates,
            batches,
            clip: (config.clip > 0.0).then_some(config.clip),
            data,
        })
    }
}

/// Refuses ghost batches of one image where a batch norm would see one value a channel, whose variance is none: the
/// running statistics would end as NaN.
fn check_ghosts(config: &Config, data: &Data) -> Result<(), TrainError> {
    let count = config.batch / ghost(config);
    let lone = [config.batch, data.train.len() % config.batch].into_iter().any(|images| {
        let ghosts = GhostBatches::new(images, count);
        (0..ghosts.count()).any(|index| ghosts.range(index).len() == 1)
    });
    if lone {
        let net = network(config, data.classes)?;
        Plan::new(&net, 1, Purpose::Training).map_err(|e| {
            option("--batch", format!("{} leaves a ghost batch of one image: {e}", config.batch))
        })?;
    }
    Ok(())
}

/// Images of a ghost batch: the whole batch unless given.
const fn ghost(config: &Config) -> usize {
    if config.ghost == 0 { config.batch } else { config.ghost }
}

fn check_numbers(config: &Config) -> Result<(), TrainError> {
    let positive = [
        ("--batch", config.batch),
        ("--accumulate", config.accumulate as usize),
        ("--epochs", config.epochs as usize),
        ("--base-batch", config.base_batch),
    ];
    for (name, value) in positive {
        if value == 0 {
            return Err(option(name, "0, at least 1 is needed"));
        }
    }
    if config.ghost > config.batch {
        let problem = format!("{} is larger than the batch of {}", config.ghost, config.batch);
        return Err(option("--ghost", problem));
    }
    for (name, value) in [("--weight-decay", config.weight_decay), ("--clip", config.clip)] {
        if !(value.is_finite() && value >= 0.0) {
            return Err(option(name, format!("{value} is not a finite number of at least 0")));
        }
    }
    if !(0.0..1.0).contains(&config.ema_decay) {
        return Err(option("--ema-decay", format!("{} is not in [0, 1)", config.ema_decay)));
    }
    if !(config.tolerance.is_finite() && config.tolerance > 0.0) {
        return Err(option("--tolerance", format!("{} is not a finite number above 0", config.tolerance)));
    }
    if !(config.warm_up.is_finite() && config.warm_up >= 0.0) {
        return Err(option("--warm-up", format!("{} is not a number of epochs", config.warm_up)));
    }
    if config.dropout != -1.0 && !(0.0..1.0).contains(&config.dropout) {
        return Err(option("--dropout", format!("{} is not a probability in [0, 1)", config.dropout)));
    }
    Ok(())
}

/// The strength of a configuration, which must be decided.
fn strength(config: &Config) -> Result<f32, TrainError> {
    let undecided = || option("--strength", "auto is decided by a pilot training, which only `train` and `reproduce` run");
    config.strength.value().ok_or_else(undecided)
}

fn method(config: &Config) -> Result<Method, TrainError> {
    let noise = distribution(config.distribution);
    let smooth = |scaling| {
        Noise::new(noise, scaling, strength(config)?).map_err(|e| option("--strength", e))?;
        Ok(Method::SmoothOut(SmoothOut {
            distribution: noise,
            scaling,
            selection: Selection { norms: config.perturb_norms, ..Selection::default() },
            draws: Draws {
                count: config.draws,
                antithetic: config.antithetic,
                renewal: match config.renewal {
                    RenewalName::Ghost => Renewal::GhostBatch,
                    RenewalName::Step => Renewal::Step,
                    RenewalName::Never => Renewal::Never,
                },
            },
            denoise: config.denoise,
        }))
    };
    match config.method {
        MethodName::Sgd => Ok(Method::Sgd),
        MethodName::Smoothout => smooth(Scaling::Constant),
        MethodName::Ada => smooth(Scaling::PerFilter),
        MethodName::Sam if config.accumulate > 1 => {
            Err(option("--accumulate", "SAM cannot accumulate gradients over several batches"))
        }
        MethodName::Sam => {
            let method = Method::Sam { radius: strength(config)? };
            Stepper::new(method, 0).map_err(|e| option("--strength", e))?;
            Ok(method)
        }
    }
}

/// The steps of a configuration.
///
/// # Errors
/// A strength or number of draws that cannot be.
pub fn stepper(config: &Config) -> Result<Stepper, TrainError> {
    Stepper::new(method(config)?, config.seed).map_err(|e| option("--draws", e))
}

fn optimizer(config: &Config) -> Optimizer {
    match config.optimizer {
        OptimizerName::Sgd => {
            Optimizer::Sgd { momentum: config.momentum, nesterov: config.nesterov }
        }
        OptimizerName::Adam => Optimizer::adam(),
        OptimizerName::Adamw => Optimizer::adamw(),
    }
}

fn rate(config: &Config, updates: u64) -> Result<LearningRate, TrainError> {
    let base = config.learning_rate;
    let rate = match &config.rate_shape {
        RateShape::Constant => LearningRate::constant(base),
        RateShape::Cosine => LearningRate::cosine(base, 0.0),
        RateShape::Steps => {
            let (half, late) = (config.epochs.div_ceil(2), (config.epochs * 3).div_ceil(4));
            let changes = [(half, base * 0.1), (late.max(half + 1), base * 0.01)];
            LearningRate::regime(base, &changes)
        }
        RateShape::Regime(changes) => {
            let changes: Vec<_> = changes.iter().map(|(epoch, factor)| (*epoch, base * factor)).collect();
            LearningRate::regime(base, &changes)
        }
    };
    let rule = match config.batch_scaling {
        ScalingRule::None => BatchScaling::None,
        ScalingRule::Sqrt => BatchScaling::Sqrt,
        ScalingRule::Linear => BatchScaling::Linear,
    };
    let batch = config.batch * config.accumulate as usize;
    let named = |e| match e {
        RateError::Rate { .. } => option("--learning-rate", e),
        RateError::Order { .. } | RateError::TooManyChanges => option("--rate-shape", e),
    };
    rate.and_then(|rate| rate.scaled(rule.factor(batch, config.base_batch)))
        .map(|rate| rate.warm_up((config.warm_up * updates as f64).round() as u64))
        .map_err(named)
}

/// The network of a configuration for this many classes.
///
/// # Errors
/// A depth that does not exist.
pub fn network(config: &Config, classes: usize) -> Result<Net, TrainError> {
    let mut net =
        config.net.build(config.depth, classes).map_err(|e| option("--net", e))?;
    if config.dropout >= 0.0 {
        net.set_dropout(config.dropout);
    }
    Ok(net)
}

/// The plan of a network for data, in passes of at most `batch` images.
///
/// # Errors
/// The network does not fit the data, or has no plan.
pub fn plan(net: &Net, data: &Data, batch: usize) -> Result<Box<NetPlan>, TrainError> {
    let plan: Box<NetPlan> = Box::new(
        Plan::new(net, batch, Purpose::Training).map_err(|e| TrainError::Network(e.to_string()))?,
    );
    let input = net.input();
    if data.shape != [input.channels, input.height, input.width] {
        let [c, h, w] = data.shape;
        let message = format!("the images of {} are {c}x{h}x{w}, the network takes {input}", data.name);
        return Err(TrainError::Network(message));
    }
    if plan.classes() < data.classes {
        let message =
            format!("{} has {} classes, the network tells {} apart", data.name, data.classes, plan.classes());
        return Err(TrainError::Network(message));
    }
    Ok(plan)
}

/// The device of a configuration with initial weights, for the data of a setup.
///
/// # Errors
/// As [`plan`].
pub fn device(config: &Config, setup: &Setup) -> Result<Box<dyn Device>, TrainError> {
    let ghost = GhostBatches::new(config.batch, setup.ghosts).size();
    let plan = plan(&network(config, setup.data.classes)?, &setup.data, ghost)?;
    let weights = initial_parameters(config.net, &plan, config.norm_init, config.seed);
    let keeps = Keeps { moments: setup.optimizer.moments(), average: setup.averaging != Averaging::None };
    Ok(device_of(config.device, plan, weights, keeps)?)
}

/// A device of this name with these weights, as many as the plan has parameters.
///
/// # Errors
/// There is no such device, or no room on it.
pub fn device_of(
    name: DeviceName,
    plan: Box<NetPlan>,
    weights: Vec<f32>,
    keeps: Keeps,
) -> Result<Box<dyn Device>, DeviceError> {
    Ok(match name {
        DeviceName::Portable => Box::new(Portable::new(plan, weights, keeps)),
        DeviceName::Micro => Box::new(Micro::new(plan, weights, keeps)),
        DeviceName::Cpu => Box::new(Cpu::new(plan, &weights, keeps)),
        #[cfg(feature = "cuda")]
        DeviceName::Cuda(which, precision) => {
            Box::new(crate::device::Cuda::new(plan, &weights, keeps, which, precision)?)
        }
        #[cfg(not(feature = "cuda"))]
        DeviceName::Cuda(..) => return Err(DeviceError::NotBuilt),
    })
}
