//! Passes over flat runs of parameters: gradient norm, update, averaging, and SAM's step uphill.
//!
//! The arithmetic is that of the algorithm's own definition ([`Update::apply`]), operation by operation and rounded as
//! there, so that the weights are the same bits on every instruction set and for any number of threads.

use super::lanewise::{CHUNK, Lanewise, pass};
use super::simd::{Isa, Kernel, Simd};
use rayon::prelude::*;
use smoothout::optimizer::{Optimizer, Update};

/// Gradients whose squares are summed in f32, at most 128 to a chain, before the sum goes on in f64.
const NORM_CHUNK: usize = 4096;

/// Partial sums that [`squared_norm`] needs for a gradient of this length.
#[must_use]
pub const fn partial_sums(len: usize) -> usize {
    len.div_ceil(NORM_CHUNK)
}

/// Squared Euclidean norm of a gradient; `partial` is scratch.
///
/// # Panics
/// `partial` is not [`partial_sums`] long.
pub fn squared_norm(isa: Isa, gradient: &[f32], partial: &mut [f64]) -> f64 {
    assert_eq!(partial.len(), partial_sums(gradient.len()));
    let tasks = (gradient.par_chunks(NORM_CHUNK), partial.par_iter_mut());
    let tasks = tasks.into_par_iter().with_min_len(CHUNK / NORM_CHUNK);
    tasks.for_each(|(gradient, partial)| *partial = isa.run(Squares(gradient)));
    partial.iter().sum()
}

/// Updates clean weights in place; `first` and `second` are the moments that the optimizer keeps, empty where it
/// keeps none. A momentum buffer of zeros makes the first step PyTorch's.
///
/// # Panics
/// The lengths are not equal, or a moment is missing.
pub fn update(
    isa: Isa,
    update: &Update,
    weights: &mut [f32],
    gradient: &[f32],
    first: &mut [f32],
    second: &mut [f32],
) {
    let gradients = Gradients {
        scale: update.gradient_scale,
        decay: update.weight_decay,
    };
    let rate = update.rate;
    match update.optimizer {
        Optimizer::Sgd { momentum: 0.0, .. } => {
            pass(isa, [gradient], [weights], Plain { gradients, rate });
        }
        Optimizer::Sgd {
            momentum,
            nesterov: false,
        } => {
            let step = Momentum::<false> {
                gradients,
                rate,
                momentum,
            };
            pass(isa, [gradient], [weights, first], step);
        }
        Optimizer::Sgd {
            momentum,
            nesterov: true,
        } => {
            let step = Momentum::<true> {
                gradients,
                rate,
                momentum,
            };
            pass(isa, [gradient], [weights, first], step);
        }
        Optimizer::Adam {
            betas,
            eps,
            decoupled,
        } => {
            let [first_correction, second_correction] = update.bias_corrections();
            let (in_gradient, apart) = if decoupled {
                (0.0, update.weight_decay)
            } else {
                (update.weight_decay, 0.0)
            };
            let step = Adam {
                gradients: Gradients {
                    decay: in_gradient,
                    ..gradients
                },
                keep: 1.0 - rate * apart,
                betas,
                step: rate * first_correction,
                second_correction,
                eps,
            };
            pass(isa, [gradient], [weights, first, second], step);
        }
    }
}

/// `average += share * (weights - average)`.
///
/// # Panics
/// The lengths are not equal.
pub fn average(isa: Isa, share: f32, weights: &[f32], average: &mut [f32]) {
    pass(isa, [weights], [average], Average { share });
}

/// `point = weights + scale * gradient`.
///
/// # Panics
/// The lengths are not equal.
pub fn ascend(isa: Isa, scale: f32, weights: &[f32], gradient: &[f32], point: &mut [f32]) {
    pass(isa, [weights, gradient], [point], Ascend { scale });
}

/// Sum of squares in f64.
struct Squares<'a>(&'a [f32]);

impl Kernel for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f64 {
        let mut sums = [s.splat(0.0); 4];
        let groups = self.0.chunks_exact(4 * S::LANES);
        let rest: f64 = groups
            .remainder()
            .iter()
            .map(|&x| f64::from(x) * f64::from(x))
            .sum();
        for group in groups {
            for (k, sum) in sums.iter_mut().enumerate() {
                // SAFETY: a group is four vectors long.
                let x = unsafe { s.load(group.as_ptr().add(k * S::LANES)) };
                *sum = s.mul_add(x, x, *sum);
            }
        }
        let [a, b, c, d] = sums;
        rest + f64::from(s.sum(s.add(s.add(a, b), s.add(c, d))))
    }
}

/// What every rule does with a gradient first: scale it and add the weight's decay.
#[derive(Clone, Copy)]
struct Gradients {
    scale: f32,
    decay: f32,
}

impl Gradients {
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, gradient: S::F, weight: S::F) -> S::F {
        s.add(
            s.mul(gradient, s.splat(self.scale)),
            s.mul(s.splat(self.decay), weight),
        )
    }
}

#[derive(Clone, Copy)]
struct Plain {
    gradients: Gradients,
    rate: f32,
}

impl Lanewise<1, 1> for Plain {
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, [gradient]: [S::F; 1], [w]: [S::F; 1]) -> [S::F; 1] {
        let g = self.gradients.lanes(s, gradient, w);
        [s.sub(w, s.mul(s.splat(self.rate), g))]
    }
}

#[derive(Clone, Copy)]
struct Momentum<const NESTEROV: bool> {
    gradients: Gradients,
    rate: f32,
    momentum: f32,
}

impl<const NESTEROV: bool> Lanewise<1, 2> for Momentum<NESTEROV> {
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, [gradient]: [S::F; 1], [w, v]: [S::F; 2]) -> [S::F; 2] {
        let momentum = s.splat(self.momentum);
        let g = self.gradients.lanes(s, gradient, w);
        let v = s.add(s.mul(momentum, v), g);
        let direction = if NESTEROV {
            s.add(g, s.mul(momentum, v))
        } else {
            v
        };
        [s.sub(w, s.mul(s.splat(self.rate), direction)), v]
    }
}

#[derive(Clone, Copy)]
struct Adam {
    gradients: Gradients,
    keep: f32,
    betas: [f32; 2],
    step: f32,
    second_correction: f32,
    eps: f32,
}

impl Lanewise<1, 3> for Adam {
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, [gradient]: [S::F; 1], [w, m, v]: [S::F; 3]) -> [S::F; 3] {
        let [b1, b2] = self.betas;
        let g = self.gradients.lanes(s, gradient, w);
        let m = s.add(m, s.mul(s.splat(1.0 - b1), s.sub(g, m)));
        let v = s.add(s.mul(s.splat(b2), v), s.mul(s.mul(s.splat(1.0 - b2), g), g));
        let below = s.add(
            s.mul(s.sqrt(v), s.splat(self.second_correction)),
            s.splat(self.eps),
        );
        let change = s.div(s.mul(s.splat(self.step), m), below);
        [s.sub(s.mul(w, s.splat(self.keep)), change), m, v]
    }
}

#[derive(Clone, Copy)]
struct Average {
    share: f32,
}

impl Lanewise<1, 1> for Average {
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, [w]: [S::F; 1], [average]: [S::F; 1]) -> [S::F; 1] {
        [s.add(average, s.mul(s.splat(self.share), s.sub(w, average)))]
    }
}

#[derive(Clone, Copy)]
struct Ascend {
    scale: f32,
}

impl Lanewise<2, 1> for Ascend {
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, [w, g]: [S::F; 2], _: [S::F; 1]) -> [S::F; 1] {
        [s.add(w, s.mul(s.splat(self.scale), g))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{values, with_threads};
    use super::*;

    const LENGTHS: [usize; 7] = [0, 1, 15, 16, 33, 4097, 40_001];

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|x| x.to_bits()).collect()
    }

    #[test]
    fn every_rule_makes_the_bits_of_its_definition() {
        let rules = [
            Optimizer::sgd(0.0),
            Optimizer::sgd(0.9),
            Optimizer::Sgd {
                momentum: 0.9,
                nesterov: true,
            },
            Optimizer::adam(),
            Optimizer::adamw(),
        ];
        for (len, optimizer) in LENGTHS
            .into_iter()
            .flat_map(|len| rules.map(|rule| (len, rule)))
        {
            let moments = |at| vec![0.0; if optimizer.moments() > at { len } else { 0 }];
            let start = values(len, 1, 0.0);
            let (mut want, mut first, mut second) = (start.clone(), moments(0), moments(1));
            let step = |time| Update {
                optimizer,
                rate: 0.1,
                weight_decay: 5e-4,
                gradient_scale: 0.7,
                time,
            };
            let gradient = |time| values(len, 10 + time, 0.0);
            for time in 1..=3 {
                step(time).apply(&mut want, &gradient(time), &mut first, &mut second);
            }
            for isa in Isa::available() {
                for threads in 1..=3 {
                    let (mut w, mut m, mut v) = (start.clone(), moments(0), moments(1));
                    with_threads(threads, || {
                        for time in 1..=3 {
                            update(isa, &step(time), &mut w, &gradient(time), &mut m, &mut v);
                        }
                    });
                    let context = format!("{optimizer:?} {len} {}", isa.name());
                    assert!(bits(&w) == bits(&want), "{context}");
                    assert!(
                        bits(&m) == bits(&first) && bits(&v) == bits(&second),
                        "{context}"
                    );
                }
            }
        }
    }

    #[test]
    fn squared_norm_is_that_of_float64() {
        for len in LENGTHS {
            let gradient = values(len, 1, 0.2);
            let want: f64 = gradient.iter().map(|&g| f64::from(g).powi(2)).sum();
            for isa in Isa::available() {
                let run = |threads| {
                    let mut partial = vec![f64::NAN; partial_sums(len)];
                    with_threads(threads, || squared_norm(isa, &gradient, &mut partial))
                };
                assert!((run(1) - want).abs() <= 1e-6 * want, "{len} {}", isa.name());
                assert!(run(1) == run(2) && run(1) == run(3));
            }
        }
    }

    #[test]
    fn averages_and_points_uphill_are_rounded_as_written() {
        for len in LENGTHS {
            let (w, g, before) = (
                values(len, 1, 0.0),
                values(len, 2, 0.0),
                values(len, 3, 0.0),
            );
            let averaged: Vec<f32> = w
                .iter()
                .zip(&before)
                .map(|(w, a)| a + 0.3 * (w - a))
                .collect();
            let uphill: Vec<f32> = w.iter().zip(&g).map(|(w, g)| w + 0.05 * g).collect();
            for isa in Isa::available() {
                let (mut a, mut point) = (before.clone(), vec![f32::NAN; len]);
                average(isa, 0.3, &w, &mut a);
                ascend(isa, 0.05, &w, &g, &mut point);
                assert!(bits(&a) == bits(&averaged) && bits(&point) == bits(&uphill));
            }
        }
    }
}
