//! A stage's parameter tensors: where each filter lies, among the trained weights or in the model.

use super::{Config, Model, Weights};
use crate::plan::{PlannedLayer, Role, Tensor};

/// A parameter tensor: where its filters are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter<'m> {
    /// Number in the plan's table, for the address of the noise.
    pub index: u16,
    pub role: Role,
    /// Values of one filter.
    pub row_len: usize,
    /// Where filters that are not trained lie.
    pub model: Weights<'m>,
    /// Where the trained filters begin among the trained weights.
    trained: usize,
    /// Every how many-th filter is trained; 0 when none is.
    pub stride: usize,
}

impl Parameter<'_> {
    /// Where filter `row` lies among the trained weights, when it does.
    pub(super) fn range(&self, row: usize) -> Option<core::ops::Range<usize>> {
        let index = match self.stride {
            0 => return None,
            1 => row,
            stride => row.is_multiple_of(stride).then_some(row / stride)?,
        };
        let start = self.trained + index * self.row_len;
        Some(start..start + self.row_len)
    }

    pub(super) const fn is_trained(&self) -> bool {
        self.stride > 0
    }
}

/// A stage's parameter tensors: the weight, and the bias whose number is the next one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameters<'m> {
    weight: Weights<'m>,
    bias: Option<Weights<'m>>,
    /// Number of the weight in the plan's table.
    index: u16,
    row_len: usize,
    /// Where the trained filters begin among the trained weights; the trained biases follow them.
    trained: usize,
    /// Every how many-th is trained.
    weight_stride: u16,
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
            weight: values(weight),
            bias: layer.bias.as_ref().map(values),
            index: weight.index as u16,
            row_len: weight.row_len,
            trained: *trained,
            weight_stride: stride(weight),
            bias_stride: layer.bias.as_ref().map_or(0, stride),
        };
        let rows = |stride| trained_rows(weight.rows, usize::from(stride));
        *trained += rows(parameters.weight_stride) * weight.row_len + rows(parameters.bias_stride);
        Some(parameters)
    }

    pub(super) const fn row_len(&self) -> usize {
        self.row_len
    }

    pub(super) const fn trains_weight(&self) -> bool {
        self.weight_stride > 0
    }

    pub(super) const fn trains(&self) -> bool {
        self.weight_stride > 0 || self.bias_stride > 0
    }

    /// The weight; `norm` tells whether it is a batch norm's.
    pub(super) fn weight(&self, norm: bool) -> Parameter<'m> {
        Parameter {
            index: self.index,
            role: if norm { Role::NormScale } else { Role::Weight },
            row_len: self.row_len,
            model: self.weight,
            trained: self.trained,
            stride: usize::from(self.weight_stride),
        }
    }

    /// The bias of a layer of this many filters.
    pub(super) fn bias(&self, norm: bool, rows: usize) -> Option<Parameter<'m>> {
        let filters = trained_rows(rows, usize::from(self.weight_stride));
        Some(Parameter {
            index: self.index + 1,
            role: if norm { Role::NormShift } else { Role::Bias },
            row_len: 1,
            model: self.bias?,
            trained: self.trained + filters * self.row_len,
            stride: usize::from(self.bias_stride),
        })
    }
}

/// Number of trained filters of `rows`.
const fn trained_rows(rows: usize, stride: usize) -> usize {
    if stride == 0 { 0 } else { rows.div_ceil(stride) }
}
