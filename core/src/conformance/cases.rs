//! What is tested: networks of a few hundred parameters, so that a reference in f64 fits beside them on a
//! microcontroller.

use crate::backend::Selection;
use crate::layers::{AvgPool2d, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d};
use crate::network::{BuildError, Layer, Network, Source};
use crate::noise::{Distribution, Scaling};
use crate::optimizer::Optimizer;
use crate::shape::Shape;
use crate::step::{Draws, Method, Renewal, SmoothOut};

/// Most layers of a case.
pub const LAYERS: usize = 10;

/// Images of every batch.
pub const BATCH: usize = 3;

/// How a case is trained.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Recipe {
    /// Noise or none.
    pub method: Method,
    /// Seed of noise and dropout masks.
    pub seed: u64,
    /// Strength of the noise (a).
    pub strength: f32,
    /// The optimizer.
    pub optimizer: Optimizer,
    /// Learning rate.
    pub rate: f32,
    /// Weight decay.
    pub weight_decay: f32,
    /// Largest norm of the gradient.
    pub clip: Option<f32>,
}

/// One network and its training.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// Its name, for reports.
    pub name: &'static str,
    /// Shape of an image.
    pub input: Shape,
    /// Layers, each fed by the one before it.
    pub layers: &'static [Layer],
    /// How it is trained.
    pub recipe: Recipe,
    /// Number of steps.
    pub steps: u64,
}

impl Case {
    /// The network.
    ///
    /// # Errors
    /// None, as every case has at most [`LAYERS`] layers.
    pub fn network(&self) -> Result<Network<LAYERS>, BuildError> {
        let mut network = Network::new(self.input);
        for (i, layer) in self.layers.iter().enumerate() {
            network.push(format_args!("{i}"), *layer)?;
        }
        Ok(network)
    }
}

/// Shows gradients: see the suite's page.
const GRADIENT: Recipe = Recipe {
    method: Method::Sgd,
    seed: 11,
    strength: 0.0,
    optimizer: Optimizer::sgd(0.0),
    rate: 1024.0,
    weight_decay: 0.0,
    clip: None,
};

/// A step as it is used, of plain SGD.
const STEP: Recipe = Recipe { rate: 0.05, ..GRADIENT };

const IMAGE: Shape = Shape::new(2, 5, 4);

const fn layer(name: &'static str, layers: &'static [Layer]) -> Case {
    Case { name, input: IMAGE, layers, recipe: GRADIENT, steps: 1 }
}

const CONV: Layer = Layer::Conv2d(Conv2d::new(3, 3).padding(1).with_bias());
const NORM: Layer = Layer::BatchNorm(BatchNorm { eps: 1e-5, momentum: 0.1 });
const POOL: Layer = Layer::MaxPool2d(MaxPool2d::new(2, 2));
const FLAT: Layer = Layer::Flatten;
const RELU: Layer = Layer::Relu;

const fn linear(outputs: usize) -> Layer {
    Layer::Linear(Linear::new(outputs))
}

/// Convolution, batch norm, ReLU, pooling, linear: what the whole steps train.
const NET: &[Layer] = &[Layer::Conv2d(Conv2d::new(4, 3).padding(1)), NORM, RELU, POOL, FLAT, linear(4)];

const fn step(name: &'static str, recipe: Recipe) -> Case {
    Case { name, input: IMAGE, layers: NET, recipe, steps: 3 }
}

const ONE_DRAW: Draws = Draws { count: 1, antithetic: false, renewal: Renewal::GhostBatch };

/// Weights and biases, as the default.
const WEIGHTS: Selection = Selection { weights: true, biases: true, norms: false };

const fn smooth(distribution: Distribution, scaling: Scaling) -> SmoothOut {
    SmoothOut { distribution, scaling, selection: WEIGHTS, draws: ONE_DRAW, denoise: true }
}

const UNIFORM: SmoothOut = smooth(Distribution::Uniform, Scaling::Constant);
const ADAPTIVE: SmoothOut = smooth(Distribution::Uniform, Scaling::PerFilter);

const fn noisy(method: SmoothOut) -> Recipe {
    Recipe { method: Method::SmoothOut(method), strength: 0.1, ..STEP }
}

const fn drawn(count: u32, antithetic: bool, renewal: Renewal) -> Recipe {
    noisy(SmoothOut { draws: Draws { count, antithetic, renewal }, ..UNIFORM })
}

const fn optimized(optimizer: Optimizer) -> Recipe {
    Recipe { optimizer, weight_decay: 0.01, ..noisy(ADAPTIVE) }
}

/// Adam with an eps that bounds how far it magnifies the rounding errors of small gradients.
const fn adam(decoupled: bool) -> Optimizer {
    Optimizer::Adam { betas: [0.9, 0.999], eps: 0.01, decoupled }
}

/// All cases, from the simplest on.
pub const CASES: &[Case] = &[
    layer("linear", &[FLAT, linear(3)]),
    layer("linear without bias", &[FLAT, Layer::Linear(Linear::new(3).without_bias())]),
    layer("linear into linear", &[FLAT, linear(2), linear(5)]),
    layer("convolution", &[CONV, FLAT]),
    layer("convolution into convolution", &[CONV, Layer::Conv2d(Conv2d::new(2, 2)), FLAT]),
    layer("strided convolution", &[CONV, Layer::Conv2d(Conv2d::new(2, 3).stride(2).padding(2)), FLAT]),
    layer("1x1 convolution", &[CONV, Layer::Conv2d(Conv2d::new(4, 1)), FLAT]),
    layer("grouped convolution", &[CONV, Layer::Conv2d(Conv2d::new(3, 3).groups(3).padding(1)), FLAT]),
    layer("oblong convolution", &[
        CONV,
        Layer::Conv2d(Conv2d {
            out_channels: 2,
            kernel: [3, 2],
            stride: [2, 3],
            padding: [1, 0],
            groups: 1,
            bias: true,
        }),
        FLAT,
    ]),
    layer("batch norm", &[CONV, NORM, FLAT]),
    layer("batch norm of images", &[NORM, FLAT]),
    layer("ReLU", &[CONV, RELU, FLAT]),
    layer("max pooling", &[CONV, POOL, FLAT]),
    layer("overlapping max pooling", &[CONV, Layer::MaxPool2d(MaxPool2d::new(3, 2).padding(1)), FLAT]),
    layer("average pooling", &[CONV, Layer::AvgPool2d(AvgPool2d::new(3, 2).padding(1)), FLAT]),
    layer("global average pooling", &[CONV, Layer::GlobalAvgPool]),
    layer("dropout", &[CONV, Layer::Dropout(Dropout { probability: 0.4 }), FLAT]),
    layer("sum", &[CONV, RELU, Layer::Conv2d(Conv2d::new(3, 1)), Layer::Add(Source::Layer(0)), FLAT]),
    Case {
        name: "perceptron",
        input: Shape::flat(12),
        layers: &[linear(8), RELU, linear(6), RELU, linear(4)],
        recipe: GRADIENT,
        steps: 1,
    },
    layer("convolutional network", &[
        CONV, RELU, POOL, Layer::Conv2d(Conv2d::new(4, 3).padding(1).with_bias()), RELU, POOL, FLAT, linear(4),
    ]),
    layer("convolutional network with batch norm", NET),
    layer("residual network", &[
        CONV,
        NORM,
        RELU,
        Layer::Conv2d(Conv2d::new(3, 3).padding(1)),
        NORM,
        Layer::Add(Source::Layer(2)),
        RELU,
        Layer::GlobalAvgPool,
        linear(4),
    ]),
    step("SGD", STEP),
    step("momentum", optimized(Optimizer::sgd(0.9))),
    step("Nesterov", optimized(Optimizer::Sgd { momentum: 0.9, nesterov: true })),
    step("Adam", optimized(adam(false))),
    step("AdamW", optimized(adam(true))),
    step("clipping", Recipe { clip: Some(0.1), ..noisy(UNIFORM) }),
    step("SmoothOut, uniform", noisy(UNIFORM)),
    step("SmoothOut, uniform, per weight", noisy(smooth(Distribution::Uniform, Scaling::PerWeight))),
    step("AdaSmoothOut, uniform", noisy(ADAPTIVE)),
    step("SmoothOut, Gaussian", noisy(smooth(Distribution::Gaussian, Scaling::Constant))),
    step("SmoothOut, Gaussian, per weight", noisy(smooth(Distribution::Gaussian, Scaling::PerWeight))),
    step("AdaSmoothOut, Gaussian", noisy(smooth(Distribution::Gaussian, Scaling::PerFilter))),
    step("SmoothOut, dropout", noisy(smooth(Distribution::Dropout, Scaling::Constant))),
    step("AdaSmoothOut, dropout", noisy(smooth(Distribution::Dropout, Scaling::PerFilter))),
    step(
        "noise on batch norms too",
        noisy(SmoothOut { selection: Selection { norms: true, ..WEIGHTS }, ..ADAPTIVE }),
    ),
    step("three draws", drawn(3, false, Renewal::Step)),
    step("an antithetic pair", drawn(2, true, Renewal::GhostBatch)),
    step("noise that is never renewed", drawn(2, false, Renewal::Never)),
    step("noise that stays", noisy(SmoothOut { denoise: false, ..UNIFORM })),
    step("SAM", Recipe { method: Method::Sam { radius: 0.05 }, ..STEP }),
];
