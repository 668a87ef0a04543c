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
use filters::{CONSTANT, PER_FILTER, PER_SINGLE, PER_WEIGHT, Strength, Task};
use rayon::prelude::*;
use smoothout::noise::{Distribution, Key, Noise, Scaling};
use units::{Dropout, Gaussian, Uniform, Units};

pub(super) use buffer::Generators;

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
    assert_eq!(clean.len(), filters.rows * filters.row_len);
    let target = check(filters, shadow, stride);
    let source = Rows { start: clean.as_ptr(), stride: filters.row_len };
    run(isa, noise, key, filters, source, target);
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
    let target = check(filters, shadow, stride);
    let source = Rows { start: target.start.at(0).cast_const(), stride };
    run(isa, noise, key, filters, source, target);
}

/// Where rows start, and how far they lie apart.
#[derive(Clone, Copy)]
struct Rows<P> {
    start: P,
    stride: usize,
}

// SAFETY: tasks read through the pointer only rows that no other task writes.
unsafe impl Sync for Rows<*const f32> {}

fn check(filters: Filters, shadow: &mut [f32], stride: usize) -> Rows<Shared<'_, f32>> {
    let Filters { rows, row_len } = filters;
    assert!(stride >= row_len && (rows == 0 || shadow.len() >= (rows - 1) * stride + row_len));
    Rows { start: Shared::new(shadow), stride }
}

fn run(
    isa: Isa,
    noise: &Noise,
    key: Key,
    filters: Filters,
    source: Rows<*const f32>,
    target: Rows<Shared<'_, f32>>,
) {
    match noise.distribution() {
        Distribution::Uniform => run_units(isa, Uniform, noise, key, filters, source, target),
        Distribution::Gaussian => run_units(isa, Gaussian, noise, key, filters, source, target),
        Distribution::Dropout => {
            let units = Dropout { threshold: noise.threshold() };
            run_units(isa, units, noise, key, filters, source, target);
        }
    }
}

fn run_units<U: Units>(
    isa: Isa,
    units: U,
    noise: &Noise,
    key: Key,
    filters: Filters,
    source: Rows<*const f32>,
    target: Rows<Shared<'_, f32>>,
) {
    let Filters { rows, row_len } = filters;
    let total = rows * row_len;
    if total == 0 {
        return;
    }
    let contiguous = source.stride == row_len && target.stride == row_len;
    let single = row_len == 1;
    let per_filter = noise.scaling() == Scaling::PerFilter;
    // Where rows mean nothing, or are all alike single weights, a tensor is cut like one long row.
    let flat = contiguous && (single || !per_filter);
    let row_len = if flat { TASK } else { row_len };
    let rows_per_task = (TASK / row_len).max(1);
    let strength = Strength { scale: noise.scale(key, 0, &[]), filter: noise.strength(), negative: noise.is_negative() };
    (0..total.div_ceil(row_len).div_ceil(rows_per_task)).into_par_iter().for_each(|task| {
        let first = task * rows_per_task;
        let rows = first..total.div_ceil(row_len).min(first + rows_per_task);
        let (source, target) = (&source, &target);
        let source = |row: usize| source.start.wrapping_add(row * if flat { TASK } else { source.stride });
        todo!()
    });
}
