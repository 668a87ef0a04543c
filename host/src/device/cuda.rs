//! An NVIDIA GPU.

use super::{Batch, Device, DeviceError, Evaluation, Failed, Gradient, Keeps, Outcome, Part, Step};
use crate::data::{Augmentation, Bytes, Split};
use crate::net::{NetPlan, initial_statistics};
use crate::options::{CudaName, CudaPrecision};
use smoothout::backend::Draw;
use smoothout::noise::Address;
use smoothout::step::{StepError, Stepper};
use smoothout_gpu::{DataSet, Failure, Feed, Gpu, GpuError, Placement, Precision, Selector, Session};
use std::ops::Range;

/// A network on a GPU.
#[derive(Debug)]
pub struct Cuda {
    plan: Box<NetPlan>,
    session: Session,
    /// Images of the largest batch that there is room for.
    images: usize,
    own: Option<Own>,
}

/// A training split on the device.
#[derive(Debug)]
struct Own {
    set: DataSet,
    split: Split,
    /// The augmentation of the epoch.
    placement: Option<Placement>,
}

impl Cuda {
    /// A network with these weights, as many as the plan has parameters.
    ///
    /// # Errors
    /// There is no driver or no such GPU, or the network does not fit its memory.
    pub fn new(
        plan: Box<NetPlan>,
        weights: &[f32],
        keeps: Keeps,
        which: CudaName,
        precision: CudaPrecision,
    ) -> Result<Self, DeviceError> {
        let selector = match which {
            CudaName::Number(number) => Selector::Number(number),
            CudaName::Uuid { .. } => which.to_string().parse().map_err(gpu_error)?,
        };
        let gpu = Gpu::shared(&selector).map_err(gpu_error)?;
        let keeps = smoothout_gpu::Keeps { moments: keeps.moments, average: keeps.average };
        let statistics = initial_statistics(&plan);
        let precision = match precision {
            CudaPrecision::Best => gpu.best_precision(),
            CudaPrecision::F32 => Precision::F32,
            CudaPrecision::Tf32 => Precision::Tf32,
            CudaPrecision::Bf16 => Precision::Bf16,
        };
        let session = Session::new(&gpu, &plan, weights, &statistics, keeps, precision).map_err(gpu_error)?;
        Ok(Self { images: plan.batch(), plan, session, own: None })
    }

    fn launch(&mut self, stepper: &mut Stepper, step: &Step<'_>, batches: &[Feed<'_>]) -> Result<Vec<Outcome>, Failed> {
        let step = smoothout_gpu::Step {
            batches,
            ghosts: step.ghosts,
            first: step.first,
            strength: step.strength,
            update: step.update,
            clip: step.clip,
        };
        let outcomes = self.session.step(stepper, &step).map_err(failed)?;
        Ok(outcomes.iter().map(outcome).collect())
    }
}

const fn feed(batch: Batch<'_>) -> Feed<'_> {
    Feed::Host { images: batch.images, labels: batch.labels }
}

fn gpu_error(error: GpuError) -> DeviceError {
    match error {
        GpuError::Label(_) => DeviceError::Batch(error.to_string()),
        _ => DeviceError::Gpu(error.to_string()),
    }
}

fn outcome(outcome: &smoothout_gpu::Outcome) -> Outcome {
    Outcome { loss: outcome.loss as f32, correct: outcome.correct }
}

fn failed(failure: Failure) -> Failed {
    let cause = match failure.cause {
        StepError::Backend(error) | StepError::Objective(error) => gpu_error(error),
        other => DeviceError::step(other),
    };
    Failed { cause, later: failure.later as u64, before: failure.before.iter().map(outcome).collect() }
}

const fn part_of(part: Part) -> smoothout_gpu::Part {
    match part {
        Part::Weights => smoothout_gpu::Part::Weights,
        Part::Statistics => smoothout_gpu::Part::Statistics,
        Part::First => smoothout_gpu::Part::First,
        Part::Second => smoothout_gpu::Part::Second,
        Part::Average => smoothout_gpu::Part::Average,
    }
}

impl Device for Cuda {
    fn plan(&self) -> &NetPlan {
        &self.plan
    }

    fn step(&mut self, stepper: &mut Stepper, step: &Step<'_>) -> Result<Outcome, DeviceError> {
        let mut outcomes = self.begin(stepper, step).map_err(|failed| failed.cause)?;
        outcomes.extend(self.settle().map_err(|failed| failed.cause)?);
        outcomes.last().copied().ok_or_else(|| DeviceError::Gpu("a step left no record".into()))
    }

    fn prepare(&mut self, images: usize) -> Result<(), DeviceError> {
        if images > self.images {
            self.session.prepare(&self.plan, images).map_err(gpu_error)?;
            self.images = images;
        }
        Ok(())
    }

    fn begin(&mut self, stepper: &mut Stepper, step: &Step<'_>) -> Result<Vec<Outcome>, Failed> {
        for batch in step.batches {
            step.ghosts_of(batch, &self.plan)?;
            self.prepare(batch.labels.len())?;
        }
        let batches: Vec<Feed<'_>> = step.batches.iter().map(|batch| feed(*batch)).collect();
        self.launch(stepper, step, &batches)
    }

    fn adopt(&mut self, split: &Split) -> Result<bool, DeviceError> {
        let Some(Bytes { images, table, .. }) = split.bytes() else { return Ok(false) };
        let gpu = self.session.gpu();
        let [free, _] = gpu.memory().map_err(gpu_error)?;
        if DataSet::bytes(images.shape, images.len()) > free / 2 {
            return Ok(false);
        }
        let (shape, classes) = (images.shape, self.plan.classes());
        let set = DataSet::new(gpu, shape, &images.pixels, &images.labels, table, classes).map_err(gpu_error)?;
        self.own = Some(Own { set, split: split.clone(), placement: None });
        Ok(true)
    }

    fn arrange(&mut self, seed: u64, epoch: u64) -> Result<(), DeviceError> {
        let gpu = self.session.gpu().clone();
        let own = self.own.as_mut().ok_or_else(|| DeviceError::Step("no split was adopted".into()))?;
        let Some(Bytes { augmentation, .. }) = own.split.bytes() else { return Ok(()) };
        let (order, base) = own.split.epoch(seed, epoch);
        own.set.arrange(&gpu, &order).map_err(gpu_error)?;
        let Augmentation { crop, pad, fill, flip } = augmentation;
        own.placement = Some(Placement { crop, pad, fill, flip, base });
        Ok(())
    }

    fn begin_of_epoch(
        &mut self,
        stepper: &mut Stepper,
        step: &Step<'_>,
        places: &[Range<usize>],
    ) -> Result<Vec<Outcome>, Failed> {
        for range in places {
            self.prepare(range.len())?;
        }
        let own = self.own.take().ok_or_else(|| DeviceError::Step("no split was adopted".into()))?;
        let Own { set, placement, .. } = &own;
        let feed = |range: &Range<usize>| Feed::Set { set, start: range.start, count: range.len(), placement: *placement };
        let batches: Vec<Feed<'_>> = places.iter().map(feed).collect();
        let result = self.launch(stepper, step, &batches);
        self.own = Some(own);
        result
    }

    fn describe(&self) -> Option<String> {
        let gpu = self.session.gpu();
        let [major, minor] = gpu.capability();
        let (number, name, uuid) = (gpu.number(), gpu.name(), gpu.uuid());
        Some(format!("cuda:{number}: {name}, {uuid}, compute capability {major}.{minor}"))
    }

    fn settle(&mut self) -> Result<Vec<Outcome>, Failed> {
        let outcomes = self.session.settle().map_err(failed)?;
        Ok(outcomes.iter().map(outcome).collect())
    }

    fn average(&mut self, share: f32) -> Result<(), DeviceError> {
        self.session.average(share).map_err(gpu_error)
    }

    fn evaluate(&mut self, batch: Batch<'_>, draw: Option<&Draw>) -> Result<Evaluation, DeviceError> {
        batch.check(&self.plan)?;
        let outcome = self.session.evaluate(&feed(batch), draw).map_err(gpu_error)?;
        Ok(Evaluation { loss: outcome.loss * batch.labels.len() as f64, correct: outcome.correct.0 })
    }

    fn gradient(&mut self, batch: Batch<'_>, training: Option<Address>) -> Result<Gradient, DeviceError> {
        batch.check(&self.plan)?;
        let (loss, logits, gradient) = self.session.gradient(&feed(batch), training).map_err(gpu_error)?;
        Ok(Gradient { loss: loss as f32, logits, gradient })
    }

    fn read(&self, part: Part) -> Result<Vec<f32>, DeviceError> {
        self.session.read(part_of(part)).map_err(gpu_error)
    }

    fn write(&mut self, part: Part, values: &[f32]) -> Result<(), DeviceError> {
        let needed = self.session.part_len(part_of(part));
        if needed != values.len() {
            return Err(DeviceError::Length { part, needed, given: values.len() });
        }
        self.session.write(part_of(part), values).map_err(gpu_error)
    }
}
