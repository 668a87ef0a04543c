//! One training step of every method: loss, weights, moments and running statistics against PyTorch's float64.
//!
//! Tolerance. The evaluation point is the same f32 on both sides, so the gradient g is off by what a pass is: at most
//! GRADIENT = 4e-6 of its length (a little more than a single pass may be, as ghost batches, draws and batches are added
//! in f32; a tensor's own length, or a tenth of the whole gradient's where a tensor's is small). A weight moves by a
//! quantity Δ that is smooth in g, so it may be off by GRADIENT |Δ|, and by the rounding of the update: of w - rate v,
//! of w (1 - rate decay) and of the new weight, three times 2^-24 |w| at most. Moments likewise, but Adam's second one:
//! PyTorch takes 1 - 0.999 in f64, and here it is that of the f32 next to 0.999, which is 1.3e-5 of itself smaller.

use super::devices;
use super::file::{Case, Golden};
use super::values::{START, distance, filled, norm, wide};
use serde_json::Value;
use smoothout::backend::Selection;
use smoothout::noise::{Distribution, Scaling};
use smoothout::optimizer::{Optimizer, Update};
use smoothout::step::{Draws, Method, Renewal, SmoothOut, Stepper};
use smoothout_host::device::{Batch, Part, Step};
use smoothout_host::net::NetName;
use smoothout_host::train::network_tensors;

const GRADIENT: f64 = 4e-6;

/// The same for Adam's second moment.
const SECOND: f64 = 2e-5;

/// Roundings of one update.
const ROUNDING: f64 = 3.0 / 16_777_216.0;

fn method(case: &Value) -> Method {
    match case.text("kind") {
        "sgd" => Method::Sgd,
        "sam" => Method::Sam { radius: case.number("radius") },
        "smoothout" => Method::SmoothOut(SmoothOut {
            distribution: match case.text("distribution") {
                "uniform" => Distribution::Uniform,
                "gaussian" => Distribution::Gaussian,
                "dropout" => Distribution::Dropout,
                other => panic!("distribution {other}"),
            },
            scaling: match case.text("scaling") {
                "constant" => Scaling::Constant,
                "weight" => Scaling::PerWeight,
                "filter" => Scaling::PerFilter,
                other => panic!("scaling {other}"),
            },
            selection: Selection { norms: case.flag("norms"), ..Selection::default() },
            draws: Draws {
                count: case.count("count") as u32,
                antithetic: case.flag("antithetic"),
                renewal: match case.text("renewal") {
                    "ghost" => Renewal::GhostBatch,
                    "step" => Renewal::Step,
                    "never" => Renewal::Never,
                    other => panic!("renewal {other}"),
                },
            },
            denoise: case.flag("denoise"),
        }),
        other => panic!("method {other}"),
    }
}

fn optimizer(case: &Value) -> Optimizer {
    match case.text("kind") {
        "sgd" => Optimizer::Sgd { momentum: case.number("momentum"), nesterov: case.flag("nesterov") },
        "adam" => Optimizer::adam(),
        "adamw" => Optimizer::adamw(),
        other => panic!("optimizer {other}"),
    }
}

#[test]
fn steps_are_pytorchs() {
    let golden = Golden::load("steps");
    let net = NetName::Digits.build(44, 10).expect("a small network");
    let mut far = Vec::new();
    for case in &golden.cases {
        let (name, images) = (case.text("name"), case.count("batch"));
        let optimizer = optimizer(&case["optimizer"]);
        let moments = optimizer.moments();
        for device_name in devices() {
            let (mut device, mut stream) = filled(device_name, &net, images, moments, START);
            let clean = device.read(Part::Weights).expect("reads");
            // The stream goes on with both moments, whether they are kept or not.
            let first = stream.list(clean.len(), 0.01);
            let second: Vec<f32> = clean.iter().map(|_| 1e-4 * (0.5 + stream.uniform())).collect();
            let time = case.count("time") as u64;
            for (part, values) in [(Part::First, first), (Part::Second, second)].iter().take(moments) {
                if time > 1 {
                    device.write(*part, values).expect("as long");
                }
            }
            let batches: Vec<_> =
                (0..case.count("batches")).map(|_| stream.batch(device.plan(), images)).collect();
            let batches: Vec<_> =
                batches.iter().map(|(images, labels)| Batch { images, labels }).collect();
            let described = &case["method"];
            let mut stepper =
                Stepper::new(method(described), case.count("seed") as u64).expect("possible");
            let step = Step {
                batches: &batches,
                ghosts: case.count("ghosts"),
                first: case.count("first") as u64,
                strength: described.get("strength").map_or(0.0, |_| described.number("strength")),
                update: Update {
                    optimizer,
                    rate: case.number("rate"),
                    weight_decay: case.number("weight_decay"),
                    gradient_scale: 1.0,
                    time,
                },
                clip: case["clip"].as_f64().map(|clip| clip as f32),
            };
            let before = [Part::Weights, Part::First, Part::Second, Part::Statistics].map(|p| device.read(p).expect("reads"));
            let outcome = device.step(&mut stepper, &step).expect("finite");
            let loss = golden.get(name, "loss");
            let mut check = |what: String, got: &[f32], before: &[f32]| {
                let (got, want) = (wide(got), golden.get(name, &what));
                let moved = distance(&want, &wide(before));
                let share = if what.starts_with("second.") { SECOND } else { GRADIENT };
                let bound = share * moved + ROUNDING * norm(&want);
                let error = distance(&got, &want);
                if error.is_nan() || error > bound {
                    far.push(format!("{name} on {device_name:?}: {what} is {:.2} bounds off, {:.1e} of its way", error / bound, error / moved));
                }
            };
            check("loss".into(), &[outcome.loss], &[0.0]);
            let parts = [(Part::Weights, ""), (Part::First, "first."), (Part::Second, "second."), (Part::Statistics, "")];
            for ((part, prefix), before) in parts.into_iter().zip(before) {
                let after = device.read(part).expect("reads");
                if after.is_empty() {
                    continue;
                }
                for (tensor, _, range) in network_tensors(device.plan(), part) {
                    check(format!("{prefix}{tensor}"), &after[range.clone()], &before[range]);
                }
            }
            assert_eq!(loss.len(), 1);
        }
    }
    assert!(far.is_empty(), "{}", far.join("\n"));
}
