//! `--device micro` is the microcontroller's session to the bit, and core's portable kernels within rounding; models in
//! flash train as they should.
#![allow(clippy::unwrap_used)]

use smoothout::micro::{Config, Layers, Model, ModelFile, Session, Slices, Trained, Weights};
use smoothout::networks::{DIGITS_LAYERS, digits};
use smoothout::noise::Address;
use smoothout::optimizer::{Optimizer, Update};
use smoothout::plan::{Plan, Purpose};
use smoothout::step::{Method, SmoothOut, Stepper};
use smoothout_host::device::{Batch, Device, Keeps, Part, Step};
use smoothout_host::export::{Export, Loaded};
use smoothout_host::net::{Net, NetName, NetPlan, NormInit, initial_parameters, initial_statistics};
use smoothout_host::options::DeviceName;
use smoothout_host::train::device_of;

const BATCH: usize = 6;

struct Task {
    net: Box<Net>,
    plan: Box<NetPlan>,
    parameters: Vec<f32>,
    statistics: Vec<f32>,
    images: Vec<f32>,
    labels: Vec<u32>,
}

fn task(name: NetName) -> Task {
    let net = Box::new(name.build(8, 10).unwrap());
    let plan: Box<NetPlan> = Box::new(Plan::new(&net, BATCH, Purpose::Training).unwrap());
    let parameters = initial_parameters(name, &plan, NormInit::Uniform, 5);
    let statistics = initial_statistics(&plan);
    let images = (0..BATCH * plan.input().len()).map(|i| (i as f32 * 0.37).sin()).collect();
    let labels = (0..BATCH as u32).map(|i| i % 10).collect();
    Task { net, plan, parameters, statistics, images, labels }
}

impl Task {
    fn device(&self, name: DeviceName, moments: usize) -> Box<dyn Device> {
        let keeps = Keeps { moments, average: false };
        device_of(name, self.plan.clone(), self.parameters.clone(), keeps).unwrap()
    }

    fn batch(&self) -> Batch<'_> {
        Batch { images: &self.images, labels: &self.labels }
    }
}

/// ‖a - b‖ / ‖b‖.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    assert_eq!(a.len(), b.len());
    let square = |sum: f64, value: f64| sum + value * value;
    let difference = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)).fold(0.0, square);
    (difference / b.iter().map(|b| f64::from(*b)).fold(0.0, square)).sqrt()
}

#[test]
fn the_device_is_a_session() {
    let task = task(NetName::Digits);
    let plan = Plan::new(&digits::<DIGITS_LAYERS>().unwrap(), BATCH, Purpose::Training).unwrap();
    let adaptive = Method::SmoothOut(SmoothOut::adaptive());
    let recipes = [
        (adaptive, Optimizer::sgd(0.0), None),
        (adaptive, Optimizer::sgd(0.9), Some(1.0)),
        (Method::Sgd, Optimizer::adam(), None),
        (Method::SmoothOut(SmoothOut::constant()), Optimizer::adamw(), Some(0.5)),
    ];
    for (method, optimizer, clip) in recipes {
        let config = Config {
            seed: 11,
            optimizer,
            clip,
            weight_decay: 1e-3,
            strength: 0.02,
            ..Config::new(method, 0.01)
        };
        let model = Slices { parameters: &task.parameters, statistics: &task.statistics };
        let mut arena = vec![0.0; Session::required(&plan, &config).unwrap()];
        let mut session = Session::<DIGITS_LAYERS>::new(&plan, &model, config, &mut arena).unwrap();
        let mut device = task.device(DeviceName::Micro, optimizer.moments());
        let mut stepper = Stepper::new(method, 11).unwrap();
        for step in 0..4 {
            let expected = session.step(&task.images, &task.labels).unwrap();
            let update =
                Update { optimizer, rate: 0.01, weight_decay: 1e-3, gradient_scale: 1.0, time: step + 1 };
            let batches = [task.batch()];
            let step = Step { batches: &batches, ghosts: 1, first: step, strength: 0.02, update, clip };
            let outcome = device.step(&mut stepper, &step).unwrap();
            assert_eq!((outcome.loss, outcome.correct.0), (expected.loss, expected.correct));
            let parts = [Part::Weights, Part::First, Part::Second, Part::Statistics];
            let state: Vec<f32> = parts.into_iter().flat_map(|part| device.read(part).unwrap()).collect();
            assert_eq!(state, session.state(), "{method:?} {optimizer:?}");
        }
        let expected = session.evaluate(&task.images, &task.labels).unwrap();
        let evaluation = device.evaluate(task.batch(), None).unwrap();
        assert_eq!(evaluation.correct, expected.correct);
        assert_eq!(evaluation.loss, f64::from(expected.loss) * BATCH as f64);
    }
}

/// Accumulation and ghost batches.
#[test]
fn several_batches_make_one_update() {
    let task = task(NetName::Digits);
    let method = Method::SmoothOut(SmoothOut::adaptive());
    let update =
        Update { optimizer: Optimizer::sgd(0.9), rate: 0.05, weight_decay: 0.0, gradient_scale: 1.0, time: 1 };
    let twice = |values: &[f32]| [values, values].concat();
    let (images, labels) = (twice(&task.images), [&task.labels[..], &task.labels].concat());
    let large = Batch { images: &images, labels: &labels };
    for (batches, ghosts) in [(vec![task.batch(), task.batch()], 1), (vec![large], 2)] {
        let weights = [DeviceName::Micro, DeviceName::Portable].map(|name| {
            let mut device = task.device(name, 1);
            let mut stepper = Stepper::new(method, 3).unwrap();
            let step = Step { batches: &batches, ghosts, first: 4, strength: 0.1, update, clip: Some(2.0) };
            let outcome = device.step(&mut stepper, &step).unwrap();
            assert_eq!(outcome.correct.1, 2 * BATCH);
            device.read(Part::Weights).unwrap()
        });
        let error = distance(&weights[0], &weights[1]);
        assert!(error < 1e-6 && weights[0] != task.parameters, "{error}");
    }
}

#[test]
fn gradients_are_those_of_the_portable_device() {
    for name in [NetName::Digits, NetName::F1, NetName::Resnet] {
        let task = task(name);
        // In training, and in evaluation, where batch norm takes its running statistics.
        for training in [Some(Address { seed: 2, step: 7, draw: 0 }), None] {
            let [micro, portable] = [DeviceName::Micro, DeviceName::Portable].map(|name| {
                let mut device = task.device(name, 0);
                let gradient = device.gradient(task.batch(), training).unwrap();
                (gradient, device.read(Part::Statistics).unwrap(), device.read(Part::Weights).unwrap())
            });
            let errors = [
                distance(&[micro.0.loss], &[portable.0.loss]),
                distance(&micro.0.logits, &portable.0.logits),
                distance(&micro.0.gradient, &portable.0.gradient),
            ];
            println!("{name:?}: loss, logits, gradient {errors:?}");
            assert!(errors.iter().all(|error| *error < 1e-5), "{name:?} {training:?}: {errors:?}");
            assert!(micro.1.is_empty() || distance(&micro.1, &portable.1) < 1e-6);
            assert_eq!(micro.2, task.parameters);
        }
    }
}

/// A firmware's way: frozen int8 convolutions stay in flash, the last layer is trained.
#[test]
fn a_session_trains_what_the_model_leaves_free() {
    let task = task(NetName::Digits);
    let mut export = Export::new(&task.net, &task.plan, &task.parameters, &task.statistics);
    export.freeze("features").unwrap();
    export.fold().unwrap();
    let bytes = export.bytes(true).unwrap();
    let loaded = Loaded::new(&bytes).unwrap();
    let file = ModelFile::new(&bytes).unwrap();
    let plan = file.plan::<DIGITS_LAYERS>(BATCH, Purpose::Training).unwrap();
    let trained = file.trained::<DIGITS_LAYERS>().unwrap();
    let trained = Trained { layers: Layers::Only(&trained), ..Trained::all() };
    let method = Method::SmoothOut(SmoothOut::adaptive());
    let config = Config { trained, strength: 0.05, ..Config::new(method, 1.0) };

    // The same network with all its weights in memory, as the host reads the file.
    let slices = Slices { parameters: &loaded.parameters, statistics: &loaded.statistics };
    let needed = Session::required(&plan, &config).unwrap();
    let mut arenas = [vec![0.0; needed], vec![0.0; needed]];
    let [first, second] = &mut arenas;
    let mut flash = Session::<DIGITS_LAYERS>::new(&plan, &file, config, first).unwrap();
    let mut memory = Session::<DIGITS_LAYERS>::new(&plan, &slices, config, second).unwrap();
    assert_eq!(flash.infer(&task.images).unwrap(), memory.infer(&task.images).unwrap());
    let before = flash.evaluate(&task.images, &task.labels).unwrap().loss;
    for _ in 0..150 {
        let outcome = flash.step(&task.images, &task.labels).unwrap();
        assert_eq!(outcome, memory.step(&task.images, &task.labels).unwrap());
    }
    assert_eq!(flash.state(), memory.state());
    assert_eq!(flash.weights().len(), 64 * 10 + 10);
    let after = flash.evaluate(&task.images, &task.labels).unwrap();
    assert!(after.loss < 0.8 * before && after.correct == BATCH, "{before} {after:?}");
    let quantized = plan.tensors().filter(|t| matches!(file.tensor(t), Weights::Int8 { .. })).count();
    assert_eq!(quantized, 2);
}
