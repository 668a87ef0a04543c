//! Convolution forward and its input gradient: both slide a window over images and contract the
//! points under it with weights.

use super::layout::IMAGES;
use super::packing::{Axis, pack};
use super::panel::{Panel, Start, Tap};
use super::partition::{part, piece};
use super::shared::Shared;
use super::simd::Isa;
use super::workspace::{Slots, WorkspaceSize};
use rayon::prelude::*;

/// Terms that are summed from zero before they are added to the output; bounds the rounding.
const MOST_TAPS: usize = 256;
/// Bytes of points under a register tile and its neighbours: they stay in the L1 cache.
const TILE_BYTES: usize = 32 << 10;
/// Bytes of packed rows: they stay in the L2 cache beside the weights and the output.
const PACKED_BYTES: usize = 256 << 10;
/// Pieces that a call is cut into at least, for the threads to share.
const PIECES: usize = 16;

/// Where a correlation's weights lie, in floats.
#[derive(Clone, Copy, Debug)]
pub(super) struct WeightLayout {
    /// From the weights of an output channel to those of the next in its group.
    pub(super) output: usize,
    /// From the weights of an input channel to those of the next in its group.
    pub(super) input: usize,
    /// From the weights of a group to those of the next.
    pub(super) group: usize,
}

/// A sliding contraction.
#[derive(Clone, Debug)]
pub(super) struct Correlation {
    row: Axis,
    col: Axis,
    groups: usize,
    /// Channels that are read and written, of one group.
    inputs: usize,
    outputs: usize,
    weights: WeightLayout,
    /// Input channels that are contracted at a time, at most.
    chunk: usize,
    /// Output rows of a phase that are computed from one packing, at most.
    rows: usize,
    /// The taps of each phase: rows' phases x columns' phases.
    taps: Vec<Vec<Tap>>,
}

impl Correlation {
    /// `inputs` and `outputs` are channels of one group; `kernel` is height and width.
    pub(super) fn new(
        (row, col): (Axis, Axis),
        groups: usize,
        (inputs, outputs): (usize, usize),
        kernel: [usize; 2],
        weights: WeightLayout,
    ) -> Self {
        let most = |axis: &Axis| axis.phases.iter().map(Vec::len).max().unwrap_or(1).max(1);
        let taps = most(&row) * most(&col);
        let width = col.packed(col.longest());
        let tile = row.packed(1) * col.packed(col.longest().min(6)) * IMAGES * size_of::<f32>();
        let chunk = (MOST_TAPS / taps).min(TILE_BYTES / tile).clamp(1, inputs);
        let chunk = piece(inputs, chunk, 0).len();
        let line = chunk * width * IMAGES * size_of::<f32>();
        let lines = (PACKED_BYTES / line).max(row.packed(1));
        let rows = ((lines - row.packed(0)) / row.step).min(row.longest());
        let mut correlation = Self {
            row,
            col,
            groups,
            inputs,
            outputs,
            weights,
            chunk,
            rows,
            taps: Vec::new(),
        };
        for row in &correlation.row.phases {
            for col in &correlation.col.phases {
                let channels = 0..chunk;
                let taps = channels.flat_map(|c| {
                    row.iter()
                        .flat_map(move |r| col.iter().map(move |k| (c, r, k)))
                });
                let tap = |(c, r, k): (usize, &(usize, usize), &(usize, usize))| {
                    let point = c * correlation.channel_len() + (r.1 * width + k.1) * IMAGES;
                    Tap::new(c * weights.input + r.0 * kernel[1] + k.0, point)
                };
                correlation.taps.push(taps.map(tap).collect());
            }
        }
        correlation
    }

    /// Floats of a packed channel.
    fn channel_len(&self) -> usize {
        self.row.packed(self.rows) * self.col.packed(self.col.longest()) * IMAGES
    }

    pub(super) fn workspace(&self) -> WorkspaceSize {
        WorkspaceSize {
            per_thread: self.chunk * self.channel_len(),
            shared: 0,
        }
    }

    /// Floats that are read of a block of images.
    pub(super) fn input_len(&self) -> usize {
        self.groups * self.inputs * self.row.len * self.col.len * IMAGES
    }

    /// Floats that are written of a block of images.
    pub(super) fn output_len(&self) -> usize {
        self.groups * self.outputs * self.row.outputs * self.col.outputs * IMAGES
    }

    /// Contracts all blocks of `input` with `weights`, which hold what the layout says.
    pub(super) fn run(
        &self,
        isa: Isa,
        input: &[f32],
        weights: &[f32],
        start: ChannelStart<'_>,
        output: &mut [f32],
        slots: Slots<'_>,
    ) {
        let blocks = input.len() / self.input_len();
        assert_eq!(input.len(), blocks * self.input_len());
        assert_eq!(output.len(), blocks * self.output_len());
        assert_eq!(weights.len(), self.groups * self.weights.group);
        if let ChannelStart::Bias(bias) = start {
            assert_eq!(bias.len(), self.groups * self.outputs);
        }
        let longest = self.row.longest();
        let parts = longest
            .div_ceil(self.rows)
            .max(PIECES.div_ceil(blocks.max(1)).min(longest));
        let output = Shared::new(output);
        let units = blocks * self.groups * parts;
        (0..units).into_par_iter().with_max_len(1).for_each(|unit| {
            let (block, group, rows) = (
                unit / parts / self.groups,
                unit / parts % self.groups,
                unit % parts,
            );
            let input = &input[block * self.input_len()..][..self.input_len()];
            let unit = Unit {
                correlation: self,
                isa,
                group,
                input,
                weights: &weights[group * self.weights.group..][..self.weights.group],
                start,
                output: output.at(block * self.output_len()),
            };
            unit.run(part(longest, parts, rows), &mut slots.mine());
        });
    }
}

/// What a correlation's sums are added to.
#[derive(Clone, Copy)]
pub(super) enum ChannelStart<'a> {
    /// Nothing: the output is overwritten.
    Zero,
    /// A value for each output channel; the output is overwritten.
    Bias(&'a [f32]),
    /// The output's values.
    Output,
}

/// Some output rows of one group of channels of one block of images.
struct Unit<'a> {
    correlation: &'a Correlation,
    isa: Isa,
    group: usize,
    /// The block's input, all channels.
    input: &'a [f32],
    /// The group's weights.
    weights: &'a [f32],
    start: ChannelStart<'a>,
    /// The block's output, all channels.
    output: *mut f32,
}

impl Unit<'_> {
    fn run(&self, rows: std::ops::Range<usize>, packed: &mut [f32]) {
        let c = self.correlation;
        let channel = c.row.len * c.col.len * IMAGES;
        for i in 0..c.inputs.div_ceil(c.chunk) {
            let chunk = piece(c.inputs, c.chunk, i);
            let first = self.group * c.inputs + chunk.start;
            let input = &self.input[first * channel..][..chunk.len() * channel];
            pack((&c.row, &c.col), &rows, input, packed, c.channel_len());
            let start = if i == 0 {
                self.start
            } else {
                ChannelStart::Output
            };
            for row_phase in 0..c.row.phases.len() {
                for j in c.row.of_phase(row_phase, &rows) {
                    for col_phase in 0..c.col.phases.len() {
                        self.row(
                            row_phase,
                            j,
                            rows.start,
                            col_phase,
                            chunk.clone(),
                            start,
                            packed,
                        );
                    }
                }
            }
        }
    }

    /// One phase of columns of the j-th output row of a phase of rows.
    #[allow(clippy::too_many_arguments)]
    fn row(
        &self,
        row_phase: usize,
        j: usize,
        first_row: usize,
        col_phase: usize,
        chunk: std::ops::Range<usize>,
        start: ChannelStart<'_>,
        packed: &[f32],
    ) {
        let c = self.correlation;
        let (row_phases, col_phases) = (c.row.phases.len(), c.col.phases.len());
        let cols = c.col.of_phase(col_phase, &(0..c.col.longest()));
        let taps = &c.taps[row_phase * col_phases + col_phase];
        let taps = &taps[..taps.len() / c.chunk * chunk.len()];
        let width = c.col.packed(c.col.longest());
        let first_channel = self.group * c.outputs;
        let pixel = (j * row_phases + row_phase) * c.col.outputs + col_phase;
        let channel = c.row.outputs * c.col.outputs;
        let weights = &self.weights[chunk.start * c.weights.input..];
        let panel = Panel {
            taps,
            weights: weights.as_ptr(),
            weight_row: c.weights.output,
            rows: c.outputs,
            points: packed[(j - first_row) * c.row.step * width * IMAGES..].as_ptr(),
            point_step: c.col.step * IMAGES,
            count: cols.len(),
            out: self
                .output
                .wrapping_add((first_channel * channel + pixel) * IMAGES),
            out_row: channel * IMAGES,
            out_step: col_phases * IMAGES,
            start: match start {
                ChannelStart::Zero => Start::Zero,
                ChannelStart::Bias(bias) => Start::Bias(bias[first_channel..].as_ptr()),
                ChannelStart::Output => Start::Output,
            },
        };
        // SAFETY: the taps are those of the chunk's channels, whose weights lie inside the group's
        // and whose packed points inside `packed`, as the axes say; the output's pixels are those
        // of this unit's rows, columns and channels, which lie inside the block and which no other
        // unit writes.
        unsafe { panel.run(self.isa) };
    }
}
