//! What happens when the driver fails, when memory is short, and when sessions come and go.

mod common;

use common::{UPDATE, batch, gpu, session};
use smoothout::Network;
use smoothout::networks;
use smoothout::plan::{Plan, Purpose};
use smoothout::step::{Method, SmoothOut, StepError, Stepper};
use smoothout_gpu::{Failure, Feed, Gpu, GpuError, Keeps, Part, Precision, Selector, Session, Step, faults};
use std::sync::{Arc, Mutex};

/// Planted failures and free memory are the whole program's.
static ALONE: Mutex<()> = Mutex::new(());

fn plan() -> Box<Plan<16>> {
    let network: Network<16> = networks::digits().expect("fits");
    Box::new(Plan::new(&network, 4, Purpose::Training).expect("a plan"))
}

/// Everything that a session does, and the weights in the end.
fn story(gpu: &Arc<Gpu>, plan: &Plan<16>, weights: &mut Vec<f32>) -> Result<(), GpuError> {
    let (pixels, labels) = batch(plan, 8, 5);
    let (start, statistics) = common::start(plan);
    let keeps = Keeps { moments: 1, average: true };
    let mut session = Session::new(gpu, plan, &start, &statistics, keeps, Precision::F32)?;
    session.prepare(plan, 8)?;
    let mut stepper = Stepper::new(Method::SmoothOut(SmoothOut::adaptive()), 9).expect("valid");
    let cause = |failure: Failure| match failure.cause {
        StepError::Backend(error) | StepError::Objective(error) => error,
        other => panic!("{other:?}"),
    };
    let batches = [Feed::Host { images: &pixels, labels: &labels }];
    let step = Step { batches: &batches, ghosts: 2, first: 3, strength: 0.05, update: UPDATE, clip: Some(5.0) };
    let mut run = || {
        session.step(&mut stepper, &step).map_err(cause)?;
        session.average(0.5)?;
        session.settle().map_err(cause)
    };
    let result = run();
    // The failure was the only one: the device can still be read.
    if let Err(error) = result {
        *weights = session.read(Part::Weights)?;
        return Err(error);
    }
    let data = Feed::Host { images: &pixels[..pixels.len() / 2], labels: &labels[..4] };
    session.evaluate(&data, None)?;
    session.gradient(&data, None)?;
    *weights = session.read(Part::Weights)?;
    Ok(())
}

#[test]
fn every_driver_error_is_told_by_its_call_and_nothing_is_lost() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let (gpu, plan) = (gpu(), plan());
    let (before, _) = common::start(&plan);
    let mut after = Vec::new();
    story(&gpu, &plan, &mut after).expect("no failure");
    assert_ne!(before, after);
    let [free, _] = gpu.memory().expect("reads");
    let mut calls = std::collections::BTreeSet::new();
    for number in 0.. {
        let mut weights = Vec::new();
        faults::plant(number, 999);
        let result = story(&gpu, &plan, &mut weights);
        if faults::clear() {
            result.expect("the failure lies behind the end");
            break;
        }
        if result.is_ok() {
            // What is given back makes its device current first, and has nobody to tell that this failed.
            assert_eq!(faults::failed(), "cuCtxSetCurrent", "call {number}");
            continue;
        }
        let error = result.expect_err("a failure");
        let GpuError::Driver { call, code: 999, .. } = error else { panic!("call {number}: {error:?}") };
        calls.insert(call);
        assert!(weights.is_empty() || weights == before || weights == after, "call {number}, {call}: weights in between");
        assert_eq!(gpu.memory().expect("reads")[0], free, "call {number}, {call}: memory is lost");
    }
    for call in ["cuMemAlloc_v2", "cuLaunchKernel", "cuMemcpyHtoDAsync_v2", "cuStreamSynchronize", "cuCtxSetCurrent"] {
        assert!(calls.contains(call), "{call} was never seen to fail: {calls:?}");
    }
}

#[test]
fn opening_fails_by_the_calls_name() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let mut seen = Vec::new();
    // Up to the first modules: those that follow are loaded alike.
    for number in 0..16 {
        faults::plant(number, 999);
        let result = Gpu::open(&Selector::default());
        assert!(!faults::clear());
        match result {
            Err(GpuError::Driver { call, .. }) => seen.push(call),
            // `cust` makes a new context current and does not look at the answer; it is made so a second time.
            Ok(_) => assert_eq!(faults::failed(), "cuCtxSetCurrent"),
            Err(error) => panic!("{error:?}"),
        }
    }
    assert!(seen.contains(&"cuInit") && seen.contains(&"cuModuleLoadDataEx"), "{seen:?}");
}

#[test]
fn devices_that_do_not_exist_are_told_with_those_that_do() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let error = Gpu::open(&Selector::Number(77)).expect_err("no such device");
    assert!(error.to_string().contains("cuda:77") && error.to_string().contains("cuda:0 (GPU-"), "{error}");
    let gpu = gpu();
    let again = Gpu::open(&gpu.uuid().parse().expect("a UUID")).expect("the same one");
    assert_eq!((again.uuid(), again.number()), (gpu.uuid(), gpu.number()));
}

#[test]
fn sessions_come_and_go_without_a_leak() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let (gpu, plan) = (gpu(), plan());
    drop(session(&gpu, &plan, Precision::F32));
    let [free, _] = gpu.memory().expect("reads");
    for _ in 0..1000 {
        drop(session(&gpu, &plan, Precision::F32));
    }
    assert_eq!(gpu.memory().expect("reads")[0], free);
}

#[test]
fn memory_that_is_short_is_foreseen_with_the_batch_that_fits() {
    let _alone = ALONE.lock().unwrap_or_else(|e| e.into_inner());
    let gpu = gpu();
    let [free, _] = gpu.memory().expect("reads");
    let network: Network<16> = networks::digits().expect("fits");
    let planned = |images| Box::new(Plan::new(&network, images, Purpose::Training).expect("a plan"));
    let images = free as usize / (4 * planned(2).arena() / 2) * 2;
    let (start, statistics) = common::start(&planned(2));
    let keeps = Keeps::default();
    let new = |images: usize| Session::new(&gpu, &planned(images), &start, &statistics, keeps, Precision::F32);
    let Err(GpuError::Memory { batch, needed, free, largest }) = new(images) else { panic!("{images} images fit") };
    assert!(batch == images && needed > free && largest > 0 && largest < images, "{needed} {free} {largest}");
    assert_eq!(gpu.memory().expect("reads")[0], free, "nothing was taken");
    let Err(GpuError::Memory { .. }) = new(largest + 1) else { panic!("{largest} was not the largest") };
}
