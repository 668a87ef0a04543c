use super::Problem;
use crate::real::{RUN, Real, dot, sum};
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

/// Columns whose sums of one run are kept apart from the total.
const BLOCK: usize = 32;

/// to += the rows of `matrix`, which are as long as `to`, each times its factor. Runs of rows are summed by themselves.
fn add_rows<T: Real>(matrix: &[T], factor: impl Fn(usize) -> T, to: &mut [T]) {
    let columns = to.len();
    for (block, to) in to.chunks_mut(BLOCK).enumerate() {
        for (run, rows) in matrix.chunks(RUN * columns).enumerate() {
            let mut sums = [T::ZERO; BLOCK];
            for (i, row) in rows.chunks_exact(columns).enumerate() {
                let g = factor(run * RUN + i);
                let values = &row[block * BLOCK..];
                sums.iter_mut().zip(values).for_each(|(sum, x)| *sum = *sum + g * *x);
            }
            to.iter_mut().zip(sums).for_each(|(to, sum)| *to = *to + sum);
        }
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
            add_rows(weight, |o| dy[o], dx);
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
        let images = &x[..batch * input.channels];
        add_rows(images, |n| dy[n * self.out_features + row], gradient);
    }

    /// Gradient of the bias of neuron `row`.
    pub(crate) fn bias_gradient_row<T: Real>(&self, batch: usize, dy: &[T], row: usize) -> T {
        sum(0..batch, |n| dy[n * self.out_features + row])
    }
}
