use super::Problem;
use crate::shape::Shape;

/// Two-dimensional convolution (cross-correlation, as in every framework).
///
/// Weight (out_channels, in_channels / groups, kernel height, kernel width), bias (out_channels).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Conv2d {
    /// Number of filters.
    pub out_channels: usize,
    /// Height and width of a filter.
    pub kernel: [usize; 2],
    /// Step between windows, vertical and horizontal.
    pub stride: [usize; 2],
    /// Zeros added above and below, left and right.
    pub padding: [usize; 2],
    /// Number of groups that the channels are split into; each output sees only its group's inputs.
    pub groups: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Conv2d {
    /// A square convolution with stride 1, no padding, one group and no bias.
    pub const fn new(out_channels: usize, kernel: usize) -> Self {
        Self {
            out_channels,
            kernel: [kernel, kernel],
            stride: [1, 1],
            padding: [0, 0],
            groups: 1,
            bias: false,
        }
    }

    /// The same with this stride in both directions.
    pub const fn stride(self, stride: usize) -> Self {
        Self { stride: [stride, stride], ..self }
    }

    /// The same with this padding on all sides.
    pub const fn padding(self, padding: usize) -> Self {
        Self { padding: [padding, padding], ..self }
    }

    /// The same with this number of groups.
    pub const fn groups(self, groups: usize) -> Self {
        Self { groups, ..self }
    }

    /// The same with a bias.
    pub const fn with_bias(self) -> Self {
        Self { bias: true, ..self }
    }

    /// Shape of the output for one image of shape `input`.
    ///
    /// # Errors
    /// A size of 0, groups that do not divide the channels, or a window that does not fit.
    pub fn output(&self, input: Shape) -> Result<Shape, Problem> {
        if self.out_channels == 0 {
            return Err(Problem::Zero { what: "the number of output channels" });
        }
        if self.groups == 0 {
            return Err(Problem::Zero { what: "the number of groups" });
        }
        if !input.channels.is_multiple_of(self.groups)
            || !self.out_channels.is_multiple_of(self.groups)
        {
            let (groups, out_channels) = (self.groups, self.out_channels);
            return Err(Problem::Groups { groups, out_channels });
        }
        let [height, width] = windows(input, self.kernel, self.stride, self.padding)?;
        Ok(Shape::new(self.out_channels, height, width))
    }

    /// Shape of the weight for `in_channels` input channels.
    pub const fn weight_dims(&self, in_channels: usize) -> [usize; 4] {
        [self.out_channels, in_channels / self.groups, self.kernel[0], self.kernel[1]]
    }
}

/// Number of window positions, vertical and horizontal: floor((input + 2 padding - kernel) / stride) + 1.
pub(super) fn windows(
    input: Shape,
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
) -> Result<[usize; 2], Problem> {
    let mut count = [0; 2];
    for (axis, size) in [input.height, input.width].into_iter().enumerate() {
        if kernel[axis] == 0 {
            return Err(Problem::Zero { what: "a side of the window" });
        }
        if stride[axis] == 0 {
            return Err(Problem::Zero { what: "a stride" });
        }
        let padded = padding[axis]
            .checked_mul(2)
            .and_then(|twice| twice.checked_add(size))
            .ok_or(Problem::TooLarge)?;
        if kernel[axis] > padded {
            return Err(Problem::Window { kernel, padding });
        }
        count[axis] = (padded - kernel[axis]) / stride[axis] + 1;
    }
    Ok(count)
}
