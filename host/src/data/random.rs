//! Every random choice about data, as a pure function of its address.
//!
//! The order of an epoch depends on (seed, epoch), the augmentation of an image on (seed, epoch, index of the
//! image in its file order), the validation split on the seed. So any batch of any epoch can be made alone,
//! which is what an exact resume needs.

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

/// What a random stream is for; keeps the streams of one seed apart.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Order = 1,
    Augmentation = 2,
    Validation = 3,
    Sample = 4,
}

fn hash(x: u64) -> u64 {
    SplitMix64::seed_from_u64(x).next_u64()
}

/// The generator at an address.
pub(crate) fn generator(seed: u64, purpose: Purpose, epoch: u64, index: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(hash(base(seed, purpose, epoch) ^ index))
}

/// What all addresses of a seed, a purpose and an epoch have in common.
pub(crate) fn base(seed: u64, purpose: Purpose, epoch: u64) -> u64 {
    hash(hash(hash(seed) ^ purpose as u64) ^ epoch)
}

/// A whole number in `0..n` (0 for n = 0). The bias is below n / 2^64.
pub(crate) fn below(rng: &mut Xoshiro256PlusPlus, n: u64) -> u64 {
    ((u128::from(rng.next_u64()) * u128::from(n)) >> 64) as u64
}

/// A number in [0, 1).
pub(crate) fn unit(rng: &mut Xoshiro256PlusPlus) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// A permutation of `0..n` (Fisher-Yates).
pub(crate) fn permutation(rng: &mut Xoshiro256PlusPlus, n: u32) -> Vec<u32> {
    let mut order: Vec<u32> = (0..n).collect();
    for i in (1..order.len()).rev() {
        order.swap(i, below(rng, i as u64 + 1) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permutations_hold_every_number_once_and_depend_on_their_address() {
        let order = |seed, epoch| permutation(&mut generator(seed, Purpose::Order, epoch, 0), 1000);
        let mut sorted = order(1, 0);
        sorted.sort_unstable();
        assert!(sorted.iter().copied().eq(0..1000));
        assert_eq!(order(1, 0), order(1, 0));
        assert_ne!(order(1, 0), order(1, 1));
        assert_ne!(order(1, 0), order(2, 0));
        assert!(permutation(&mut generator(1, Purpose::Order, 0, 0), 0).is_empty());
    }

    #[test]
    fn order_is_value_stable() {
        // Worked out apart from this code, from the definitions of SplitMix64 and xoshiro256++. A change here
        // breaks the resume of runs made by earlier versions.
        let order = permutation(&mut generator(7, Purpose::Order, 3, 0), 8);
        assert_eq!(order, [1, 7, 0, 6, 4, 3, 5, 2]);
    }

    #[test]
    fn below_is_even() {
        let mut counts = [0u32; 9];
        let mut rng = generator(1, Purpose::Augmentation, 0, 0);
        for _ in 0..90_000 {
            counts[below(&mut rng, 9) as usize] += 1;
        }
        // 10,000 each, standard deviation 94
        assert!(
            counts.iter().all(|&c| (9_600..10_400).contains(&c)),
            "{counts:?}"
        );
    }
}
