//! Sessions against the portable backend: the same algorithm within rounding, on every kind of layer and method.

mod frozen;
pub(super) mod networks;
mod portable;

use super::*;
use crate::noise::{Distribution, Scaling};
use crate::optimizer::Optimizer;
use crate::plan::{Plan, Purpose};
use crate::step::{Draws, Method, Renewal, SmoothOut};
use networks::{Case, N, w1, w3, w3b, w4, zoo};
use portable::Reference;
use std::vec;
use std::vec::Vec;

/// Runs some steps here and there and returns the largest difference of weights and statistics, relative to the largest
/// change of a weight.
fn difference(case: &Case, config: Config<'_>, ghosts: usize, steps: usize) -> f32 {
    let purpose = Purpose::Training;
    let plan = Plan::new(&case.net, case.batch, purpose).expect("plans");
    let mut reference = Reference::new(case, &plan, config);
    let model = Slices { parameters: &case.parameters, statistics: &case.statistics };
    let needed = Session::required(&plan, &config).expect("possible");
    let mut arena = vec![f32::NAN; needed];
    let mut session = Session::<N>::new(&plan, &model, config, &mut arena).expect("fits");
    for step in 0..steps {
        let expected = reference.step(ghosts);
        let got = session.step(&case.images, &case.labels).expect("finite");
        let error = (got.loss - expected).abs() / expected.max(1.0);
        assert!(error < 1e-4, "{} {config:?}: loss {step}: {} {expected}", case.name, got.loss);
    }
    let change = |values: &[f32], before: &[f32]| {
        values.iter().zip(before).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()))
    };
    let moved = change(&reference.weights, &case.parameters);
    assert!(moved > 1e-3, "{} {config:?}: {moved}", case.name);
    let state = session.state();
    let statistics = &state[state.len() - case.statistics.len()..];
    let of_weights = change(session.weights(), &reference.weights) / moved;
    of_weights.max(change(statistics, &reference.statistics))
}

fn smooth(distribution: Distribution, scaling: Scaling) -> SmoothOut {
    SmoothOut { distribution, scaling, ..SmoothOut::constant() }
}

#[test]
fn every_layer_is_that_of_the_portable_backend() {
    for case in zoo() {
        for method in [Method::Sgd, Method::SmoothOut(SmoothOut::adaptive())] {
            let config = Config { optimizer: Optimizer::sgd(0.9), ..Config::new(method, 0.02) };
            let difference = difference(&case, config, 1, 3);
            assert!(difference < 2e-4, "{} {method:?}: {difference}", case.name);
        }
    }
}

#[test]
fn every_method_is_that_of_the_portable_backend() {
    for case in [w1(8), w3(4), w3b(4), w4(1)] {
        for distribution in [Distribution::Uniform, Distribution::Gaussian, Distribution::Dropout] {
            for scaling in [Scaling::Constant, Scaling::PerWeight, Scaling::PerFilter] {
                let method = Method::SmoothOut(smooth(distribution, scaling));
                let config = Config { strength: 0.05, ..Config::new(method, 0.02) };
                let difference = difference(&case, config, 1, 4);
                assert!(difference < 5e-4, "{} {method:?}: {difference}", case.name);
            }
        }
    }
}

#[test]
fn draws_ghost_batches_and_clipping_are_those_of_the_stepper() {
    for renewal in [Renewal::GhostBatch, Renewal::Step, Renewal::Never] {
        for (count, antithetic) in [(1, false), (3, false), (2, true)] {
            let draws = Draws { count, antithetic, renewal };
            let method = Method::SmoothOut(SmoothOut { draws, ..SmoothOut::adaptive() });
            for clip in [None, Some(0.3)] {
                let mut case = w3b(12);
                case.batch = 4;
                let config = Config {
                    clip,
                    accumulate: true,
                    // Adam would blow up the biases' gradients, which are nothing but rounding before a batch norm.
                    optimizer: Optimizer::sgd(0.9),
                    weight_decay: 0.01,
                    ..Config::new(method, 0.01)
                };
                let difference = difference(&case, config, 3, 3);
                assert!(difference < 2e-3, "{method:?} {clip:?}: {difference}");
            }
        }
    }
}

#[test]
fn optimizers_are_those_of_the_portable_backend() {
    let nesterov = Optimizer::Sgd { momentum: 0.9, nesterov: true };
    for optimizer in [Optimizer::sgd(0.0), Optimizer::sgd(0.9), nesterov, Optimizer::adam()] {
        let method = Method::SmoothOut(SmoothOut::constant());
        let config =
            Config { optimizer, weight_decay: 1e-3, strength: 0.02, ..Config::new(method, 0.01) };
        let difference = difference(&w3(4), config, 1, 10);
        assert!(difference < 2e-3, "{optimizer:?}: {difference}");
    }
}

#[test]
fn a_small_arena_says_what_is_missing() {
    let case = w3(4);
    let plan = Plan::new(&case.net, 4, Purpose::Training).expect("plans");
    let model = Slices { parameters: &case.parameters, statistics: &[] };
    let config = Config::new(Method::Sgd, 0.1);
    let needed = Session::required(&plan, &config).expect("possible");
    let mut arena = vec![0.0; needed - 7];
    let error = Session::<N>::new(&plan, &model, config, &mut arena).expect_err("too small");
    assert_eq!(error, SessionError::Arena { needed, given: needed - 7 });
    assert!(std::format!("{error}").contains("7 are missing"));
}

#[test]
fn pieces_make_the_same_step_and_clean_weights_stand_at_every_moment() {
    let case = w3b(4);
    let plan = Plan::new(&case.net, 4, Purpose::Training).expect("plans");
    let model = Slices { parameters: &case.parameters, statistics: &case.statistics };
    for accumulate in [false, true] {
        let method = Method::SmoothOut(SmoothOut::adaptive());
        let config = Config {
            accumulate,
            optimizer: Optimizer::sgd(0.9),
            ..Config::new(method, 0.05)
        };
        let needed = Session::required(&plan, &config).expect("possible");
        let (mut one, mut other) = (vec![0.0; needed], vec![0.0; needed]);
        let mut whole = Session::<N>::new(&plan, &model, config, &mut one).expect("fits");
        let mut pieces = Session::<N>::new(&plan, &model, config, &mut other).expect("fits");
        let (images, labels) = (&case.images, &case.labels);
        let clean = pieces.state().to_vec();
        // Stopped at every moment before the first update, nothing has changed.
        for stop in 0.. {
            pieces.begin(images, labels).expect("fits");
            let mut ended = false;
            for _ in 0..stop {
                ended |= pieces.advance(images, labels).expect("finite").is_some();
                ended |= pieces.weights() != &clean[..pieces.weights().len()];
            }
            if ended {
                assert!(stop > 40, "{stop}");
                break;
            }
            pieces.abort();
            assert!(pieces.state() == clean, "{stop}");
        }
        pieces.restore(&clean, Counters::default()).expect("same session");
        for _ in 0..3 {
            let outcome = whole.step(images, labels).expect("finite");
            pieces.begin(images, labels).expect("fits");
            assert!(matches!(pieces.infer(images), Err(SessionError::Order { .. })));
            let got = loop {
                if let Some(outcome) = pieces.advance(images, labels).expect("finite") {
                    break outcome;
                }
            };
            assert_eq!(outcome, got);
        }
        assert!(whole.state() == pieces.state());
        assert_eq!(whole.counters(), pieces.counters());
    }
}

/// Stored gradients: the step is dropped whole or done whole. Else each weight is that from before or that from after.
#[test]
fn a_dropped_step_leaves_each_weight_before_or_after_it() {
    let case = w3(4);
    let plan = Plan::new(&case.net, 4, Purpose::Training).expect("plans");
    let model = Slices { parameters: &case.parameters, statistics: &case.statistics };
    for accumulate in [false, true] {
        let method = Method::SmoothOut(SmoothOut::adaptive());
        let config =
            Config { accumulate, optimizer: Optimizer::sgd(0.9), ..Config::new(method, 0.05) };
        let mut arena = vec![0.0; Session::required(&plan, &config).expect("possible")];
        let mut session = Session::<N>::new(&plan, &model, config, &mut arena).expect("fits");
        let (images, labels) = (&case.images, &case.labels);
        session.step(images, labels).expect("finite");
        let (before, counters) = (session.state().to_vec(), session.counters());
        session.step(images, labels).expect("finite");
        let (after, done) = (session.state().to_vec(), session.counters());
        let (mut dropped, mut mixed) = (0, 0);
        for stop in 0.. {
            session.restore(&before, counters).expect("same session");
            session.begin(images, labels).expect("fits");
            let end = (0..stop).any(|_| session.advance(images, labels).expect("finite").is_some());
            session.abort();
            let state = session.state();
            let old = state.iter().zip(&before).filter(|(now, old)| now == old).count();
            assert!(state.iter().zip(before.iter().zip(&after)).all(|(now, (old, new))| now == old || now == new));
            if state == after {
                assert_eq!(session.counters().updates, done.updates, "{stop}");
            } else {
                dropped += 1;
                mixed += usize::from(old < state.len());
            }
            if end {
                break;
            }
        }
        assert!(dropped > 40);
        assert_eq!(mixed > 0, !accumulate, "{mixed}");
    }
}

#[test]
fn a_loss_that_is_not_finite_changes_nothing() {
    for accumulate in [false, true] {
        let mut case = w3b(8);
        case.batch = 4;
        let plan = Plan::new(&case.net, 4, Purpose::Training).expect("plans");
        let model = Slices { parameters: &case.parameters, statistics: &case.statistics };
        let method = Method::SmoothOut(SmoothOut::adaptive());
        let config = Config { accumulate, ..Config::new(method, 0.05) };
        let mut arena = vec![0.0; Session::required(&plan, &config).expect("possible")];
        let mut session = Session::<N>::new(&plan, &model, config, &mut arena).expect("fits");
        let images = if accumulate { 8 } else { 4 };
        let before = session.state().to_vec();
        let last = images * 64 - 1;
        case.images[last] = f32::NAN;
        let (images, labels) = (&case.images[..images * 64], &case.labels[..images]);
        let error = session.step(images, labels).expect_err("not finite");
        assert!(matches!(error, SessionError::Loss { .. }), "{error:?}");
        assert!(session.state() == before);
        assert_eq!(session.counters(), Counters::default());
    }
}

#[test]
fn a_variance_that_overflows_is_refused_though_the_loss_is_finite() {
    let mut case = w3b(4);
    let plan = Plan::new(&case.net, 4, Purpose::Training).expect("plans");
    let model = Slices { parameters: &case.parameters, statistics: &case.statistics };
    let config = Config::new(Method::Sgd, 0.05);
    let mut arena = vec![0.0; Session::required(&plan, &config).expect("possible")];
    let mut session = Session::<N>::new(&plan, &model, config, &mut arena).expect("fits");
    let before = session.state().to_vec();
    case.images.iter_mut().for_each(|pixel| *pixel *= 1e22);
    let error = session.step(&case.images, &case.labels).expect_err("not finite");
    assert_eq!(error, SessionError::Statistic { value: f32::INFINITY });
    assert!(session.state() == before);
}
