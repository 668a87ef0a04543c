#![allow(clippy::unwrap_used)]

use super::super::testing::{distance, values, with_threads};
use super::*;
use crate::net::{Net, initial_statistics};
use smoothout::layers::{AvgPool2d, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d};
use smoothout::network::{Layer, Source};
use smoothout::noise::Address;
use smoothout::plan::{Plan, Purpose};
use smoothout::portable::{LengthError, NetworkPass};

const ADDRESS: Address = Address { seed: 3, step: 5, draw: 1 };

fn plan(net: &Net, batch: usize) -> NetPlan {
    Plan::new(net, batch, Purpose::Training).unwrap()
}

fn network(layers: &[(Layer, Option<Source>)]) -> Net {
    let mut net = Net::new(Shape::new(2, 6, 5));
    for (i, (layer, source)) in layers.iter().enumerate() {
        net.push_from(format_args!("l{i}"), *layer, source.unwrap_or(net.last())).unwrap();
    }
    net.push(format_args!("pool"), Layer::GlobalAvgPool).unwrap();
    net.push(format_args!("fc"), Layer::Linear(Linear::new(4))).unwrap();
    net
}

/// Every way in which layers are fused, share an input or work in place.
fn networks() -> Vec<Net> {
    let conv = Layer::Conv2d(Conv2d::new(3, 3).padding(1).with_bias());
    let norm = Layer::BatchNorm(BatchNorm::default());
    let (relu, dropout) = (Layer::Relu, Layer::Dropout(Dropout { probability: 0.3 }));
    let at = |l: usize| Some(Source::Layer(l));
    let next = |layer: Layer| (layer, None);
    let add = |l: usize| (Layer::Add(Source::Layer(l)), None);
    let max = Layer::MaxPool2d(MaxPool2d::new(3, 2).padding(1));
    let avg = Layer::AvgPool2d(AvgPool2d::new(2, 1));
    let lists = [
        vec![next(conv), next(relu), next(conv), next(dropout), next(max)],
        vec![next(conv), next(max), next(norm), next(relu), next(avg), next(norm)],
        // Residual blocks: identity shortcut with and without ReLU, a projection, sums read by two.
        vec![next(conv), next(norm), next(relu), next(conv), next(norm), add(2), next(relu), next(conv)],
        vec![next(conv), next(conv), next(norm), (conv, at(0)), next(norm), add(2), next(relu)],
        vec![next(conv), next(norm), add(0), next(conv), next(norm), add(2), (Layer::Add(Source::Layer(5)), at(2))],
        // A batch norm read twice, its input read twice, a sum of a value with itself, in several forms.
        vec![next(conv), next(norm), next(relu), (Layer::Add(Source::Layer(1)), at(2))],
        vec![next(conv), next(norm), add(0), next(relu), add(3)],
        vec![next(conv), add(0), next(relu), next(dropout), add(3)],
        vec![next(norm), next(relu), next(conv), (relu, at(2)), (Layer::Add(Source::Layer(2)), at(3))],
        vec![next(norm), next(conv), next(norm), (conv, at(0)), (Layer::Add(Source::Layer(2)), at(3)), next(relu)],
    ];
    let mut all: Vec<Net> = lists.iter().map(|list| network(list)).collect();
    let mut sum_of_images = Net::new(Shape::flat(7));
    sum_of_images.push(format_args!("a"), norm).unwrap();
    sum_of_images.push(format_args!("b"), Layer::Add(Source::Input)).unwrap();
    sum_of_images.push(format_args!("c"), relu).unwrap();
    sum_of_images.push(format_args!("d"), Layer::Linear(Linear::new(3))).unwrap();
    all.push(sum_of_images);
    all
}

struct Case {
    net: Net,
    parameters: Vec<f32>,
    images: Vec<f32>,
    labels: Vec<u32>,
}

fn case(net: Net, batch: usize) -> Case {
    let plan = plan(&net, batch);
    Case {
        parameters: values(plan.parameters(), 1, 0.1),
        images: values(batch * plan.input().len(), 2, 0.0),
        labels: (0..batch).map(|i| (i * 7 % plan.classes()) as u32).collect(),
        net,
    }
}

/// Logits, gradient and running statistics by core's portable kernels in f64.
fn wanted(case: &Case, mode: Mode) -> [Vec<f64>; 3] {
    let plan = plan(&case.net, case.labels.len());
    let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect::<Vec<f64>>();
    let (mut parameters, images) = (wide(&case.parameters), wide(&case.images));
    let mut statistics = wide(&initial_statistics(&plan));
    let mut workspace = vec![0.0; plan.workspace()];
    let mut pass = NetworkPass::new(&plan, &mut workspace).unwrap();
    pass.forward(&parameters, &statistics, &images, mode).unwrap();
    let logits = pass.logits().to_vec();
    pass.loss(&case.labels).unwrap();
    let mut gradient = vec![0.0; plan.parameters()];
    pass.backward(
        &mut parameters,
        |p| p,
        &statistics,
        &images,
        |_, tensor, row, values| {
            let start = tensor.offset + row * tensor.row_len;
            gradient[start..start + values.len()].copy_from_slice(values);
            Ok::<(), LengthError>(())
        },
    )
    .unwrap();
    pass.update_statistics(&mut statistics).unwrap();
    [logits, gradient, statistics]
}

fn got(case: &Case, mode: Mode, network: &mut Network) -> [Vec<f32>; 3] {
    let mut statistics = initial_statistics(&plan(&case.net, case.labels.len()));
    network.forward(&case.parameters, &statistics, &case.images, mode);
    let logits = network.logits();
    network.loss(&case.labels, true).unwrap();
    let mut gradient = vec![f32::NAN; case.parameters.len()];
    network.backward(&case.parameters, &mut gradient, Deliver::OVERWRITE);
    network.update_statistics(&mut statistics);
    [logits, gradient, statistics]
}

#[test]
fn passes_are_those_of_the_portable_kernels() {
    for (index, net) in networks().into_iter().enumerate() {
        for batch in [5, 16, 37] {
            let case = case(net.clone(), batch);
            for mode in [Mode::Train(ADDRESS), Mode::Evaluate] {
                let want = wanted(&case, mode);
                let run = |threads| {
                    with_threads(threads, || {
                        let mut network = Network::new(&plan(&case.net, batch));
                        let first = got(&case, mode, &mut network);
                        // What a pass leaves behind does not matter to the next one.
                        assert!(first == got(&case, mode, &mut network), "network {index}");
                        first
                    })
                };
                let got = run(1);
                let parts = if mode == Mode::Evaluate { 2 } else { 3 };
                for (part, (got, want)) in got.iter().zip(&want).enumerate().take(parts) {
                    let error = distance(got, want);
                    assert!(error < 3e-6, "network {index}, batch {batch}, {mode:?}, part {part}: {error:e}");
                }
                assert!(got == run(2) && got == run(3));
            }
        }
    }
}

#[test]
fn a_shorter_batch_fits_a_longer_plan() {
    for net in networks() {
        let long = case(net, 33);
        let short = Case {
            images: long.images[..10 * plan(&long.net, 33).input().len()].to_vec(),
            labels: long.labels[..10].to_vec(),
            parameters: long.parameters.clone(),
            net: long.net.clone(),
        };
        let mut network = Network::new(&plan(&long.net, 33));
        got(&long, Mode::Train(ADDRESS), &mut network);
        let want = got(&short, Mode::Train(ADDRESS), &mut Network::new(&plan(&short.net, 10)));
        assert!(got(&short, Mode::Train(ADDRESS), &mut network) == want);
    }
}

#[test]
fn gradients_are_delivered_as_asked() {
    let case = case(networks().swap_remove(2), 20);
    let mut network = Network::new(&plan(&case.net, 20));
    let [_, once, _] = got(&case, Mode::Train(ADDRESS), &mut network);
    let mut sum = vec![1.0; once.len()];
    network.forward(&case.parameters, &initial_statistics(&plan(&case.net, 20)), &case.images, Mode::Train(ADDRESS));
    network.loss(&case.labels, true).unwrap();
    network.backward(&case.parameters, &mut sum, Deliver { scale: 0.5, accumulate: true });
    let want: Vec<f64> = once.iter().map(|g| 1.0 + 0.5 * f64::from(*g)).collect();
    assert!(distance(&sum, &want) < 1e-6);
}

#[test]
fn values_share_memory() {
    let net = crate::net::NetName::Resnet.build(20, 10).unwrap();
    let plan = plan(&net, 16);
    let bytes = Network::new(&plan).bytes();
    let all: usize = plan.layers().iter().map(|l| 2 * 4 * 16 * l.output_shape.len()).sum();
    // Convolutions' and sums' outputs are kept to the backward pass; half of all layers and most gradients are not.
    assert!(bytes * 2 < all, "{bytes} of {all}");
}
