//! 2-D convolution with stride, zero padding and groups.

use super::correlation::{ChannelStart, Correlation, WeightLayout};
use super::deliver::Deliver;
use super::packing::Axis;
use super::simd::Isa;
use super::weight_gradient::WeightGradient;
use super::workspace::{Workspace, WorkspaceSize};

/// The shape of a convolution. All sizes are at least 1, channels are multiples of `groups`, and
/// the kernel fits into the padded image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    /// Channels of the input.
    pub in_channels: usize,
    /// Height and width of the input.
    pub input: [usize; 2],
    /// Channels of the output.
    pub out_channels: usize,
    /// Height and width of the kernel.
    pub kernel: [usize; 2],
    /// Input pixels from an output pixel to the next: down and right.
    pub stride: [usize; 2],
    /// Rows of zeros above and below, columns of zeros left and right.
    pub padding: [usize; 2],
    /// Groups of channels that are convolved apart.
    pub groups: usize,
}

impl ConvShape {
    /// Height and width of the output: `(input + 2 padding - kernel) / stride + 1`, rounded down.
    #[must_use]
    pub fn output(&self) -> [usize; 2] {
        [0, 1].map(|d| (self.input[d] + 2 * self.padding[d] - self.kernel[d]) / self.stride[d] + 1)
    }

    /// Floats of the weights `[out_channels][in_channels / groups][kernel height][kernel width]`.
    #[must_use]
    pub fn weights(&self) -> usize {
        self.out_channels * self.in_channels / self.groups * self.kernel[0] * self.kernel[1]
    }
}

/// The kernels of one convolution.
///
/// Activations are blocked by batch (see [`layout`](super::layout)); how many blocks there are is
/// taken from their lengths. Weights are row-major.
#[derive(Clone, Debug)]
pub struct Conv {
    shape: ConvShape,
    forward: Correlation,
    input_gradient: Correlation,
    weight_gradient: WeightGradient,
}

impl Conv {
    /// Works out how the convolution is cut.
    ///
    /// # Panics
    /// When the shape is not one, see [`ConvShape`].
    #[must_use]
    pub fn new(shape: ConvShape) -> Self {
        let ConvShape {
            in_channels,
            input,
            out_channels,
            kernel,
            stride,
            padding,
            groups,
        } = shape;
        assert!(
            in_channels % groups == 0 && out_channels % groups == 0,
            "{shape:?}"
        );
        let output = shape.output();
        let axis = |d| Axis::input(input[d], output[d], kernel[d], stride[d], padding[d]);
        let back = |d| Axis::output_gradient(output[d], input[d], kernel[d], stride[d], padding[d]);
        let channels = (in_channels / groups, out_channels / groups);
        let (area, group) = (kernel[0] * kernel[1], shape.weights() / groups);
        let row = channels.0 * area;
        let forward = WeightLayout {
            output: row,
            input: area,
            group,
        };
        let backward = WeightLayout {
            output: area,
            input: row,
            group,
        };
        Self {
            shape,
            forward: Correlation::new((axis(0), axis(1)), groups, channels, kernel, forward),
            input_gradient: Correlation::new(
                (back(0), back(1)),
                groups,
                (channels.1, channels.0),
                kernel,
                backward,
            ),
            weight_gradient: WeightGradient::new((axis(0), axis(1)), groups, channels),
        }
    }

    /// The shape.
    #[must_use]
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// Memory that the calls need for at most `blocks` blocks of 16 images.
    #[must_use]
    pub fn workspace(&self, blocks: usize) -> WorkspaceSize {
        self.forward
            .workspace()
            .max(self.input_gradient.workspace())
            .max(self.weight_gradient.workspace(blocks))
    }

    /// The output `[blocks][out_channels][height][width][16]` of an input
    /// `[blocks][in_channels][height][width][16]`.
    ///
    /// # Panics
    /// When lengths do not fit the shape, or `workspace` is smaller than [`Conv::workspace`] says.
    pub fn forward(
        &self,
        isa: Isa,
        input: &[f32],
        weights: &[f32],
        bias: Option<&[f32]>,
        output: &mut [f32],
        workspace: &mut Workspace,
    ) {
        let start = bias.map_or(ChannelStart::Zero, ChannelStart::Bias);
        self.forward
            .run(isa, input, weights, start, output, workspace.split().0);
    }

    /// The gradient of the input, from that of the output. `accumulate` adds it to what
    /// `input_gradient` holds (an input may have several consumers).
    ///
    /// # Panics
    /// As [`Conv::forward`].
    pub fn input_gradient(
        &self,
        isa: Isa,
        output_gradient: &[f32],
        weights: &[f32],
        input_gradient: &mut [f32],
        accumulate: bool,
        workspace: &mut Workspace,
    ) {
        let start = if accumulate {
            ChannelStart::Output
        } else {
            ChannelStart::Zero
        };
        let slots = workspace.split().0;
        self.input_gradient
            .run(isa, output_gradient, weights, start, input_gradient, slots);
    }

    /// The gradients of the weights and of the bias. Unused lanes of the output's gradient are zero.
    ///
    /// # Panics
    /// As [`Conv::forward`].
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
        let scratch = workspace.split();
        self.weight_gradient
            .run(isa, input, output_gradient, weights, bias, deliver, scratch);
    }
}

#[cfg(test)]
mod tests;
