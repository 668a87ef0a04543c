//! What core's feature `defmt` sends: the messages of steps and of refusals, and public types by `{}`. See `logger`.
//!
//! Only by name: `run` says why. Not on host boards: defmt is for firmware. Not on small boards: the set-up takes more stack
//! than they have.
#![no_std]
#![no_main]

use defmt::{info, warn};
use smoothout::micro::{Config, Counters, ModelFile, Session, SessionError, Slices};
use smoothout::optimizer::Optimizer;
use smoothout::plan::{Plan, Purpose};
use smoothout::step::{Method, SmoothOut};
use smoothout_qemu::workloads::{LABELS, W1};
use smoothout_qemu::{entry, finish};

smoothout_qemu::panics_do_not_link!();

#[entry]
fn main() -> ! {
    finish(train(&mut [0.0; 2520]))
}

fn train(arena: &mut [f32]) -> Result<(), &'static str> {
    let network = W1.network().map_err(|_| "no network")?;
    info!("{}", network);
    let plan = Plan::new(&network, 1, Purpose::Training).map_err(|_| "no plan")?;
    let method = Method::SmoothOut(SmoothOut::adaptive());
    let config = Config::new(method, 0.01);
    info!("{}", config);
    let adam = Config { optimizer: Optimizer::adam(), ..config };
    let model = Slices { parameters: W1.parameters, statistics: W1.statistics };
    if let Err(error) = Session::<2>::new(&plan, &model, adam, arena) {
        warn!("no session with {}: {}", adam.optimizer, error);
    }
    if let Err(error) = ModelFile::new(&[0; 60]) {
        warn!("no model: {}", error);
    }
    let mut session = Session::<2>::new(&plan, &model, config, arena).map_err(|_| "no session")?;
    let (image, rest) = W1.images.split_at_checked(64).ok_or("no image")?;
    let mut bad = [0.0; 64];
    bad.iter_mut().zip(image).for_each(|(to, from)| *to = *from);
    bad[0] = f32::NAN;
    for image in rest.as_chunks::<64>().0.iter().take(3) {
        session.step(image, &LABELS[1..2]).map_err(|_| "no step")?;
    }
    refused(session.step(&bad, &LABELS[..1]))?;
    refused(session.step(image, &[10]))?;
    refused(session.step(image, &LABELS[..2]))?;
    let counters: Counters = session.counters();
    info!("{}", counters);
    Ok(())
}

/// What a session refuses, it says itself.
fn refused<T>(result: Result<T, SessionError>) -> Result<(), &'static str> {
    result.err().map(|_| ()).ok_or("a bad step is done")
}
