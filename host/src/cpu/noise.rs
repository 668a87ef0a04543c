//! Perturbation: the noise contract of [`smoothout::noise`] in vectors, written straight into the perturbed copy.
//!
//! The bits are those of the contract. Sixteen blocks of a tensor are drawn side by side, one a lane, and transposed
//! into the order of the elements, in a buffer that stays in the cache; a filter's norms and its perturbed weights are
//! made from there, so that weights come from memory once and go there once.

mod buffer;
mod filters;
mod norm;
#[cfg(test)]
mod tests;
mod units;

use super::shared::Shared;
use super::simd::Isa;
use filters::{CONSTANT, PER_FILTER, PER_SINGLE, PER_WEIGHT, Task, Tensor};
use rayon::prelude::*;
use smoothout::noise::{Distribution, Key, Noise, Scaling};
use units::{Dropout, Gaussian, Uniform, Units};

/// Weights that a task should have at least; a multiple of the contract's block.
const TASK: usize = 32 * 1024;

/// A parameter tensor as filters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filters {
    /// Rows of dimension 0.
    pub rows: usize,
    /// Weights of a row; 1 for a one-dimensional tensor.
    pub row_len: usize,
}

impl Filters {
    fn fit(self, stride: usize, len: usize) -> bool {
        stride >= self.row_len && (self.rows == 0 || len >= (self.rows - 1) * stride + self.row_len)
    }
}

/// `shadow = clean + θ`. Rows of the shadow start `stride` floats apart; what lies between them is left alone.
///
/// # Panics
/// `clean` does not hold the filters, or `shadow` does not at its stride.
pub fn perturb(
    isa: Isa,
    noise: &Noise,
    key: Key,
    filters: Filters,
    clean: &[f32],
    shadow: &mut [f32],
    stride: usize,
) {
    assert!(filters.fit(stride, shadow.len()));
    assert_eq!(clean.len(), filters.rows * filters.row_len);
    let shadow = Shared::new(shadow);
    run(
        isa,
        noise,
        Tensor::new(
            key,
            filters,
            (clean.as_ptr(), filters.row_len),
            (shadow, stride),
        ),
    );
}

/// `shadow += θ`, with θ made from what the shadow holds: training without de-noising, whose noise adds up.
///
/// # Panics
/// `shadow` does not hold the filters at its stride.
pub fn perturb_again(
    isa: Isa,
    noise: &Noise,
    key: Key,
    filters: Filters,
    shadow: &mut [f32],
    stride: usize,
) {
    assert!(filters.fit(stride, shadow.len()));
    let shadow = Shared::new(shadow);
    let source = shadow.at(0).cast_const();
    run(
        isa,
        noise,
        Tensor::new(key, filters, (source, stride), (shadow, stride)),
    );
}

fn run(isa: Isa, noise: &Noise, tensor: Tensor<'_>) {
    match noise.distribution() {
        Distribution::Uniform => run_units(isa, Uniform, noise, tensor),
        Distribution::Gaussian => run_units(isa, Gaussian, noise, tensor),
        Distribution::Dropout => {
            let threshold = noise.threshold();
            run_units(isa, Dropout { threshold }, noise, tensor);
        }
    }
}

fn run_units<U: Units>(isa: Isa, units: U, noise: &Noise, tensor: Tensor<'_>) {
    let single = tensor.row_len == 1;
    match noise.scaling() {
        Scaling::Constant => run_rows::<U, CONSTANT>(isa, units, noise, tensor.flat()),
        // Dropout is in proportion to the weight as it is.
        Scaling::PerWeight if noise.distribution() == Distribution::Dropout => {
            run_rows::<U, CONSTANT>(isa, units, noise, tensor.flat());
        }
        Scaling::PerWeight => run_rows::<U, PER_WEIGHT>(isa, units, noise, tensor.flat()),
        Scaling::PerFilter if single => run_rows::<U, PER_SINGLE>(isa, units, noise, tensor.flat()),
        Scaling::PerFilter => run_rows::<U, PER_FILTER>(isa, units, noise, tensor),
    }
}

fn run_rows<U: Units, const SCALING: u8>(isa: Isa, units: U, noise: &Noise, tensor: Tensor<'_>) {
    let rows = tensor.total.div_ceil(tensor.row_len.max(1));
    let per_task = (TASK / tensor.row_len.max(1)).max(1);
    let strength = if noise.is_negative() {
        -noise.strength()
    } else {
        noise.strength()
    };
    // Of a single filter the scale is its own; of all others this is it.
    let scale = noise.scale(tensor.key, 0, &[]);
    (0..rows.div_ceil(per_task))
        .into_par_iter()
        .for_each(|task| {
            let rows = task * per_task..rows.min((task + 1) * per_task);
            isa.run(Task::<U, SCALING> {
                units,
                tensor,
                rows,
                scale,
                strength,
            });
        });
}
