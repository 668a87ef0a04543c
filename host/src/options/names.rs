//! The names that options take.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

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

/// Augmentation of training images. Images in memory are padded and cropped (mnist by 2, cifar by 4), pictures of class
/// folders are cropped at random.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AugmentName {
    /// None.
    #[default]
    Off,
    /// What suits the data: crops, and flips of colour images; none for digits.
    Set,
    /// Random crops.
    Crop,
    /// Random horizontal flips.
    Flip,
    /// Crops and flips.
    Both,
}

/// Mean and standard deviation that pixels of 0 to 1 are normalised with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormalizationName {
    /// What suits the data: half for grey images, imagenet for colour images.
    #[default]
    Set,
    /// 0.5 and 0.5.
    Half,
    /// Those of ImageNet.
    Imagenet,
    /// Those of the training images.
    Own,
    /// Not at all.
    None,
}

/// Random crops of the pictures of class folders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PictureCrop {
    /// What the paper's authors do for the network: part for resnets, window for alexnet.
    #[default]
    Net,
    /// A part of 8 to 100 % of the area, resized.
    Part,
    /// A window of the resized picture.
    Window,
}

/// By what the best checkpoint of a run is chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SelectName {
    /// Accuracy on the validation split, or training accuracy where nothing is held out.
    #[default]
    Validation,
    /// Accuracy on the test set: the way of the paper's authors, which flatters the result.
    Test,
    /// None: the last epoch.
    Last,
}
