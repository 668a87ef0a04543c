//! The story: a model trained on the host comes to a device whose sensor is mounted sideways, and is fine-tuned there.
//! Hits before and after, for each method, are the same on every machine.
//!
//! Not on soft boards: it takes minutes without a floating-point unit.
//! Not on small boards: it needs 52 KB.
#![cfg_attr(target_os = "none", no_std, no_main)]

use smoothout::micro::{Config, ModelFile, Session, SessionError};
use smoothout::optimizer::Optimizer;
use smoothout::plan::{Plan, Purpose};
use smoothout::step::{Method, SmoothOut};
use smoothout_qemu::digits::{Batch, MODEL, TEST, TUNE};
use smoothout_qemu::hash::Fnv;
use smoothout_qemu::{Hex, image, say};

smoothout_qemu::panics_do_not_link!();
image!(run);

const BATCH: usize = 6;
const EPOCHS: usize = 5;

fn run() -> Result<(), &'static str> {
    let mut arena = [0.0; 12_000];
    let model = ModelFile::new(MODEL).map_err(|_| "the model is refused")?;
    let plan: Plan<10> = model.plan(BATCH, Purpose::Training).map_err(|_| "the model has no plan")?;
    say!("turned digits: hits of ", TEST.len(), " before and after ", EPOCHS, " epochs over ", TUNE.len(), " others");
    // The strengths are those of the most hits on the last third of the digits to tune on, after tuning on the others.
    for (name, method, strength) in [
        ("SGD", Method::Sgd, 0.0),
        ("SmoothOut", Method::SmoothOut(SmoothOut::constant()), 0.005),
        ("AdaSmoothOut", Method::SmoothOut(SmoothOut::adaptive()), 0.01),
    ] {
        let optimizer = Optimizer::sgd(0.9);
        let config = Config { optimizer, strength, weight_decay: 1e-4, seed: 1, ..Config::new(method, 0.02) };
        let mut session =
            Session::new(&plan, &model, config, &mut arena).map_err(|_| "the session is refused")?;
        let (before, after) = tune(&mut session).map_err(|_| "a step failed")?;
        let weights = Hex(Fnv::of(session.weights()));
        say!(name, ": ", before, " before, ", after, " after, weights ", weights);
    }
    Ok(())
}

fn tune(session: &mut Session<'_, '_, 10>) -> Result<(usize, usize), SessionError> {
    let before = hits(session)?;
    for _ in 0..EPOCHS {
        for first in TUNE.step_by(BATCH) {
            let batch = Batch::<BATCH>::turned(first);
            session.step(batch.images.as_flattened(), &batch.labels)?;
        }
    }
    Ok((before, hits(session)?))
}

fn hits(session: &mut Session<'_, '_, 10>) -> Result<usize, SessionError> {
    let mut hits = 0;
    for first in TEST.step_by(BATCH) {
        let batch = Batch::<BATCH>::turned(first);
        hits += session.evaluate(batch.images.as_flattened(), &batch.labels)?.correct;
    }
    Ok(hits)
}
