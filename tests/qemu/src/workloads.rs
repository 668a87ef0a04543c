//! The workloads whose figures are compared: small networks with data that anybody can make again.
//!
//! s <- s * 1664525 + 1013904223 mod 2^32 from 12345, u = (s >> 8) / 2^24. For each layer the weights, row-major, are
//! (2u - 1) sqrt(6 / fan in), then the biases (2u - 1) 0.1; batch norms begin at (1, 0). Then eight images are u, of
//! labels i mod 10.

use smoothout::layers::{BatchNorm, Conv2d, Linear, MaxPool2d};
use smoothout::network::{BuildError, Layer, Name, Network, Node};
use smoothout::shape::Shape;

/// Labels of the images.
pub const LABELS: [u32; 8] = [0, 1, 2, 3, 4, 5, 6, 7];

/// A network of `N` layers with its first weights and its images, all constants.
pub struct Workload<const N: usize> {
    /// Its name.
    pub name: &'static str,
    /// Shape of an image.
    pub input: Shape,
    /// Layers, each fed by the one before it.
    pub layers: [Layer; N],
    /// All parameters in the plan's order.
    pub parameters: &'static [f32],
    /// Running statistics: means 0, variances 1.
    pub statistics: &'static [f32],
    /// Eight images.
    pub images: &'static [f32],
}

impl<const N: usize> Workload<N> {
    /// The network.
    pub fn network(&self) -> Result<Network<N>, BuildError> {
        let mut network = Network::new(self.input);
        self.add_layers(&mut network)?;
        Ok(network)
    }

    /// Adds the layers to an empty network, where it lies.
    #[inline(never)]
    pub fn add_layers(&self, network: &mut Network<N>) -> Result<(), BuildError> {
        for layer in &self.layers {
            // Without names nothing is formatted, which would take some kilobytes of flash.
            network.push_node(Node { name: Name::new(), layer: *layer, input: network.last() })?;
        }
        Ok(())
    }
}

const RELU: Layer = Layer::Relu;
const NORM: Layer = Layer::BatchNorm(BatchNorm { eps: 1e-5, momentum: 0.1 });
const POOL: Layer = Layer::MaxPool2d(MaxPool2d::new(2, 2));
const FLAT: Layer = Layer::Flatten;

const fn linear(outputs: usize) -> Layer {
    Layer::Linear(Linear::new(outputs))
}

const fn conv3(channels: usize) -> Layer {
    Layer::Conv2d(Conv2d::new(channels, 3).padding(1).with_bias())
}

const fn conv5(channels: usize) -> Layer {
    Layer::Conv2d(Conv2d::new(channels, 5).with_bias())
}

/// A perceptron for sensor readings.
pub static W1: Workload<3> = Workload {
    name: "W1",
    input: Shape::flat(64),
    layers: [linear(32), RELU, linear(10)],
    parameters: &W1_DATA.0,
    statistics: &[],
    images: &W1_DATA.1,
};
static W1_DATA: ([f32; 2410], [f32; 512]) = data(&[(32, 64, true), (10, 32, true)]);

/// A perceptron for handwritten digits.
pub static W2: Workload<3> = Workload {
    name: "W2",
    input: Shape::flat(784),
    layers: [linear(64), RELU, linear(10)],
    parameters: &W2_DATA.0,
    statistics: &[],
    images: &W2_DATA.1,
};
#[cfg_attr(feature = "an547", unsafe(link_section = ".model"))]
static W2_DATA: ([f32; 50_890], [f32; 6272]) = data(&[(64, 784, true), (10, 64, true)]);

/// A small convolutional network.
pub static W3: Workload<8> = Workload {
    name: "W3",
    input: Shape::new(1, 8, 8),
    layers: [conv3(8), RELU, POOL, conv3(16), RELU, POOL, FLAT, linear(10)],
    parameters: &W3_DATA.0,
    statistics: &[],
    images: &W3_DATA.1,
};
static W3_DATA: ([f32; 1898], [f32; 512]) = data(&[(8, 9, true), (16, 72, true), (10, 64, true)]);

/// The same with batch norm after each convolution.
pub static W3B: Workload<10> = Workload {
    name: "W3b",
    input: Shape::new(1, 8, 8),
    layers: [conv3(8), NORM, RELU, POOL, conv3(16), NORM, RELU, POOL, FLAT, linear(10)],
    parameters: &W3B_DATA.0,
    statistics: &statistics(),
    images: &W3B_DATA.1,
};
static W3B_DATA: ([f32; 1946], [f32; 512]) =
    data(&[(8, 9, true), (8, 1, false), (16, 72, true), (16, 1, false), (10, 64, true)]);

/// LeCun's network for handwritten digits.
pub static W4: Workload<10> = Workload {
    name: "W4",
    input: Shape::new(1, 28, 28),
    layers: [conv5(6), RELU, POOL, conv5(16), RELU, POOL, FLAT, linear(84), RELU, linear(10)],
    parameters: &W4_DATA.0,
    statistics: &[],
    images: &W4_DATA.1,
};
static W4_DATA: ([f32; 25_010], [f32; 6272]) =
    data(&[(6, 25, true), (16, 150, true), (84, 256, true), (10, 84, true)]);

const fn statistics() -> [f32; 48] {
    let mut values = [0.0; 48];
    let mut i = 0;
    while i < 48 {
        if (8 <= i && i < 16) || 32 <= i {
            values[i] = 1.0;
        }
        i += 1;
    }
    values
}

/// Parameters and images of a network whose layers have (rows, fan in, true), or (channels, 1, false) for batch norms.
const fn data<const P: usize, const I: usize>(layers: &[(usize, usize, bool)]) -> ([f32; P], [f32; I]) {
    let (mut parameters, mut images) = ([0.0; P], [0.0; I]);
    let (mut state, mut at, mut layer) = (12345u32, 0, 0);
    while layer < layers.len() {
        let (rows, fan_in, drawn) = layers[layer];
        let weights = rows * fan_in;
        let scale = root(6.0 / fan_in as f64) as f32;
        let mut i = 0;
        while i < weights + rows {
            if drawn {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            }
            let u = 2.0 * ((state >> 8) as f32 / 16_777_216.0) - 1.0;
            parameters[at] = match (drawn, i < weights) {
                (true, true) => u * scale,
                (true, false) => u * 0.1,
                (false, true) => 1.0,
                (false, false) => 0.0,
            };
            at += 1;
            i += 1;
        }
        layer += 1;
    }
    assert!(at == P);
    let mut i = 0;
    while i < I {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        images[i] = (state >> 8) as f32 / 16_777_216.0;
        i += 1;
    }
    (parameters, images)
}

/// Square root, for constants: Newton's steps from above.
const fn root(x: f64) -> f64 {
    let mut y = if x > 1.0 { x } else { 1.0 };
    let mut i = 0;
    while i < 64 {
        y = 0.5 * (y + x / y);
        i += 1;
    }
    y
}
