//! Linear layers on the device: kernels/linear.cu.

use crate::device::Gpu;
use crate::error::Result;
use crate::kernels::{Argument, int, launch, over};
use crate::pointer::Pointer;
use crate::precision::Precision;
use crate::product::{BUSY, Draws, Gradients, Parts, Rows, THREADS, arguments, grid, in_fours, kernel};

/// A linear layer: x (N, inputs), weight (outputs, inputs), y (N, outputs).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Linear {
    inputs: usize,
    outputs: usize,
    bias: bool,
    precision: Precision,
    busy: usize,
}

/// Blocks that a product is cut into, where it has fewer and its sum is long.
const WANTED: usize = 128;

/// Values of k that a part of a sum has at least.
const LEAST: usize = 128;

impl Linear {
    /// A layer with so many inputs and outputs.
    pub(crate) const fn new(inputs: usize, outputs: usize, bias: bool, precision: Precision) -> Self {
        Self { inputs, outputs, bias, precision, busy: BUSY }
    }

    /// The kernels' `Shape`, after checking that they can count everything.
    fn shape(&self, images: usize) -> Result<[Argument; 3]> {
        for (what, len) in [("input values", self.inputs), ("output values", self.outputs)] {
            int(what, len.saturating_mul(images.saturating_add(THREADS)))?;
        }
        int("weights", self.inputs.saturating_mul(self.outputs.saturating_add(THREADS)))?;
        Ok(arguments![int("images", images)?, int("inputs", self.inputs)?, int("outputs", self.outputs)?])
    }

    /// Tiles, parts and tiles of columns of a product whose rows are images.
    fn by_images(&self, images: usize, draws: Draws, columns: usize, depth: usize) -> (Rows, Parts, usize) {
        let (of_draw, columns) = (draws.images.min(images), columns.div_ceil(THREADS));
        let others = columns * draws.count(images);
        let rows = Rows::choose(self.precision, of_draw, others, self.busy);
        (rows, Parts::cut(depth, rows.tiles(of_draw) * others, WANTED, LEAST), columns)
    }

    fn weight_gradient_parts(&self, images: usize) -> (Rows, Parts) {
        let others = self.inputs.div_ceil(THREADS);
        let rows = Rows::choose(self.precision, self.outputs, others, self.busy);
        (rows, Parts::cut(images, rows.tiles(self.outputs) * others, WANTED, LEAST))
    }

    /// Values of the workspace that any of the three passes needs.
    pub(crate) fn workspace(&self, images: usize, draws: Draws) -> usize {
        let forward = self.by_images(images, draws, self.outputs, self.inputs).1.workspace(images * self.outputs);
        let input = self.by_images(images, draws, self.inputs, self.outputs).1.workspace(images * self.inputs);
        let bias = if self.bias { self.outputs } else { 0 };
        let weight = self.weight_gradient_parts(images).1.workspace(self.inputs * self.outputs + bias);
        forward.max(input).max(weight)
    }

    /// y = W x, plus bias where there is one, then ReLU where wanted. Weight and bias go by the draws' pitch.
    ///
    /// # Errors
    /// Sizes that kernels cannot count, or the driver's.
    ///
    /// # Safety
    /// All slices are as long as the shapes say, the workspace as [`workspace`](Self::workspace) says.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) unsafe fn forward(
        &self,
        gpu: &Gpu,
        (images, draws): (usize, Draws),
        x: Pointer,
        weight: Pointer,
        bias: Pointer,
        y: Pointer,
        relu: bool,
        workspace: Pointer,
    ) -> Result<()> {
        let (rows, parts, columns) = self.by_images(images, draws, self.outputs, self.inputs);
        let cut = parts.count > 1;
        let fours = fours(in_fours(x, [self.inputs]), in_fours(weight, [self.inputs, draws.pitch]));
        let (to, bias_here) = if cut { (workspace, Pointer::NULL) } else { (y, bias) };
        let cuts = self.cut(images, draws, parts, self.outputs)?;
        let last = arguments![i32::from(relu && !cut), fours];
        let arguments = [&arguments![x, weight, bias_here, to][..], &cuts, &last, &self.shape(images)?].concat();
        let shape = grid(rows.tiles(draws.images.min(images)) * columns, draws.count(images), parts.count)?;
        let name = kernel!("linear_forward", self.precision, rows);
        // SAFETY: the caller's promise.
        unsafe {
            gpu.kernels.launch(&gpu.stream, name, shape, 0, &arguments)?;
            add_parts(gpu, parts, (images, self.outputs), y, (bias, draws), [relu, false], workspace)
        }
    }

    /// dx = the gradient of the input for dy, or dx += that.
    ///
    /// # Errors
    /// Sizes that kernels cannot count, or the driver's.
    ///
    /// # Safety
    /// All slices are as long as the shapes say, the workspace as [`workspace`](Self::workspace) says.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) unsafe fn input_gradient(
        &self,
        gpu: &Gpu,
        (images, draws): (usize, Draws),
        dy: Pointer,
        weight: Pointer,
        dx: Pointer,
        accumulate: bool,
        workspace: Pointer,
    ) -> Result<()> {
        let (rows, parts, columns) = self.by_images(images, draws, self.inputs, self.outputs);
        let cut = parts.count > 1;
        let fours = fours(in_fours(dy, [self.outputs]), in_fours(weight, [self.inputs, draws.pitch]));
        let to = if cut { workspace } else { dx };
        let cuts = self.cut(images, draws, parts, self.inputs)?;
        let last = arguments![i32::from(accumulate && !cut), fours];
        let arguments = [&arguments![dy, weight, to][..], &cuts, &last, &self.shape(images)?].concat();
        let shape = grid(rows.tiles(draws.images.min(images)) * columns, draws.count(images), parts.count)?;
        let name = kernel!("linear_input_gradient", self.precision, rows);
        // SAFETY: the caller's promise.
        unsafe {
            gpu.kernels.launch(&gpu.stream, name, shape, 0, &arguments)?;
            add_parts(gpu, parts, (images, self.inputs), dx, (Pointer::NULL, draws), [false, accumulate], workspace)
        }
    }

    /// The gradients of weight and bias over all images.
    ///
    /// # Errors
    /// Sizes that kernels cannot count, or the driver's.
    ///
    /// # Safety
    /// All slices are as long as the shapes say, the workspace as [`workspace`](Self::workspace) says.
    pub(crate) unsafe fn weight_gradient(
        &self,
        gpu: &Gpu,
        images: usize,
        [x, dy]: [Pointer; 2],
        gradients: Gradients,
        workspace: Pointer,
    ) -> Result<()> {
        let (rows, parts) = self.weight_gradient_parts(images);
        let weights = self.inputs * self.outputs;
        let with_bias = usize::from(gradients.bias != Pointer::NULL);
        let pitch = weights + with_bias * self.outputs;
        int("values of the workspace", parts.workspace(pitch))?;
        let to = gradients.of_kernel(parts, weights, workspace);
        let fours = fours(in_fours(dy, [self.outputs]), in_fours(x, [self.inputs]));
        let [part, part_pitch] = [int("images", parts.len)?, int("weights", pitch)?];
        let (scale, accumulate) = (to.deliver.scale, i32::from(to.deliver.accumulate));
        let first = arguments![x, dy, to.weight, to.bias, part, part_pitch, scale, accumulate, fours];
        let arguments = [&first[..], &self.shape(images)?].concat();
        let columns = self.inputs.div_ceil(THREADS) + with_bias;
        let shape = grid(rows.tiles(self.outputs) * columns, 1, parts.count)?;
        let name = kernel!("linear_weight_gradient", self.precision, rows);
        // SAFETY: the caller's promise.
        unsafe {
            gpu.kernels.launch(&gpu.stream, name, shape, 0, &arguments)?;
            gradients.add(gpu, parts, (weights, self.inputs, 1), pitch, workspace)
        }
    }

    /// The kernels' arguments about draws and parts, for results of so many columns.
    fn cut(&self, images: usize, draws: Draws, parts: Parts, columns: usize) -> Result<[Argument; 4]> {
        int("values of the workspace", parts.workspace(images.saturating_mul(columns)))?;
        let (draw_images, pitch) = (int("images", draws.images)?, int("parameters", draws.pitch)?);
        let (part, part_pitch) = (int("values of a sum", parts.len)?, int("output values", images * columns)?);
        Ok(arguments![draw_images, pitch, part, part_pitch])
    }
}

/// The kernels' `LEFT` and `RIGHT`.
fn fours(left: bool, right: bool) -> i32 {
    i32::from(left) + 2 * i32::from(right)
}

/// Adds the parts of outputs (rows, columns), with bias and ReLU or to what is there.
///
/// # Safety
/// All slices are as long as the shapes say.
unsafe fn add_parts(
    gpu: &Gpu,
    parts: Parts,
    (rows, columns): (usize, usize),
    out: Pointer,
    (bias, draws): (Pointer, Draws),
    [relu, accumulate]: [bool; 2],
    workspace: Pointer,
) -> Result<()> {
    if parts.count == 1 {
        return Ok(());
    }
    let (count, pitch) = (int("parts of a sum", parts.count)?, int("output values", rows * columns)?);
    let (columns, draw_rows) = (int("columns", columns)?, int("images", draws.images)?);
    let bias_pitch = int("parameters", draws.pitch)?;
    // SAFETY: the caller's promise.
    unsafe {
        launch!(gpu, add_output_parts, over(pitch as usize, 256)?, 0, workspace, count, pitch, out, columns, bias, draw_rows,
            bias_pitch, i32::from(relu), i32::from(accumulate))
    }
}

#[cfg(test)]
mod tests;
