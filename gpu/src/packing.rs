//! Weights of convolutions in the layout that kernels read them in, made for all layers at once: `conv_pack` of kernels/conv.cu.

use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::kernels::{int, launch};
use crate::memory::Buffer;
use crate::pointer::Pointer;
use crate::precision::Precision;
use crate::product::grid;
use smoothout::plan::{Role, Tensor};

/// Channels of a filter that a block packs: `PACK` of kernels/conv.cu.
const PACK: usize = 32;

/// Where each tensor's packed weights start, for those of convolutions, and how many values there are in all. Each starts at
/// a multiple of 16 bytes.
pub(crate) fn packed_places(tensors: &[Tensor]) -> (Vec<Option<usize>>, usize) {
    let mut len = 0usize;
    let places = tensors.iter().map(|tensor| {
        let of_convolution = tensor.role == Role::Weight && tensor.dims.as_slice().len() == 4;
        let start = of_convolution.then_some(len);
        len += if of_convolution { tensor.len().next_multiple_of(4) } else { 0 };
        start
    });
    (places.collect(), len)
}

/// Packs the weights of all convolutions of a network.
#[derive(Debug)]
pub(crate) struct Packing {
    table: Buffer<i32>,
    layers: usize,
    blocks: usize,
    len: usize,
    tf32: bool,
}

impl Packing {
    /// For the weights of convolutions among these tensors, of a plan and in its order; also where each layer's packed
    /// weights start.
    ///
    /// # Errors
    /// More weights than kernels can count, or the driver's.
    pub(crate) fn new(gpu: &Gpu, precision: Precision, tensors: &[Tensor]) -> Result<(Self, Vec<usize>)> {
        let (places, len) = packed_places(tensors);
        let (mut table, mut starts, mut blocks) = (Vec::new(), Vec::new(), 0);
        for (tensor, start) in tensors.iter().zip(places).filter_map(|(tensor, place)| Some((tensor, place?))) {
            let [filters, channels, height, width] = *tensor.dims.as_slice() else {
                return Err(GpuError::Length { what: "sizes of a convolution's weight", needed: 4, given: tensor.dims.as_slice().len() });
            };
            for value in [blocks, tensor.offset, start, channels, height * width] {
                table.push(int("weights", value)?);
            }
            starts.push(start);
            blocks += filters * channels.div_ceil(PACK);
        }
        int("weights", len)?;
        let layers = starts.len();
        let table = if layers > 0 { Buffer::from_slice(gpu, &table)? } else { Buffer::zeroed(gpu, 1)? };
        Ok((Self { table, layers, blocks, len, tf32: precision == Precision::Tf32 }, starts))
    }

    /// Whether the packed weights are rounded to tf32.
    pub(crate) const fn is_tf32(&self) -> bool {
        self.tf32
    }

    /// Packed values of a draw.
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Packs the weights among the parameters `from`, of `count` draws.
    ///
    /// # Errors
    /// The driver's.
    ///
    /// # Safety
    /// There are parameters of so many draws at the pitch given, and room for as many times the packed values.
    pub(crate) unsafe fn pack(&self, gpu: &Gpu, (from, pitch): (Pointer, usize), count: usize, to: Pointer) -> Result<()> {
        if self.layers == 0 {
            return Ok(());
        }
        let (table, layers) = (self.table.pointer(), int("layers", self.layers)?);
        let (pitch, to_pitch) = (int("parameters", pitch)?, int("weights", self.len)?);
        // SAFETY: the table was made for these parameters; the rest is the caller's promise.
        unsafe {
            launch!(gpu, conv_pack, grid(self.blocks, count, 1)?, 0, from, to, table, layers, pitch, to_pitch, i32::from(self.tf32))
        }
    }
}
