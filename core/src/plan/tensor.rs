use core::fmt;

/// What a parameter tensor is for; decides whether it is perturbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Role {
    /// Weight of a convolution or linear layer.
    Weight,
    /// Bias of a convolution or linear layer.
    Bias,
    /// Scale of a batch norm (`weight` in PyTorch).
    NormScale,
    /// Shift of a batch norm (`bias` in PyTorch).
    NormShift,
}

impl Role {
    /// The parameter's name in its PyTorch module: `weight` or `bias`.
    pub const fn suffix(self) -> &'static str {
        match self {
            Role::Weight | Role::NormScale => "weight",
            Role::Bias | Role::NormShift => "bias",
        }
    }
}

/// Dimensions of a tensor, one to four.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Dims {
    sizes: [usize; 4],
    rank: usize,
}

impl Dims {
    pub(super) const fn one(a: usize) -> Self {
        Self { sizes: [a, 1, 1, 1], rank: 1 }
    }

    pub(super) const fn two(a: usize, b: usize) -> Self {
        Self { sizes: [a, b, 1, 1], rank: 2 }
    }

    pub(super) const fn four(sizes: [usize; 4]) -> Self {
        Self { sizes, rank: 4 }
    }

    /// The sizes, outermost first.
    pub fn as_slice(&self) -> &[usize] {
        self.sizes.get(..self.rank).unwrap_or(&[])
    }
}

impl fmt::Display for Dims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, size) in self.as_slice().iter().enumerate() {
            write!(f, "{}{size}", if i == 0 { "" } else { "x" })?;
        }
        Ok(())
    }
}

/// A parameter tensor: a contiguous run of all parameters of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Tensor {
    /// Position in the parameter table; the tensor's number in the address of its noise.
    pub index: u32,
    /// What it is for.
    pub role: Role,
    /// Its shape, as in PyTorch.
    pub dims: Dims,
    /// Where it starts among all parameters, in values.
    pub offset: usize,
    /// Number of filters (rows of dimension 0).
    pub rows: usize,
    /// Values of one filter; 1 for one-dimensional tensors.
    pub row_len: usize,
}

impl Tensor {
    /// Number of values.
    pub const fn len(&self) -> usize {
        self.rows * self.row_len
    }

    /// Whether there are no values; never so in a plan.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where it lies among all parameters.
    pub const fn range(&self) -> core::ops::Range<usize> {
        self.offset..self.offset + self.len()
    }
}
