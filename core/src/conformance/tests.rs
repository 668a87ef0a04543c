//! The suite passes what is right and fails what is wrong.

use super::*;
use crate::ghost::GhostBatches;
use crate::noise::Noise;
use crate::optimizer::Update;
use crate::plan::{Plan, Purpose, Role, Tensor};
use crate::portable::{LengthError, Memory as Slices, Mode, NetworkObjective, NetworkPass, Parameters, Strategy};
use crate::step::{Method, Stepper};
use std::boxed::Box;
use std::string::{String, ToString};
use std::vec::Vec;
use std::{format, vec};

/// What a backend can get wrong.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// The gradient of one weight is a hundredth of a per cent too large.
    Gradient,
    /// Biases are not updated.
    Biases,
    /// Momentum comes after the learning rate's change only: the first moment is not kept.
    Momentum,
    /// One weight keeps its noise.
    Noise,
    /// The noise of another draw.
    Draw,
    /// Running statistics stay.
    Statistics,
    /// Evaluation uses batch statistics.
    Evaluation,
    /// Weights are updated by a batch that is not finite.
    NotFinite,
}

/// Core's portable f32 kernels, as a backend under test.
struct Portable {
    strategy: Strategy,
    fault: Fault,
}

struct Session {
    plan: Plan<LAYERS>,
    tensors: Vec<Tensor>,
    slices: [Vec<f32>; 6],
    statistics: Vec<f32>,
    stepper: Stepper,
    recipe: Recipe,
    strategy: Strategy,
    fault: Fault,
    steps: u64,
}

impl Training for Session {
    type Error = String;

    fn step(&mut self, images: &[f32], labels: &[u32]) -> Result<f32, String> {
        let before = self.slices[0].clone();
        if self.fault == Fault::Momentum {
            self.slices[4].fill(0.0);
        }
        let [weights, shadow, scales, gradient, first, second] = &mut self.slices;
        let memory = Slices { weights, shadow, scales, gradient, first, second, average: &mut [] };
        let mut parameters =
            Parameters::new(&self.tensors, memory, self.strategy).map_err(|e| e.to_string())?;
        let mut workspace = vec![0.0; self.plan.workspace()];
        let pass = NetworkPass::new(&self.plan, &mut workspace).expect("long enough");
        let mut backup = self.statistics.clone();
        let data = (images, labels);
        let statistics = self.statistics.clone();
        let mut objective = NetworkObjective::new(
            pass,
            &mut self.statistics,
            &mut backup,
            data,
            GhostBatches::new(labels.len(), 1),
        )
        .map_err(|e| e.to_string())?;
        let step = if self.fault == Fault::Draw { self.steps + 1 } else { self.steps };
        self.steps += 1;
        let Recipe { optimizer, rate, weight_decay, clip, strength, .. } = self.recipe;
        let update = Update { optimizer, rate, weight_decay, gradient_scale: 1.0, time: self.steps };
        let loss = self.stepper.accumulate(&mut parameters, &mut objective, step, strength);
        let loss = match loss {
            Err(_) if self.fault == Fault::NotFinite => {
                self.slices[0][0] = f32::NAN;
                return Err("not finite".into());
            }
            other => other.map_err(|e| e.to_string())?,
        };
        self.stepper.update(&mut parameters, &update, clip).map_err(|e| e.to_string())?;
        match self.fault {
            Fault::Gradient => {
                let moved = self.slices[0][1] - before[1];
                self.slices[0][1] += 1e-4 * moved;
            }
            Fault::Biases => {
                for tensor in self.tensors.iter().filter(|t| t.role == Role::Bias) {
                    self.slices[0][tensor.range()].copy_from_slice(&before[tensor.range()]);
                }
            }
            Fault::Noise => self.slices[0][2] += 1e-4,
            Fault::Statistics => self.statistics = statistics,
            _ => {}
        }
        Ok(loss)
    }

    fn evaluate(&mut self, images: &[f32], labels: &[u32]) -> Result<(f32, usize), String> {
        let mut workspace = vec![0.0; self.plan.workspace()];
        let mut pass = NetworkPass::new(&self.plan, &mut workspace).expect("long enough");
        let mode = match self.fault {
            Fault::Evaluation => Mode::Train(crate::noise::Address { seed: 1, step: 1, draw: 0 }),
            _ => Mode::Evaluate,
        };
        pass.forward(&self.slices[0], &self.statistics, images, mode).expect("lengths fit");
        let loss = pass.loss_only(labels).map_err(|e| e.to_string())?;
        Ok((loss.mean, loss.correct))
    }

    fn read(&mut self, parameters: &mut [f32], statistics: &mut [f32]) -> Result<(), String> {
        parameters.copy_from_slice(&self.slices[0]);
        statistics.copy_from_slice(&self.statistics);
        Ok(())
    }
}

impl Backend for Portable {
    type Error = String;

    fn train(&mut self, task: &Task<'_>, drive: Drive<'_, String>) -> Result<Support, String> {
        let plan = Plan::new(task.network, task.batch, Purpose::Training).map_err(|e| e.to_string())?;
        let tensors: Vec<Tensor> = plan.tensors().copied().collect();
        let zeros = || vec![0.0f32; plan.parameters()];
        let rows = tensors.iter().map(|t| t.rows).sum();
        let (shadow, scales) = match self.strategy {
            Strategy::Shadow => (zeros(), vec![]),
            Strategy::Replay => (vec![], vec![0.0; rows]),
        };
        if self.strategy == Strategy::Replay && !replayable(&task.recipe) {
            return Ok(Support::Unsupported);
        }
        let mut session = Session {
            slices: [task.parameters.to_vec(), shadow, scales, zeros(), zeros(), zeros()],
            statistics: task.statistics.to_vec(),
            stepper: Stepper::new(task.recipe.method, task.recipe.seed).map_err(|e| e.to_string())?,
            recipe: task.recipe,
            strategy: self.strategy,
            fault: self.fault,
            steps: 0,
            tensors,
            plan,
        };
        drive(&mut session)?;
        Ok(Support::Done)
    }
}

/// Whether one draw at a time can be added in place and taken away again.
fn replayable(recipe: &Recipe) -> bool {
    match recipe.method {
        Method::Sgd => true,
        Method::Sam { .. } => false,
        Method::SmoothOut(method) => {
            Noise::new(method.distribution, method.scaling, recipe.strength).is_ok_and(|n| n.is_replayable())
        }
    }
}

fn suite<B: Backend>(backend: &mut B) -> (Summary, Vec<Finding>) {
    let mut memory = Box::new(Memory::new());
    let mut failed = Vec::new();
    let summary = run(backend, &mut memory, |finding| {
        failed.extend(finding.ok().filter(|finding| !finding.passes()));
    });
    (summary, failed)
}

fn text(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(|finding| format!("{finding}")).collect()
}

#[test]
fn the_portable_kernels_pass_with_a_wide_margin() {
    for (strategy, unsupported) in [(Strategy::Shadow, 0), (Strategy::Replay, 4)] {
        let (summary, failed) = suite(&mut Portable { strategy, fault: Fault::None });
        assert!(failed.is_empty(), "{:#?}", text(&failed));
        assert_eq!((summary.cases, summary.unsupported), (CASES.len() - unsupported, unsupported));
        assert!(summary.worst < 0.1, "{}", summary.worst);
    }
}

#[test]
fn the_microcontroller_backend_passes() {
    let mut arena = vec![0.0; Micro::ARENA];
    let (summary, failed) = suite(&mut Micro { arena: &mut arena });
    std::eprintln!("{summary:?}");
    assert!(failed.is_empty(), "{:#?}", text(&failed));
    assert!(summary.cases >= 30, "{summary:?}");
}

#[test]
fn every_fault_is_found() {
    for (fault, check) in [
        (Fault::Gradient, Check::Weights),
        (Fault::Biases, Check::Weights),
        (Fault::Momentum, Check::Weights),
        (Fault::Noise, Check::Weights),
        (Fault::Draw, Check::Weights),
        (Fault::Statistics, Check::Statistics),
        (Fault::Evaluation, Check::Evaluation),
        (Fault::NotFinite, Check::Restored),
    ] {
        let (summary, failed) = suite(&mut Portable { strategy: Strategy::Shadow, fault });
        assert!(failed.iter().any(|f| f.check == check), "{fault:?} {summary:?}");
    }
}

#[test]
fn every_case_of_one_step_has_golden_values() {
    let single = CASES.iter().filter(|case| case.steps == 1).map(|case| case.name);
    assert!(single.eq(golden::GOLDEN.iter().map(|golden| golden.case)));
}

/// The suite's memory is as large as its largest cases need.
#[test]
fn memory_is_exact() {
    let most = |of: &dyn Fn(&Plan<LAYERS>) -> usize| {
        let plans = CASES.iter().map(|case| {
            let network = case.network().expect("fits");
            Plan::new(&network, BATCH, Purpose::Training).expect("plans")
        });
        plans.map(|plan| of(&plan)).max()
    };
    let needed = [
        most(&|plan| plan.parameters()),
        most(&|plan| plan.statistics()),
        most(&|plan| BATCH * plan.input().len()),
        most(&|plan| plan.workspace()),
    ];
    assert_eq!(needed, compare::SIZES.map(Some));
}


/// Weights that differ by one part in a million have gradients that differ little: no case stands where a ReLU or the
/// maximum of a window turns, so that right backends cannot give different gradients.
#[test]
fn no_case_stands_at_a_kink() {
    for case in CASES {
        let plan = Plan::new(&case.network().expect("fits"), BATCH, Purpose::Training).expect("plans");
        let (mut weights, mut statistics) = (vec![0.0; plan.parameters()], vec![0.0; plan.statistics()]);
        compare::begin(&plan, &mut weights, &mut statistics);
        let labels: Vec<u32> = (0..BATCH).map(|i| (i % plan.classes()) as u32).collect();
        for step in 0..case.steps as u32 {
            let mut images = vec![0.0; BATCH * plan.input().len()];
            compare::images(2 + step, &mut images);
            let images: Vec<f64> = images.iter().map(|x| f64::from(*x)).collect();
            let gradient = |nudge: f64| {
                let mut workspace = vec![0.0; plan.workspace()];
                let mut pass = NetworkPass::new(&plan, &mut workspace).expect("long enough");
                let nudged = weights.iter().enumerate().map(|(i, w)| {
                    f64::from(*w) * (1.0 + nudge * if i % 3 == 0 { -1.0 } else { 1.0 })
                });
                let mut point: Vec<f64> = nudged.collect();
                let mut gradient = vec![0.0; plan.parameters()];
                let statistics = vec![0.0; plan.statistics()];
                let mode = Mode::Train(crate::noise::Address { seed: 11, step: 0, draw: 0 });
                pass.forward(&point, &statistics, &images, mode).expect("lengths fit");
                pass.loss(&labels).expect("labels are classes");
                pass.backward(&mut point, |p| p, &statistics, &images, |_, tensor, row, values| {
                    let at = tensor.offset + row * tensor.row_len;
                    gradient[at..at + values.len()].copy_from_slice(values);
                    Ok::<(), LengthError>(())
                })
                .expect("nothing fails");
                gradient
            };
            let (here, there) = (gradient(0.0), gradient(1e-6));
            let apart: f64 = here.iter().zip(&there).map(|(a, b)| (a - b) * (a - b)).sum();
            let norm: f64 = here.iter().map(|a| a * a).sum();
            assert!(apart.sqrt() < 2e-5 * norm.sqrt(), "{}: {:e}", case.name, (apart / norm).sqrt());
        }
    }
}
