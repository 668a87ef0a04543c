//! Fully connected layers.

use super::deliver::Deliver;
use super::layout::IMAGES;
use super::outer::LaneSums;
use super::panel::{Panel, Start, Tap};
use super::partition::piece;
use super::shared::Shared;
use super::simd::{Isa, Kernel, Simd};
use super::workspace::{Slots, Workspace, WorkspaceSize};
use rayon::prelude::*;
use std::ops::Range;

/// Terms that are summed from zero before they are added to the output: their points stay in the
/// L1 cache, and the rounding is bounded.
const DEPTH: usize = 128;
/// Rows of a unit of work, and blocks of images.
const UNIT_ROWS: usize = 64;
const UNIT_BLOCKS: usize = 8;
/// Columns of the weight gradient that a unit computes.
const COLUMNS: usize = 64;

/// The kernels of a fully connected layer: `output = weights · input + bias`.
///
/// Activations are blocked by batch, `[blocks][features][16]`; how many blocks there are is taken
/// from their lengths. Weights are row-major `[outputs][inputs]`.
#[derive(Clone, Debug)]
pub struct Linear {
    inputs: usize,
    outputs: usize,
    /// Taps of the output: along a row of the weights.
    forward: Vec<Tap>,
    /// Taps of the input's gradient: along a column of the weights.
    backward: Vec<Tap>,
    /// Taps of the weights' gradient: one an image, lane after lane of block after block.
    images: Vec<Tap>,
}

impl Linear {
    /// A layer of that many input and output features, at least one each.
    #[must_use]
    pub fn new(inputs: usize, outputs: usize) -> Self {
        let tap = |n: usize| Tap::new(n / IMAGES * outputs * IMAGES + n % IMAGES, n * COLUMNS);
        Self {
            inputs,
            outputs,
            forward: (0..DEPTH).map(|t| Tap::new(t, t * IMAGES)).collect(),
            backward: (0..DEPTH)
                .map(|t| Tap::new(t * inputs, t * IMAGES))
                .collect(),
            images: (0..DEPTH).map(tap).collect(),
        }
    }

    /// Memory that the calls need, for any number of images.
    #[must_use]
    pub fn workspace(&self) -> WorkspaceSize {
        WorkspaceSize {
            per_thread: (DEPTH + self.outputs) * COLUMNS,
            shared: 0,
        }
    }

    /// Blocks of images of an activation.
    fn blocks(&self, input: &[f32], output: &[f32]) -> usize {
        let blocks = input.len() / (self.inputs * IMAGES);
        assert_eq!(input.len(), blocks * self.inputs * IMAGES);
        assert_eq!(output.len(), blocks * self.outputs * IMAGES);
        blocks
    }

    /// The output `[blocks][outputs][16]` of an input `[blocks][inputs][16]`.
    ///
    /// # Panics
    /// When lengths do not fit the shape.
    pub fn forward(
        &self,
        isa: Isa,
        input: &[f32],
        weights: &[f32],
        bias: Option<&[f32]>,
        output: &mut [f32],
    ) {
        assert_eq!(weights.len(), self.inputs * self.outputs);
        assert!(bias.is_none_or(|bias| bias.len() == self.outputs));
        let product = Product {
            isa,
            taps: &self.forward,
            weights,
            weight_row: self.inputs,
            weight_tap: 1,
            rows: self.outputs,
            depth: self.inputs,
            blocks: self.blocks(input, output),
            start: bias.map_or(Start::Zero, |bias| Start::Bias(bias.as_ptr())),
        };
        product.run(input, output);
    }

    /// The gradient of the input, from that of the output. `accumulate` adds it to what
    /// `input_gradient` holds (an input may have several consumers).
    ///
    /// # Panics
    /// When lengths do not fit the shape.
    pub fn input_gradient(
        &self,
        isa: Isa,
        output_gradient: &[f32],
        weights: &[f32],
        input_gradient: &mut [f32],
        accumulate: bool,
    ) {
        assert_eq!(weights.len(), self.inputs * self.outputs);
        let product = Product {
            isa,
            taps: &self.backward,
            weights,
            weight_row: 1,
            weight_tap: self.inputs,
            rows: self.inputs,
            depth: self.outputs,
            blocks: self.blocks(input_gradient, output_gradient),
            start: if accumulate {
                Start::Output
            } else {
                Start::Zero
            },
        };
        product.run(output_gradient, input_gradient);
    }

    /// The gradients of the weights and of the bias. Unused lanes of the output's gradient are zero.
    ///
    /// # Panics
    /// When lengths do not fit the shape, or `workspace` is smaller than [`Linear::workspace`] says.
    #[allow(clippy::too_many_arguments)]
    pub fn weight_gradient(
        &self,
        isa: Isa,
        input: &[f32],
        output_gradient: &[f32],
        weights: &mut [f32],
        bias: Option<&mut [f32]>,
        deliver: Deliver,
        workspace: &mut Workspace,
    ) {
        let blocks = self.blocks(input, output_gradient);
        assert_eq!(weights.len(), self.inputs * self.outputs);
        let slots = workspace.split().0;
        let target = Shared::new(weights);
        let units = self.inputs.div_ceil(IMAGES).div_ceil(COLUMNS / IMAGES);
        (0..units).into_par_iter().with_max_len(1).for_each(|i| {
            let vectors = piece(self.inputs.div_ceil(IMAGES), COLUMNS / IMAGES, i);
            let columns = vectors.start * IMAGES..(vectors.end * IMAGES).min(self.inputs);
            let unit = WeightColumns {
                layer: self,
                isa,
                blocks,
                columns,
                deliver,
            };
            // SAFETY: each unit has columns of its own.
            unsafe { unit.run(input, output_gradient, slots, target.at(0)) };
        });
        if let Some(bias) = bias {
            self.bias_gradient(isa, output_gradient, bias, deliver);
        }
    }

    fn bias_gradient(&self, isa: Isa, gradient: &[f32], bias: &mut [f32], deliver: Deliver) {
        assert_eq!(bias.len(), self.outputs);
        bias.par_chunks_mut(UNIT_ROWS)
            .enumerate()
            .for_each(|(i, bias)| {
                let mut sums = [0.0; UNIT_ROWS * IMAGES];
                let sums = &mut sums[..bias.len() * IMAGES];
                for block in gradient.chunks_exact(self.outputs * IMAGES) {
                    for (sum, value) in sums.iter_mut().zip(&block[i * UNIT_ROWS * IMAGES..]) {
                        *sum += value;
                    }
                }
                let mut values = [0.0; UNIT_ROWS];
                isa.run(LaneSums {
                    sums,
                    out: &mut values[..bias.len()],
                });
                deliver.write(&values, bias);
            });
    }
}

/// `out[block][row] = Σ_t weights[row][t] * points[block][t]`.
struct Product<'a> {
    isa: Isa,
    /// The first [`DEPTH`] taps.
    taps: &'a [Tap],
    weights: &'a [f32],
    /// Floats from a row of weights to the next, and from a tap to the next.
    weight_row: usize,
    weight_tap: usize,
    rows: usize,
    depth: usize,
    blocks: usize,
    start: Start,
}

// SAFETY: the bias that `start` may point to is borrowed for as long as the product runs.
unsafe impl Sync for Product<'_> {}

impl Product<'_> {
    /// The lengths are the caller's promise: `rows * depth` weights, and `blocks` blocks.
    fn run(&self, points: &[f32], out: &mut [f32]) {
        let out = Shared::new(out);
        let row_units = self.rows.div_ceil(UNIT_ROWS);
        let units = row_units * self.blocks.div_ceil(UNIT_BLOCKS);
        (0..units).into_par_iter().with_max_len(1).for_each(|i| {
            let rows = piece(self.rows, UNIT_ROWS, i % row_units);
            let blocks = piece(self.blocks, UNIT_BLOCKS, i / row_units);
            for i in 0..self.depth.div_ceil(DEPTH) {
                let depth = piece(self.depth, DEPTH, i);
                let weights =
                    &self.weights[rows.start * self.weight_row + depth.start * self.weight_tap..];
                let points = &points[(blocks.start * self.depth + depth.start) * IMAGES..];
                let panel = Panel {
                    taps: &self.taps[..depth.len()],
                    weights: weights.as_ptr(),
                    weight_row: self.weight_row,
                    rows: rows.len(),
                    points: points.as_ptr(),
                    point_step: self.depth * IMAGES,
                    count: blocks.len(),
                    out: out.at((blocks.start * self.rows + rows.start) * IMAGES),
                    out_row: IMAGES,
                    out_step: self.rows * IMAGES,
                    start: match self.start {
                        _ if i > 0 => Start::Output,
                        Start::Bias(bias) => Start::Bias(bias.wrapping_add(rows.start)),
                        start => start,
                    },
                };
                // SAFETY: rows, depths and blocks are ranges of those that the slices hold; no
                // other unit writes these rows of these blocks.
                unsafe { panel.run(self.isa) };
            }
        });
    }
}

/// Some columns of the weights' gradient: all images times all outputs.
struct WeightColumns<'a> {
    layer: &'a Linear,
    isa: Isa,
    blocks: usize,
    columns: Range<usize>,
    deliver: Deliver,
}

impl WeightColumns<'_> {
    /// # Safety
    /// `target` is valid for the layer's weights, and nobody else uses these columns meanwhile.
    unsafe fn run(&self, input: &[f32], gradient: &[f32], slots: Slots<'_>, target: *mut f32) {
        let (inputs, outputs) = (self.layer.inputs, self.layer.outputs);
        let mut scratch = slots.mine();
        let (rows, sums) = scratch.split_at_mut(DEPTH * COLUMNS);
        let sums = &mut sums[..outputs * COLUMNS];
        let chunks = self.blocks.div_ceil(DEPTH / IMAGES);
        if chunks == 0 {
            sums.fill(0.0);
        }
        for i in 0..chunks {
            let blocks = piece(self.blocks, DEPTH / IMAGES, i);
            self.isa.run(ImageRows {
                input: &input[blocks.start * inputs * IMAGES..blocks.end * inputs * IMAGES],
                inputs,
                columns: self.columns.clone(),
                rows,
            });
            let panel = Panel {
                taps: &self.layer.images[..blocks.len() * IMAGES],
                weights: gradient[blocks.start * outputs * IMAGES..].as_ptr(),
                weight_row: IMAGES,
                rows: outputs,
                points: rows.as_ptr(),
                point_step: IMAGES,
                count: self.columns.len().div_ceil(IMAGES),
                out: sums.as_mut_ptr(),
                out_row: COLUMNS,
                out_step: IMAGES,
                start: if i == 0 { Start::Zero } else { Start::Output },
            };
            // SAFETY: the taps are the images of these blocks, for each of which there are the
            // gradients of all outputs and a row of at least as many columns; the sums have
            // `COLUMNS` floats for each output.
            unsafe { panel.run(self.isa) };
        }
        for (output, sums) in sums.chunks_exact(COLUMNS).enumerate() {
            // SAFETY: columns of a row of the weights, as the caller promises.
            let target = unsafe {
                std::slice::from_raw_parts_mut(
                    target.add(output * inputs + self.columns.start),
                    self.columns.len(),
                )
            };
            self.deliver.write(sums, target);
        }
    }
}

/// Some columns of the input, a row of [`COLUMNS`] floats for each image. What is beyond the last
/// feature is left as it is: it reaches only sums that are not delivered.
struct ImageRows<'a> {
    /// `[blocks][inputs][16]`.
    input: &'a [f32],
    inputs: usize,
    columns: Range<usize>,
    rows: &'a mut [f32],
}

impl Kernel for ImageRows<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let blocks = self.input.chunks_exact(self.inputs * IMAGES);
        for (block, rows) in blocks.zip(self.rows.chunks_exact_mut(IMAGES * COLUMNS)) {
            let columns = &block[self.columns.start * IMAGES..self.columns.end * IMAGES];
            let tiles = columns.chunks_exact(IMAGES * IMAGES);
            let (whole, rest) = (tiles.len(), tiles.remainder());
            for (i, tile) in tiles.enumerate() {
                // SAFETY: a tile of 16 x 16 values; 16 rows with 16 columns of the at most
                // `COLUMNS` from column 16 i on.
                unsafe {
                    let rows = rows.as_mut_ptr().add(i * IMAGES);
                    s.transpose(tile.as_ptr(), IMAGES, rows, COLUMNS);
                }
            }
            for (k, lanes) in rest.chunks_exact(IMAGES).enumerate() {
                for (image, value) in lanes.iter().enumerate() {
                    rows[image * COLUMNS + whole * IMAGES + k] = *value;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
