//! What a training run is told: on the command line, in a TOML file of the same names, and as it is resolved.

mod device_name;
mod names;
mod rate_shape;
mod strength;

pub use device_name::{CudaName, CudaPrecision, DeviceName, DeviceNameError};
pub use names::*;
pub use rate_shape::RateShape;
pub use strength::Strength;

use crate::net::{NetName, NormInit};
use clap::{Arg, Args};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

macro_rules! options {
    ($($(#[doc = $doc:literal])* $(#[arg($($arg:tt)*)])? $name:ident: $kind:ty = $default:expr;)*) => {
        /// Options of a run, each of which may be left out.
        #[derive(Clone, Debug, Default, Args, Serialize, Deserialize)]
        #[serde(rename_all = "kebab-case", deny_unknown_fields)]
        pub struct Options {
            $($(#[doc = $doc])* #[arg(long, allow_negative_numbers = true, $($($arg)*)?)] #[serde(skip_serializing_if = "Option::is_none")]
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
            pub fn resolve(mut self) -> Config {
                if matches!(self.optimizer, Some(OptimizerName::Adam | OptimizerName::Adamw)) {
                    self.learning_rate = self.learning_rate.or(Some(1e-3));
                }
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
    data_root: PathBuf = crate::data::default_root();
    /// Share of the training set held out for validation
    validation: f64 = 0.1;
    /// Augmentation of training images; alone: set
    #[arg(value_enum, num_args = 0..=1, default_missing_value = "set")] augment: AugmentName = AugmentName::Off;
    /// Normalisation of pixels
    #[arg(value_enum)] normalization: NormalizationName = NormalizationName::Set;
    /// Random crops of the pictures of class folders
    #[arg(value_enum)] picture_crop: PictureCrop = PictureCrop::Net;
    /// Method
    #[arg(value_enum)] method: MethodName = MethodName::Sgd;
    /// Strength a of the noise, or SAM's radius; auto: what a pilot training bears within --tolerance
    strength: Strength = Strength::Value(0.0);
    /// Largest rise of the pilot's smoothed loss, as a share of 1 + loss
    tolerance: f64 = 0.05;
    /// Epochs of the pilot training; 0 for a tenth
    pilot_epochs: u32 = 0;
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
    /// Forget the optimizer's memory at the start of every epoch, as the authors' program does
    #[arg(num_args = 0..=1, default_missing_value = "true")] reset_optimizer: bool = false;
    /// Learning rate; 0.001 with adam and adamw
    learning_rate: f32 = 0.1;
    /// Learning rate over the training: constant, cosine, steps, or epochs with factors as in 81:0.1,122:0.01
    rate_shape: RateShape = RateShape::Cosine;
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
    dropout: f32 = -1.0;
    /// How the scales of batch norms start
    #[arg(value_enum)] norm_init: NormInit = NormInit::Ones;
    /// By what the best checkpoint is chosen
    #[arg(value_enum)] select: SelectName = SelectName::Validation;
    /// Keep the checkpoint of every n-th epoch and the initial one; 0 for none
    keep_every: u32 = 0;
    /// Where it runs: cpu, portable, micro, cuda, cuda:NUMBER or cuda:GPU-UUID; products of cuda,f32 cuda,tf32 or cuda,bf16
    device: DeviceName = DeviceName::Cpu;
    /// Threads; 0 for one a core
    threads: usize = 0;
}

/// Names and values, as TOML writes them, of [`Options`] that are given or of a [`Config`].
///
/// # Errors
/// A value that TOML cannot hold, such as a path that is no UTF-8 text.
pub fn listed(options: &impl Serialize) -> Result<BTreeMap<String, String>, toml::ser::Error> {
    let text = toml::to_string(options)?;
    let pairs = text.lines().filter_map(|line| line.split_once(" = "));
    Ok(pairs.map(|(name, value)| (name.into(), value.into())).collect())
}

/// The option with its default in its help.
pub fn with_default(option: Arg) -> Arg {
    let defaults = listed(&Options::default().resolve()).unwrap_or_default();
    let name = option.get_id().as_str().replace('_', "-");
    match (defaults.get(&name), option.get_help()) {
        (Some(value), Some(help)) => {
            let help = format!("{help} [default: {}]", value.trim_matches('"'));
            option.help(help)
        }
        _ => option,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_config_comes_back_from_toml() {
        let given = Options {
            rate_shape: Some("3:0.1,5:0.01".parse().unwrap()),
            seed: Some(u64::MAX),
            strength: Some(0.0375.into()),
            ..Options::default()
        };
        let config = given.resolve();
        let text = toml::to_string_pretty(&config).unwrap();
        assert!(text.contains("rate-shape = \"3:0.1,5:0.01\"") && text.contains("strength = 0.0375"), "{text}");
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config);
    }

    #[test]
    fn adam_has_a_learning_rate_of_its_own() {
        let adam = Options { optimizer: Some(OptimizerName::Adam), ..Options::default() };
        assert_eq!(adam.clone().resolve().learning_rate, 1e-3);
        assert_eq!(Options { learning_rate: Some(0.5), ..adam }.resolve().learning_rate, 0.5);
        assert_eq!(Options::default().resolve().learning_rate, 0.1);
    }
}
