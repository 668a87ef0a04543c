//! The networks that the program knows by name, and how their weights begin.

use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use smoothout::network::{BuildError, Layer, Network};
use smoothout::networks;
use smoothout::noise::{Address, Distribution, Noise, Scaling};
use smoothout::plan::{Plan, Role, Tensor};

/// Most layers of a network that the program runs: resnets up to depth 140.
pub const LAYERS: usize = 512;

/// A network of the program.
pub type Net = Network<LAYERS>;

/// A plan of the program.
pub type NetPlan = Plan<LAYERS>;

/// Networks by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetName {
    /// Small convolutional network for 8x8 images.
    Digits,
    /// 784-512x5-10, the paper's F1.
    F1,
    /// The paper's C1 for CIFAR-10.
    C1,
    /// The paper's C3: C1 with 100 classes.
    C3,
    /// CIFAR's residual network, 44 layers unless --depth says otherwise.
    Resnet,
    /// AlexNet with batch norm for ImageNet.
    Alexnet,
    /// ResNet-18 for ImageNet.
    Resnet18,
    /// ResNet-34 for ImageNet.
    Resnet34,
}

impl NetName {
    /// Builds the network; `depth` and `classes` matter to `resnet` alone.
    ///
    /// # Errors
    /// A depth that is not 6n+2, or more layers than [`LAYERS`].
    pub fn build(self, depth: usize, classes: usize) -> Result<Net, BuildError> {
        match self {
            NetName::Digits => networks::digits(),
            NetName::F1 => networks::f1(),
            NetName::C1 => networks::c1(),
            NetName::C3 => networks::c3(),
            NetName::Resnet => networks::cifar_resnet(depth, classes),
            NetName::Alexnet => networks::alexnet(),
            NetName::Resnet18 => networks::resnet18(),
            NetName::Resnet34 => networks::resnet34(),
        }
    }

    /// Whether convolutions start as the authors' resnets do: N(0, 2 / (k k out)), and batch norms at 1.
    const fn is_resnet(self) -> bool {
        matches!(self, NetName::Resnet | NetName::Resnet18 | NetName::Resnet34)
    }
}

/// How the scales of batch norms start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NormInit {
    /// At 1.
    #[default]
    Ones,
    /// U(0, 1), as PyTorch before 1.2 did and the authors' f1, c1, c3 and alexnet therefore do.
    Uniform,
}

/// The step in whose address the initial weights stand; no training gets that far.
const INITIAL_STEP: u64 = u64::MAX - 1;

/// Initial parameters: PyTorch's U(-1/sqrt(fan in), 1/sqrt(fan in)) for weights and biases, batch norms at (1, 0),
/// with the exceptions that [`NetName`] and [`NormInit`] name. The bits depend on the seed alone.
///
/// # Panics
/// Never: the strengths of the noise used are finite.
pub fn initial_parameters(name: NetName, plan: &NetPlan, norm: NormInit, seed: u64) -> Vec<f32> {
    let mut parameters = vec![0.0; plan.parameters()];
    for layer in plan.layers() {
        let fan_in = layer.weight.map_or(1, |w| w.row_len);
        for tensor in layer.tensors() {
            let values = &mut parameters[tensor.range()];
            let uniform = 1.0 / (fan_in as f32).sqrt();
            match tensor.role {
                Role::Weight if name.is_resnet() && matches!(layer.layer, Layer::Conv2d(_)) => {
                    let pixels: usize = tensor.dims.as_slice().iter().skip(2).product();
                    let deviation = (2.0 / (pixels * tensor.rows) as f32).sqrt();
                    draw(tensor, Distribution::Gaussian, deviation, seed, values);
                }
                Role::Weight | Role::Bias => {
                    draw(tensor, Distribution::Uniform, uniform, seed, values);
                }
                Role::NormScale if norm == NormInit::Uniform && !name.is_resnet() => {
                    draw(tensor, Distribution::Uniform, 0.5, seed, values);
                    values.iter_mut().for_each(|v| *v += 0.5);
                }
                Role::NormScale => values.fill(1.0),
                Role::NormShift => values.fill(0.0),
            }
        }
    }
    parameters
}

/// Running statistics before any batch: means 0, variances 1.
pub fn initial_statistics(plan: &NetPlan) -> Vec<f32> {
    let mut statistics = vec![0.0; plan.statistics()];
    for layer in plan.layers() {
        if let Some(at) = layer.statistics {
            let channels = layer.output_shape.channels;
            statistics[at + channels..at + 2 * channels].fill(1.0);
        }
    }
    statistics
}

#[expect(clippy::expect_used, reason = "documented: the strengths are finite by construction")]
fn draw(tensor: &Tensor, distribution: Distribution, strength: f32, seed: u64, out: &mut [f32]) {
    let noise = Noise::new(distribution, Scaling::Constant, strength).expect("finite strength");
    let clean = vec![0.0; out.len()];
    let address = Address { seed, step: INITIAL_STEP, draw: 0 };
    noise.fill(address.tensor(tensor.index), tensor.rows, tensor.row_len, &clean, out);
}
