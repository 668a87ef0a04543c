//! The simplest firmware: a model in flash whose last layer is fine-tuned on the device, by AdaSmoothOut.
//!
//! `entry`, `say!` and `panics_do_not_link!` are this folder's; everything else is what any firmware does.
//!
//! Not on host boards: it is firmware alone. Not on small boards: the set-up takes more stack than they have.
#![no_std]
#![no_main]

use smoothout::micro::{Config, Layers, ModelFile, Session, Trained};
use smoothout::plan::{Plan, Purpose};
use smoothout::step::{Method, SmoothOut};
use smoothout_qemu::digits::{Batch, MODEL};
use smoothout_qemu::{entry, finish, say};

smoothout_qemu::panics_do_not_link!();

/// The network has ten layers, of which the last one, the classifier, is trained.
const LAYERS: usize = 10;
const CLASSIFIER: [usize; 1] = [9];

/// Two convolutions, two batch norms with what follows them, and the classifier.
const STAGES: usize = 5;

#[entry]
fn main() -> ! {
    // All memory that training needs. `Session::required` tells how much, and a session refuses less.
    let mut arena = [0.0f32; 1600];
    finish(fine_tune(&mut arena))
}

fn fine_tune(arena: &mut [f32]) -> Result<(), &'static str> {
    // The model stays in flash; it was checked against its CRC here. One image at a time.
    let model = ModelFile::new(MODEL).map_err(|_| "the model is damaged")?;
    let plan: Plan<LAYERS> =
        model.plan(1, Purpose::Training).map_err(|_| "the model needs more layers")?;
    let trained = Trained { layers: Layers::Only(&CLASSIFIER), ..Trained::all() };
    let method = Method::SmoothOut(SmoothOut::adaptive());
    let config = Config { trained, strength: 0.1, ..Config::new(method, 0.01) };
    let mut session =
        Session::<STAGES>::new(&plan, &model, config, arena).map_err(|_| "the arena is too small")?;

    // The sensor is mounted sideways: pictures come turned by a quarter.
    let mut found = [0, 0];
    for round in 0..10 {
        for i in 0..20 {
            let digit = Batch::<1>::turned(i);
            let image = digit.images.as_flattened();
            if round == 0 {
                let outcome = session.evaluate(image, &digit.labels);
                found[0] += outcome.map_err(|_| "the image does not fit")?.correct;
            }
            session.step(image, &digit.labels).map_err(|_| "the loss is not finite")?;
        }
    }
    for i in 0..20 {
        let digit = Batch::<1>::turned(i);
        let outcome = session.evaluate(digit.images.as_flattened(), &digit.labels);
        found[1] += outcome.map_err(|_| "the image does not fit")?.correct;
    }
    say!("of 20 turned digits, ", found[0], " are found before training and ", found[1], " after");
    Ok(())
}
