//! A network with its parameters and running statistics on a GPU: steps, evaluations and gradients of batches.
//!
//! Steps are launched and not waited for: losses are recorded on the device and read every [`WINDOW`] steps, or when
//! somebody asks ([`Session::settle`]). A loss or a gradient that is not finite is noted on the device, where every change
//! of weights, moments and statistics from then on is left out, so that what is found later is what was there before the
//! step that failed.

mod backend;
mod parts;
mod passes;
mod steps;

pub use parts::Part;
pub use steps::{Failure, Outcome, Step};

use crate::batch::Batches;
use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::ghosts::Ghosts;
use crate::memory::Buffer;
use crate::network::Network;
use crate::parameters::{Keeps, Parameters};
use crate::precision::Precision;
use crate::queue::Queue;
use smoothout::plan::{Plan, Tensor};
use std::sync::Arc;

/// Steps between two looks at what came of them.
pub const WINDOW: usize = 32;

/// Values of the record of a step: its loss, and the images found.
const RECORD: usize = 2;

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

    /// average += share * (weights - average).
    ///
    /// # Errors
    /// There is no average, or the driver's.
    pub fn average(&mut self, share: f32) -> Result<()> {
        self.gpu.enter()?;
        self.parameters.follow_average(share)
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
