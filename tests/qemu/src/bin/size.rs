//! How large training is in flash: a firmware that trains W3 by AdaSmoothOut with momentum, and does nothing else. Its
//! code and constants are counted, with start-up and output, which are those of `nothing`, and without weights and images.
//!
//! Not on host boards: a firmware alone. Not on small boards: too little memory. Also on lean boards.
#![no_std]
#![no_main]

use smoothout::micro::{Config, Session, Slices};
use smoothout::optimizer::Optimizer;
use smoothout::plan::{Plan, Purpose};
use smoothout::step::{Method, SmoothOut};
use smoothout_qemu::output::cost;
use smoothout_qemu::workloads::{LABELS, W3};
use smoothout_qemu::{Hex, entry, finish, memory, say};

smoothout_qemu::panics_do_not_link!();

#[entry]
fn main() -> ! {
    finish(train(&mut [0.0; 9000]))
}

#[inline(never)] // What lies beside so large an array takes longer instructions.
fn train(arena: &mut [f32]) -> Result<(), &'static str> {
    let network = W3.network().map_err(|_| "no network")?;
    let mut plan = Plan::empty();
    plan.make(&network, 8, Purpose::Training).map_err(|_| "no plan")?;
    let model = Slices { parameters: W3.parameters, statistics: W3.statistics };
    let method = Method::SmoothOut(SmoothOut::adaptive());
    let config = Config { optimizer: Optimizer::sgd(0.9), ..Config::new(method, 0.01) };
    let mut session = Session::<3>::new(&plan, &model, config, arena);
    let session = session.as_mut().map_err(|_| "no session")?;
    let outcome = session.step(W3.images, &LABELS).map_err(|_| "no step")?;
    say!("loss of W3's first step: ", Hex(outcome.loss.to_bits()));
    let data = 4 * (W3.parameters.len() + W3.images.len() + LABELS.len());
    cost(&["flash"], memory::flash() - data);
    Ok(())
}
