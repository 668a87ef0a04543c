//! Statistics of a channel and their application.

use super::super::layout::Blocked;
use super::super::shared::Shared;
use super::super::simd::{Kernel, Simd};
use super::channel::{Terms, offset, runs, sums, vectors};

/// y = (x - mean) * scale + shift.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) mean: f32,
    pub(super) scale: f32,
    pub(super) shift: f32,
}

pub(super) struct MeanAndVariance {
    pub(super) mean: f64,
    pub(super) variance: f64,
}

/// Mean and biased variance of a channel.
pub(super) struct Moments<'a> {
    pub(super) shape: &'a Blocked,
    pub(super) channel: usize,
    pub(super) input: &'a [f32],
}

/// Deviations from a shift, and their squares.
struct Deviations<'a> {
    input: &'a [f32],
    shift: f32,
}

impl<S: Simd> Terms<S> for Deviations<'_> {
    #[inline(always)]
    unsafe fn at(&self, s: S, offset: usize) -> (S::F, S::F) {
        // SAFETY: the caller's promise.
        let x = unsafe { s.load(self.input.as_ptr().add(offset)) };
        let deviation = s.sub(x, s.splat(self.shift));
        (deviation, deviation)
    }
}

impl Kernel for Moments<'_> {
    type Output = MeanAndVariance;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> MeanAndVariance {
        let Self {
            shape,
            channel,
            input,
        } = self;
        let count = (shape.images * shape.pixels()) as f64;
        // Any value of the channel is a good first guess of its mean; where it was a bad one (further
        // from the mean than twice the spread), cancellation would cost digits and the mean itself is taken.
        let mut shift = runs(shape, channel)
            .next()
            .map_or(0.0, |run| input[run.start]);
        loop {
            let [sum, squares] = sums(s, shape, channel, &Deviations { input, shift });
            let (apart, mean_square) = (sum / count, squares / count);
            let variance = mean_square - apart * apart;
            let next = (f64::from(shift) + apart) as f32;
            if apart * apart > 4.0 * variance && next != shift {
                shift = next;
                continue;
            }
            let variance = if variance < 0.0 { 0.0 } else { variance };
            return MeanAndVariance {
                mean: f64::from(shift) + apart,
                variance,
            };
        }
    }
}

pub(super) struct Apply<'a, const RELU: bool, const RESIDUAL: bool> {
    pub(super) at: (&'a Blocked, usize),
    pub(super) affine: Affine,
    pub(super) input: &'a [f32],
    pub(super) residual: &'a [f32],
    pub(super) output: Shared<'a, f32>,
}

impl<const RELU: bool, const RESIDUAL: bool> Kernel for Apply<'_, RELU, RESIDUAL> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            at: (shape, channel),
            affine,
            input,
            residual,
            output,
        } = self;
        let (mean, scale) = (s.splat(affine.mean), s.splat(affine.scale));
        let shift = s.splat(affine.shift);
        for run in runs(shape, channel) {
            for v in 0..vectors::<S>(&run) {
                let at = offset::<S>(&run, v);
                // SAFETY: `at` is inside of the shape, which all buffers have; only this task
                // writes this channel.
                unsafe {
                    let x = s.load(input.as_ptr().add(at));
                    let mut y = s.mul_add(s.sub(x, mean), scale, shift);
                    if RESIDUAL {
                        y = s.add(y, s.load(residual.as_ptr().add(at)));
                    }
                    if RELU {
                        // In this order NaN stays NaN.
                        y = s.max(s.splat(0.0), y);
                    }
                    s.store(output.at(at), y);
                }
            }
        }
    }
}
