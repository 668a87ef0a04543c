//! What a training run is told: on the command line, in a TOML file of the same names, and as it is resolved.

use crate::net::{NetName, NormInit};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// What is done to the weights before gradients are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MethodName {
    /// Nothing.
    #[default]
    Sgd,
    /// Noise of one strength.
    Smoothout,
    /// Noise scaled to each filter's norm: AdaSmoothOut.
    Ada,
    /// Sharpness-aware minimisation; --strength is its radius.
    Sam,
}

/// Distribution of the noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DistributionName {
    /// U(-a, a).
    #[default]
    Uniform,
    /// N(0, a^2).
    Gaussian,
    /// -w with probability a.
    Dropout,
}

/// What noise is scaled by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScalingName {
    /// Nothing.
    Constant,
    /// Each weight's magnitude.
    Weight,
    /// Each filter's norm.
    Filter,
}

/// Strength over the training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ScheduleName {
    /// The same throughout.
    #[default]
    Constant,
    /// (1 + t)^-0.275.
    Anneal,
    /// From 0 to 1.
    TanhRising,
    /// From 1 to 0.
    TanhFalling,
}

/// When noise is drawn anew.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RenewalName {
    /// For each ghost batch.
    #[default]
    Ghost,
    /// Once a step.
    Step,
    /// Never: fixed for the whole training.
    Never,
}

/// Optimizer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// Gradient descent with momentum.
    #[default]
    Sgd,
    /// Adam.
    Adam,
    /// Adam with decoupled weight decay.
    Adamw,
}

/// Learning rate over the training.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RateShape {
    /// The same throughout.
    Constant,
    /// Half a cosine down to 0.
    #[default]
    Cosine,
    /// A tenth after half and a hundredth after three quarters of the epochs.
    Steps,
}

/// Learning-rate scaling with the batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ScalingRule {
    /// None.
    #[default]
    None,
    /// Square root of batch over base.
    Sqrt,
    /// Batch over base.
    Linear,
}

/// Average of the weights.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AverageName {
    /// None.
    #[default]
    None,
    /// Mean over the epochs of the last quarter.
    Swa,
    /// Exponential moving average, --ema-decay.
    Ema,
}

/// Where it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceName {
    /// SIMD kernels on all cores.
    #[default]
    Cpu,
    /// Core's plain kernels on one core.
    Portable,
    /// The microcontroller's backend, as the chip runs it to the bit.
    Micro,
}

macro_rules! options {
    ($($(#[doc = $doc:literal])* $(#[arg($($arg:tt)*)])? $name:ident: $kind:ty = $default:expr;)*) => {
        /// Options of a run, each of which may be left out.
        #[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Options {
            $($(#[doc = $doc])* #[arg(long, $($($arg)*)?)] #[serde(skip_serializing_if = "Option::is_none")]
            pub $name: Option<$kind>,)*
        }

        /// Options of a run, all decided; saved as `config.toml` in the run's folder.
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Config {
            $($(#[doc = $doc])* pub $name: $kind,)*
        }

        impl Options {
            /// These, and `other` where these say nothing.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)* }
            }

            /// These, and the defaults where these say nothing.
            #[must_use]
            pub fn resolve(self) -> Config {
                Config { $($name: self.$name.unwrap_or_else(|| $default),)* }
            }
        }

        impl From<Config> for Options {
            fn from(config: Config) -> Self {
                Self { $($name: Some(config.$name),)* }
            }
        }
    };
}

options! {
    /// Network
    #[arg(value_enum)] net: NetName = NetName::Digits;
    /// Depth of `resnet`: 6n+2
    depth: usize = 44;
    /// Data set: digits, mnist, fashion-mnist, cifar10, cifar100, imagenet, or a folder
    data: String = "digits".into();
    /// Folder of the data sets
    data_root: PathBuf = "data".into();
    /// Share of the training set held out for validation
    validation: f64 = 0.1;
    /// Random crops and flips of training images
    #[arg(num_args = 0..=1, default_missing_value = "true")] augment: bool = false;
    /// Method
    #[arg(value_enum)] method: MethodName = MethodName::Sgd;
    /// Strength a of the noise, or SAM's radius
    #[arg(allow_negative_numbers = true)] strength: f32 = 0.0;
    /// Distribution of the noise
    #[arg(value_enum)] distribution: DistributionName = DistributionName::Uniform;
    /// Perturb scales and shifts of batch norms too
    #[arg(num_args = 0..=1, default_missing_value = "true")] perturb_norms: bool = false;
    /// Strength over the training
    #[arg(value_enum)] schedule: ScheduleName = ScheduleName::Constant;
    /// Draws that each gradient is averaged over
    draws: u32 = 1;
    /// Draw pairs of opposite sign
    #[arg(num_args = 0..=1, default_missing_value = "true")] antithetic: bool = false;
    /// When noise is drawn anew
    #[arg(value_enum)] renewal: RenewalName = RenewalName::Ghost;
    /// Take noise away before the update
    #[arg(num_args = 0..=1, default_missing_value = "true", action = clap::ArgAction::Set)] denoise: bool = true;
    /// Images of a batch
    batch: usize = 64;
    /// Images of a ghost batch; the whole batch unless given
    ghost: usize = 0;
    /// Batches whose gradients make one update
    accumulate: u32 = 1;
    /// Passes over the training set
    epochs: u32 = 20;
    /// Seed of weights, order, noise and dropout
    seed: u64 = 1;
    /// Optimizer
    #[arg(value_enum)] optimizer: OptimizerName = OptimizerName::Sgd;
    /// Learning rate
    #[arg(allow_negative_numbers = true)] learning_rate: f32 = 0.1;
    /// Learning rate over the training
    #[arg(value_enum)] rate_shape: RateShape = RateShape::Cosine;
    /// Epochs over which the learning rate rises at the start
    warm_up: f64 = 0.0;
    /// Scaling of the learning rate with the batch
    #[arg(value_enum)] batch_scaling: ScalingRule = ScalingRule::None;
    /// Batch for which the learning rate is meant, with --batch-scaling
    base_batch: usize = 128;
    /// Momentum of SGD
    momentum: f32 = 0.9;
    /// Nesterov's momentum
    #[arg(num_args = 0..=1, default_missing_value = "true")] nesterov: bool = false;
    /// Weight decay
    weight_decay: f32 = 1e-4;
    /// Largest norm of the gradient; 0 for none
    clip: f32 = 5.0;
    /// Average of the weights
    #[arg(value_enum)] average: AverageName = AverageName::None;
    /// Share of the past in the exponential moving average
    ema_decay: f32 = 0.999;
    /// Probability of dropout layers; -1 for the network's own
    #[arg(allow_negative_numbers = true)] dropout: f32 = -1.0;
    /// How the scales of batch norms start
    #[arg(value_enum)] norm_init: NormInit = NormInit::Ones;
    /// Where it runs
    #[arg(value_enum)] device: DeviceName = DeviceName::Cpu;
    /// Threads; 0 for one a core
    threads: usize = 0;
}
