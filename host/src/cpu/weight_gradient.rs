//! The weight and bias gradient of a convolution.

use super::deliver::Deliver;
use super::layout::IMAGES;
use super::outer::{LaneSums, Outer};
use super::packing::{Axis, pack};
use super::partition::{part, piece};
use super::shared::Shared;
use super::simd::Isa;
use super::workspace::{Slots, WorkspaceSize};
use rayon::prelude::*;
use std::ops::Range;

/// Bytes of sums that a unit of work keeps, each of 16 lanes: they stay in the L2 cache.
const SUM_BYTES: usize = 384 << 10;
/// Bytes of packed rows: as above.
const PACKED_BYTES: usize = 256 << 10;
/// Output channels of a unit, at most.
const MOST_OUTPUTS: usize = 64;
/// Pixels that are summed from zero before they are added to the sums in memory: the gradient's
/// pixels of a register tile stay in the L1 cache, and the rounding is bounded.
const MOST_PIXELS: usize = 96;
/// Units of work at least, if need be by summing parts of the batch apart, ...
const UNITS: usize = 16;
/// ... as long as a part has this many pixels (of 16 images each), so that adding up its lanes
/// costs little.
const PART_PIXELS: usize = 512;

/// The shapes of a weight gradient and how it is cut.
#[derive(Clone, Debug)]
pub(super) struct WeightGradient {
    row: Axis,
    col: Axis,
    groups: usize,
    /// Channels of one group.
    inputs: usize,
    outputs: usize,
    /// Taps of a channel.
    kernel: usize,
    /// Channels of a unit.
    input_chunk: usize,
    output_chunk: usize,
    /// Output rows of one packing, at most.
    rows: usize,
    /// Where the taps of a chunk of channels read in the packed rows.
    taps: Vec<u32>,
}

impl WeightGradient {
    /// The axes are those of the convolution's input.
    pub(super) fn new(
        (row, col): (Axis, Axis),
        groups: usize,
        (inputs, outputs): (usize, usize),
    ) -> Self {
        let kernel = row.phases[0].len() * col.phases[0].len();
        let output_chunk = piece(outputs, MOST_OUTPUTS, 0).len();
        let sums = output_chunk * kernel * IMAGES * size_of::<f32>();
        let input_chunk = piece(inputs, (SUM_BYTES / sums).clamp(1, inputs), 0).len();
        let width = col.packed(col.outputs);
        let line = input_chunk * width * IMAGES * size_of::<f32>();
        let lines = (PACKED_BYTES / line).max(row.packed(1));
        let rows = ((lines - row.packed(0)) / row.step).min(row.outputs);
        let channel = row.packed(rows) * width * IMAGES;
        let mut taps = Vec::new();
        for c in 0..input_chunk {
            for (_, r) in &row.phases[0] {
                taps.extend(
                    col.phases[0]
                        .iter()
                        .map(|(_, k)| (c * channel + (r * width + k) * IMAGES) as u32),
                );
            }
        }
        Self {
            row,
            col,
            groups,
            inputs,
            outputs,
            kernel,
            input_chunk,
            output_chunk,
            rows,
            taps,
        }
    }

    fn channel_len(&self) -> usize {
        self.row.packed(self.rows) * self.col.packed(self.col.outputs) * IMAGES
    }

    fn weights(&self) -> usize {
        self.groups * self.outputs * self.inputs * self.kernel
    }

    /// Units of a part of the batch.
    fn units(&self) -> usize {
        self.groups
            * self.outputs.div_ceil(self.output_chunk)
            * self.inputs.div_ceil(self.input_chunk)
    }

    /// Parts of the batch that are summed apart. Depends on the shapes alone, never on threads.
    fn parts(&self, blocks: usize) -> usize {
        let pixels = blocks * self.row.outputs * self.col.outputs;
        UNITS
            .div_ceil(self.units())
            .min(pixels / PART_PIXELS)
            .min(blocks)
            .max(1)
    }

    /// Memory for at most this many blocks of images.
    pub(super) fn workspace(&self, blocks: usize) -> WorkspaceSize {
        let sums = self.output_chunk * (self.taps.len() + 1) * IMAGES;
        let line = self.taps.len().max(1);
        WorkspaceSize {
            per_thread: self.input_chunk * self.channel_len() + sums + line,
            shared: self.parts(blocks) * (self.weights() + self.groups * self.outputs),
        }
    }

    /// Delivers the gradient of the weights `[outputs][inputs of a group][kernel]` and, if wanted, of the bias.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn run(
        &self,
        isa: Isa,
        input: &[f32],
        gradient: &[f32],
        weights: &mut [f32],
        bias: Option<&mut [f32]>,
        deliver: Deliver,
        (slots, shared): (Slots<'_>, &mut [f32]),
    ) {
        let input_len = self.groups * self.inputs * self.row.len * self.col.len * IMAGES;
        let gradient_len =
            self.groups * self.outputs * self.row.outputs * self.col.outputs * IMAGES;
        let blocks = input.len() / input_len;
        let channels = self.groups * self.outputs;
        assert_eq!(input.len(), blocks * input_len);
        assert_eq!(gradient.len(), blocks * gradient_len);
        assert_eq!(weights.len(), self.weights());
        assert!(bias.as_ref().is_none_or(|bias| bias.len() == channels));
        let parts = self.parts(blocks);
        let (partial, bias_partial) = shared.split_at_mut(parts * self.weights());
        let bias_partial = &mut bias_partial[..parts * channels];
        {
            let (partial, bias_partial) = (Shared::new(partial), Shared::new(bias_partial));
            let wants_bias = bias.is_some();
            let units = parts * self.units();
            (0..units).into_par_iter().with_max_len(1).for_each(|i| {
                let (i, batch) = (i / parts, i % parts);
                let inputs = self.inputs.div_ceil(self.input_chunk);
                let outputs = self.outputs.div_ceil(self.output_chunk);
                let unit = Unit {
                    plan: self,
                    isa,
                    group: i / inputs / outputs,
                    inputs: piece(self.inputs, self.input_chunk, i % inputs),
                    outputs: piece(self.outputs, self.output_chunk, i / inputs % outputs),
                    bias: wants_bias && i % inputs == 0,
                };
                let blocks = part(blocks, parts, batch);
                let input = &input[blocks.start * input_len..blocks.end * input_len];
                let gradient = &gradient[blocks.start * gradient_len..blocks.end * gradient_len];
                let images = input
                    .chunks_exact(input_len)
                    .zip(gradient.chunks_exact(gradient_len));
                let partial = partial.at(batch * self.weights());
                let bias_partial = bias_partial.at(batch * channels);
                // SAFETY: each part has its own weights and bias, and of those each unit has its
                // own channels.
                unsafe { unit.run(images, &mut slots.mine(), partial, bias_partial) };
            });
        }
        deliver_parts(partial, weights, deliver);
        if let Some(bias) = bias {
            deliver_parts(bias_partial, bias, deliver);
        }
    }
}

/// Adds up the parts of the batch, in their order, and delivers the sum.
fn deliver_parts(parts: &mut [f32], target: &mut [f32], deliver: Deliver) {
    /// Values of a task.
    const PIECE: usize = 4096;
    let (sum, others) = parts.split_at_mut(target.len());
    let others = &*others;
    let len = target.len();
    let pieces = sum.par_chunks_mut(PIECE).zip(target.par_chunks_mut(PIECE));
    pieces.enumerate().for_each(|(i, (sum, target))| {
        for other in others.chunks_exact(len) {
            for (sum, value) in sum.iter_mut().zip(&other[i * PIECE..]) {
                *sum += value;
            }
        }
        deliver.write(sum, target);
    });
}

/// Some output and input channels of a group, over a part of the batch.
struct Unit<'a> {
    plan: &'a WeightGradient,
    isa: Isa,
    group: usize,
    /// Channels within the group.
    inputs: Range<usize>,
    outputs: Range<usize>,
    /// Whether the bias is this unit's work, too.
    bias: bool,
}

impl Unit<'_> {
    /// # Safety
    /// `partial` has room for all weights and `bias_partial` for all biases, and nobody else
    /// uses those of this unit's channels meanwhile.
    unsafe fn run<'i>(
        &self,
        images: impl Iterator<Item = (&'i [f32], &'i [f32])>,
        scratch: &mut [f32],
        partial: *mut f32,
        bias_partial: *mut f32,
    ) {
        let p = self.plan;
        let taps = &p.taps[..self.inputs.len() * p.kernel];
        let (packed, scratch) = scratch.split_at_mut(p.input_chunk * p.channel_len());
        let (sums, scratch) = scratch.split_at_mut(self.outputs.len() * taps.len() * IMAGES);
        let (bias_sums, scratch) = scratch.split_at_mut(self.outputs.len() * IMAGES);
        sums.fill(0.0);
        bias_sums.fill(0.0);
        let channel = p.row.len * p.col.len * IMAGES;
        let parts = p.row.outputs.div_ceil(p.rows);
        for (input, gradient) in images {
            let first = self.group * p.inputs + self.inputs.start;
            let input = &input[first * channel..][..self.inputs.len() * channel];
            for i in 0..parts {
                let rows = part(p.row.outputs, parts, i);
                pack((&p.row, &p.col), &rows, input, packed, p.channel_len());
                self.rows(taps, rows, packed, gradient, sums, bias_sums);
            }
        }
        let line = &mut scratch[..taps.len()];
        for (i, sums) in sums.chunks_exact(taps.len() * IMAGES).enumerate() {
            self.isa.run(LaneSums { sums, out: line });
            let output = self.group * p.outputs + self.outputs.start + i;
            let at = (output * p.inputs + self.inputs.start) * p.kernel;
            // SAFETY: the weights of this unit's channels, as the caller promises.
            unsafe {
                partial
                    .add(at)
                    .copy_from_nonoverlapping(line.as_ptr(), line.len())
            };
        }
        if self.bias {
            let first = self.group * p.outputs + self.outputs.start;
            // SAFETY: the biases of this unit's channels, as the caller promises.
            let out = unsafe {
                std::slice::from_raw_parts_mut(bias_partial.add(first), self.outputs.len())
            };
            self.isa.run(LaneSums {
                sums: bias_sums,
                out,
            });
        }
    }

    /// Adds what some output rows of a block of images contribute.
    fn rows(
        &self,
        taps: &[u32],
        rows: Range<usize>,
        packed: &[f32],
        gradient: &[f32],
        sums: &mut [f32],
        bias_sums: &mut [f32],
    ) {
        let p = self.plan;
        let width = p.col.outputs;
        let line = p.col.packed(width) * IMAGES;
        let first = self.group * p.outputs + self.outputs.start;
        let most = (MOST_PIXELS / width).max(1);
        for i in 0..rows.len().div_ceil(most) {
            let tile = piece(rows.len(), most, i);
            let pixel = first * p.row.outputs * width + (rows.start + tile.start) * width;
            let outer = Outer {
                taps,
                points: packed[tile.start * p.row.step * line..].as_ptr(),
                point_step: p.col.step * IMAGES,
                point_line: p.row.step * line,
                gradient: gradient[pixel * IMAGES..].as_ptr(),
                gradient_channel: p.row.outputs * width * IMAGES,
                channels: self.outputs.len(),
                width,
                height: tile.len(),
                sums: sums.as_mut_ptr(),
                bias_sums: self.bias.then_some(bias_sums.as_mut_ptr()),
            };
            // SAFETY: the gradient's rows are rows of this block and of this unit's channels; the
            // taps read the packed rows of the same pixels, as the axes say; the sums have the
            // lengths that the kernel asks for.
            unsafe { outer.run(self.isa) };
        }
    }
}
