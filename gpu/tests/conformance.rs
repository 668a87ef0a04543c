//! The GPU under core's conformance suite, and under smaller tests of what the suite does not see.

use smoothout::conformance::{self, BATCH, CASES, Drive, Finding, Memory, Support, Task, Training, run};
use smoothout::optimizer::Update;
use smoothout::plan::{Plan, Purpose};
use smoothout::step::Stepper;
use smoothout_gpu::{Failure, Feed, Gpu, Keeps, Part, Precision, Selector, Session, Step};
use std::sync::Arc;

struct Cuda(Arc<Gpu>, Precision);

struct Begun<'t> {
    session: Session,
    stepper: Stepper,
    task: &'t Task<'t>,
    steps: u64,
}

/// An error as it is told; the suite itself knows only that there was one.
fn text(error: impl std::fmt::Display) -> String {
    println!("{error}");
    error.to_string()
}

impl Training for Begun<'_> {
    type Error = String;

    fn step(&mut self, images: &[f32], labels: &[u32]) -> Result<f32, String> {
        let recipe = self.task.recipe;
        let batches = [Feed::Host { images, labels }];
        let step = Step {
            batches: &batches,
            ghosts: 1,
            first: self.steps,
            strength: recipe.strength,
            update: Update {
                optimizer: recipe.optimizer,
                rate: recipe.rate,
                weight_decay: recipe.weight_decay,
                gradient_scale: 1.0,
                time: self.steps + 1,
            },
            clip: recipe.clip,
        };
        self.steps += 1;
        let cause = |failure: Failure| text(failure.cause);
        self.session.step(&mut self.stepper, &step).map_err(cause)?;
        let outcomes = self.session.settle().map_err(cause)?;
        Ok(outcomes.last().map_or(f32::NAN, |outcome| outcome.loss as f32))
    }

    fn evaluate(&mut self, images: &[f32], labels: &[u32]) -> Result<(f32, usize), String> {
        let outcome = self.session.evaluate(&Feed::Host { images, labels }, None).map_err(text)?;
        Ok((outcome.loss as f32, outcome.correct.0))
    }

    fn read(&mut self, parameters: &mut [f32], statistics: &mut [f32]) -> Result<(), String> {
        parameters.copy_from_slice(&self.session.read(Part::Weights).map_err(text)?);
        statistics.copy_from_slice(&self.session.read(Part::Statistics).map_err(text)?);
        Ok(())
    }
}

impl conformance::Backend for Cuda {
    type Error = String;

    fn train(&mut self, task: &Task<'_>, drive: Drive<'_, String>) -> Result<Support, String> {
        let plan = Plan::new(task.network, BATCH, Purpose::Training).map_err(text)?;
        let keeps = Keeps { moments: task.recipe.optimizer.moments(), average: false };
        let session =
            Session::new(&self.0, &plan, task.parameters, task.statistics, keeps, self.1).map_err(text)?;
        let stepper = Stepper::new(task.recipe.method, task.recipe.seed).map_err(text)?;
        drive(&mut Begun { session, stepper, task, steps: 0 })?;
        Ok(Support::Done)
    }

    fn factor_roundoff(&self) -> f64 {
        self.1.roundoff()
    }
}

/// Takes the device through the suite.
fn conforms(precision: Precision) {
    let gpu = Arc::new(Gpu::open(&Selector::default()).expect("a device"));
    if precision != Precision::F32 && gpu.capability() < [8, 0] {
        println!("{} has no {precision:?}", gpu.name());
        return;
    }
    let mut memory = Box::new(Memory::new());
    let mut failed = Vec::new();
    let summary = run(&mut Cuda(gpu, precision), &mut memory, |finding| {
        let far = |f: &Finding| !f.passes();
        failed.extend(finding.ok().filter(far).map(text));
    });
    println!("{precision:?}: {summary:?}");
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!((summary.cases, summary.unsupported), (CASES.len(), 0));
}

#[test]
fn the_gpu_conforms() {
    conforms(Precision::F32);
}

#[test]
fn tf32_conforms_within_its_rounding() {
    conforms(Precision::Tf32);
}

#[test]
fn bf16_conforms_within_its_rounding() {
    conforms(Precision::Bf16);
}
