//! A training that is saved, loses power and goes on ends in the bits of one that was never interrupted.

use super::flash::{Flash, Torn};
use crate::layers::{BatchNorm, Linear};
use crate::micro::storage::Storage;
use crate::micro::{Config, Counters, Session, Slices};
use crate::network::{Layer, Network};
use crate::optimizer::Optimizer;
use crate::plan::{Plan, Purpose};
use crate::shape::Shape;
use crate::step::{Method, SmoothOut};
use std::vec;
use std::vec::Vec;

#[test]
fn a_training_goes_on_where_it_was_saved() {
    let mut net = Network::<4>::new(Shape::flat(5));
    net.push(format_args!("a"), Layer::Linear(Linear::new(7))).unwrap();
    net.push(format_args!("b"), Layer::BatchNorm(BatchNorm::default())).unwrap();
    net.push(format_args!("c"), Layer::Relu).unwrap();
    net.push(format_args!("d"), Layer::Linear(Linear::new(3))).unwrap();
    let plan = Plan::new(&net, 4, Purpose::Training).unwrap();
    let parameters: Vec<f32> = (0..plan.parameters()).map(|i| (i as f32).sin()).collect();
    let statistics: Vec<f32> = (0..plan.statistics()).map(|i| (i / 7) as f32).collect();
    let images: Vec<f32> = (0..20).map(|i| (i as f32 * 0.7).cos()).collect();
    let method = Method::SmoothOut(SmoothOut::adaptive());
    let config = Config { optimizer: Optimizer::adam(), ..Config::new(method, 0.01) };
    let model = Slices { parameters: &parameters, statistics: &statistics };
    let needed = Session::required(&plan, &config).unwrap();
    let mut arena = vec![0.0; needed];
    let mut session = Session::<8>::new(&plan, &model, config, &mut arena).unwrap();
    let mut states = vec![];
    for _ in 0..8 {
        session.step(&images, &[0, 1, 2, 0]).unwrap();
        states.push(session.state().to_vec());
    }

    // Power goes in the middle of every second save.
    let bytes = Storage::<Flash<8, 256>>::bytes(states[0].len()).unwrap();
    let mut flash = Flash::<8, 256>::new(bytes as usize);
    let mut lives = 0;
    loop {
        lives += 1;
        let mut storage = Storage::open(flash.restart(), 0..bytes, 7).unwrap();
        let mut arena = vec![f32::NAN; needed];
        let mut session = Session::<8>::new(&plan, &model, config, &mut arena).unwrap();
        if let Some(counters) = storage.load(&mut [session.state_mut()]).unwrap() {
            session.set_counters(counters);
        }
        let steps = session.counters().updates as usize;
        assert_eq!(session.counters(), Counters { batches: steps as u64, updates: steps as u64 });
        if let Some(last) = steps.checked_sub(1) {
            assert_eq!(session.state(), states[last]);
        }
        if steps == states.len() {
            break;
        }
        session.step(&images, &[0, 1, 2, 0]).unwrap();
        if lives % 2 == 0 {
            let mut cut = storage.into_flash();
            cut.cut = Some((lives * 7 % 40, Torn::Bits(lives as u32)));
            storage = Storage::open(cut, 0..bytes, 7).unwrap();
        }
        let saved = storage.save(session.counters(), &[session.state()]);
        assert_eq!(saved.is_err(), lives % 2 == 0);
        flash = storage.into_flash();
    }
    assert_eq!(lives, 2 * states.len());
}
