use super::Problem;
use crate::real::{Real, dot};
use crate::shape::Shape;

/// Fully connected layer: y = W x + b.
///
/// Weight (out_features, in_features), bias (out_features).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Linear {
    /// Number of neurons.
    pub out_features: usize,
    /// Whether a bias is added.
    pub bias: bool,
}

impl Linear {
    /// A layer of `out_features` neurons with bias.
    pub const fn new(out_features: usize) -> Self {
        Self { out_features, bias: true }
    }

    /// The same without bias.
    pub const fn without_bias(self) -> Self {
        Self { bias: false, ..self }
    }

    /// Shape of the output.
    ///
    /// # Errors
    /// No neurons, or an input that is not flat.
    pub fn output(&self, input: Shape) -> Result<Shape, Problem> {
        if self.out_features == 0 {
            return Err(Problem::Zero { what: "the number of output features" });
        }
        if !input.is_flat() {
            return Err(Problem::NotFlat);
        }
        Ok(Shape::flat(self.out_features))
    }
}

/// Portable kernels. x (N, I), y (N, O), weight (O, I).
impl Linear {
    /// y = W x + b.
    pub(crate) fn forward<T: Real>(
        &self,
        input: Shape,
        batch: usize,
        x: &[T],
        weight: &[T],
        bias: Option<&[T]>,
        y: &mut [T],
    ) {
        let inputs = input.channels;
        for (x, y) in x.chunks_exact(inputs).zip(y.chunks_exact_mut(self.out_features)).take(batch) {
            for (o, (y, w)) in y.iter_mut().zip(weight.chunks_exact(inputs)).enumerate() {
                *y = dot(w, x) + bias.map_or(T::ZERO, |b| b[o]);
            }
        }
    }

    /// dx += the gradient of the input for dy.
    pub(crate) fn input_gradient<T: Real>(
        &self,
        input: Shape,
        batch: usize,
        weight: &[T],
        dy: &[T],
        dx: &mut [T],
    ) {
        let inputs = input.channels;
        for (dy, dx) in dy.chunks_exact(self.out_features).zip(dx.chunks_exact_mut(inputs)).take(batch) {
            for (g, w) in dy.iter().zip(weight.chunks_exact(inputs)) {
                dx.iter_mut().zip(w).for_each(|(dx, w)| *dx = *dx + *g * *w);
            }
        }
    }

    /// Gradient of neuron `row`: I values.
    pub(crate) fn weight_gradient_row<T: Real>(
        &self,
        input: Shape,
        batch: usize,
        x: &[T],
        dy: &[T],
        row: usize,
        gradient: &mut [T],
    ) {
        gradient.fill(T::ZERO);
        for (n, x) in x.chunks_exact(input.channels).take(batch).enumerate() {
            let g = dy[n * self.out_features + row];
            gradient.iter_mut().zip(x).for_each(|(sum, x)| *sum = *sum + g * *x);
        }
    }

    /// Gradient of the bias of neuron `row`.
    pub(crate) fn bias_gradient_row<T: Real>(&self, batch: usize, dy: &[T], row: usize) -> T {
        (0..batch).fold(T::ZERO, |sum, n| sum + dy[n * self.out_features + row])
    }
}
