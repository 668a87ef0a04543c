//! Whole trainings: 50 steps of every workload by every method. The hashes of the losses and of the final weights are
//! the same on every machine, the host among them. Then, on the boards, what a step costs.
#![cfg_attr(target_os = "none", no_std, no_main)]

use smoothout::micro::{Config, Session, SessionError, Slices};
use smoothout::optimizer::Optimizer;
use smoothout::plan::{Plan, Purpose};
use smoothout::step::{Method, SmoothOut};
use smoothout_qemu::counter::instructions;
use smoothout_qemu::hash::Fnv;
use smoothout_qemu::memory::stack;
use smoothout_qemu::output::cost;
use smoothout_qemu::workloads::{LABELS, LAYERS, W1, W2, W3, W3B, W4, Workload};
use smoothout_qemu::{Hex, SLOW, SMALL, image, say};

smoothout_qemu::panics_do_not_link!();
image!(run);

/// Values of the largest session that is begun here.
const ARENA: usize = if SMALL { 2750 } else { 106_000 };

/// Workload, its name with the batch, batch, steps. Without a floating-point unit the larger ones take fewer steps.
type Run = (&'static Workload, &'static str, usize, u32);

const MANY: u32 = if SLOW { 4 } else { 50 };
const RUNS: &[Run] = if SMALL {
    &[(&W1, "W1/1", 1, 50), (&W3, "W3/1", 1, 50)]
} else {
    &[
        (&W1, "W1/1", 1, 50),
        (&W1, "W1/8", 8, 50),
        (&W2, "W2/1", 1, MANY),
        (&W2, "W2/8", 8, MANY),
        (&W3, "W3/1", 1, 50),
        (&W3, "W3/8", 8, MANY),
        (&W3B, "W3b/8", 8, MANY),
        (&W4, "W4/1", 1, MANY),
    ]
};

fn run() -> Result<(), &'static str> {
    let mut arena = [0.0; ARENA];
    for run in RUNS {
        for (name, method) in methods() {
            let (losses, weights) = train(run, method, &mut arena).map_err(why)?;
            say!(run.1, " ", name, ", ", run.3, " steps: losses ", Hex(losses), ", weights ", Hex(weights));
        }
        costs(run, &mut arena).map_err(why)?;
    }
    Ok(())
}

fn methods() -> [(&'static str, Method); 3] {
    [
        ("SGD", Method::Sgd),
        ("SmoothOut", Method::SmoothOut(SmoothOut::constant())),
        ("AdaSmoothOut", Method::SmoothOut(SmoothOut::adaptive())),
    ]
}

/// The images of a step: each in turn, or all.
fn images(workload: &Workload, batch: usize, step: u32) -> (&'static [f32], &'static [u32]) {
    let first = step as usize * batch % 8;
    let len = workload.input.len();
    let images = workload.images.get(first * len..(first + batch) * len);
    (images.unwrap_or_default(), LABELS.get(first..first + batch).unwrap_or_default())
}

/// Momentum where there is memory for it.
fn config(method: Method, momentum: f32) -> Config<'static> {
    Config { optimizer: Optimizer::sgd(momentum), ..Config::new(method, 0.01) }
}

/// Hands a new session to `work`.
fn begin<R>(
    &(workload, _, batch, _): &Run,
    config: Config<'static>,
    arena: &mut [f32],
    work: impl FnOnce(&mut Session<'_, '_, LAYERS>) -> Result<R, SessionError>,
) -> Result<R, SessionError> {
    let missing = SessionError::Unsupported { what: "this workload" };
    let network = workload.network().map_err(|_| missing)?;
    let plan = Plan::new(&network, batch, Purpose::Training).map_err(|_| missing)?;
    let model = Slices { parameters: workload.parameters, statistics: workload.statistics };
    work(&mut Session::new(&plan, &model, config, arena)?)
}

fn train(run: &Run, method: Method, arena: &mut [f32]) -> Result<(u32, u32), SessionError> {
    let momentum = if SMALL { 0.0 } else { 0.9 };
    begin(run, config(method, momentum), arena, |session| {
        let mut losses = Fnv::default();
        for step in 0..run.3 {
            let (images, labels) = images(run.0, run.2, step);
            losses.push(session.step(images, labels)?.loss);
        }
        Ok((losses.value(), Fnv::of(session.weights())))
    })
}

/// Instructions of a step with momentum, with noise and without; memory beyond the weights of training by plain SGD.
fn costs(run: &Run, arena: &mut [f32]) -> Result<(), SessionError> {
    let &(workload, name, batch, _) = run;
    let (images, labels) = images(workload, batch, 0);
    let momentum = if SMALL { 0.0 } else { 0.9 };
    for (method, label) in methods().into_iter().map(|(label, method)| (method, label)) {
        let count = begin(run, config(method, momentum), arena, |session| {
            session.step(images, labels)?;
            let (count, outcome) = instructions(|| session.step(images, labels));
            outcome.map(|_| count)
        })?;
        cost(&[name, "/", label, "/instructions"], count as usize);
    }
    let plain = config(Method::SmoothOut(SmoothOut::adaptive()), 0.0);
    let (stack, outcome) = stack(|| {
        begin(run, plain, arena, |session| session.step(images, labels).map(|_| ()))
    });
    outcome?;
    cost(&[name, "/stack"], stack);
    let network = workload.network().map_err(|_| SessionError::Inference)?;
    let plan = Plan::new(&network, batch, Purpose::Training).map_err(|_| SessionError::Inference)?;
    let arena = Session::required(&plan, &plain)?;
    cost(&[name, "/arena"], 4 * (arena - plan.parameters() - plan.statistics()));
    Ok(())
}

fn why(error: SessionError) -> &'static str {
    match error {
        SessionError::Arena { .. } => "the arena is too small",
        SessionError::Loss { .. } => "the loss is not finite",
        _ => "another error of the session",
    }
}
