//! Parameters on the device, and what is done to them.
//!
//! The strategy is Shadow: clean weights stay untouched, perturbed copies are written beside them, where the layers read
//! them, and de-noising costs nothing and is exact. There is a copy for each ghost batch of a pass, as each may have a draw
//! of its own.

use crate::deliver::Deliver;
use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::memory::Buffer;
use crate::noise::{Copies, Draws, Packed, Table};
use crate::pointer::Pointer;
use crate::update::{Norm, Slices, add_scaled, average, update};
use smoothout::backend::Base;
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

/// A run of a gradient on the device.
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Where it starts.
    pub pointer: Pointer,
    /// Number of values.
    pub len: usize,
}

/// What has failed since the last look: the number of the step, from 1, or 0; then its ghost batch, or -1 where the norm of
/// the gradient was not finite.
const FAILED: usize = 2;

/// All parameters of a network, in the plan's order.
#[derive(Debug)]
pub(crate) struct Parameters {
    table: Table,
    /// Clean weights.
    pub(crate) weights: Buffer<f32>,
    /// Perturbed copies.
    shadow: Buffer<f32>,
    copies: usize,
    /// Stored gradient.
    pub(crate) gradient: Buffer<f32>,
    /// Whether the stored gradient counts as 0, whatever is there.
    cleared: bool,
    /// Whether the update to come starts from the first perturbed copy, whose noise stays.
    kept: bool,
    /// Momentum, or Adam's first moment; empty unless kept.
    pub(crate) first: Buffer<f32>,
    /// Adam's second moment; empty unless kept.
    pub(crate) second: Buffer<f32>,
    /// Average of the weights; empty unless kept.
    pub(crate) average: Buffer<f32>,
    norm: Norm,
    failed: Buffer<i32>,
    gpu: Arc<Gpu>,
}

/// Values from a perturbed copy to the next one, for so many parameters: each begins where a warp's read does.
pub(crate) const fn pitch(count: usize) -> usize {
    count.next_multiple_of(32)
}

impl Parameters {
    /// Parameters of these tensors, of a plan and in its order, with these weights, and `copies` perturbed copies.
    ///
    /// # Errors
    /// The number of weights is not that of the tensors, or the driver's.
    pub(crate) fn new(
        gpu: &Arc<Gpu>,
        tensors: &[Tensor],
        weights: &[f32],
        keeps: Keeps,
        copies: usize,
    ) -> Result<Self> {
        let count = tensors.last().map_or(0, |tensor| tensor.range().end);
        if weights.len() != count {
            return Err(GpuError::Length { what: "weights", needed: count, given: weights.len() });
        }
        let kept = |yes: bool| Buffer::zeroed(gpu, if yes { count } else { 0 });
        Ok(Self {
            table: Table::new(gpu, tensors, copies)?,
            weights: Buffer::from_slice(gpu, weights)?,
            shadow: Buffer::zeroed(gpu, copies * pitch(count))?,
            copies,
            gradient: kept(true)?,
            cleared: true,
            kept: false,
            first: kept(keeps.moments > 0)?,
            second: kept(keeps.moments > 1)?,
            average: kept(keeps.average)?,
            norm: Norm::new(gpu, count)?,
            failed: Buffer::zeroed(gpu, FAILED)?,
            gpu: gpu.clone(),
        })
    }

    /// Bytes that parameters of these tensors take on the device.
    pub(crate) fn bytes(tensors: &[Tensor], keeps: Keeps, copies: usize) -> u64 {
        let count = tensors.last().map_or(0, |tensor| tensor.range().end);
        let slices = 2 + keeps.moments + usize::from(keeps.average);
        let values = slices * count + copies * pitch(count) + FAILED;
        4 * values as u64 + Table::bytes(tensors, copies) + Norm::bytes(count)
    }

    /// Has room for so many perturbed copies from now on; what they held is gone.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn set_copies(&mut self, copies: usize) -> Result<()> {
        if copies != self.copies {
            self.copies = 0;
            // The old ones go first, as there may be no room for both.
            self.shadow = Buffer::zeroed(&self.gpu, 0)?;
            self.shadow = Buffer::zeroed(&self.gpu, copies * pitch(self.weights.len()))?;
            self.table.set_copies(&self.gpu, copies)?;
            self.copies = copies;
        }
        Ok(())
    }

    /// Where perturbed copy `number` starts.
    pub(crate) fn copy(&self, number: usize) -> Pointer {
        self.shadow.pointer().at(number * pitch(self.weights.len()))
    }

    /// Perturbed copy `number`.
    ///
    /// # Errors
    /// The driver's.
    #[cfg(test)]
    pub(crate) fn read_copy(&self, number: usize) -> Result<Vec<f32>> {
        let mut values = vec![0.0; self.weights.len()];
        self.shadow.read(&self.gpu, number * pitch(self.weights.len()), &mut values)?;
        Ok(values)
    }

    /// Where failures are noted: the step's number, or 0, and its ghost batch.
    pub(crate) fn failed(&self) -> Pointer {
        self.failed.pointer()
    }

    /// What has failed since the last look, once everything that was launched is done.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn take_failure(&mut self) -> Result<Option<(usize, i32)>> {
        let mut failed = [0; FAILED];
        self.failed.read(&self.gpu, 0, &mut failed)?;
        if failed[0] == 0 {
            return Ok(None);
        }
        self.failed.clear(&self.gpu)?;
        Ok(Some((failed[0] as usize, failed[1])))
    }

    /// The stored gradient and how one of this weight is delivered to it: what a pass writes to without a detour.
    /// Everything is delivered before the next call.
    pub(crate) fn gradients(&mut self, weight: f32) -> (Pointer, Deliver) {
        let deliver = Deliver { scale: weight, accumulate: !self.cleared };
        self.cleared = false;
        (self.gradient.pointer(), deliver)
    }

    /// Lets the stored gradient count as 0, as at the beginning of a step.
    pub(crate) const fn clear_gradient(&mut self) {
        self.cleared = true;
        self.kept = false;
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
            base: if self.kept { self.copy(0).at(start) } else { part(&self.weights) },
            weights: part(&self.weights),
            gradient: part(&self.gradient),
            first: part(&self.first),
            second: part(&self.second),
            count,
        }
    }

    pub(crate) fn check_moments(&self, rule: &Update) -> Result<()> {
        match rule.optimizer.moments() {
            1.. if self.first.is_empty() => Err(GpuError::NotKept { what: "the optimizer's first moment" }),
            2.. if self.second.is_empty() => Err(GpuError::NotKept { what: "the optimizer's second moment" }),
            _ => Ok(()),
        }
    }

    /// Writes base + θ to the perturbed copies, one for each draw; the base is the clean weights or what the only copy holds.
    /// Weights of convolutions go to `packed` where there is one.
    ///
    /// # Errors
    /// More draws than copies, or the driver's.
    pub(crate) fn perturb(&self, draws: &Draws, base: Base, packed: Option<Packed>) -> Result<()> {
        let from = match base {
            Base::Clean => self.weights.pointer(),
            Base::Perturbed => self.copy(0),
        };
        self.table.perturb(&self.gpu, draws, from, &self.copies(packed))
    }

    /// The perturbed copies, with the convolutions' weights apart if they are `packed`.
    fn copies(&self, packed: Option<Packed>) -> Copies {
        Copies { to: (self.copy(0), pitch(self.weights.len())), packed }
    }

    /// Works out the norm of the stored gradient. One that is not finite is noted as a failure of step `number`.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn take_norm(&mut self, number: i32) -> Result<()> {
        self.store()?;
        self.norm.take(&self.gpu, self.gradient.pointer(), number, self.failed.pointer())
    }

    /// The norm that was worked out last, once everything that was launched is done.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn read_norm(&self) -> Result<f64> {
        self.norm.read(&self.gpu)
    }

    /// The first perturbed copy = w + scale * (stored gradient) / its norm, that which was worked out last.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn ascend(&mut self, scale: f32, packed: Packed) -> Result<()> {
        self.store()?;
        let from = [self.weights.pointer(), self.gradient.pointer()];
        self.table.ascend(&self.gpu, scale, from, &self.norm, &self.copies(Some(packed)))
    }

    /// Lets the update to come start from the first perturbed copy.
    pub(crate) const fn keep_noise(&mut self) {
        self.kept = true;
    }

    /// stored gradient += weight * gradient, of parameters from number `start` on.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn add(&mut self, weight: f32, gradient: Piece, start: usize) -> Result<()> {
        self.store()?;
        add_scaled(&self.gpu, weight, gradient.pointer, self.gradient.pointer().at(start), gradient.len)
    }

    /// Updates the parameters from number `start` on by a gradient, unless a step has failed.
    ///
    /// # Errors
    /// The optimizer's moments are not kept, or the driver's.
    pub(crate) fn update_part(&self, rule: &Update, gradient: Piece, start: usize) -> Result<()> {
        self.check_moments(rule)?;
        let slices = Slices { gradient: gradient.pointer, ..self.slices(start, gradient.len) };
        update(&self.gpu, rule, slices, None, self.failed.pointer())
    }

    /// Updates the clean weights by the stored gradient, clipped by the norm that was worked out last, unless a step has
    /// failed.
    ///
    /// # Errors
    /// The optimizer's moments are not kept, or the driver's.
    pub(crate) fn update(&mut self, rule: &Update, clip: Option<f32>) -> Result<()> {
        self.check_moments(rule)?;
        self.store()?;
        let slices = self.slices(0, self.weights.len());
        self.kept = false;
        update(&self.gpu, rule, slices, clip.map(|limit| (&self.norm, limit)), self.failed.pointer())
    }

    /// average += share * (weights - average), unless a step has failed.
    ///
    /// # Errors
    /// There is no average, or the driver's.
    pub(crate) fn follow_average(&self, share: f32) -> Result<()> {
        if self.average.is_empty() {
            return Err(GpuError::NotKept { what: "an average of the weights" });
        }
        let (weights, count) = (self.weights.pointer(), self.weights.len());
        average(&self.gpu, share, weights, self.average.pointer(), count, self.failed.pointer())
    }
}

#[cfg(test)]
mod tests;
