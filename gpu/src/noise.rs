//! The noise on the device: the bits of core's contract.

use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::kernels::{int, launch, over, warps};
use crate::memory::Buffer;
use crate::packing::packed_places;
use crate::pointer::Pointer;
use crate::update::Norm;
use smoothout::backend::{Draw, Selection};
use smoothout::noise::{Address, BLOCK, Distribution, Noise, Scaling};
use smoothout::plan::{Role, Tensor};

/// Values of a row of the kernels' table: `Tensor` of kernels/noise.cu.
const ROW: usize = 12;

/// The parameter tensors as the kernels know them, and the scale of every filter.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Buffer<i32>,
    scales: Buffer<f32>,
    tensors: usize,
    blocks: usize,
    filters: usize,
}

/// Draws that one launch makes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draws {
    /// The first one; of antithetic pairs that of the positive sign.
    pub(crate) draw: Draw,
    /// How those of a step are numbered.
    pub(crate) series: Series,
    /// The first one's number.
    pub(crate) first: u32,
    /// How many there are.
    pub(crate) count: usize,
}

impl Draws {
    /// One alone.
    pub(crate) const fn one(draw: &Draw) -> Self {
        Self { draw: *draw, series: Series::PLAIN, first: draw.address.draw, count: 1 }
    }
}

/// How the draws of a step are numbered: ghost batch by ghost batch, `many` of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// Draws of a ghost batch; at least 1.
    pub(crate) many: u32,
    /// Whether two in a row have the same noise, the second one with the other sign.
    pub(crate) pairs: bool,
}

impl Series {
    /// One draw for each ghost batch.
    pub(crate) const PLAIN: Self = Self { many: 1, pairs: false };

    /// The number in the address of draw `number`'s noise, and whether it has the other sign: see `Draw` of
    /// kernels/noise.cu.
    pub(crate) const fn noise_of(self, number: u32) -> (u32, bool) {
        let of_ghost = if self.pairs { number % self.many } else { 0 };
        (number - (of_ghost - of_ghost / 2), of_ghost % 2 == 1)
    }
}

/// Where perturbed copies go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copies {
    /// The first one, and values from each to the next.
    pub(crate) to: (Pointer, usize),
    /// Where weights of convolutions go, if not there alone.
    pub(crate) packed: Option<Packed>,
}

/// Where the weights of convolutions go in their kernels' order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packed {
    /// The first copy's.
    pub(crate) to: Pointer,
    /// Values from those of a copy to those of the next.
    pub(crate) pitch: usize,
    /// Whether they are rounded to tf32.
    pub(crate) tf32: bool,
    /// Whether they go to the copy in the plan's order, too.
    pub(crate) both: bool,
}

impl Copies {
    /// As the kernels take it: packed, its pitch, tf32, both.
    fn packed(&self) -> Result<(Pointer, i32, i32, i32)> {
        let Some(Packed { to, pitch, tf32, both }) = self.packed else { return Ok((Pointer::NULL, 0, 0, 1)) };
        Ok((to, int("weights", pitch)?, i32::from(tf32), i32::from(both)))
    }
}

const fn bit(role: Role) -> i32 {
    match role {
        Role::Weight => 0,
        Role::Bias => 1,
        Role::NormScale => 2,
        Role::NormShift => 3,
    }
}

fn bits(selection: &Selection) -> i32 {
    let roles = [Role::Weight, Role::Bias, Role::NormScale, Role::NormShift];
    roles.into_iter().filter(|role| selection.contains(*role)).map(|role| 1 << bit(role)).sum()
}

/// First output of SplitMix64 seeded with `x`.
pub(crate) const fn hash(x: u64) -> u64 {
    let z = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What the keys of a step's draws are made from; see [`Address::tensor`].
const fn step_hash(address: Address) -> u64 {
    hash(hash(address.seed) ^ address.step)
}

impl Table {
    /// The tensors of a plan, in its order, for launches of at most `copies` draws.
    ///
    /// # Errors
    /// More parameters than kernels can count, or the driver's.
    pub(crate) fn new(gpu: &Gpu, tensors: &[Tensor], copies: usize) -> Result<Self> {
        let mut rows = Vec::with_capacity(ROW * tensors.len());
        let (mut blocks, mut filters) = (0, 0);
        for (tensor, place) in tensors.iter().zip(packed_places(tensors).0) {
            let values = [tensor.offset, tensor.len(), tensor.row_len, tensor.index as usize, bit(tensor.role) as usize];
            for value in values.into_iter().chain([blocks, filters]) {
                rows.push(int("parameters", value)?);
            }
            rows.push(place.map_or(Ok(-1), |start| int("weights", start))?);
            rows.push(int("taps", tensor.dims.as_slice().iter().skip(2).product())?);
            rows.resize(rows.len().next_multiple_of(ROW), 0);
            blocks += tensor.len().div_ceil(BLOCK);
            filters += tensor.rows;
        }
        if tensors.is_empty() {
            return Err(GpuError::Length { what: "parameter tensors", needed: 1, given: 0 });
        }
        let (rows, scales) = (Buffer::from_slice(gpu, &rows)?, Buffer::zeroed(gpu, copies * filters)?);
        Ok(Self { rows, scales, tensors: tensors.len(), blocks, filters })
    }

    /// Bytes that a table of these tensors takes on the device.
    pub(crate) fn bytes(tensors: &[Tensor], copies: usize) -> u64 {
        let filters: usize = tensors.iter().map(|tensor| tensor.rows).sum();
        4 * (ROW * tensors.len() + copies * filters) as u64
    }

    /// Makes room for launches of at most `copies` draws.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn set_copies(&mut self, gpu: &Gpu, copies: usize) -> Result<()> {
        self.scales = Buffer::zeroed(gpu, 0)?;
        self.scales = Buffer::zeroed(gpu, copies * self.filters)?;
        Ok(())
    }

    /// Writes base + θ for the selected tensors, and the base of the others, to a copy for each of the draws. The base
    /// holds all parameters, and may be the one copy.
    ///
    /// # Errors
    /// More draws than there is room for, or the driver's.
    pub(crate) fn perturb(&self, gpu: &Gpu, draws: &Draws, base: Pointer, copies: &Copies) -> Result<()> {
        let Draws { draw: Draw { noise, selection, address }, series, first, count } = draws;
        let needed = count * self.filters;
        if needed > self.scales.len() {
            return Err(GpuError::Length { what: "scales of filters", needed: self.scales.len(), given: needed });
        }
        let distribution: i32 = match noise.distribution() {
            Distribution::Uniform => 0,
            Distribution::Gaussian => 1,
            Distribution::Dropout => 2,
        };
        let scaling: i32 = match noise.scaling() {
            Scaling::Constant => 0,
            Scaling::PerWeight => 1,
            Scaling::PerFilter => 2,
        };
        let (tensors, blocks, filters) = (self.tensors as i32, self.blocks as i32, self.filters as i32);
        let (table, scales, step) = (self.rows.pointer(), self.scales.pointer(), step_hash(*address));
        let (many, pairs, first) = (series.many, i32::from(series.pairs), *first);
        let ((to, pitch), (packed, packed_pitch, tf32, both)) = (copies.to, copies.packed()?);
        let pitch = int("parameters", pitch)?;
        let of_draws = |[[blocks, ..], threads]: [[u32; 3]; 2]| [[blocks, *count as u32, 1], threads];
        let (strength, negative) = (noise.strength(), i32::from(noise.is_negative()));
        let (threshold, selected) = (threshold(noise), bits(selection));
        if noise.adapts() {
            // SAFETY: the table describes parameters that both slices hold, and as many scales.
            unsafe {
                launch!(gpu, filter_scale, of_draws(warps(self.filters)?), 0, base, scales, table, tensors,
                    filters, step, first, many, pairs, distribution, strength, threshold, negative, selected)?;
            }
        }
        // SAFETY: as above.
        unsafe {
            launch!(gpu, perturb, of_draws(over(self.blocks, 128)?), 0, base, to, pitch, packed, packed_pitch, tf32, both,
                scales, table, tensors, blocks, filters, step, first, many, pairs,
                distribution, scaling, strength, threshold, negative, selected)
        }
    }

    /// The one copy = weights + scale * gradient / norm: SAM.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn ascend(&self, gpu: &Gpu, scale: f32, [weights, gradient]: [Pointer; 2], norm: &Norm, copy: &Copies) -> Result<()> {
        let (tensors, blocks, table) = (self.tensors as i32, self.blocks as i32, self.rows.pointer());
        let (packed, _, tf32, _) = copy.packed()?;
        // SAFETY: as above, and as many gradients.
        unsafe {
            launch!(gpu, ascend, warps(self.blocks)?, 0, weights, gradient, copy.to.0, packed, tf32, table, tensors, blocks,
                scale, norm.pointer())
        }
    }
}

/// Draws below this are dropped.
fn threshold(noise: &Noise) -> i32 {
    if noise.distribution() == Distribution::Dropout { noise.threshold().cast_signed() } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoothout::noise::Key;

    #[test]
    fn keys_are_those_of_core() {
        let address = Address { seed: 1_234_567_890_123_456_789, step: 42, draw: 3 };
        for index in [0, 1, 77] {
            let draw = hash(step_hash(address) ^ u64::from(address.draw));
            assert_eq!(Key(hash(draw ^ u64::from(index))), address.tensor(index));
        }
    }
}
