//! Random numbers of measurements, each stream a function of the seed and of what it is for.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

/// What a stream is for; keeps the streams of one seed apart.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// Where a climb starts in its box.
    Start = 1,
    /// The columns of a random subspace.
    Subspace = 2,
    /// The vector that Lanczos' method starts from.
    Lanczos = 3,
    /// The signs of Hutchinson's samples.
    Trace = 4,
}

fn hash(x: u64) -> u64 {
    SplitMix64::seed_from_u64(x).next_u64()
}

/// The generator for the `index`-th use of a purpose.
pub(super) fn generator(seed: u64, purpose: Purpose, index: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(hash(hash(hash(seed) ^ purpose as u64) ^ index))
}

/// A number in [0, 1).
pub(super) fn unit(rng: &mut Xoshiro256PlusPlus) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A number of the normal distribution (Box and Muller's first; the second is thrown away).
pub(super) fn gaussian(rng: &mut Xoshiro256PlusPlus) -> f64 {
    let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
    radius * (std::f64::consts::TAU * unit(rng)).cos()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaussians_have_mean_0_and_variance_1() {
        let mut rng = generator(1, Purpose::Subspace, 0);
        let values: Vec<f64> = (0..100_000).map(|_| gaussian(&mut rng)).collect();
        let mean = values.iter().sum::<f64>() / 1e5;
        let variance = values.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / 1e5;
        // Five standard errors: 1/sqrt(1e5) and sqrt(2/1e5).
        assert!(mean.abs() < 0.016, "{mean}");
        assert!((variance - 1.0).abs() < 0.023, "{variance}");
    }
}
