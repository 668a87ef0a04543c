//! Whole steps of the program's networks, held to core's portable kernels.

mod common;

use common::{UPDATE, batch, gpu, session, start};
use smoothout::ghost::GhostBatches;
use smoothout::network::Network;
use smoothout::networks;
use smoothout::noise::{Distribution, Scaling};
use smoothout::plan::{Plan, Purpose, Tensor};
use smoothout::portable::{self, NetworkObjective, NetworkPass};
use smoothout::shape::Shape;
use smoothout::step::{Draws, Method, Renewal, SmoothOut, Stepper};
use smoothout_gpu::{Feed, Part, Precision, Step};

const STRENGTH: f32 = 0.05;
const CLIP: Option<f32> = Some(5.0);

fn stepper(method: Method) -> Stepper {
    Stepper::new(method, 9).expect("valid")
}

/// Loss, weights and running statistics after a step of core's.
fn expected<const N: usize>(
    plan: &Plan<N>,
    method: Method,
    images: &[f32],
    labels: &[u32],
    ghosts: GhostBatches,
) -> (f32, Vec<f32>, Vec<f32>) {
    let (mut weights, mut statistics) = start(plan);
    let tensors: Vec<Tensor> = plan.tensors().copied().collect();
    let zeros = || vec![0.0; weights.len()];
    let (mut shadow, mut gradient, mut first) = (zeros(), zeros(), zeros());
    let memory = portable::Memory {
        weights: &mut weights,
        shadow: &mut shadow,
        scales: &mut [],
        gradient: &mut gradient,
        first: &mut first,
        second: &mut [],
        average: &mut [],
    };
    let mut parameters =
        portable::Parameters::new(&tensors, memory, portable::Strategy::Shadow).expect("lengths fit");
    let mut workspace = vec![0.0; plan.workspace()];
    let pass = NetworkPass::new(plan, &mut workspace).expect("long enough");
    let mut backup = statistics.clone();
    let mut objective =
        NetworkObjective::new(pass, &mut statistics, &mut backup, (images, labels), ghosts).expect("lengths fit");
    let mut stepper = stepper(method);
    let loss = stepper.accumulate(&mut parameters, &mut objective, 3, STRENGTH).expect("finite");
    stepper.update(&mut parameters, &UPDATE, CLIP).expect("finite");
    (loss, weights, statistics)
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2)).sum::<f64>().sqrt()
}

/// One step of `images` images in so many ghost batches. The change of the weights may differ by `bound` of its norm: it
/// does where a value lies so near 0 that its ReLU turns, and where a batch norm sees few values that are nearly alike.
fn compare<const N: usize>(name: &str, network: &Network<N>, images: usize, count: usize, bound: f64) {
    compare_method(name, network, Method::SmoothOut(SmoothOut::adaptive()), images, count, bound);
}

fn compare_method<const N: usize>(
    name: &str,
    network: &Network<N>,
    method: Method,
    images: usize,
    count: usize,
    bound: f64,
) {
    let plan = Box::new(Plan::new(network, images.div_ceil(count), Purpose::Training).expect("a plan"));
    let (pixels, labels) = batch(&plan, images, 5);
    let ghosts = GhostBatches::new(images, count);
    let (loss, weights, statistics) = expected(&plan, method, &pixels, &labels, ghosts);
    let (clean, running) = start(&plan);
    let gpu = gpu();
    let mut session = session(&gpu, &plan, Precision::F32);
    let mut stepper = stepper(method);
    session.prepare(&plan, images).expect("memory");
    let batches = [Feed::Host { images: &pixels, labels: &labels }];
    let step = Step { batches: &batches, ghosts: count, first: 3, strength: STRENGTH, update: UPDATE, clip: CLIP };
    session.step(&mut stepper, &step).expect("launches");
    let outcomes = session.settle().expect("finite");
    let [outcome] = outcomes[..] else { panic!("{outcomes:?}") };
    let ours = session.read(Part::Weights).expect("reads");
    let moved = distance(&weights, &clean);
    let error = distance(&ours, &weights) / moved;
    println!("{name}: loss {} and {loss}, change off by {error:.1e} of {moved:.1e}", outcome.loss);
    assert!((outcome.loss - f64::from(loss)).abs() < 0.1 * bound * f64::from(loss.abs().max(1.0)), "{name}");
    assert!(moved > 1e-3 && error < bound, "{name}: {error:e}");
    let of_statistics = distance(&session.read(Part::Statistics).expect("reads"), &statistics);
    assert!(of_statistics <= 0.1 * bound * distance(&statistics, &running), "{name}: {of_statistics:e}");
}

/// Draws of one ghost batch go through the network together, also where the last ghost batch is a shorter one and where a pass
/// begins in the middle of those of one.
#[test]
fn several_draws() {
    let network: Network<16> = networks::digits().expect("fits");
    for (count, antithetic, renewal, images, ghosts) in [
        (2, true, Renewal::GhostBatch, 30, 4),
        (4, true, Renewal::GhostBatch, 24, 3),
        (3, false, Renewal::GhostBatch, 15, 2),
        (2, true, Renewal::Step, 15, 2),
        (2, false, Renewal::Never, 16, 2),
    ] {
        let method = SmoothOut { draws: Draws { count, antithetic, renewal }, ..SmoothOut::adaptive() };
        compare_method(&format!("{count} draws, {renewal:?}"), &network, Method::SmoothOut(method), images, ghosts, 1e-4);
    }
}

/// Noise that stays: it is part of what the update starts from.
#[test]
fn noise_that_stays() {
    let network: Network<16> = networks::digits().expect("fits");
    let method = SmoothOut { denoise: false, ..SmoothOut::adaptive() };
    compare_method("noise that stays", &network, Method::SmoothOut(method), 16, 2, 1e-4);
}

/// Ghost batches under every other method.
#[test]
fn other_methods() {
    let network: Network<16> = networks::digits().expect("fits");
    let gaussian = SmoothOut { distribution: Distribution::Gaussian, ..SmoothOut::adaptive() };
    let dropout = SmoothOut { distribution: Distribution::Dropout, scaling: Scaling::PerWeight, ..SmoothOut::constant() };
    let fixed = SmoothOut { draws: Draws { renewal: Renewal::Never, ..Draws::default() }, ..SmoothOut::constant() };
    for method in [gaussian, dropout, fixed, SmoothOut::constant()].map(Method::SmoothOut) {
        compare_method(&format!("{method:?}"), &network, method, 23, 3, 1e-4);
    }
    for method in [Method::Sgd, Method::Sam { radius: 0.05 }] {
        compare_method(&format!("{method:?}"), &network, method, 23, 3, 1e-4);
    }
}

#[test]
fn f1() {
    compare("f1", &networks::f1::<32>().expect("fits"), 8, 2, 1e-4);
}

#[test]
fn c1() {
    compare("c1", &networks::c1::<32>().expect("fits"), 8, 2, 1e-3);
}

#[test]
fn resnet20() {
    compare("resnet20", &networks::cifar_resnet::<128>(20, 10).expect("fits"), 4, 2, 1e-4);
}

/// ResNet-18 for images of 32x32 pixels in the place of 224x224.
#[test]
fn resnet18() {
    let large: Network<96> = networks::resnet18().expect("fits");
    let mut network: Network<96> = Network::new(Shape::new(3, 32, 32));
    for node in large.nodes() {
        network.push_node(node.clone()).expect("fits");
    }
    compare("resnet18", &network, 4, 1, 1e-3);
}
