//! Convolutions on the device: kernels/conv.cu.
//!
//! Forward pass and data gradient read packed weights, (O, KH, KW, C/groups), which [`Packing`](crate::packing::Packing) makes of the plan's
//! (O, C/groups, KH, KW) for all layers at once, in one launch a pass.

use crate::device::Gpu;
use crate::error::Result;
use crate::kernels::{Argument, int};
use crate::pointer::Pointer;
use crate::precision::Precision;
use crate::product::{BUSY, Draws, Gradients, Parts, Rows, THREADS, arguments, grid, in_fours, kernel};
use smoothout::layers::Conv2d;
use smoothout::shape::Shape;

/// A convolution of images of one shape.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Conv {
    layer: Conv2d,
    input: Shape,
    output: Shape,
    precision: Precision,
    busy: usize,
}

impl Conv {
    /// A layer of a plan, whose shapes are known to fit.
    pub(crate) const fn new(layer: Conv2d, input: Shape, output: Shape, precision: Precision) -> Self {
        Self { layer, input, output, precision, busy: BUSY }
    }

    const fn group_channels(&self) -> usize {
        self.input.channels / self.layer.groups
    }

    const fn group_filters(&self) -> usize {
        self.output.channels / self.layer.groups
    }

    const fn taps(&self) -> usize {
        self.layer.kernel[0] * self.layer.kernel[1]
    }

    /// Weights of a filter.
    const fn depth(&self) -> usize {
        self.group_channels() * self.taps()
    }

    const fn weights(&self) -> usize {
        self.output.channels * self.depth()
    }

    /// The kernels' `Shape`, after checking that they can count everything.
    fn shape(&self, images: usize) -> Result<[Argument; 14]> {
        let (input, output, layer) = (self.input, self.output, self.layer);
        for (what, len) in [("input values", input.len()), ("output values", output.len())] {
            // Tiles of columns may reach past the last one, and so may their numbers.
            int(what, len.saturating_mul(images).saturating_add(THREADS))?;
        }
        int("weights", self.weights())?;
        let sizes = [images, input.channels, input.height, input.width, output.channels, output.height, output.width];
        let [[kh, kw], [sh, sw], [ph, pw]] = [layer.kernel, layer.stride, layer.padding];
        let mut arguments = [Argument::from(0); 14];
        let values = sizes.into_iter().chain([kh, kw, sh, sw, ph, pw, layer.groups]);
        for (argument, value) in arguments.iter_mut().zip(values) {
            *argument = int("a convolution's size", value)?.into();
        }
        Ok(arguments)
    }

    /// y = convolution of x, plus bias where there is one, then ReLU where wanted. `packed` holds this layer's weights for the
    /// first draw, the next ones' are `packed_pitch` values further on; `bias` goes by the draws' pitch.
    ///
    /// # Errors
    /// Sizes that kernels cannot count, or the driver's.
    ///
    /// # Safety
    /// All slices are as long as the shapes say.
    #[expect(clippy::too_many_arguments, reason = "a kernel's operands")]
    pub(crate) unsafe fn forward(
        &self,
        gpu: &Gpu,
        (images, draws): (usize, Draws),
        x: Pointer,
        (packed, packed_pitch): (Pointer, usize),
        bias: Pointer,
        y: Pointer,
        relu: bool,
    ) -> Result<()> {
        let columns = (draws.images.min(images) * self.output.pixels()).div_ceil(THREADS);
        let (count, groups) = (draws.count(images), self.layer.groups);
        let rows = Rows::choose(self.precision, self.group_filters(), columns * count * groups, self.busy);
        let fours = in_fours(packed, [self.depth(), packed_pitch]);
        let [of_draw, pitch] = [int("images", draws.images)?, int("parameters", draws.pitch)?];
        let weights = int("weights", packed_pitch)?;
        let first = arguments![x, packed, bias, y, of_draw, weights, pitch, i32::from(relu), i32::from(fours)];
        let arguments = [&first[..], &self.shape(images)?].concat();
        let shape = grid(rows.tiles(self.group_filters()) * columns, count, groups)?;
        let name = kernel!("conv_forward", self.precision, rows);
        // SAFETY: the caller's promise.
        unsafe { gpu.kernels.launch(&gpu.stream, name, shape, 0, &arguments) }
    }

    /// dx = the gradient of the input for dy, or dx += that.
    ///
    /// # Errors
    /// Sizes that kernels cannot count, or the driver's.
    ///
    /// # Safety
    /// All slices are as long as the shapes say.
    pub(crate) unsafe fn input_gradient(
        &self,
        gpu: &Gpu,
        (images, draws): (usize, Draws),
        dy: Pointer,
        (packed, packed_pitch): (Pointer, usize),
        dx: Pointer,
        accumulate: bool,
    ) -> Result<()> {
        let [sh, sw] = self.layer.stride;
        // Pixels of the largest phase.
        let pixels = self.input.height.div_ceil(sh) * self.input.width.div_ceil(sw);
        let columns = (draws.images.min(images) * pixels).div_ceil(THREADS);
        let (count, outer) = (draws.count(images), self.layer.groups * sh * sw);
        let rows = Rows::choose(self.precision, self.group_channels(), columns * count * outer, self.busy);
        let fours = in_fours(packed, [self.group_channels(), packed_pitch]);
        let [of_draw, weights] = [int("images", draws.images)?, int("weights", packed_pitch)?];
        let first = arguments![dy, packed, dx, of_draw, weights, i32::from(accumulate), i32::from(fours)];
        let arguments = [&first[..], &self.shape(images)?].concat();
        let shape = grid(rows.tiles(self.group_channels()) * columns, count, outer)?;
        let name = kernel!("conv_input_gradient", self.precision, rows);
        // SAFETY: the caller's promise.
        unsafe { gpu.kernels.launch(&gpu.stream, name, shape, 0, &arguments) }
    }

    /// How the weight gradient's sum over all pixels is cut, and on what tiles.
    fn weight_gradient_parts(&self, images: usize) -> (Rows, Parts) {
        let others = self.depth().div_ceil(THREADS) * self.layer.groups;
        let depth = images * self.output.pixels();
        let rows = Rows::choose(self.precision, self.group_filters(), others * depth.div_ceil(1024), self.busy);
        (rows, Parts::cut(depth, rows.tiles(self.group_filters()) * others, 512, 256))
    }

    /// Values of the workspace that the weight gradient needs.
    pub(crate) fn workspace(&self, images: usize) -> usize {
        let bias = if self.layer.bias { self.output.channels } else { 0 };
        self.weight_gradient_parts(images).1.workspace(self.weights() + bias)
    }

    /// The gradients of weight, as in the plan (O, C/groups, KH, KW), and of bias, over all images.
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
        let with_bias = usize::from(gradients.bias != Pointer::NULL);
        let pitch = self.weights() + with_bias * self.output.channels;
        int("values of the workspace", parts.workspace(pitch))?;
        let to = gradients.of_kernel(parts, self.weights(), workspace);
        // 0: the kernel writes in the plan's order.
        let [part, part_pitch] = [int("pixels", parts.len)?, if parts.count == 1 { 0 } else { int("weights", pitch)? }];
        let (scale, accumulate) = (to.deliver.scale, i32::from(to.deliver.accumulate));
        let first = arguments![x, dy, to.weight, to.bias, part, part_pitch, scale, accumulate];
        let arguments = [&first[..], &self.shape(images)?].concat();
        let columns = self.depth().div_ceil(THREADS) + with_bias;
        let shape = grid(rows.tiles(self.group_filters()) * columns, parts.count, self.layer.groups)?;
        let name = kernel!("conv_weight_gradient", self.precision, rows);
        // SAFETY: the caller's promise.
        unsafe {
            gpu.kernels.launch(&gpu.stream, name, shape, 0, &arguments)?;
            gradients.add(gpu, parts, (self.weights(), self.group_channels(), self.taps()), pitch, workspace)
        }
    }
}

#[cfg(test)]
mod tests;
