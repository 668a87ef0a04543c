//! A network with its parameters and running statistics on a GPU: steps, evaluations and gradients of batches.
//!
//! Steps are launched and not waited for: losses are recorded on the device and read every [`WINDOW`] steps, or when
//! somebody asks ([`Session::settle`]). A loss or a gradient that is not finite is noted on the device, where every change
//! of weights, moments and statistics from then on is left out, so that what is found later is what was there before the
//! step that failed.

use crate::batch::{Batches, Feed};
use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::memory::{Buffer, Pointer};
use crate::network::{Ghosts, Mask, Mode, Network, Point};
use crate::noise::Draws;
use crate::parameters::{Deliver, Keeps, Parameters};
use crate::product::Precision;
use crate::queue::{Passes, Queue};
use crate::update::restore;
use smoothout::backend::{Base, Draw};
use smoothout::ghost::GhostBatches;
use smoothout::noise::Address;
use smoothout::optimizer::Update;
use smoothout::plan::{Plan, Tensor};
use smoothout::step::{StepError, Stepper};
use std::sync::Arc;

/// Steps between two looks at what came of them.
pub const WINDOW: usize = 32;

/// Values of the record of a step: its loss, and the images found.
const RECORD: usize = 2;

/// One update and the batches that it is made from.
#[derive(Debug)]
pub struct Step<'a> {
    /// The batches; more than one with gradient accumulation.
    pub batches: &'a [Feed<'a>],
    /// Ghost batches that each batch is cut into.
    pub ghosts: usize,
    /// Batches of the training before these.
    pub first: u64,
    /// Strength of the noise, after the schedule.
    pub strength: f32,
    /// The update.
    pub update: Update,
    /// Largest norm of the gradient.
    pub clip: Option<f32>,
}

/// What came of a step, or of an evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Outcome {
    /// Mean loss over batches, ghost batches and draws, at the evaluation points.
    pub loss: f64,
    /// Images whose class was found, over all passes, and the number of images of all passes.
    pub correct: (usize, usize),
}

/// A step that failed: weights, moments and statistics are those from before it.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Why.
    pub cause: StepError<GpuError, GpuError>,
    /// Steps that were launched after it, and had no effect.
    pub later: usize,
    /// What came of those before it, since the last look.
    pub before: Vec<Outcome>,
}

impl From<GpuError> for Failure {
    fn from(error: GpuError) -> Self {
        Self { cause: StepError::Backend(error), later: 0, before: Vec::new() }
    }
}

/// Parts of what a session remembers. All but the statistics are in the plan's parameter order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Clean weights.
    Weights,
    /// Running statistics.
    Statistics,
    /// Momentum, or Adam's first moment; empty when the optimizer has none.
    First,
    /// Adam's second moment; empty when the optimizer has none.
    Second,
    /// Average of the weights; empty when there is none.
    Average,
}

/// A network on a GPU.
#[derive(Debug)]
pub struct Session {
    pub(crate) network: Network,
    pub(crate) parameters: Parameters,
    pub(crate) batches: Batches,
    pub(crate) statistics: Buffer<f32>,
    /// Running statistics from before the step.
    backup: Buffer<f32>,
    /// For each step since the last look.
    record: Buffer<f64>,
    /// Images of all passes of each step since the last look.
    pub(crate) seen: Vec<usize>,
    /// A 0: no step has failed.
    none: Buffer<i32>,
    pub(crate) queue: Queue,
    /// Largest norm of the gradient of the step under way.
    pub(crate) clip: Option<f32>,
    /// Images of a ghost batch, at most.
    size: usize,
    precision: Precision,
    keeps: Keeps,
    tensors: Vec<Tensor>,
    pub(crate) gpu: Arc<Gpu>,
}

impl Session {
    /// A network with these weights and running statistics, as many as the plan has, for passes of one ghost batch; see
    /// [`prepare`](Self::prepare) for larger ones.
    ///
    /// # Errors
    /// It does not fit the device's free memory, lengths that do not fit the plan, or the driver's.
    pub fn new<const N: usize>(
        gpu: &Arc<Gpu>,
        plan: &Plan<N>,
        weights: &[f32],
        statistics: &[f32],
        keeps: Keeps,
        precision: Precision,
    ) -> Result<Self> {
        let tensors: Vec<Tensor> = plan.tensors().copied().collect();
        let (needed, given) = (plan.statistics(), statistics.len());
        if needed != given {
            return Err(GpuError::Length { what: "running statistics", needed, given });
        }
        if precision != Precision::F32 && gpu.capability() < [8, 0] {
            let (name, capability) = (gpu.name().into(), gpu.capability());
            return Err(GpuError::Precision { name, capability, precision });
        }
        check_memory(gpu, plan, &tensors, keeps, precision)?;
        let kept = || Buffer::from_slice(gpu, statistics);
        Ok(Self {
            network: Network::new(gpu, plan, Ghosts::one(plan.batch()), precision)?,
            parameters: Parameters::new(gpu, &tensors, weights, keeps, 1)?,
            batches: Batches::new(gpu, plan.batch(), plan.input().len(), plan.classes())?,
            statistics: kept()?,
            backup: kept()?,
            record: Buffer::zeroed(gpu, RECORD * WINDOW)?,
            seen: Vec::with_capacity(WINDOW),
            none: Buffer::zeroed(gpu, 1)?,
            queue: Queue::default(),
            clip: None,
            size: plan.batch(),
            precision,
            keeps,
            tensors,
            gpu: gpu.clone(),
        })
    }

    /// The device.
    pub const fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// Makes room for steps on batches of so many images: as many ghost batches as the free memory allows then go through
    /// the network at once. `plan` is the session's.
    ///
    /// # Errors
    /// There is no room for the images of a batch, or the driver's.
    pub fn prepare<const N: usize>(&mut self, plan: &Plan<N>, images: usize) -> Result<()> {
        let [free, _] = self.gpu.memory()?;
        let most = |ghosts: usize| Ghosts { images: (ghosts * self.size).min(images), size: self.size };
        let now = self.needed(plan, self.network.most(), self.batches.images())?;
        let room = free.saturating_add(now);
        let (mut ghosts, mut needed) = (images.div_ceil(self.size).max(1), 0);
        while ghosts > 0 {
            needed = self.needed(plan, most(ghosts), images)? + SLACK;
            if needed <= room {
                break;
            }
            ghosts /= 2;
        }
        if ghosts == 0 {
            return Err(GpuError::Memory { batch: images, needed, free: room, largest: self.batches.images() });
        }
        self.batches.set_images(images)?;
        self.parameters.set_copies(ghosts)?;
        if self.network.most() != most(ghosts) {
            self.network.resize(plan, most(ghosts), self.precision)?;
        }
        Ok(())
    }

    /// Bytes of what [`prepare`](Self::prepare) changes.
    fn needed<const N: usize>(&self, plan: &Plan<N>, most: Ghosts, images: usize) -> Result<u64> {
        let network = Network::bytes(plan, most, self.precision)?;
        let copies = Parameters::bytes(&self.tensors, self.keeps, most.count());
        Ok(network + copies + Batches::bytes(images, self.size, plan.input().len()))
    }

    /// Launches a step, and looks at what came of the last ones when there are [`WINDOW`] of them. Returns what was seen.
    ///
    /// # Errors
    /// A method that cannot be run, a batch that does not fit, the driver's, or a step that failed since the last look.
    pub fn step(
        &mut self,
        stepper: &mut Stepper,
        step: &Step<'_>,
    ) -> std::result::Result<Vec<Outcome>, Failure> {
        self.gpu.enter()?;
        self.gpu.copy(self.statistics.pointer(), self.backup.pointer(), self.statistics.len())?;
        self.seen.push(0);
        let launched = self.launch(stepper, step);
        if let Err(cause) = launched {
            self.seen.pop();
            self.queue.clear();
            self.parameters.clear_gradient();
            // What failed is told; a device that fails here again has nothing more to tell.
            let _ = self.gpu.copy(self.backup.pointer(), self.statistics.pointer(), self.statistics.len());
            return Err(Failure { cause, later: 0, before: self.settle().unwrap_or_default() });
        }
        if self.seen.len() == WINDOW { self.settle() } else { Ok(Vec::new()) }
    }

    fn launch(
        &mut self,
        stepper: &mut Stepper,
        step: &Step<'_>,
    ) -> std::result::Result<(), StepError<GpuError, GpuError>> {
        let share = 1.0 / step.batches.len() as f32;
        for (index, feed) in step.batches.iter().enumerate() {
            let images = feed.images();
            let ghosts = GhostBatches::new(images, step.ghosts);
            if images == 0 || ghosts.size() > self.size {
                let (needed, given) = (self.size, ghosts.size());
                return Err(StepError::Backend(GpuError::Length { what: "images of a ghost batch", needed, given }));
            }
            self.batches.load(feed).map_err(StepError::Backend)?;
            self.queue.begin(ghosts, share, stepper.method());
            let at = step.first + index as u64;
            stepper.accumulate(self, &mut Passes(ghosts), at, step.strength)?;
            self.flush().map_err(StepError::Backend)?;
        }
        self.clip = step.clip;
        stepper.update(self, &step.update, None).map_err(without_objective)?;
        let (before, running, failed) = (self.backup.pointer(), self.statistics.pointer(), self.parameters.failed());
        restore(&self.gpu, before, running, self.statistics.len(), self.number(), failed).map_err(StepError::Backend)
    }

    /// Number of the step under way since the last look, from 1.
    pub(crate) fn number(&self) -> i32 {
        self.seen.len() as i32
    }

    /// Where the losses of the step under way are recorded.
    pub(crate) fn record(&self) -> Pointer {
        self.record.pointer().at(2 * RECORD * self.seen.len().saturating_sub(1))
    }

    /// Waits for all steps and returns what came of them, of those since the last look.
    ///
    /// # Errors
    /// One that failed, or the driver's.
    pub fn settle(&mut self) -> std::result::Result<Vec<Outcome>, Failure> {
        self.gpu.enter()?;
        let mut record = vec![0.0; RECORD * self.seen.len()];
        self.record.read(&self.gpu, 0, &mut record)?;
        let failed = self.parameters.take_failure()?;
        self.record.clear(&self.gpu)?;
        let outcome = |(pair, seen): (&[f64], usize)| Outcome { loss: pair[0], correct: (pair[1] as usize, seen) };
        let mut outcomes: Vec<Outcome> = record.chunks_exact(RECORD).zip(self.seen.drain(..)).map(outcome).collect();
        let Some((number, ghost)) = failed else { return Ok(outcomes) };
        let later = outcomes.len().saturating_sub(number);
        outcomes.truncate(number);
        let value = outcomes.pop().map_or(f32::NAN, |outcome| outcome.loss as f32);
        let cause = match usize::try_from(ghost) {
            Ok(ghost) => StepError::Loss { value, ghost },
            Err(_) => StepError::Gradient { norm: self.parameters.read_norm()? as f32 },
        };
        Err(Failure { cause, later, before: outcomes })
    }

    /// average += share * (weights - average).
    ///
    /// # Errors
    /// There is no average, or the driver's.
    pub fn average(&mut self, share: f32) -> Result<()> {
        self.gpu.enter()?;
        self.parameters.follow_average(share)
    }

    /// Evaluates at most the plan's batch with running statistics, at the clean weights or under a draw. The loss is the
    /// mean.
    ///
    /// # Errors
    /// A label that is not a class, a batch that does not fit, or the driver's.
    pub fn evaluate(&mut self, batch: &Feed<'_>, draw: Option<&Draw>) -> Result<Outcome> {
        self.gpu.enter()?;
        let mut start = self.parameters.weights.pointer();
        if let Some(draw) = draw {
            self.parameters.perturb(&Draws::one(draw), Base::Clean, Some(self.network.packed_copies()))?;
            start = self.parameters.copy(0);
        }
        let images = self.pass(batch, Point { start, pitch: 0, packed: draw.is_some() }, Mode::Evaluate)?;
        self.network.loss(false)?;
        let (loss, correct) = self.network.results()?.first().copied().unwrap_or_default();
        Ok(Outcome { loss, correct: (correct, images) })
    }

    /// Loss, logits (n, classes) and gradient at the clean weights: of training with dropout masks of `training`, which
    /// changes the running statistics as training does, or else of evaluation.
    ///
    /// # Errors
    /// A label that is not a class, a batch that does not fit, or the driver's.
    pub fn gradient(&mut self, batch: &Feed<'_>, training: Option<Address>) -> Result<(f64, Vec<f32>, Vec<f32>)> {
        self.gpu.enter()?;
        let mode = training.map_or(Mode::Evaluate, |address| Mode::Train(Mask { address, step: 0 }));
        let point = Point { start: self.parameters.weights.pointer(), pitch: 0, packed: false };
        self.pass(batch, point, mode)?;
        self.network.loss(true)?;
        let logits = self.network.logits()?;
        let (loss, _) = self.network.results()?.first().copied().unwrap_or_default();
        let (gradient, _) = self.parameters.gradients(1.0);
        self.network.backward(point, self.statistics.pointer(), gradient, Deliver::OVERWRITE)?;
        let gradient = self.parameters.gradient.to_vec(&self.gpu)?;
        self.parameters.clear_gradient();
        if training.is_some() {
            self.network.follow(self.statistics.pointer(), self.none.pointer())?;
        }
        Ok((loss, logits, gradient))
    }

    /// Runs a batch of one ghost batch forward and returns its images.
    fn pass(&mut self, batch: &Feed<'_>, point: Point, mode: Mode) -> Result<usize> {
        let images = batch.images();
        self.batches.load(batch)?;
        let input = self.batches.input(0);
        self.network.forward(point, self.statistics.pointer(), input, Ghosts::one(images), mode)?;
        Ok(images)
    }

    /// A copy of one part, after all steps that were launched.
    ///
    /// # Errors
    /// The driver's.
    pub fn read(&self, part: Part) -> Result<Vec<f32>> {
        self.part(part).to_vec(&self.gpu)
    }

    /// Number of values of one part.
    pub fn part_len(&self, part: Part) -> usize {
        self.part(part).len()
    }

    const fn part(&self, part: Part) -> &Buffer<f32> {
        match part {
            Part::Weights => &self.parameters.weights,
            Part::Statistics => &self.statistics,
            Part::First => &self.parameters.first,
            Part::Second => &self.parameters.second,
            Part::Average => &self.parameters.average,
        }
    }

    /// Overwrites one part.
    ///
    /// # Errors
    /// The length differs, or the driver's.
    pub fn write(&mut self, part: Part, values: &[f32]) -> Result<()> {
        let target = match part {
            Part::Weights => &mut self.parameters.weights,
            Part::Statistics => &mut self.statistics,
            Part::First => &mut self.parameters.first,
            Part::Second => &mut self.parameters.second,
            Part::Average => &mut self.parameters.average,
        };
        if target.len() != values.len() {
            return Err(GpuError::Length { what: "a part", needed: target.len(), given: values.len() });
        }
        target.write(&self.gpu, 0, values)
    }
}

fn without_objective(error: StepError<GpuError, std::convert::Infallible>) -> StepError<GpuError, GpuError> {
    match error {
        StepError::Method(error) => StepError::Method(error),
        StepError::Loss { value, ghost } => StepError::Loss { value, ghost },
        StepError::Gradient { norm } => StepError::Gradient { norm },
        StepError::Backend(error) => StepError::Backend(error),
        StepError::Objective(never) => match never {},
    }
}

/// What the driver's own pages may take beside the bytes asked for.
const SLACK: u64 = 64 << 20;

/// Refuses a plan that the device's free memory is too small for, and says which batch would fit.
fn check_memory<const N: usize>(
    gpu: &Gpu,
    plan: &Plan<N>,
    tensors: &[Tensor],
    keeps: Keeps,
    precision: Precision,
) -> Result<()> {
    let rest = Parameters::bytes(tensors, keeps, 1) + 8 * plan.statistics() as u64 + SLACK;
    let needed = |images: usize| {
        let network = Network::bytes(plan, Ghosts::one(images), precision)?;
        Ok::<_, GpuError>(rest + network + Batches::bytes(images, images, plan.input().len()))
    };
    let [free, _] = gpu.memory()?;
    let all = needed(plan.batch())?;
    if all <= free {
        return Ok(());
    }
    let (mut largest, mut too_many) = (0, plan.batch());
    while too_many - largest > 1 {
        let middle = largest.midpoint(too_many);
        if needed(middle)? <= free { largest = middle } else { too_many = middle }
    }
    Err(GpuError::Memory { batch: plan.batch(), needed: all, free, largest })
}
