//! Every layer alone: loss, logits, every gradient and the running statistics within 2e-6 of float64.

use super::devices;
use super::file::{Case, Golden};
use super::values::{START, distance, filled, norm, wide};
use serde_json::Value;
use smoothout::layers::{AvgPool2d, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d};
use smoothout::noise::Address;
use smoothout::{Layer, Shape, Source};
use smoothout_host::device::{Batch, Part};
use smoothout_host::net::Net;
use smoothout_host::train::network_tensors;

/// Largest relative distance from float64.
const BOUND: f64 = 2e-6;

fn source(index: &Value) -> Source {
    match index.as_i64().expect("an index") {
        -1 => Source::Input,
        index => Source::Layer(index as usize),
    }
}

fn layer(case: &Value) -> Layer {
    match case.text("kind") {
        "conv2d" => Layer::Conv2d(Conv2d {
            out_channels: case.count("out_channels"),
            kernel: case.pair("kernel"),
            stride: case.pair("stride"),
            padding: case.pair("padding"),
            groups: case.count("groups"),
            bias: case.flag("bias"),
        }),
        "linear" => {
            let linear = Linear::new(case.count("out_features"));
            Layer::Linear(if case.flag("bias") { linear } else { linear.without_bias() })
        }
        "batch_norm" => Layer::BatchNorm(BatchNorm { eps: case.number("eps"), momentum: case.number("momentum") }),
        "relu" => Layer::Relu,
        "max_pool2d" => Layer::MaxPool2d(MaxPool2d {
            kernel: case.pair("kernel"),
            stride: case.pair("stride"),
            padding: case.pair("padding"),
        }),
        "avg_pool2d" => Layer::AvgPool2d(AvgPool2d {
            kernel: case.pair("kernel"),
            stride: case.pair("stride"),
            padding: case.pair("padding"),
        }),
        "global_avg_pool" => Layer::GlobalAvgPool,
        "dropout" => Layer::Dropout(Dropout { probability: case.number("probability") }),
        "flatten" => Layer::Flatten,
        "add" => Layer::Add(source(&case["other"])),
        other => panic!("layer {other}"),
    }
}

fn network(case: &Value) -> Net {
    let side = |i: usize| case["input"][i].as_u64().expect("a side") as usize;
    let mut net = Net::new(Shape::new(side(0), side(1), side(2)));
    for (i, described) in case["layers"].as_array().expect("layers").iter().enumerate() {
        let from = described.get("from").map_or(net.last(), source);
        net.push_from(format_args!("l{i}"), layer(described), from).expect("fits");
    }
    net
}

#[test]
fn layers_are_within_2e_6_of_float64() {
    let golden = Golden::load("layers");
    let mut far = Vec::new();
    for case in &golden.cases {
        let (name, net, images) = (case.text("name"), network(case), case.count("batch"));
        for device_name in devices() {
            let (mut device, mut stream) = filled(device_name, &net, images, 0, START);
            let (images, labels) = stream.batch(device.plan(), images);
            let training =
                (case.text("mode") == "train").then_some(Address { seed: 1, step: 0, draw: 0 });
            let batch = Batch { images: &images, labels: &labels };
            let result = device.gradient(batch, training).expect("possible");
            let mut check = |what: &str, values: &[f32], scale: f64| {
                let want = golden.get(name, what);
                let error = distance(&wide(values), &want) / norm(&want).max(scale);
                if error.is_nan() || error > BOUND {
                    far.push(format!("{name} on {device_name:?}: {what} is {error:.1e} off"));
                }
            };
            check("loss", &[result.loss], 0.0);
            check("logits", &result.logits, 0.0);
            let whole: f64 = network_tensors(device.plan(), Part::Weights)
                .iter()
                .map(|(tensor, ..)| norm(&golden.get(name, tensor)).powi(2))
                .sum();
            for (tensor, _, range) in network_tensors(device.plan(), Part::Weights) {
                // The true gradient of a bias before batch norm is zero: held against the whole gradient.
                let zero = norm(&golden.get(name, &tensor)) < 1e-9 * whole.sqrt();
                check(&tensor, &result.gradient[range], if zero { whole.sqrt() } else { 0.0 });
            }
            let statistics = device.read(Part::Statistics).expect("reads");
            for (tensor, _, range) in network_tensors(device.plan(), Part::Statistics) {
                check(&tensor, &statistics[range], 0.0);
            }
        }
        let known = golden.names(name).len();
        let checked = 2 + [Part::Weights, Part::Statistics]
            .map(|part| network_tensors(filled(devices()[0], &net, images, 0, START).0.plan(), part).len())
            .iter()
            .sum::<usize>();
        assert_eq!(known, checked, "{name}: PyTorch has other tensors");
    }
    assert!(far.is_empty(), "{}", far.join("\n"));
}
