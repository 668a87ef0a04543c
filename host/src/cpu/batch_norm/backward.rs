//! The backward pass over a channel.

use super::super::layout::Blocked;
use super::super::shared::Shared;
use super::super::simd::{Isa, Kernel, Simd};
use super::Mode;
use super::channel::{Terms, offset, runs, sums, vectors};
use super::forward::Affine;

pub(super) const NO_RELU: u8 = 0;
pub(super) const RELU_FROM_INPUT: u8 = 1;
pub(super) const RELU_FROM_OUTPUT: u8 = 2;

/// What both backward passes read of a channel.
#[derive(Clone, Copy)]
pub(super) struct Read<'a> {
    pub(super) at: (&'a Blocked, usize),
    pub(super) affine: Affine,
    pub(super) input: &'a [f32],
    pub(super) output: &'a [f32],
    pub(super) gradient: Shared<'a, f32>,
}

/// The gradient behind the ReLU, and the input's deviation from its mean.
struct GradientTerms<'a, const RELU: u8>(Read<'a>);

impl<S: Simd, const RELU: u8> Terms<S> for GradientTerms<'_, RELU> {
    #[inline(always)]
    unsafe fn at(&self, s: S, offset: usize) -> (S::F, S::F) {
        let Read {
            affine,
            input,
            output,
            gradient,
            ..
        } = self.0;
        let zero = s.splat(0.0);
        // SAFETY: the caller's promise.
        unsafe {
            let deviation = s.sub(s.load(input.as_ptr().add(offset)), s.splat(affine.mean));
            let gradient = s.load(gradient.at(offset));
            let output = match RELU {
                RELU_FROM_INPUT => {
                    s.mul_add(deviation, s.splat(affine.scale), s.splat(affine.shift))
                }
                RELU_FROM_OUTPUT => s.load(output.as_ptr().add(offset)),
                _ => return (gradient, deviation),
            };
            (s.select(s.gt(output, zero), gradient, zero), deviation)
        }
    }
}

#[derive(Clone, Copy)]
pub(super) struct BackwardTask<'a> {
    pub(super) read: Read<'a>,
    pub(super) mode: Mode,
    pub(super) inv_std: f32,
    pub(super) residual: Shared<'a, f32>,
}

const NO_RESIDUAL: u8 = 0;
const STORE_RESIDUAL: u8 = 1;
const ADD_RESIDUAL: u8 = 2;

struct Backward<'a, const RELU: u8, const RESIDUAL: u8>(BackwardTask<'a>);

pub(super) fn run_backward<const RELU: u8>(
    isa: Isa,
    task: BackwardTask<'_>,
    accumulate: Option<bool>,
) -> [f64; 2] {
    match accumulate {
        None => isa.run(Backward::<RELU, NO_RESIDUAL>(task)),
        Some(false) => isa.run(Backward::<RELU, STORE_RESIDUAL>(task)),
        Some(true) => isa.run(Backward::<RELU, ADD_RESIDUAL>(task)),
    }
}

impl<const RELU: u8, const RESIDUAL: u8> Kernel for Backward<'_, RELU, RESIDUAL> {
    /// Sums of the gradient and of its product with the normalised input.
    type Output = [f64; 2];

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> [f64; 2] {
        let BackwardTask {
            read,
            mode,
            inv_std,
            residual,
        } = self.0;
        let (shape, channel) = read.at;
        let terms = GradientTerms::<RELU>(read);
        let [sum, with_deviation] = sums(s, shape, channel, &terms);
        let count = (shape.images * shape.pixels()) as f64;
        let normalised = with_deviation * f64::from(inv_std);
        let (mean, slope) = match mode {
            Mode::Train => (sum / count, normalised * f64::from(inv_std) / count),
            Mode::Eval => (0.0, 0.0),
        };
        let (mean, slope) = (s.splat(mean as f32), s.splat(-slope as f32));
        let scale = s.splat(read.affine.scale);
        for run in runs(shape, channel) {
            for v in 0..vectors::<S>(&run) {
                let at = offset::<S>(&run, v);
                // SAFETY: `at` is inside of the shape, which all buffers have; only this task
                // writes this channel.
                unsafe {
                    let (gradient, deviation) = terms.at(s, at);
                    let gradient = run.keep_used(s, v, gradient);
                    if RESIDUAL == STORE_RESIDUAL {
                        s.store(residual.at(at), gradient);
                    } else if RESIDUAL == ADD_RESIDUAL {
                        s.store(residual.at(at), s.add(s.load(residual.at(at)), gradient));
                    }
                    let centred = s.mul_add(deviation, slope, s.sub(gradient, mean));
                    let input_gradient = run.keep_used(s, v, s.mul(centred, scale));
                    s.store(read.gradient.at(at), input_gradient);
                }
            }
        }
        [sum, normalised]
    }
}
