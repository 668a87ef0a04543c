//! The noise on the device: the bits of core's contract.

use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::kernels::{int, launch, over, warps};
use crate::memory::{Buffer, Pointer};
use smoothout::backend::{Draw, Selection};
use smoothout::noise::{Address, BLOCK, Distribution, Noise, Scaling};
use smoothout::plan::{Role, Tensor};

/// Values of a row of the kernels' table: `Tensor` of kernels/noise.cu.
const ROW: usize = 8;

/// The parameter tensors as the kernels know them, and the scale of every filter.
#[derive(Debug)]
pub(crate) struct Table {
    rows: Buffer<i32>,
    scales: Buffer<f32>,
    tensors: usize,
    blocks: usize,
    filters: usize,
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

/// What the keys of a draw's tensors are made from; see [`Address::tensor`].
const fn draw_hash(address: Address) -> u64 {
    hash(hash(hash(address.seed) ^ address.step) ^ address.draw as u64)
}

impl Table {
    /// The tensors of a plan, in its order.
    ///
    /// # Errors
    /// More parameters than kernels can count, or the driver's.
    pub(crate) fn new(gpu: &Gpu, tensors: &[Tensor]) -> Result<Self> {
        let mut rows = Vec::with_capacity(ROW * tensors.len());
        let (mut blocks, mut filters) = (0, 0);
        for tensor in tensors {
            let values = [tensor.offset, tensor.len(), tensor.row_len, tensor.index as usize, bit(tensor.role) as usize];
            for value in values.into_iter().chain([blocks, filters, tensor.rows]) {
                rows.push(int("parameters", value)?);
            }
            blocks += tensor.len().div_ceil(BLOCK);
            filters += tensor.rows;
        }
        if tensors.is_empty() {
            return Err(GpuError::Length { what: "parameter tensors", needed: 1, given: 0 });
        }
        let (rows, scales) = (Buffer::from_slice(gpu, &rows)?, Buffer::zeroed(gpu, filters)?);
        Ok(Self { rows, scales, tensors: tensors.len(), blocks, filters })
    }

    /// Bytes that a table of these tensors takes on the device.
    pub(crate) fn bytes(tensors: &[Tensor]) -> u64 {
        let filters: usize = tensors.iter().map(|tensor| tensor.rows).sum();
        4 * (ROW * tensors.len() + filters) as u64
    }

    /// Writes base + θ for the selected tensors, and the base of the others, to `to`. Both hold all parameters and may
    /// be the same.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn perturb(&self, gpu: &Gpu, draw: &Draw, base: Pointer, to: Pointer) -> Result<()> {
        let Draw { noise, selection, address } = draw;
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
        let (table, scales, key) = (self.rows.pointer(), self.scales.pointer(), draw_hash(*address));
        let (strength, negative) = (noise.strength(), i32::from(noise.is_negative()));
        let (threshold, selected) = (threshold(noise), bits(selection));
        if noise.adapts() {
            // SAFETY: the table describes parameters that both slices hold, and as many scales.
            unsafe {
                launch!(gpu, filter_scale, warps(self.filters)?, 0, base, scales, table, tensors,
                    filters, key, distribution, strength, threshold, negative, selected)?;
            }
        }
        // SAFETY: as above.
        unsafe {
            launch!(gpu, perturb, over(self.blocks, 128)?, 0, base, to, scales, table, tensors, blocks, key,
                distribution, scaling, strength, threshold, negative, selected)
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
            assert_eq!(Key(hash(draw_hash(address) ^ u64::from(index))), address.tensor(index));
        }
    }
}
