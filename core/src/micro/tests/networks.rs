//! The networks that sessions are tested on, with weights, images and labels.

use crate::layers::{AvgPool2d, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d};
use crate::network::{Layer, Network, Source};
use crate::plan::{Plan, Purpose, Role};
use crate::shape::Shape;
use std::string::{String, ToString};
use std::vec;
use std::vec::Vec;

/// Most layers of a network here.
pub const N: usize = 16;

/// A network with everything that it is trained from.
pub struct Case {
    pub name: String,
    pub net: Network<N>,
    /// The plan's batch; more images than that are ghost batches.
    pub batch: usize,
    pub parameters: Vec<f32>,
    pub statistics: Vec<f32>,
    pub images: Vec<f32>,
    pub labels: Vec<u32>,
}

struct Numbers(u32);

impl Numbers {
    /// In [0, 1).
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / 16_777_216.0
    }
}

impl Case {
    fn new(name: &str, net: Network<N>, batch: usize) -> Self {
        let plan = Plan::new(&net, batch, Purpose::Training).expect("plans");
        let mut numbers = Numbers(12_345);
        let mut parameters = Vec::new();
        for tensor in plan.tensors() {
            let scale = match tensor.role {
                Role::Weight => (6.0 / tensor.row_len as f32).sqrt(),
                _ => 0.1,
            };
            let centre = if tensor.role == Role::NormScale { 1.0 } else { 0.0 };
            parameters.extend((0..tensor.len()).map(|_| centre + (2.0 * numbers.next() - 1.0) * scale));
        }
        let images = (0..batch * net.input().len()).map(|_| numbers.next()).collect();
        let labels = (0..batch as u32).map(|i| i % plan.classes() as u32).collect();
        let statistics = vec![1.0; plan.statistics()];
        Self { name: name.to_string(), net, batch, parameters, statistics, images, labels }
    }
}

fn network(input: Shape, layers: &[Layer]) -> Network<N> {
    let mut net = Network::new(input);
    for (i, layer) in layers.iter().enumerate() {
        net.push(format_args!("l{i}"), *layer).expect("fits");
    }
    net
}

const fn linear(outputs: usize) -> Layer {
    Layer::Linear(Linear::new(outputs))
}

const fn conv(outputs: usize, kernel: usize, padding: usize) -> Layer {
    Layer::Conv2d(Conv2d::new(outputs, kernel).padding(padding).with_bias())
}

const POOL: Layer = Layer::MaxPool2d(MaxPool2d::new(2, 2));

/// 64-32-10.
pub fn w1(batch: usize) -> Case {
    let layers = [linear(32), Layer::Relu, linear(10)];
    Case::new("W1", network(Shape::flat(64), &layers), batch)
}

/// 8x8: conv 8, pool, conv 16, pool, dense.
pub fn w3(batch: usize) -> Case {
    let relu = Layer::Relu;
    let layers = [conv(8, 3, 1), relu, POOL, conv(16, 3, 1), relu, POOL, Layer::Flatten, linear(10)];
    Case::new("W3", network(Shape::new(1, 8, 8), &layers), batch)
}

/// The same with batch norms.
pub fn w3b(batch: usize) -> Case {
    let (relu, norm) = (Layer::Relu, Layer::BatchNorm(BatchNorm::default()));
    let (one, two) = (conv(8, 3, 1), conv(16, 3, 1));
    let layers = [one, norm, relu, POOL, two, norm, relu, POOL, Layer::Flatten, linear(10)];
    Case::new("W3b", network(Shape::new(1, 8, 8), &layers), batch)
}

/// LeNet's shape, 28x28.
pub fn w4(batch: usize) -> Case {
    let relu = Layer::Relu;
    let (one, two) = (conv(6, 5, 0), conv(16, 5, 0));
    let layers =
        [one, relu, POOL, two, relu, POOL, Layer::Flatten, linear(84), relu, linear(10)];
    Case::new("W4", network(Shape::new(1, 28, 28), &layers), batch)
}

/// Every kind of layer, each between a convolution and a linear layer, and other ways to connect them.
pub fn zoo() -> Vec<Case> {
    let odd = Conv2d {
        out_channels: 6,
        kernel: [3, 2],
        stride: [2, 3],
        padding: [1, 0],
        groups: 2,
        bias: true,
    };
    let (relu, norm) = (Layer::Relu, Layer::BatchNorm(BatchNorm::default()));
    let overlapping = Layer::MaxPool2d(MaxPool2d::new(3, 2).padding(1));
    let short = Layer::Add(Source::Layer(0));
    let middles: [&[Layer]; 16] = [
        &[],
        &[relu],
        &[Layer::Conv2d(odd)],
        &[Layer::Conv2d(Conv2d::new(4, 3).groups(4).stride(2).padding(2)), relu],
        &[conv(5, 1, 0), relu, conv(4, 5, 2), relu],
        &[norm, relu],
        &[relu, norm],
        &[overlapping, norm, relu],
        &[norm, overlapping, relu],
        &[relu, Layer::AvgPool2d(AvgPool2d::new(3, 2).padding(1))],
        &[relu, Layer::GlobalAvgPool],
        &[relu, Layer::Dropout(Dropout { probability: 0.4 }), overlapping],
        &[conv(4, 3, 1), short, relu],
        &[relu, conv(4, 3, 1), norm, short, norm, relu],
        &[norm, relu, conv(4, 3, 1), norm, Layer::Add(Source::Layer(2)), relu],
        &[Layer::Add(Source::Layer(0)), relu],
    ];
    let mut cases: Vec<Case> = middles
        .iter()
        .enumerate()
        .map(|(i, middle)| {
            let mut layers = vec![conv(4, 3, 1)];
            layers.extend_from_slice(middle);
            layers.extend([Layer::Flatten, linear(3)]);
            Case::new(&std::format!("zoo {i}"), network(Shape::new(2, 11, 9), &layers), 3)
        })
        .collect();
    let flat = Shape::flat(9);
    cases.push(Case::new("norm first", network(flat, &[norm, relu, linear(4), norm]), 6));
    cases.push(Case::new("relu first", network(flat, &[relu, linear(200), relu, linear(4)]), 5));
    let wide = Shape::new(3, 10, 10);
    let layers = [Layer::Flatten, linear(7), relu, linear(3)];
    cases.push(Case::new("long filters", network(wide, &layers), 9));
    cases.extend([w1(1), w1(8), w3(1), w3(8), w3b(8), w4(2)]);
    cases
}
