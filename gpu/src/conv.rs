//! Convolutions on the device: kernels/conv.cu.
//!
//! Forward pass and data gradient read packed weights, (O, KH, KW, C/groups), which [`Packing`] makes of the plan's
//! (O, C/groups, KH, KW) for all layers at once, in one launch a pass.

use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::kernels::{Argument, int, launch};
use crate::memory::{Buffer, Pointer};
use crate::precision::Precision;
use crate::product::{BUSY, Draws, Gradients, Parts, Rows, THREADS, arguments, grid, in_fours, kernel};
use smoothout::layers::Conv2d;
use smoothout::plan::{Role, Tensor};
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

#[cfg(test)]
mod tests;
