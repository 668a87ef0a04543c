//! One training step of a network on the device: what `gpu/estimate` counts.
//!
//!     step NET IMAGES GHOSTS PRECISION          one AdaSmoothOut step with momentum, from host images
//!     step NET IMAGES GHOSTS PRECISION METHOD   one step of smoothout, ada, ada-adam, ada-stays (noise that stays), sgd or sam, its
//!                                               gradient clipped
//!     step NET IMAGES GHOSTS                    nothing is run: bytes that a step of the first kind must move, its
//!                                               multiply-accumulates, and the parameters
//!
//! What must move: every operand of an operation read once and every result written once, where an operation is a layer,
//! or a batch norm with the sum and the ReLU after it, in the forward pass and once more for each gradient.

use smoothout::network::{Layer, Network, Source};
use smoothout::networks::{self, F1_LAYERS, RESNET18_LAYERS, SHALLOW_LAYERS, resnet_layers};
use smoothout::optimizer::{Optimizer, Update};
use smoothout::plan::{Plan, PlannedLayer, Purpose};
use smoothout::step::{Method, SmoothOut, Stepper};
use smoothout_gpu::{Feed, Gpu, Keeps, Precision, Selector, Session, Step};
use std::error::Error;
use std::sync::Arc;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (net, images, ghosts, precision) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [net, images, ghosts] => (net, images.parse()?, ghosts.parse()?, None),
        [net, images, ghosts, precision] => (net, images.parse()?, ghosts.parse()?, Some((chosen(precision)?, None))),
        [net, images, ghosts, precision, method] => {
            (net, images.parse()?, ghosts.parse()?, Some((chosen(precision)?, Some(method_of(method)?))))
        }
        _ => return Err("step NET IMAGES GHOSTS [PRECISION [METHOD]]".into()),
    };
    let sizes = [images, ghosts];
    match net {
        "f1" => take(&*Box::new(networks::f1::<F1_LAYERS>()?), sizes, precision),
        "c1" => take(&*Box::new(networks::c1::<SHALLOW_LAYERS>()?), sizes, precision),
        "resnet44" => take(&*Box::new(networks::cifar_resnet::<{ resnet_layers(44) }>(44, 10)?), sizes, precision),
        "resnet18" => take(&*Box::new(networks::resnet18::<RESNET18_LAYERS>()?), sizes, precision),
        _ => Err(format!("{net}: not one of f1, c1, resnet44, resnet18").into()),
    }
}

fn chosen(name: &str) -> Result<Precision> {
    match name {
        "f32" => Ok(Precision::F32),
        "tf32" => Ok(Precision::Tf32),
        "bf16" => Ok(Precision::Bf16),
        _ => Err(format!("{name}: not one of f32, tf32, bf16").into()),
    }
}

fn method_of(name: &str) -> Result<(Method, Optimizer)> {
    let momentum = Optimizer::sgd(0.9);
    let ada = SmoothOut::adaptive();
    Ok(match name {
        "smoothout" => (Method::SmoothOut(SmoothOut::constant()), momentum),
        "ada" => (Method::SmoothOut(ada), momentum),
        "ada-adam" => (Method::SmoothOut(ada), Optimizer::Adam { betas: [0.9, 0.999], eps: 1e-8, decoupled: false }),
        "ada-stays" => (Method::SmoothOut(SmoothOut { denoise: false, ..ada }), momentum),
        "sgd" => (Method::Sgd, momentum),
        "sam" => (Method::Sam { radius: 0.05 }, momentum),
        _ => return Err(format!("{name}: not one of smoothout, ada, ada-adam, ada-stays, sgd, sam").into()),
    })
}

/// A step of this precision, and of a method that is not the first kind's.
type Chosen = (Precision, Option<(Method, Optimizer)>);

fn take<const N: usize>(network: &Network<N>, [images, ghosts]: [usize; 2], chosen: Option<Chosen>) -> Result<()> {
    let plan = Box::new(Plan::new(network, images.div_ceil(ghosts), Purpose::Training)?);
    let Some((precision, method)) = chosen else {
        let (per_image, per_draw, once) = must(&plan);
        let bytes = 4 * (images * per_image + ghosts * per_draw + once);
        println!("{bytes} {} {}", plan.macs() * images as u64, plan.parameters());
        return Ok(());
    };
    let clip = method.map(|_| 1.0);
    let (method, optimizer) = method.unwrap_or((Method::SmoothOut(SmoothOut::adaptive()), Optimizer::sgd(0.9)));
    let weights: Vec<f32> = values(1, plan.parameters()).map(|value| 0.1 * value).collect();
    let statistics = vec![1.0; plan.statistics()];
    let gpu = Arc::new(Gpu::open(&Selector::default())?);
    let keeps = Keeps { moments: optimizer.moments(), average: false };
    let mut session = Session::new(&gpu, &plan, &weights, &statistics, keeps, precision)?;
    session.prepare(&plan, images)?;
    let pixels: Vec<f32> = values(2, images * plan.input().len()).collect();
    let labels: Vec<u32> = (0..images).map(|i| (i % plan.classes()) as u32).collect();
    let mut stepper = Stepper::new(method, 1)?;
    let update =
        Update { optimizer, rate: 0.01, weight_decay: 1e-4, gradient_scale: 1.0, time: 1 };
    let batches = [Feed::Host { images: &pixels, labels: &labels }];
    let step = Step { batches: &batches, ghosts, first: 0, strength: 0.05, update, clip };
    session.step(&mut stepper, &step).map_err(|failure| format!("{failure:?}"))?;
    session.settle().map_err(|failure| format!("{failure:?}"))?;
    Ok(())
}

/// Values in [-1, 1), by Numerical Recipes' generator.
fn values(seed: u32, count: usize) -> impl Iterator<Item = f32> {
    let mut state = seed.wrapping_mul(12345);
    (0..count).map(move |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    })
}

/// Values that a step must move: for each image, for each draw, and once.
fn must<const N: usize>(plan: &Plan<N>) -> (usize, usize, usize) {
    let (mut images, mut draws) = (0, 0);
    for layer in plan.layers() {
        let (x, y) = (layer.input_shape.len(), layer.output_shape.len());
        let first = layer.input == Source::Input;
        // Gradient of the output read, of the input written.
        let back = if first { y } else { y + x };
        images += match layer.layer {
            Layer::Flatten => 0,
            // Forward, data gradient, weight gradient.
            Layer::Conv2d(_) | Layer::Linear(_) => (x + y) + if first { 0 } else { back } + (x + y),
            // The backward pass reads the input again.
            Layer::BatchNorm(_) => (x + y) + (back + x),
            // The addend, and its gradient; the sum itself when no batch norm takes it along.
            Layer::Add(_) if fused(plan, layer) => 2 * x,
            Layer::Add(_) => 2 * x + y + back,
            Layer::Relu if fused(plan, layer) => 0,
            // Also the output again.
            Layer::Relu => (x + y) + (back + y),
            Layer::MaxPool2d(_) | Layer::AvgPool2d(_) | Layer::GlobalAvgPool | Layer::Dropout(_) => (x + y) + back,
        };
        let weights = layer.weight.map_or(0, |weight| weight.len());
        draws += if first { weights } else { 2 * weights };
    }
    let parameters = plan.parameters();
    // A draw reads the clean weights and writes the perturbed ones. The gradient is written once; the update reads weights,
    // gradient and momentum and writes weights and momentum.
    (images, draws + 2 * parameters, 6 * parameters)
}

/// Whether a batch norm comes right before, or before the sum right before.
fn fused<const N: usize>(plan: &Plan<N>, layer: &PlannedLayer) -> bool {
    let Source::Layer(before) = layer.input else { return false };
    let before = &plan.layers()[before];
    match before.layer {
        Layer::BatchNorm(_) => true,
        Layer::Add(_) => fused(plan, before),
        _ => false,
    }
}
