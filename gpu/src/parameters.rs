//! Parameters on the device: the GPU's [`Backend`].
//!
//! Its strategy is Shadow: clean weights stay untouched, the perturbed copy is written beside them, where the layers read
//! it, and de-noising costs nothing and is exact.

use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::memory::{Buffer, Pointer};
use crate::noise::Table;
use crate::update::{Norm, Slices, add_scaled, ascend, average, update};
use smoothout::backend::{Backend, Base, Draw, Reception};
use smoothout::optimizer::Update;
use smoothout::plan::Tensor;
use std::sync::Arc;

/// What the parameters remember beside the weights and their gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeps {
    /// Moments of the optimizer: 0, 1 or 2.
    pub moments: usize,
    /// Whether an average of the weights is kept.
    pub average: bool,
}

/// How a gradient is delivered to the stored one: stored = scale * gradient, plus what was stored when it accumulates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deliver {
    /// Share of the gradient.
    pub scale: f32,
    /// Whether it is added to what was stored before.
    pub accumulate: bool,
}

impl Deliver {
    /// The gradient itself.
    pub const OVERWRITE: Self = Self { scale: 1.0, accumulate: false };
}

/// A run of a gradient on the device.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Where it starts.
    pub pointer: Pointer,
    /// Number of values.
    pub len: usize,
}

/// All parameters of a network, in the plan's order.
#[derive(Debug)]
pub struct Parameters {
    gpu: Arc<Gpu>,
    table: Table,
    /// Clean weights.
    pub weights: Buffer<f32>,
    shadow: Buffer<f32>,
    /// Whether the shadow is the evaluation point.
    perturbed: bool,
    /// Stored gradient.
    pub gradient: Buffer<f32>,
    /// Whether the stored gradient counts as 0, whatever is there.
    cleared: bool,
    /// Momentum, or Adam's first moment; empty unless kept.
    pub first: Buffer<f32>,
    /// Adam's second moment; empty unless kept.
    pub second: Buffer<f32>,
    /// Average of the weights; empty unless kept.
    pub average: Buffer<f32>,
    norm: Norm,
    /// The first step that failed, or 0.
    failed: Buffer<i32>,
}

impl Parameters {
    /// Parameters of these tensors, of a plan and in its order, with these weights.
    ///
    /// # Errors
    /// The number of weights is not that of the tensors, or the driver's.
    pub fn new(gpu: &Arc<Gpu>, tensors: &[Tensor], weights: &[f32], keeps: Keeps) -> Result<Self> {
        let count = tensors.last().map_or(0, |tensor| tensor.range().end);
        if weights.len() != count {
            return Err(GpuError::Length { what: "weights", needed: count, given: weights.len() });
        }
        let kept = |yes: bool| Buffer::zeroed(gpu, if yes { count } else { 0 });
        Ok(Self {
            table: Table::new(gpu, tensors)?,
            weights: Buffer::from_slice(gpu, weights)?,
            shadow: kept(true)?,
            perturbed: false,
            gradient: kept(true)?,
            cleared: true,
            first: kept(keeps.moments > 0)?,
            second: kept(keeps.moments > 1)?,
            average: kept(keeps.average)?,
            norm: Norm::new(gpu, count)?,
            failed: Buffer::zeroed(gpu, 1)?,
            gpu: gpu.clone(),
        })
    }

    /// Bytes that parameters of these tensors take on the device.
    pub fn bytes(tensors: &[Tensor], keeps: Keeps) -> u64 {
        let count = tensors.last().map_or(0, |tensor| tensor.range().end);
        let slices = 3 + keeps.moments + usize::from(keeps.average);
        4 * (slices * count) as u64 + Table::bytes(tensors) + Norm::bytes(count) + 4
    }

    /// The device.
    pub const fn gpu(&self) -> &Arc<Gpu> {
        &self.gpu
    }

    /// The evaluation point: w + θ between perturb and denoise, else w.
    pub fn point(&self) -> Pointer {
        if self.perturbed { self.shadow.pointer() } else { self.weights.pointer() }
    }

    /// A copy of the evaluation point.
    ///
    /// # Errors
    /// The driver's.
    pub fn read_point(&self) -> Result<Vec<f32>> {
        if self.perturbed { self.shadow.to_vec(&self.gpu) } else { self.weights.to_vec(&self.gpu) }
    }

    /// The stored gradient and how one of this weight is delivered to it: what an objective that knows these parameters
    /// writes to without a detour. Everything is delivered before the next call.
    pub fn gradients(&mut self, weight: f32) -> (Pointer, Deliver) {
        let deliver = Deliver { scale: weight, accumulate: !self.cleared };
        self.cleared = false;
        (self.gradient.pointer(), deliver)
    }

    /// Makes the stored gradient what it counts as.
    fn store(&mut self) -> Result<()> {
        if std::mem::replace(&mut self.cleared, false) {
            self.gradient.clear(&self.gpu)?;
        }
        Ok(())
    }

    /// Slices of `count` parameters from number `start` on.
    fn slices(&self, start: usize, count: usize) -> Slices {
        let part = |buffer: &Buffer<f32>| if buffer.is_empty() { Pointer::NULL } else { buffer.pointer().at(start) };
        Slices {
            weights: part(&self.weights),
            gradient: part(&self.gradient),
            first: part(&self.first),
            second: part(&self.second),
            count,
        }
    }

    fn check_moments(&self, rule: &Update) -> Result<()> {
        match rule.optimizer.moments() {
            1.. if self.first.is_empty() => Err(GpuError::NotKept { what: "the optimizer's first moment" }),
            2.. if self.second.is_empty() => Err(GpuError::NotKept { what: "the optimizer's second moment" }),
            _ => Ok(()),
        }
    }
}

impl Backend for Parameters {
    type Gradient<'g> = Piece;
    type Error = GpuError;

    fn perturb(&mut self, draw: &Draw, base: Base) -> Result<()> {
        self.gpu.enter()?;
        let from = match base {
            Base::Clean => self.weights.pointer(),
            Base::Perturbed => self.point(),
        };
        self.table.perturb(&self.gpu, draw, from, self.shadow.pointer())?;
        self.perturbed = true;
        Ok(())
    }

    fn ascend(&mut self, scale: f32) -> Result<()> {
        self.gpu.enter()?;
        self.store()?;
        let slices = self.slices(0, self.weights.len());
        ascend(&self.gpu, scale, slices, self.shadow.pointer(), None)?;
        self.perturbed = true;
        Ok(())
    }

    fn denoise(&mut self) -> Result<()> {
        self.perturbed = false;
        Ok(())
    }

    fn keep_noise(&mut self) -> Result<()> {
        self.gpu.enter()?;
        if std::mem::replace(&mut self.perturbed, false) {
            self.gpu.copy(self.shadow.pointer(), self.weights.pointer(), self.weights.len())?;
        }
        Ok(())
    }

    fn clear_gradient(&mut self) -> Result<()> {
        self.cleared = true;
        Ok(())
    }

    fn receive(&mut self, tensor: &Tensor, first_row: usize, gradient: Piece, reception: &Reception) -> Result<()> {
        self.gpu.enter()?;
        let start = tensor.offset + first_row * tensor.row_len;
        match reception {
            Reception::Add { weight } => {
                self.store()?;
                add_scaled(&self.gpu, *weight, gradient.pointer, self.gradient.pointer().at(start), gradient.len)
            }
            Reception::Update(rule) => {
                self.check_moments(rule)?;
                let slices = Slices { gradient: gradient.pointer, ..self.slices(start, gradient.len) };
                update(&self.gpu, rule, slices, None, self.failed.pointer())
            }
        }
    }

    fn gradient_norm(&mut self) -> Result<f32> {
        self.gpu.enter()?;
        self.store()?;
        self.norm.take(&self.gpu, self.gradient.pointer(), 0, Pointer::NULL)?;
        Ok(self.norm.read(&self.gpu)? as f32)
    }

    fn update(&mut self, rule: &Update) -> Result<()> {
        self.gpu.enter()?;
        self.check_moments(rule)?;
        self.store()?;
        let slices = self.slices(0, self.weights.len());
        update(&self.gpu, rule, slices, None, self.failed.pointer())
    }

    fn average(&mut self, share: f32) -> Result<()> {
        self.gpu.enter()?;
        if self.average.is_empty() {
            return Err(GpuError::NotKept { what: "an average of the weights" });
        }
        let (weights, count) = (self.weights.pointer(), self.weights.len());
        average(&self.gpu, share, weights, self.average.pointer(), count, self.failed.pointer())
    }
}
