//! Habits of the authors' program that the paper does not mention, each to be switched on.

use crate::options::{AugmentName, NormalizationName, Options, ScheduleName};
use crate::net::NormInit;
use clap::ValueEnum;
use serde::Serialize;

/// A habit of the authors' program. Their others are options of trainings (`clip`, `ghost`, `batch-scaling`,
/// `renewal`, `select`), which the specifications set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Habit {
    /// The optimizer's state is rebuilt at the start of every epoch.
    ResetOptimizer,
    /// CIFAR is normalised with ImageNet's statistics instead of its own.
    ImagenetNormalization,
    /// MNIST is cropped and flipped like photographs.
    FlippedDigits,
    /// Scales of batch norms start at U(0, 1), as in PyTorch before 1.2.
    UniformNormScales,
    /// Batch norms are perturbed too, as until November 2018.
    PerturbedNorms,
    /// The strength falls from a to 0, as in February 2018, when most runs were made.
    FallingNoise,
    /// The strength rises from 0 to a, as at the last commit.
    RisingNoise,
}

impl Habit {
    /// What it makes of a training on these data; nothing where it does not apply.
    pub fn options(self, data: &str) -> Options {
        let none = Options::default();
        match self {
            Habit::ResetOptimizer => Options { reset_optimizer: Some(true), ..none },
            Habit::ImagenetNormalization if data.starts_with("cifar") => {
                Options { normalization: Some(NormalizationName::Imagenet), ..none }
            }
            Habit::FlippedDigits if data == "mnist" => Options { augment: Some(AugmentName::Both), ..none },
            Habit::UniformNormScales => Options { norm_init: Some(NormInit::Uniform), ..none },
            Habit::PerturbedNorms => Options { perturb_norms: Some(true), ..none },
            Habit::FallingNoise => Options { schedule: Some(ScheduleName::TanhFalling), ..none },
            Habit::RisingNoise => Options { schedule: Some(ScheduleName::TanhRising), ..none },
            Habit::ImagenetNormalization | Habit::FlippedDigits => none,
        }
    }
}

/// Without the habit CIFAR is normalised with its own statistics.
pub(super) fn without(data: &str) -> Options {
    let normalization = data.starts_with("cifar").then_some(NormalizationName::Own);
    Options { normalization, ..Options::default() }
}
