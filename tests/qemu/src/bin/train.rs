//! Whole trainings: 50 steps of every workload by every method. The hashes of the losses and of the final weights are
//! the same on every machine, the host among them. Then, on the boards, what a step costs.
//!
//! What the noise costs is measured by AdaSmoothOut of strength 0: it makes all the noise and adds zeros, so that its
//! weights are those of SGD to the bit, and everything else takes the same way through ReLUs and poolings. Against a method
//! of another strength SGD is no measure: its weights become others, and with them the pixels that have a gradient.
//!
//! Without a floating-point unit the larger ones take 4 steps, so that they take no minutes in QEMU; with the feature
//! `long` they take all.
#![cfg_attr(target_os = "none", no_std, no_main)]

use smoothout::micro::{Config, Layers, Session, SessionError, Slices, Trained};
use smoothout::optimizer::Optimizer;
use smoothout::network::Network;
use smoothout::plan::{Plan, Purpose};
use smoothout::step::{Method, SmoothOut};
use smoothout_qemu::counter::instructions;
use smoothout_qemu::hash::Fnv;
use smoothout_qemu::memory::stack;
use smoothout_qemu::output::cost;
use smoothout_qemu::workloads::{LABELS, W1, W2, W3, W3B, W4, Workload};
use smoothout_qemu::{Hex, SLOW, SMALL, image, say};

smoothout_qemu::panics_do_not_link!();
image!(run);

/// Values of the largest session that is begun here.
const ARENA: usize = if SMALL { 2520 } else { 106_000 };

/// Steps after which a first line is printed.
const FEW: usize = 4;

fn run() -> Result<(), &'static str> {
    let mut arena = [0.0; ARENA];
    trainings(&mut arena).map_err(|error| match error {
        SessionError::Arena { .. } => "the arena is too small",
        SessionError::Loss { .. } => "the loss is not finite",
        _ => "another error of a session",
    })
}

fn trainings(arena: &mut [f32]) -> Result<(), SessionError> {
    let many = if SLOW { FEW } else { 50 };
    let all = Trained::all();
    let last = Trained { layers: Layers::From(2), ..all };
    training::<_, 2>(&W1, "W1-last-layer/1", 1, last, 0.9, 50, arena)?;
    // Without momentum it fits 16 KB of memory.
    training::<_, 2>(&W1, "W1-plain/1", 1, all, 0.0, 50, arena)?;
    if SMALL {
        return Ok(());
    }
    training::<_, 2>(&W1, "W1/1", 1, all, 0.9, 50, arena)?;
    training::<_, 2>(&W1, "W1/8", 8, all, 0.9, 50, arena)?;
    training::<_, 2>(&W2, "W2/1", 1, all, 0.9, many, arena)?;
    training::<_, 2>(&W2, "W2/8", 8, all, 0.9, many, arena)?;
    training::<_, 3>(&W3, "W3/1", 1, all, 0.9, 50, arena)?;
    training::<_, 3>(&W3, "W3/8", 8, all, 0.9, many, arena)?;
    training::<_, 5>(&W3B, "W3b/8", 8, all, 0.9, many, arena)?;
    training::<_, 4>(&W4, "W4/1", 1, all, 0.9, many, arena)
}

/// One workload of `N` layers in sessions of `S` stages.
fn training<const N: usize, const S: usize>(
    workload: &'static Workload<N>,
    name: &str,
    batch: usize,
    trained: Trained<'static>,
    momentum: f32,
    steps: usize,
    arena: &mut [f32],
) -> Result<(), SessionError> {
    let (sgd, adaptive) = (Method::Sgd, Method::SmoothOut(SmoothOut::adaptive()));
    let methods = [
        ("SGD", sgd, 0.1, steps),
        ("SmoothOut", Method::SmoothOut(SmoothOut::constant()), 0.1, steps),
        ("AdaSmoothOut", adaptive, 0.1, steps),
        ("AdaSmoothOut of strength 0", adaptive, 0.0, FEW),
    ];
    let optimizer = Optimizer::sgd(momentum);
    let mut noise = 0;
    for (label, method, strength, steps) in methods {
        let config = Config { optimizer, trained, strength, ..Config::new(method, 0.01) };
        begin::<N, S>(workload, batch, config, arena, |session| {
            let (mut losses, mut count) = (Fnv::default(), 0);
            for step in 0..steps {
                let (images, labels) = images(workload, batch, step);
                let (instructions, outcome) = instructions(|| session.step(images, labels));
                losses.push(outcome?.loss);
                count = instructions;
                if step + 1 == FEW {
                    match (method, strength) {
                        (Method::Sgd, _) => noise = count,
                        (_, 0.0) => noise = count.saturating_sub(noise),
                        _ => {}
                    }
                }
                if step + 1 == FEW || step + 1 == steps {
                    let (losses, weights) = (Hex(losses.value()), Hex(Fnv::of(session.weights())));
                    say!(name, " ", label, ", ", step + 1, " steps: losses ", losses, ", weights ", weights);
                }
            }
            if strength > 0.0 {
                cost(&[name, "/", label, "/instructions"], count as usize);
            }
            Ok(())
        })?;
    }
    cost(&[name, "/noise"], noise as usize);
    // Memory beyond the weights, of plain SGD.
    let config = Config { trained, ..Config::new(adaptive, 0.01) };
    let mut weights = 0;
    let (building, built) = stack(|| session::<N, S>(workload, batch, config, arena).map(|_| ()));
    built?;
    cost(&[name, "/set-up"], building);
    begin::<N, S>(workload, batch, config, arena, |session| {
        let (images, labels) = images(workload, batch, 0);
        let (stepping, outcome) = stack(|| session.step(images, labels));
        cost(&[name, "/stack"], stepping);
        cost(&[name, "/session"], size_of_val(session));
        weights = session.state().len();
        outcome.map(|_| ())
    })?;
    let mut plan = Plan::empty();
    make(&mut plan, workload, batch)?;
    let values = Session::required(&plan, &config)?.saturating_sub(weights);
    cost(&[name, "/arena"], 4 * values);
    Ok(())
}

/// The images of a step: each in turn, or all.
fn images<const N: usize>(
    workload: &Workload<N>,
    batch: usize,
    step: usize,
) -> (&'static [f32], &'static [u32]) {
    let first = step * batch % 8;
    let len = workload.input.len();
    let images = workload.images.get(first * len..(first + batch) * len);
    (images.unwrap_or_default(), LABELS.get(first..first + batch).unwrap_or_default())
}

/// The plan, made in a frame of its own, so that the network is gone when it is used.
#[inline(never)]
fn make<const N: usize>(plan: &mut Plan<N>, workload: &Workload<N>, batch: usize) -> Result<(), SessionError> {
    let missing = SessionError::Unsupported { what: "this workload" };
    let mut network = Network::new(workload.input);
    workload.add_layers(&mut network).map_err(|_| missing)?;
    plan.make(&network, batch, Purpose::Training).map_err(|_| missing)
}

/// Hands a new session to `work`.
fn begin<const N: usize, const S: usize>(
    workload: &'static Workload<N>,
    batch: usize,
    config: Config<'static>,
    arena: &mut [f32],
    work: impl FnOnce(&mut Session<'_, '_, S>) -> Result<(), SessionError>,
) -> Result<(), SessionError> {
    work(&mut session(workload, batch, config, arena)?)
}

/// A session, made in a frame of its own, so that network and plan are gone when it works.
#[inline(never)]
fn session<'a, const N: usize, const S: usize>(
    workload: &'static Workload<N>,
    batch: usize,
    config: Config<'static>,
    arena: &'a mut [f32],
) -> Result<Session<'static, 'a, S>, SessionError> {
    let model = Slices { parameters: workload.parameters, statistics: workload.statistics };
    let mut plan = Plan::empty();
    make(&mut plan, workload, batch)?;
    Session::new(&plan, &model, config, arena)
}
