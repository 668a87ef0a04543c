//! Where parameters are read from: memory or flash, f32 or int8.

use super::slices::copy;
use crate::plan::Tensor;

/// The values of one parameter tensor, or of all running statistics, wherever they lie. Nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Weights<'m> {
    /// Values in memory.
    F32(&'m [f32]),
    /// Little-endian f32 words, as they lie in flash; no alignment is needed.
    Bytes(&'m [u8]),
    /// Int8 values with a scale for each filter: value * scale of its filter.
    Int8 {
        /// Number of filters.
        filters: u16,
        /// A scale for each filter, little-endian f32 words; then the values, one byte each, two's complement.
        bytes: &'m [u8],
    },
}

impl Weights<'_> {
    /// Number of values.
    pub const fn len(&self) -> usize {
        match self {
            Weights::F32(values) => values.len(),
            Weights::Bytes(bytes) => bytes.len() / 4,
            Weights::Int8 { filters, bytes } => bytes.len().saturating_sub(4 * *filters as usize),
        }
    }

    /// Whether there are no values.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Writes values `start..start + to.len()`, which belong to filter `row`, to `to`; past the end, zeros.
    #[inline(never)]
    pub fn read(&self, row: usize, start: usize, to: &mut [f32]) {
        to.fill(0.0);
        match *self {
            Weights::F32(values) => {
                copy(values.get(start..).unwrap_or_default(), to);
            }
            Weights::Bytes(bytes) => {
                let words = bytes.as_chunks().0.get(start..).unwrap_or_default();
                to.iter_mut().zip(words).for_each(|(to, word)| *to = f32::from_le_bytes(*word));
            }
            Weights::Int8 { filters, bytes } => {
                let (scales, values) = bytes.split_at_checked(4 * usize::from(filters)).unwrap_or_default();
                let scale = scales.as_chunks().0.get(row).map_or(0.0, |scale| f32::from_le_bytes(*scale));
                let values = values.get(start..).unwrap_or_default();
                to.iter_mut().zip(values).for_each(|(to, v)| *to = f32::from(v.cast_signed()) * scale);
            }
        }
    }
}

/// Where a session finds the parameters that it does not train, and what it starts from.
pub trait Model<'m> {
    /// Values of a tensor of the plan; [`Weights::len`] must be [`Tensor::len`].
    fn tensor(&self, tensor: &Tensor) -> Weights<'m>;

    /// Running statistics of all batch norms in the plan's order.
    fn statistics(&self) -> Weights<'m>;
}

/// A model in memory: all parameters in the plan's order, and all running statistics.
#[derive(Clone, Copy, Debug)]
pub struct Slices<'m> {
    /// [`Plan::parameters`](crate::plan::Plan::parameters) values.
    pub parameters: &'m [f32],
    /// [`Plan::statistics`](crate::plan::Plan::statistics) values.
    pub statistics: &'m [f32],
}

impl<'m> Model<'m> for Slices<'m> {
    fn tensor(&self, tensor: &Tensor) -> Weights<'m> {
        Weights::F32(self.parameters.get(tensor.range()).unwrap_or_default())
    }

    fn statistics(&self) -> Weights<'m> {
        Weights::F32(self.statistics)
    }
}
