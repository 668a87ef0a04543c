//! A stage's parameter tensors: where each filter lies, among the trained weights or in the model.

use super::{Config, Model, Weights};
use crate::plan::{PlannedLayer, Tensor};

/// A parameter tensor: where its filters are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter<'m> {
    /// Number in the plan's table, for the address of the noise.
    pub index: u16,
    /// Values of one filter.
    pub row_len: usize,
    /// Where filters that are not trained lie.
    pub model: Weights<'m>,
    /// Where the trained filters begin among the trained weights.
    trained: usize,
    /// Every how many-th filter is trained; 0 when none is.
    pub stride: u16,
}

impl Parameter<'_> {
    /// Where filter `row` lies among the trained weights, when it does.
    pub(super) fn range(&self, row: usize) -> Option<core::ops::Range<usize>> {
        let index = match self.stride {
            0 => return None,
            1 => row,
            stride => row.is_multiple_of(stride.into()).then_some(row / usize::from(stride))?,
        };
        let start = self.trained + index * self.row_len;
        Some(start..start + self.row_len)
    }

    pub(super) const fn is_trained(&self) -> bool {
        self.stride > 0
    }

    /// Trained values of `rows` filters.
    fn trained_len(&self, rows: usize) -> usize {
        trained_rows(rows, self.stride) * self.row_len
    }
}

/// A stage's parameter tensors: the weight, and the bias, whose number is the next one and whose trained values follow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters<'m> {
    pub weight: Parameter<'m>,
    bias: Option<Weights<'m>>,
    bias_stride: u16,
}

impl<'m> Parameters<'m> {
    /// Those of layer `index`, of which there are at most [`MOST_LAYERS`](super::compile::MOST_LAYERS). `trained` counts the
    /// trained weights.
    pub(super) fn new(
        index: usize,
        layer: &PlannedLayer,
        model: Option<&dyn Model<'m>>,
        config: &Config<'_>,
        trained: &mut usize,
    ) -> Option<Self> {
        let weight = layer.weight.as_ref()?;
        let values = |tensor| model.map_or(Weights::F32(&[]), |model| model.tensor(tensor));
        // There are fewer rows than strides can be.
        let stride = |tensor: &Tensor| {
            config.trained.stride(index, layer, tensor).min(usize::from(u16::MAX)) as u16
        };
        let parameters = Self {
            weight: Parameter {
                index: weight.index as u16,
                row_len: weight.row_len,
                model: values(weight),
                trained: *trained,
                stride: stride(weight),
            },
            bias: layer.bias.as_ref().map(values),
            bias_stride: layer.bias.as_ref().map_or(0, stride),
        };
        *trained += parameters.weight.trained_len(weight.rows) + trained_rows(weight.rows, parameters.bias_stride);
        Some(parameters)
    }

    pub(super) const fn trains(&self) -> bool {
        self.weight.is_trained() || self.bias_stride > 0
    }

    /// The bias of a layer of this many filters.
    pub(super) fn bias(&self, rows: usize) -> Option<Parameter<'m>> {
        Some(Parameter {
            index: self.weight.index + 1,
            row_len: 1,
            model: self.bias?,
            trained: self.weight.trained + self.weight.trained_len(rows),
            stride: self.bias_stride,
        })
    }
}

/// Number of trained filters of `rows`.
fn trained_rows(rows: usize, stride: u16) -> usize {
    if stride == 0 { 0 } else { rows.div_ceil(usize::from(stride)) }
}
