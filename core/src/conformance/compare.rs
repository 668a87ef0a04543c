//! Takes a backend through all cases and compares it with the reference.

use super::cases::{BATCH, CASES, Case, LAYERS};
use super::finding::{Check, Finding, Summary};
use super::golden::{GOLDEN, Golden};
use super::reference::{Reference, norm, products, roundings, widen};
use super::{Backend, Support, Task, Training};
use crate::optimizer::Optimizer;
use crate::plan::{Plan, Purpose, Role};
use crate::step::Method;

/// Most parameters, running statistics, image values and workspace of a case.
const PARAMETERS: usize = 189;
const STATISTICS: usize = 12;
const IMAGES: usize = 120;
const WORKSPACE: usize = 1317;

#[cfg(test)]
pub(super) const SIZES: [usize; 4] = [PARAMETERS, STATISTICS, IMAGES, WORKSPACE];

/// What the suite works in, for example a `static`.
#[derive(Debug)]
pub struct Memory {
    weights: [[f32; PARAMETERS]; 3],
    statistics: [[f32; STATISTICS]; 3],
    images: [f32; IMAGES],
    wide: [[f64; PARAMETERS]; 4],
    wide_statistics: [f64; STATISTICS],
    wide_images: [f64; IMAGES],
    workspace: [f64; WORKSPACE],
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Memory {
    /// Memory for [`run`].
    pub const fn new() -> Self {
        Self {
            weights: [[0.0; PARAMETERS]; 3],
            statistics: [[0.0; STATISTICS]; 3],
            images: [0.0; IMAGES],
            wide: [[0.0; PARAMETERS]; 4],
            wide_statistics: [0.0; STATISTICS],
            wide_images: [0.0; IMAGES],
            workspace: [0.0; WORKSPACE],
        }
    }
}

/// What takes up findings.
type Find<'f> = &'f mut dyn FnMut(Finding);

/// Half a unit in the last place of 1.
const U: f64 = 1.0 / 16_777_216.0;

/// Takes the backend through all cases. `report` sees every comparison, and the name of every case that the backend
/// does not support.
pub fn run<B: Backend>(
    backend: &mut B,
    memory: &mut Memory,
    mut report: impl FnMut(Result<Finding, &'static str>),
) -> Summary {
    let mut summary = Summary::default();
    for case in CASES {
        let mut find = |finding: Finding| {
            summary.checks += 1;
            summary.failures += usize::from(!finding.passes());
            if finding.tolerance > 0.0 {
                summary.worst = summary.worst.max(finding.distance / finding.tolerance);
            }
            report(Ok(finding));
        };
        let failed = |check| Finding { case: case.name, step: 0, check, distance: 1.0, tolerance: 0.0 };
        match take(case, backend, memory, &mut find) {
            Some(Ok(Support::Done)) => summary.cases += 1,
            Some(Ok(Support::Unsupported)) => {
                summary.unsupported += 1;
                report(Err(case.name));
            }
            Some(Err(_)) => find(failed(Check::Error)),
            None => find(failed(Check::Memory)),
        }
    }
    summary
}

/// Takes the backend through one case; `None` when that does not fit the memory.
fn take<B: Backend>(
    case: &Case,
    backend: &mut B,
    memory: &mut Memory,
    find: Find<'_>,
) -> Option<Result<Support, B::Error>> {
    let network = case.network().ok()?;
    let plan = Plan::new(&network, BATCH, Purpose::Training).ok()?;
    let (count, kept, values) = (plan.parameters(), plan.statistics(), BATCH * plan.input().len());
    let [parameters, clean, after] = &mut memory.weights;
    let [statistics, ours, before] = &mut memory.statistics;
    let (parameters, statistics) = (parameters.get_mut(..count)?, statistics.get_mut(..kept)?);
    begin(&plan, parameters, statistics);
    let [point, gradient, first, second] = &mut memory.wide;
    let moments = [first.get_mut(..count)?, second.get_mut(..count)?];
    let mut comparison = Comparison {
        case,
        share: roundings(&plan) * U + 2.0 * products(&plan) * backend.factor_roundoff(),
        reference: Reference {
            plan: &plan,
            point: point.get_mut(..count)?,
            gradient: gradient.get_mut(..count)?,
            moments,
            statistics: memory.wide_statistics.get_mut(..kept)?,
            images: memory.wide_images.get_mut(..values)?,
            workspace: memory.workspace.get_mut(..plan.workspace())?,
        },
        clean: clean.get_mut(..count)?,
        after: after.get_mut(..count)?,
        statistics: ours.get_mut(..kept)?,
        before: before.get_mut(..kept)?,
        images: memory.images.get_mut(..values)?,
        labels: core::array::from_fn(|i| (i % plan.classes().max(1)) as u32),
    };
    comparison.reference.moments.iter_mut().for_each(|moment| moment.fill(0.0));
    let task = Task { network: &network, batch: BATCH, parameters, statistics, recipe: case.recipe };
    Some(backend.train(&task, &mut |training| comparison.drive(training, find)))
}

/// First parameters and running statistics.
pub(super) fn begin(plan: &Plan<LAYERS>, parameters: &mut [f32], statistics: &mut [f32]) {
    let mut uniform = uniform(1);
    for tensor in plan.tensors() {
        let scale = libm::sqrtf(6.0 / tensor.row_len as f32);
        for value in &mut parameters[tensor.range()] {
            let u = 2.0 * uniform() - 1.0;
            *value = match tensor.role {
                Role::Weight => u * scale,
                Role::NormScale => 1.0 + 0.5 * u,
                Role::Bias | Role::NormShift => 0.2 * u,
            };
        }
    }
    statistics.iter_mut().for_each(|value| *value = 0.5 + uniform());
}

/// Images of one batch.
pub(super) fn images(seed: u32, to: &mut [f32]) {
    let mut uniform = uniform(seed);
    to.iter_mut().for_each(|value| *value = uniform());
}

/// Uniform numbers in [0, 1), by Numerical Recipes' generator.
fn uniform(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(12345);
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0
    }
}

/// A case under way.
struct Comparison<'c> {
    case: &'c Case,
    /// What a gradient may be off, as a share of its norm.
    share: f64,
    reference: Reference<'c>,
    /// The backend's weights before a step, and after it.
    clean: &'c mut [f32],
    after: &'c mut [f32],
    /// The backend's statistics after a step, and before it.
    statistics: &'c mut [f32],
    before: &'c mut [f32],
    images: &'c mut [f32],
    labels: [u32; BATCH],
}

impl Comparison<'_> {
    fn drive<E>(&mut self, training: &mut dyn Training<Error = E>, find: Find<'_>) -> Result<(), E> {
        training.read(self.clean, self.before)?;
        self.batch(1);
        self.evaluate(training, find)?;
        let mut own = 4.0 * U * norm32(self.clean);
        let mut gradients = 0.0;
        for step in 0..self.case.steps {
            self.batch(2 + step as u32);
            own = self.step(training, step, &mut gradients, find)?;
            self.clean.copy_from_slice(self.after);
            self.before.copy_from_slice(self.statistics);
        }
        self.refusal(training, own, find)
    }

    fn evaluate<E>(&mut self, training: &mut dyn Training<Error = E>, find: Find<'_>) -> Result<(), E> {
        widen(self.before, self.reference.statistics);
        let (loss, hits) = training.evaluate(self.images, &self.labels)?;
        let Ok((exact, logit)) = self.reference.evaluate(self.clean, &self.labels) else { return Ok(()) };
        let tolerance = self.share * (1.0 + logit);
        find(self.finding(0, Check::Evaluation, f64::from(loss) - exact.mean, tolerance));
        find(self.finding(0, Check::Hits, hits as f64 - exact.correct as f64, 0.0));
        if let Some(golden) = self.golden() {
            find(self.of_golden(exact.mean, golden.evaluation));
        }
        Ok(())
    }

    /// One step of both; returns the tolerance of the backend's own roundings. `gradients` is the sum of the norms of
    /// all gradients so far.
    fn step<E>(
        &mut self,
        training: &mut dyn Training<Error = E>,
        step: u64,
        gradients: &mut f64,
        find: Find<'_>,
    ) -> Result<f64, E> {
        widen(self.before, self.reference.statistics);
        let loss = training.step(self.images, &self.labels)?;
        let recipe = &self.case.recipe;
        let Ok(exact) = self.reference.step(recipe, step, self.clean, self.after, &self.labels) else {
            return Ok(0.0);
        };
        training.read(self.after, self.statistics)?;
        if let Some([of_loss, of_norm, of_product]) = self.golden().and_then(|golden| golden.training) {
            let gradient = self.reference.gradient.iter().enumerate();
            let product = gradient.map(|(i, g)| (i + 1) as f64 * g).sum();
            find(self.of_golden(exact.loss, of_loss));
            find(self.of_golden(exact.gradient, of_norm));
            find(self.of_golden(product, of_product));
        }
        *gradients += exact.gradient;
        // How many times an error of a gradient comes into the weights.
        let factor = match recipe.optimizer {
            Optimizer::Sgd { nesterov, .. } => 1.0 + f64::from(u8::from(nesterov)),
            Optimizer::Adam { eps, .. } => 2.0 / f64::from(eps),
        };
        let factor = if matches!(recipe.method, Method::Sam { .. }) { 4.0 * factor } else { factor };
        let share = self.share;
        let point = &*self.reference.point;
        let change = point.iter().zip(self.clean.iter()).map(|(p, w)| p - f64::from(*w));
        let change = libm::sqrt(change.map(|d| d * d).sum());
        let own = 4.0 * U * (norm32(self.clean) + exact.point + change);
        let tolerance = own + f64::from(recipe.rate) * factor * share * *gradients;
        find(self.finding(step, Check::Loss, f64::from(loss) - exact.loss, share * (1.0 + exact.logit)));
        find(self.finding(step, Check::Weights, distance(self.after, point), tolerance));
        let statistics = &*self.reference.statistics;
        let off = distance(self.statistics, statistics);
        find(self.finding(step, Check::Statistics, off, share * norm(statistics)));
        Ok(own)
    }

    /// A batch whose last image is not a number.
    fn refusal<E>(
        &mut self,
        training: &mut dyn Training<Error = E>,
        own: f64,
        find: Find<'_>,
    ) -> Result<(), E> {
        let step = self.case.steps;
        let last = self.images.len() / BATCH * (BATCH - 1);
        self.images[last..].fill(f32::NAN);
        let refused = training.step(self.images, &self.labels).is_err();
        training.read(self.after, self.statistics)?;
        find(self.finding(step, Check::Refusal, f64::from(u8::from(!refused)), 0.0));
        widen(self.clean, self.reference.point);
        find(self.finding(step, Check::Restored, distance(self.after, self.reference.point), own));
        widen(self.before, self.reference.statistics);
        let off = distance(self.statistics, self.reference.statistics);
        find(self.finding(step, Check::Restored, off, 0.0));
        Ok(())
    }

    fn golden(&self) -> Option<&'static Golden> {
        GOLDEN.iter().find(|golden| golden.case == self.case.name)
    }

    /// Both are in f64: what is left are the roundings of some hundred operations.
    fn of_golden(&self, value: f64, golden: f64) -> Finding {
        self.finding(0, Check::Golden, value - golden, 1e-12 * (1.0 + golden.abs()))
    }

    /// The next images.
    fn batch(&mut self, seed: u32) {
        images(seed, self.images);
        widen(self.images, self.reference.images);
    }

    fn finding(&self, step: u64, check: Check, off: f64, tolerance: f64) -> Finding {
        Finding { case: self.case.name, step, check, distance: off.abs(), tolerance }
    }
}

fn norm32(values: &[f32]) -> f64 {
    libm::sqrt(values.iter().map(|v| f64::from(*v) * f64::from(*v)).sum())
}

fn distance(ours: &[f32], exact: &[f64]) -> f64 {
    let squares = ours.iter().zip(exact).map(|(a, b)| (f64::from(*a) - b) * (f64::from(*a) - b));
    libm::sqrt(squares.sum())
}
