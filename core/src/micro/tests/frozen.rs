//! Trainings of a part of the weights, and models in flash.

use super::networks::{Case, N, w1, w3, w3b, w4};
use super::*;
use crate::backend::Selection;
use crate::noise::{Address, Noise};
use crate::plan::Tensor;
use crate::portable::{LengthError, Mode, NetworkPass};

/// The rows that a configuration trains, as ranges of all parameters, with the tensor and the row.
fn trained_rows(plan: &Plan<N>, trained: &Trained<'_>) -> Vec<(Tensor, usize)> {
    let mut rows = Vec::new();
    for (index, layer) in plan.layers().iter().enumerate() {
        for tensor in layer.tensors() {
            let stride = trained.stride(index, layer, tensor);
            let chosen = (0..tensor.rows).filter(|row| stride > 0 && row % stride == 0);
            rows.extend(chosen.map(|row| (*tensor, row)));
        }
    }
    rows
}

fn range(tensor: &Tensor, row: usize) -> core::ops::Range<usize> {
    let start = tensor.offset + row * tensor.row_len;
    start..start + tensor.row_len
}

/// Plain SGD of the chosen rows by the portable kernels, which perturb those rows alone.
fn reference(case: &Case, plan: &Plan<N>, config: &Config<'_>, weights: &mut [f32], step: u64) {
    let rows = trained_rows(plan, &config.trained);
    let address = Address { seed: config.seed, step, draw: 0 };
    let mut point = weights.to_vec();
    if let Method::SmoothOut(method) = config.method {
        let noise = Noise::new(method.distribution, method.scaling, config.strength).expect("valid");
        for (tensor, row) in rows.iter().filter(|(t, _)| Selection::default().contains(t.role)) {
            let key = address.tensor(tensor.index);
            noise.add(key, row * tensor.row_len, &mut point[range(tensor, *row)]);
        }
    }
    let mut workspace = vec![0.0; plan.workspace()];
    let mut pass = NetworkPass::new(plan, &mut workspace).expect("long enough");
    pass.forward(&point, &case.statistics, &case.images, Mode::Train(address)).expect("fits");
    pass.loss(&case.labels).expect("labels are classes");
    let mut gradient = vec![0.0; weights.len()];
    pass.backward(&mut point, |p| p, &case.statistics, &case.images, |_, tensor, row, values| {
        let start = tensor.offset + row * tensor.row_len;
        gradient[start..start + values.len()].copy_from_slice(values);
        Ok::<(), LengthError>(())
    })
    .expect("nothing fails");
    for (tensor, row) in &rows {
        for at in range(tensor, *row) {
            weights[at] -= config.rate * gradient[at];
        }
    }
}

#[test]
fn chosen_filters_are_trained_and_nothing_else() {
    let all = Trained::all();
    let choices = [
        Trained { layers: Layers::From(3), ..all },
        Trained { layers: Layers::From(6), ..all },
        Trained { layers: Layers::Only(&[0, 7]), ..all },
        Trained { layers: Layers::Only(&[2, 3]), ..all },
        Trained { biases_only: true, ..all },
        Trained { layers: Layers::From(3), biases_only: true, every: 2 },
        Trained { every: 2, ..all },
        Trained { every: 3, ..all },
    ];
    let noises = [
        None,
        Some(smooth(Distribution::Uniform, Scaling::PerFilter)),
        Some(smooth(Distribution::Gaussian, Scaling::Constant)),
    ];
    for case in [w1(3), w3(3), w4(2)] {
        let plan = Plan::new(&case.net, case.batch, Purpose::Training).expect("plans");
        for (trained, noise) in choices.into_iter().flat_map(|c| noises.map(|n| (c, n))) {
            let method = noise.map_or(Method::Sgd, Method::SmoothOut);
            let config = Config { trained, strength: 0.05, ..Config::new(method, 0.05) };
            if trained_rows(&plan, &trained).is_empty() {
                continue;
            }
            let model = Slices { parameters: &case.parameters, statistics: &case.statistics };
            let mut arena = vec![f32::NAN; Session::required(&plan, &config).expect("possible")];
            let mut session = Session::<N>::new(&plan, &model, config, &mut arena).expect("fits");
            let mut weights = case.parameters.clone();
            for step in 0..3 {
                session.step(&case.images, &case.labels).expect("finite");
                reference(&case, &plan, &config, &mut weights, step);
            }
            let rows = trained_rows(&plan, &trained);
            let expected: Vec<f32> =
                rows.iter().flat_map(|(t, row)| weights[range(t, *row)].to_vec()).collect();
            assert_eq!(session.weights().len(), expected.len());
            for (a, b) in session.weights().iter().zip(&expected) {
                assert!((a - b).abs() < 1e-5, "{} {config:?}: {a} {b}", case.name);
            }
        }
    }
}

#[test]
fn frozen_layers_need_little_memory() {
    let case = w3(8);
    let plan = Plan::new(&case.net, case.batch, Purpose::Training).expect("plans");
    let needed = |trained| {
        let config = Config { trained, ..Config::new(Method::Sgd, 0.05) };
        Session::required(&plan, &config).expect("possible")
    };
    let all = Trained::all();
    let last = needed(Trained { layers: Layers::From(7), ..all });
    // The last layer and its momentless state: 650 weights; two activations at a time.
    assert!(last < 650 + 8 * (128 + 64) + 400, "{last}");
    assert!(needed(Trained { biases_only: true, ..all }) < needed(all) - 1500);
}

/// Tensors in flash: f32 words or int8.
struct Flash<'m>(Vec<Weights<'m>>, Weights<'m>);

impl<'m> Model<'m> for Flash<'m> {
    fn tensor(&self, tensor: &Tensor) -> Weights<'m> {
        self.0[tensor.index as usize]
    }

    fn statistics(&self) -> Weights<'m> {
        self.1
    }
}

#[test]
fn models_in_flash_are_read_in_place() {
    let mut case = w3b(3);
    let plan = Plan::new(&case.net, case.batch, Purpose::Training).expect("plans");
    // Int8 weights of filters, f32 words for the rest; `case` has what they stand for.
    let mut bytes: Vec<Vec<u8>> = Vec::new();
    for tensor in plan.tensors() {
        let values = &mut case.parameters[tensor.range()];
        let (mut these, mut scales) = (Vec::new(), Vec::new());
        for row in values.chunks_mut(tensor.row_len) {
            let scale = 0.01f32;
            scales.extend(scale.to_le_bytes());
            for value in row {
                if tensor.row_len > 1 {
                    let quantized = (*value / scale).round() as i8;
                    *value = f32::from(quantized) * scale;
                    these.push(quantized.cast_unsigned());
                } else {
                    these.extend(value.to_le_bytes());
                }
            }
        }
        bytes.push(if tensor.row_len > 1 { [scales, these].concat() } else { these });
    }
    let statistics: Vec<u8> = case.statistics.iter().flat_map(|s| s.to_le_bytes()).collect();
    let views = plan.tensors().zip(&bytes).map(|(tensor, bytes)| {
        let filters = tensor.rows as u16;
        if tensor.row_len > 1 { Weights::Int8 { filters, bytes } } else { Weights::Bytes(bytes) }
    });
    let flash = Flash(views.collect(), Weights::Bytes(&statistics));
    let memory = Slices { parameters: &case.parameters, statistics: &case.statistics };
    let all = Trained::all();
    for trained in [all, Trained { layers: Layers::From(4), ..all }, Trained { every: 2, ..all }] {
        let method = Method::SmoothOut(SmoothOut::adaptive());
        let config = Config { trained, ..Config::new(method, 0.05) };
        let needed = Session::required(&plan, &config).expect("possible");
        let (mut one, mut other) = (vec![0.0; needed], vec![0.0; needed]);
        let mut in_flash = Session::<N>::new(&plan, &flash, config, &mut one).expect("fits");
        let mut in_memory = Session::<N>::new(&plan, &memory, config, &mut other).expect("fits");
        for _ in 0..3 {
            let outcome = in_flash.step(&case.images, &case.labels).expect("finite");
            assert_eq!(outcome, in_memory.step(&case.images, &case.labels).expect("finite"));
        }
        assert!(in_flash.state() == in_memory.state());
        let logits = in_flash.infer(&case.images).expect("fits").to_vec();
        assert!(logits == in_memory.infer(&case.images).expect("fits"));
    }
}

#[test]
fn sharpness_is_that_of_the_slope_in_small_boxes_and_leaves_the_weights() {
    for case in [w1(6), w3b(6)] {
        let plan = Plan::new(&case.net, 4, Purpose::Training).expect("plans");
        let model = Slices { parameters: &case.parameters, statistics: &case.statistics };
        let config = Config { accumulate: true, ..Config::new(Method::Sgd, 0.05) };
        let mut arena = vec![0.0; Session::required(&plan, &config).expect("possible")];
        let mut session = Session::<N>::new(&plan, &model, config, &mut arena).expect("fits");
        let mut memory = vec![0.0; 2 * plan.parameters()];
        let (images, labels) = (&case.images, &case.labels);
        let before = session.state().to_vec();
        let loss = session.evaluate(images, labels).expect("fits").loss;
        let mut measure = |epsilon: f32, iterations: u32| {
            session.sharpness(images, labels, epsilon, iterations, &mut memory).expect("finite")
        };
        let small = measure(1e-5, 1);
        assert!((small.loss - loss).abs() < 1e-6);
        // The gradient in evaluation mode, by the portable kernels.
        let mut workspace = vec![0.0; Plan::new(&case.net, 6, Purpose::Training).expect("plans").workspace()];
        let plan = Plan::new(&case.net, 6, Purpose::Training).expect("plans");
        let mut pass = NetworkPass::new(&plan, &mut workspace).expect("long enough");
        pass.forward(&case.parameters, &case.statistics, images, Mode::Evaluate).expect("fits");
        pass.loss(labels).expect("labels are classes");
        let (mut slope, mut owner) = (0.0, case.parameters.clone());
        let mut gradient = vec![0.0; plan.parameters()];
        pass.backward(&mut owner, |p| p, &case.statistics, images, |_, tensor, row, values| {
            let start = tensor.offset + row * tensor.row_len;
            gradient[start..start + values.len()].copy_from_slice(values);
            let weights = &case.parameters[start..start + values.len()];
            slope += weights.iter().zip(values).map(|(w, g)| (w.abs() + 1.0) * g.abs()).sum::<f32>();
            Ok::<(), LengthError>(())
        })
        .expect("nothing fails");
        let expected = 1e-5 * slope / (1.0 + loss) * 100.0;
        let error = (small.value() - expected).abs() / expected;
        assert!(error < 0.1, "{}: {} {expected}", case.name, small.value());
        let mut got = vec![f32::NAN; plan.parameters()];
        let loss_there = session.gradient(images, labels, &mut got).expect("finite");
        let size = gradient.iter().fold(0.0f32, |most, g| most.max(g.abs()));
        let apart = got.iter().zip(&gradient).fold(0.0f32, |most, (a, b)| most.max((a - b).abs()));
        assert!((loss_there - loss).abs() < 1e-6 && apart < 1e-5 * size, "{}: {apart} of {size}", case.name);
        let short = session.gradient(images, labels, &mut got[1..]);
        assert!(matches!(short, Err(SessionError::Length { what: "the gradient", .. })), "{short:?}");
        let mut measure = |epsilon: f32, iterations: u32| {
            session.sharpness(images, labels, epsilon, iterations, &mut memory).expect("finite")
        };
        let (one, ten) = (measure(5e-3, 1), measure(5e-3, 10));
        assert!(ten.value() > 0.5 * one.value() && one.value() > 50.0 * small.value());
        assert!(session.state() == before);
    }
}
