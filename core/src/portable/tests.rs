//! Gradients of whole networks against finite differences in f64, and steps of the portable backend.

use super::*;
use crate::backend::{Backend, Base, Draw, Selection};
use crate::ghost::GhostBatches;
use crate::layers::{AvgPool2d, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d};
use crate::network::{Layer, Network, Source};
use crate::noise::{Address, Distribution, Noise, Scaling};
use crate::optimizer::{Optimizer, Update};
use crate::plan::{Plan, Purpose, Tensor};
use crate::shape::Shape;
use crate::step::{Draws, Method, Renewal, SmoothOut, StepError, Stepper};
use std::vec::Vec;
use std::{format, vec};

const ADDRESS: Address = Address { seed: 3, step: 1, draw: 0 };

fn uniform(len: usize, seed: u32) -> Vec<f64> {
    let mut s = seed;
    (0..len)
        .map(|_| {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(s >> 8) / 8_388_608.0 - 1.0
        })
        .collect()
}

/// Loss and gradient of a network in f64.
fn gradient<const N: usize>(
    plan: &Plan<N>,
    parameters: &[f64],
    images: &[f64],
    labels: &[u32],
    mode: Mode,
) -> (f64, Vec<f64>) {
    let mut workspace = vec![f64::NAN; plan.workspace()];
    let mut statistics: Vec<f64> =
        uniform(plan.statistics(), 9).iter().map(|s| 0.5 + s * s).collect();
    let mut pass = NetworkPass::new(plan, &mut workspace).expect("long enough");
    pass.forward(parameters, &statistics, images, mode).expect("lengths fit");
    let loss = pass.loss(labels).expect("labels are classes");
    let mut gradient = vec![f64::NAN; plan.parameters()];
    let mut owner = parameters.to_vec();
    pass.backward(&mut owner, |p| p, &statistics, images, |_, tensor, row, values| {
        let at = tensor.offset + row * tensor.row_len;
        gradient[at..at + values.len()].copy_from_slice(values);
        Ok::<(), LengthError>(())
    })
    .expect("nothing fails");
    pass.update_statistics(&mut statistics).expect("as many as the plan says");
    (loss.mean, gradient)
}

fn check<const N: usize>(net: &Network<N>) {
    let n = 3;
    let plan = Plan::new(net, n, Purpose::Training).expect("plans");
    let images = uniform(n * net.input().len(), 1);
    let labels: Vec<u32> = (0..n as u32).map(|i| i % plan.classes() as u32).collect();
    let mut parameters: Vec<f64> = uniform(plan.parameters(), 2).iter().map(|p| 0.5 * p).collect();
    for mode in [Mode::Train(ADDRESS), Mode::Evaluate] {
        let (_, analytic) = gradient(&plan, &parameters, &images, &labels, mode);
        let scale = analytic.iter().fold(0.0f64, |m, g| m.max(g.abs()));
        for i in 0..parameters.len() {
            let h = 1e-6;
            let clean = parameters[i];
            parameters[i] = clean + h;
            let above = gradient(&plan, &parameters, &images, &labels, mode).0;
            parameters[i] = clean - h;
            let below = gradient(&plan, &parameters, &images, &labels, mode).0;
            parameters[i] = clean;
            let numeric = (above - below) / (2.0 * h);
            let error = (numeric - analytic[i]).abs();
            assert!(error < 1e-6 * scale.max(1.0), "{mode:?} {i}: {numeric} {}", analytic[i]);
        }
    }
}

/// A network that ends in a linear layer behind `layers`, whose first layer is a convolution so that
/// every layer after it also has to give an input gradient.
fn behind_a_conv(input: Shape, layers: &[Layer]) -> Network<16> {
    let mut net = Network::new(input);
    net.push(format_args!("first"), Layer::Conv2d(Conv2d::new(4, 3).padding(1).with_bias())).expect("fits");
    for (i, layer) in layers.iter().enumerate() {
        net.push(format_args!("l{i}"), *layer).expect("fits");
    }
    net.push(format_args!("flatten"), Layer::Flatten).expect("fits");
    net.push(format_args!("last"), Layer::Linear(Linear::new(3))).expect("fits");
    net
}

#[test]
fn gradients_equal_finite_differences() {
    let image = Shape::new(2, 7, 5);
    let odd = Conv2d {
        out_channels: 6,
        kernel: [3, 2],
        stride: [2, 3],
        padding: [1, 0],
        groups: 2,
        bias: true,
    };
    let cases: [&[Layer]; 10] = [
        &[],
        &[Layer::Conv2d(odd)],
        &[Layer::Conv2d(Conv2d::new(4, 3).groups(4).stride(2).padding(2))],
        &[Layer::BatchNorm(BatchNorm::default()), Layer::Relu],
        &[Layer::MaxPool2d(MaxPool2d::new(3, 2).padding(1))],
        &[Layer::AvgPool2d(AvgPool2d::new(3, 2).padding(1))],
        &[Layer::GlobalAvgPool],
        &[Layer::Dropout(Dropout { probability: 0.4 })],
        &[Layer::Add(Source::Layer(0))],
        &[Layer::Conv2d(Conv2d::new(4, 1)), Layer::Relu, Layer::Add(Source::Layer(0)), Layer::Relu],
    ];
    for layers in cases {
        check(&behind_a_conv(image, layers));
    }
    let mut flat: Network<4> = Network::new(Shape::flat(9));
    flat.push(format_args!("norm"), Layer::BatchNorm(BatchNorm::default())).expect("fits");
    flat.push(format_args!("linear"), Layer::Linear(Linear::new(4).without_bias())).expect("fits");
    check(&flat);
}

#[test]
fn f32_passes_are_within_2e_6_of_f64() {
    let net = behind_a_conv(
        Shape::new(3, 16, 16),
        &[Layer::BatchNorm(BatchNorm::default()), Layer::Conv2d(Conv2d::new(8, 3).padding(1))],
    );
    let n = 16;
    let plan = Plan::new(&net, n, Purpose::Training).expect("plans");
    let images: Vec<f32> = uniform(n * net.input().len(), 1).iter().map(|x| *x as f32).collect();
    let parameters: Vec<f32> = uniform(plan.parameters(), 2).iter().map(|x| 0.3 * *x as f32).collect();
    let labels: Vec<u32> = (0..n as u32).map(|i| i % 3).collect();
    let wide = |v: &[f32]| v.iter().map(|x| f64::from(*x)).collect::<Vec<_>>();
    let mode = Mode::Train(ADDRESS);
    let (_, exact) = gradient(&plan, &wide(&parameters), &wide(&images), &labels, mode);
    let mut workspace = vec![f32::NAN; plan.workspace()];
    let mut pass = NetworkPass::new(&plan, &mut workspace).expect("long enough");
    let statistics = vec![1.0; plan.statistics()];
    pass.forward(&parameters, &statistics, &images, mode).expect("lengths fit");
    pass.loss(&labels).expect("labels are classes");
    let mut got = vec![0.0; plan.parameters()];
    let mut owner = parameters.clone();
    pass.backward(&mut owner, |p| p, &statistics, &images, |_, tensor, row, values| {
        let at = tensor.offset + row * tensor.row_len;
        got[at..at + values.len()].copy_from_slice(values);
        Ok::<(), LengthError>(())
    })
    .expect("nothing fails");
    let difference: f64 = got.iter().zip(&exact).map(|(a, b)| (f64::from(*a) - b).powi(2)).sum();
    let norm: f64 = exact.iter().map(|b| b * b).sum();
    assert!((difference / norm).sqrt() < 2e-6, "{}", (difference / norm).sqrt());
}

#[test]
fn slices_that_do_not_fit_the_plan_are_refused_and_named() {
    let net = crate::networks::digits::<10>().expect("fits");
    let plan = Plan::new(&net, 3, Purpose::Training).expect("plans");
    let image = plan.input().len();
    let (parameters, statistics) = (vec![0.1f32; plan.parameters()], vec![1.0; plan.statistics()]);
    let (images, labels) = (vec![0.5; 2 * image], [1, 0]);
    let mut workspace = vec![0.0; plan.workspace()];
    let mut pass = NetworkPass::new(&plan, &mut workspace).expect("long enough");
    pass.forward(&parameters, &statistics, &images, Mode::Train(ADDRESS)).expect("lengths fit");
    for labels in [&[1u32][..], &[1, 0, 1], &[]] {
        let error = LengthError { what: "labels", needed: 2, given: labels.len() };
        assert_eq!(pass.loss(labels), Err(error.into()));
        assert_eq!(pass.loss_only(labels), Err(error.into()));
    }
    pass.loss(&labels).expect("labels are classes");
    for change in [-1isize, 1] {
        let other = |len: usize| vec![0.0f32; len.strict_add_signed(change)];
        let mut refuse = |what, needed: usize, parameters: &[f32], statistics: &[f32], images: &[f32]| {
            let mut owner = parameters.to_vec();
            let given = pass.backward(&mut owner, |p| p, statistics, images, |_, _, _, _| -> Result<(), LengthError> {
                panic!("no gradient of a pass that is refused");
            });
            assert_eq!(given, Err(LengthError { what, needed, given: needed.strict_add_signed(change) }));
        };
        refuse("parameters", parameters.len(), &other(parameters.len()), &statistics, &images);
        refuse("statistics", statistics.len(), &parameters, &other(statistics.len()), &images);
        refuse("images", images.len(), &parameters, &statistics, &other(images.len()));
        let error = LengthError {
            what: "statistics",
            needed: statistics.len(),
            given: statistics.len().strict_add_signed(change),
        };
        assert_eq!(pass.update_statistics(&mut other(statistics.len())), Err(error));
    }
}

#[test]
fn a_plan_for_inference_has_a_loss_but_no_gradient() {
    let net = crate::networks::digits::<10>().expect("fits");
    let plan = Plan::new(&net, 2, Purpose::Inference).expect("plans");
    let (mut parameters, statistics) = (vec![0.1f32; plan.parameters()], vec![1.0; plan.statistics()]);
    let images = vec![0.5; 2 * plan.input().len()];
    let mut workspace = vec![0.0; plan.workspace()];
    let mut pass = NetworkPass::new(&plan, &mut workspace).expect("long enough");
    pass.forward(&parameters, &statistics, &images, Mode::Evaluate).expect("lengths fit");
    let error = LengthError { what: "gradients", needed: 2 * plan.classes(), given: 0 };
    pass.loss_only(&[1, 0]).expect("labels are classes");
    assert_eq!(pass.loss(&[1, 0]), Err(error.into()));
    let backward = pass.backward(&mut parameters, |p| p, &statistics, &images, |_, _, _, _| Ok(()));
    assert_eq!(backward, Err(error));
}

/// A digits network with all memory that the portable backend can use.
struct Rig {
    plan: Plan<10>,
    tensors: Vec<Tensor>,
    memory: [Vec<f32>; 7],
    statistics: Vec<f32>,
    images: Vec<f32>,
    labels: Vec<u32>,
    strategy: Strategy,
}

impl Rig {
    fn new(strategy: Strategy) -> Self {
        let net = crate::networks::digits::<10>().expect("fits");
        let plan = Plan::new(&net, 12, Purpose::Training).expect("plans");
        let total = plan.parameters();
        let mut weights: Vec<f32> = uniform(total, 5).iter().map(|w| 0.3 * *w as f32).collect();
        for tensor in plan.tensors().filter(|t| t.role == crate::plan::Role::NormScale) {
            weights[tensor.range()].fill(1.0);
        }
        let rows = plan.tensors().map(|t| t.rows).sum();
        let zeros = |len| vec![0.0f32; len];
        let shadow = strategy == Strategy::Shadow;
        let scales = zeros(if shadow { 0 } else { rows });
        let shadow = zeros(if shadow { total } else { 0 });
        let memory =
            [weights, shadow, scales, zeros(total), zeros(total), zeros(total), zeros(total)];
        Self {
            tensors: plan.tensors().copied().collect(),
            statistics: vec![1.0; plan.statistics()],
            images: uniform(12 * 64, 6).iter().map(|x| *x as f32).collect(),
            labels: (0..12).map(|i| i % 10).collect(),
            plan,
            memory,
            strategy,
        }
    }

    fn run<R>(
        &mut self,
        ghosts: usize,
        work: impl FnOnce(&mut Parameters<'_>, &mut NetworkObjective<'_, 10>) -> R,
    ) -> R {
        let [weights, shadow, scales, gradient, first, second, average] = &mut self.memory;
        let memory = Memory { weights, shadow, scales, gradient, first, second, average };
        let mut parameters = Parameters::new(&self.tensors, memory, self.strategy).expect("lengths fit");
        let mut workspace = vec![0.0; self.plan.workspace()];
        let pass = NetworkPass::new(&self.plan, &mut workspace).expect("long enough");
        let mut backup = vec![0.0; self.plan.statistics()];
        let data = (&self.images[..], &self.labels[..]);
        let cut = GhostBatches::new(12, ghosts);
        let mut objective =
            NetworkObjective::new(pass, &mut self.statistics, &mut backup, data, cut).expect("fits");
        work(&mut parameters, &mut objective)
    }
}

fn update(rate: f32) -> Update {
    Update { optimizer: Optimizer::sgd(0.9), rate, weight_decay: 1e-3, gradient_scale: 1.0, time: 1 }
}

fn methods() -> Vec<Method> {
    let mut methods = vec![Method::Sgd, Method::Sam { radius: 0.05 }];
    for distribution in [Distribution::Uniform, Distribution::Gaussian, Distribution::Dropout] {
        for scaling in [Scaling::Constant, Scaling::PerWeight, Scaling::PerFilter] {
            for renewal in [Renewal::GhostBatch, Renewal::Step, Renewal::Never] {
                for denoise in [true, false] {
                    methods.push(Method::SmoothOut(SmoothOut {
                        distribution,
                        scaling,
                        draws: Draws { count: 2, antithetic: distribution == Distribution::Uniform, renewal },
                        denoise,
                        ..SmoothOut::constant()
                    }));
                }
            }
        }
    }
    methods
}

#[test]
fn every_method_learns_and_a_failure_changes_nothing() {
    for method in methods() {
        let mut rig = Rig::new(Strategy::Shadow);
        let mut stepper = Stepper::new(method, 7).expect("valid");
        let mut losses = Vec::new();
        for step in 0..25 {
            let loss = rig.run(2, |parameters, objective| {
                let loss = stepper.accumulate(parameters, objective, step, 0.02).expect("finite");
                stepper.update(parameters, &update(0.02), Some(5.0)).expect("finite");
                loss
            });
            losses.push(loss);
        }
        let (first, last) = (losses[0], losses[24]);
        assert!(last < 0.8 * first, "{method:?}: {first} {last}");

        // A pixel that is not a number in the second ghost batch, after the first one moved everything it moves.
        let before = (rig.memory[0].clone(), rig.statistics.clone());
        rig.images[12 * 64 - 1] = f32::NAN;
        rig.run(2, |parameters, objective| {
            let error = stepper.accumulate(parameters, objective, 25, 0.02).expect_err("not finite");
            assert!(matches!(error, StepError::Loss { ghost: 1, .. }), "{error:?}");
        });
        assert!(before == (rig.memory[0].clone(), rig.statistics.clone()), "{method:?}");
    }
}

#[test]
fn shadow_gives_clean_weights_back_exactly_and_replay_within_its_bound() {
    for scaling in [Scaling::Constant, Scaling::PerWeight, Scaling::PerFilter] {
        for distribution in [Distribution::Uniform, Distribution::Gaussian] {
            let noise = Noise::new(distribution, scaling, 0.1).expect("valid");
            for strategy in [Strategy::Shadow, Strategy::Replay] {
                if strategy == Strategy::Replay && !noise.is_replayable() {
                    continue;
                }
                let mut rig = Rig::new(strategy);
                let clean = rig.memory[0].clone();
                for cycle in 1..=200u32 {
                    let address = Address { seed: 1, step: u64::from(cycle), draw: 0 };
                    let draw = Draw { noise, selection: Selection::default(), address };
                    let point = rig.run(1, |parameters, _| {
                        parameters.perturb(&draw, Base::Clean).expect("possible");
                        let point = parameters.point().to_vec();
                        parameters.denoise().expect("possible");
                        parameters.denoise().expect("does nothing");
                        point
                    });
                    assert!(point != clean);
                    for ((w, c), p) in rig.memory[0].iter().zip(&clean).zip(&point) {
                        let one = match (strategy, scaling) {
                            (Strategy::Shadow, _) => 0.0,
                            (_, Scaling::PerWeight) => c.abs() * 2f32.powi(-22) / 0.9,
                            _ => (p.abs() + c.abs()) * 1.01 * 2f32.powi(-24) + 1e-12,
                        };
                        // Errors of single cycles add up at most; they do not grow.
                        let bound = one.max(0.0) * cycle as f32 + if one > 0.0 { 1e-8 * cycle as f32 } else { 0.0 };
                        assert!((w - c).abs() <= bound, "{strategy:?} {scaling:?} {cycle}: {w} {c}");
                    }
                }
            }
        }
    }
}

#[test]
fn the_fused_form_is_the_same_step() {
    for strategy in [Strategy::Shadow, Strategy::Replay] {
        let method = Method::SmoothOut(SmoothOut::adaptive());
        let mut weights = Vec::new();
        for fused in [false, true] {
            let mut rig = Rig::new(strategy);
            let mut stepper = Stepper::new(method, 7).expect("valid");
            for step in 0..5 {
                rig.run(1, |parameters, objective| {
                    if fused {
                        stepper.fused(parameters, objective, step, 0.1, &update(0.02)).expect("finite");
                    } else {
                        stepper.accumulate(parameters, objective, step, 0.1).expect("finite");
                        stepper.update(parameters, &update(0.02), None).expect("finite");
                    }
                });
            }
            weights.push(rig.memory[0].clone());
        }
        assert!(weights[0] == weights[1], "{strategy:?}");
    }
}

#[test]
fn impossible_requests_are_named() {
    let mut rig = Rig::new(Strategy::Replay);
    let noise = Noise::new(Distribution::Dropout, Scaling::Constant, 0.1).expect("valid");
    let draw = Draw { noise, selection: Selection::default(), address: ADDRESS };
    rig.run(1, |parameters, _| {
        assert_eq!(parameters.perturb(&draw, Base::Clean), Err(MemoryError::NotReplayable));
        assert_eq!(parameters.ascend(0.1), Err(MemoryError::NeedsShadow { what: "SAM" }));
    });
    rig.labels[3] = 10;
    rig.run(1, |parameters, objective| {
        let mut stepper = Stepper::new(Method::Sgd, 1).expect("valid");
        let error = stepper.accumulate(parameters, objective, 0, 0.0).expect_err("label");
        assert_eq!(format!("{error}"), "image 3 of the batch has label 10, there are 10 classes");
    });
}

#[test]
fn slices_that_do_not_fit_are_named() {
    let net = crate::networks::digits::<10>().expect("fits");
    let plan = Plan::new(&net, 2, Purpose::Training).expect("plans");
    let mut workspace = std::vec![0.0f32; plan.workspace()];
    let mut pass = NetworkPass::new(&plan, &mut workspace).expect("long enough");
    let parameters = std::vec![0.0; plan.parameters()];
    let statistics = std::vec![1.0; plan.statistics()];
    let images = std::vec![0.0; 3 * 64];
    let mut forward = |p: &[f32], s: &[f32], x: &[f32]| pass.forward(p, s, x, Mode::Evaluate);
    let wrong = |what, needed, given| Err(LengthError { what, needed, given });
    assert_eq!(forward(&parameters, &statistics, &images), wrong("images", 128, 192));
    assert_eq!(forward(&parameters, &statistics, &images[..65]), wrong("images", 64, 65));
    let (p, needed) = (&parameters[1..], plan.parameters());
    assert_eq!(forward(p, &statistics, &images[..64]), wrong("parameters", needed, needed - 1));
    if let Some((_, s)) = statistics.split_first() {
        assert_eq!(forward(&parameters, s, &images[..64]), wrong("statistics", s.len() + 1, s.len()));
    }
    assert_eq!(forward(&parameters, &statistics, &images[..64]), Ok(()));
}
