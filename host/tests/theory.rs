//! The paper's theorems and equations on functions whose smoothed form C̄(w) = E[C(w + θ)] is known.
//!
//! Theorem 2 calls a function strictly monotonic when its values outside any box around the minimum are above those
//! inside (equation 19), so it is a function of the largest coordinate, and that is what is tested. For functions of
//! the Euclidean distance, which is what most people would read into it, the theorem is false; that is tested too.

#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use smoothout::noise::{Address, Distribution, Noise, Scaling};

/// Rising functions of a distance, 0 at 0.
fn rise(kind: u8, r: f64) -> f64 {
    match kind {
        0 => r,
        1 => r * r,
        2 => r.powi(4),
        3 => r.sqrt(),
        _ => (1.0 + 3.0 * r * r).ln(),
    }
}

/// Integral of [`rise`] of |r| from 0 to r, an odd function.
fn risen(kind: u8, r: f64) -> f64 {
    let x = r.abs();
    let positive = match kind {
        0 => x * x / 2.0,
        1 => x.powi(3) / 3.0,
        2 => x.powi(5) / 5.0,
        3 => x.powf(1.5) / 1.5,
        _ => x * (1.0 + 3.0 * x * x).ln() - 2.0 * x + 2.0 / 3f64.sqrt() * (3f64.sqrt() * x).atan(),
    };
    positive.copysign(r)
}

/// Mean of [`rise`] of |d + θ| over θ in (-a, a): C̄ of one coordinate.
fn smoothed(kind: u8, d: f64, a: f64) -> f64 {
    (risen(kind, d + a) - risen(kind, d - a)) / (2.0 * a)
}

#[test]
fn the_integrals_are_those_of_the_rising_functions() {
    let h = 1e-5;
    for (kind, r) in (0..5).flat_map(|kind| [-1.7, -0.3, 0.02, 0.4, 2.5].map(|r| (kind, r))) {
        let slope = (risen(kind, r + h) - risen(kind, r - h)) / (2.0 * h);
        let known = rise(kind, r.abs());
        assert!((slope - known).abs() < 1e-6 * (1.0 + known), "{slope} instead of {known}: {kind} at {r}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Theorem 1: with C symmetric about its minimum m, and rising away from it, C̄ is lowest at m itself. C is a sum
    /// over coordinates, so that C̄ is the sum of smoothed coordinates, in any number of dimensions.
    #[test]
    fn a_flat_minimum_stays_where_it_is(
        kinds in prop::collection::vec(0u8..5, 1..6),
        a in 0.01f64..2.0,
        away in prop::collection::vec(-1.0f64..1.0, 6),
    ) {
        let at = |share: f64| -> f64 {
            let coordinate = |(kind, d): (&u8, &f64)| smoothed(*kind, share * d, a);
            kinds.iter().zip(&away).map(coordinate).sum()
        };
        let lowest = at(0.0);
        for share in [-1.0, -0.3, 0.1, 0.5, 1.0] {
            prop_assert!(at(share) >= lowest - 1e-9 * lowest - 1e-15, "{} at {share}, {lowest} at the minimum", at(share));
        }
        // The derivative is 0 there (equation 15).
        let h = 1e-3;
        prop_assert!((at(h) - at(-h)).abs() / (2.0 * h) < 1e-6 * (1.0 + lowest));
    }

    /// Theorem 2, in m dimensions and for C = |w - ws|^p of the largest coordinate: C̄(ws) = a^p m / (m + p), so the
    /// Sharp Constraint holds up to eps = a (m / (m + p))^(1/p), which nears a as m grows. By the product's own noise.
    #[test]
    fn a_sharp_minimum_is_gone_in_many_dimensions(p in 1i32..4, a in 0.01f32..1.0, seed: u64) {
        let noise = Noise::new(Distribution::Uniform, Scaling::Constant, a).unwrap();
        let mut reach = Vec::new();
        for m in [1usize, 10, 100, 1000] {
            let draws = 400;
            let values: Vec<f64> = (0..draws)
                .map(|draw| {
                    let mut theta = vec![0.0; m];
                    let key = Address { seed, step: 0, draw }.tensor(0);
                    noise.fill(key, 1, m, &vec![0.0; m], &mut theta);
                    theta.iter().fold(0.0f64, |largest, t| largest.max(f64::from(t.abs()))).powi(p)
                })
                .collect();
            let (mean, error) = mean_and_error(&values);
            let known = f64::from(a).powi(p) * m as f64 / (m as f64 + f64::from(p));
            // 64 cases of 4 sizes: five standard errors, and the grain of 2^-16 of the noise.
            prop_assert!((mean - known).abs() < 5.5 * error + 1e-3 * known, "{mean} instead of {known}, m = {m}");
            // The largest eps for which max C over D(ws, eps) = eps^p stays below C̄(ws), the least of C̄ in it.
            reach.push((known.powf(1.0 / f64::from(p))) / f64::from(a));
        }
        prop_assert!(reach.windows(2).all(|w| w[0] < w[1]) && reach[3] > 0.998, "{reach:?}");
    }
}

fn mean_and_error(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, (squares / (n - 1.0) / n).sqrt())
}

/// Within the box of theorem 2, C̄ is lowest at the sharp minimum itself: the minimum in the Sharp Constraint is there.
#[test]
fn the_smoothed_sharp_minimum_is_the_lowest_of_its_box() {
    let (m, a) = (50, 0.5f32);
    let noise = Noise::new(Distribution::Uniform, Scaling::Constant, a).unwrap();
    let at = |shift: f64| {
        let value = |draw| {
            let mut theta = vec![0.0; m];
            noise.fill(Address { seed: 1, step: 0, draw }.tensor(0), 1, m, &vec![0.0; m], &mut theta);
            // The shift's sign differs from coordinate to coordinate.
            let place = |(i, t): (usize, &f32)| (f64::from(*t) + if i % 2 == 0 { shift } else { -shift }).abs();
            theta.iter().enumerate().map(place).fold(0.0, f64::max)
        };
        (0..2000).map(value).sum::<f64>() / 2000.0
    };
    for shift in [0.05, 0.2, 0.45] {
        assert!(at(shift) > at(0.0), "{} at {shift}, {} at the minimum", at(shift), at(0.0));
    }
}

/// Where theorem 2 ends: for the Euclidean distance, C̄(ws) nears C at a / sqrt(3) of the way to the corner, whatever
/// the number of dimensions, so the Sharp Constraint holds up to there and never to a.
#[test]
fn for_the_euclidean_distance_theorem_2_holds_only_to_a_share_of_a() {
    let a = 0.8f32;
    let noise = Noise::new(Distribution::Uniform, Scaling::Constant, a).unwrap();
    for m in [100usize, 1000, 10_000] {
        let value = |draw| {
            let mut theta = vec![0.0; m];
            noise.fill(Address { seed: 2, step: 0, draw }.tensor(0), 1, m, &vec![0.0; m], &mut theta);
            theta.iter().map(|t| f64::from(t * t)).sum::<f64>().sqrt()
        };
        let smoothed = (0..200).map(value).sum::<f64>() / 200.0;
        // C at the corner of D(ws, eps) is eps sqrt(m).
        let reach = smoothed / (m as f64).sqrt() / f64::from(a);
        assert!((reach - 1.0 / 3f64.sqrt()).abs() < 0.01, "{reach}, m = {m}");
    }
}

/// C(w) = sum of cos(k_i w_i), smoothed: each term times E[cos(k θ)], sin(ka)/(ka) for uniform noise and
/// exp(-k² a² / 2) for Gaussian.
struct Waves {
    k: Vec<f64>,
    w: Vec<f64>,
    a: f32,
    distribution: Distribution,
}

impl Waves {
    fn new(distribution: Distribution) -> Self {
        let n = 20;
        let k = (0..n).map(|i| 0.5 + 0.3 * f64::from(i)).collect();
        let w = (0..n).map(|i| (f64::from(i) * 1.7).sin()).collect();
        Self { k, w, a: 0.4, distribution }
    }

    fn damping(&self, k: f64) -> f64 {
        let x = k * f64::from(self.a);
        match self.distribution {
            Distribution::Uniform => x.sin() / x,
            _ => (-x * x / 2.0).exp(),
        }
    }

    fn theta(&self, step: u64, draw: u32) -> Vec<f64> {
        let noise = Noise::new(self.distribution, Scaling::Constant, self.a).unwrap();
        let mut theta = vec![0.0f32; self.w.len()];
        let clean = vec![0.0f32; self.w.len()];
        noise.fill(Address { seed: 3, step, draw }.tensor(0), 1, clean.len(), &clean, &mut theta);
        theta.into_iter().map(f64::from).collect()
    }

    /// Value at w + θ of an image that shifts every wave by x.
    fn value(&self, theta: &[f64], x: f64) -> f64 {
        (0..self.w.len()).map(|i| (self.k[i] * (self.w[i] + theta[i]) + x).cos()).sum()
    }
}

fn near(values: &[f64], known: f64) {
    let (mean, error) = mean_and_error(values);
    assert!((mean - known).abs() < 4.0 * error, "{mean} ± {error} instead of {known}");
    // The test would see a bias of a fiftieth.
    assert!(error < known.abs() / 50.0, "{error} is too coarse for {known}");
}

/// Equation 6: the mean over perturbed copies has the mean C̄(w).
#[test]
fn the_mean_over_perturbed_copies_is_unbiased() {
    for distribution in [Distribution::Uniform, Distribution::Gaussian] {
        let waves = Waves::new(distribution);
        let known: f64 = (0..waves.w.len()).map(|i| (waves.k[i] * waves.w[i]).cos() * waves.damping(waves.k[i])).sum();
        let copies = |step| (0..4).map(|draw| waves.value(&waves.theta(step, draw), 0.0)).sum::<f64>() / 4.0;
        near(&(0..20_000).map(copies).collect::<Vec<_>>(), known);
    }
}

/// Equations 7 and 8: one image and one draw a step have the mean C̄(w) too. Images shift the waves by x, evenly from a
/// set, so that C(w) = E[Q(x, w)] is known.
#[test]
fn one_image_and_one_draw_are_unbiased() {
    let waves = Waves::new(Distribution::Uniform);
    let shift = |step: u64| [-0.9, -0.3, 0.3, 0.9][(step % 4) as usize];
    let mean_shift = (0.9f64.cos() + 0.3f64.cos()) / 2.0; // sines of a symmetric set cancel
    let known: f64 = (0..waves.w.len())
        .map(|i| (waves.k[i] * waves.w[i]).cos() * waves.damping(waves.k[i]) * mean_shift)
        .sum();
    near(&(0..80_000).map(|step| waves.value(&waves.theta(step, 0), shift(step))).collect::<Vec<_>>(), known);
}

/// Equation 10: the gradient at w + θ has the mean of C̄'s gradient, so that each step of Algorithm 1 is one of
/// stochastic gradient descent on C̄.
#[test]
fn the_gradient_at_the_perturbed_point_is_unbiased() {
    let waves = Waves::new(Distribution::Uniform);
    for i in [1, 3, 7] {
        let (k, w) = (waves.k[i], waves.w[i]);
        let known = -k * (k * w).sin() * waves.damping(k);
        let slope = |step| -k * (k * (w + waves.theta(step, 0)[i])).sin();
        near(&(0..40_000).map(slope).collect::<Vec<_>>(), known);
    }
}
