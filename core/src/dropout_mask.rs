//! Masks of activation dropout, addressed like the noise: a mask is made again in the backward pass and needs no memory.
//!
//! A mask's bits are a function of (seed, step, draw, layer, image, element) and of nothing else, so they do not depend
//! on threads, on the order of images or on a backend's layout. An image has a stream as a tensor of the noise has one
//! (see [`noise`](crate::noise)), with the key `h(h(h(h(h(seed ^ DOMAIN) ^ step) ^ draw) ^ layer) ^ image)`; its elements
//! go in the order channel, row, column. An element is dropped if its 16 bits are below `round(probability * 65536)`.

use crate::noise::{Address, Key};
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::SplitMix64;

/// Keeps these streams apart from those of the noise with the same seed: "dropmask" in ASCII.
const DOMAIN: u64 = 0x6472_6f70_6d61_736b;

/// The mask of one dropout layer in one forward pass and its backward pass.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct DropoutMask {
    key: u64,
    threshold: u32,
    scale: f32,
}

impl DropoutMask {
    /// The mask of the layer with this index that drops with this probability, in [0, 1). `address.draw` counts the
    /// forward passes of a step.
    pub fn new(address: Address, layer: u32, probability: f32) -> Self {
        Masks::new(address).layer(layer, probability)
    }

    /// Stream of an image of the ghost batch.
    pub fn image(&self, image: u32) -> Key {
        Key(hash(self.key ^ u64::from(image)))
    }

    /// An element is dropped if its 16 bits are below this; at most 65536.
    pub const fn threshold(&self) -> u32 {
        self.threshold
    }

    /// What elements that stay are multiplied by: 1 / (1 - probability).
    pub const fn scale(&self) -> f32 {
        self.scale
    }

    /// Factor (0 or [`scale`](Self::scale)) of each element of an image, without end. Forward, it multiplies the
    /// activations; backward, their gradients.
    pub fn factors(&self, image: u32) -> impl Iterator<Item = f32> + use<> {
        let Self {
            threshold, scale, ..
        } = *self;
        self.image(image).halves(0).map(move |half| {
            if u32::from(half) < threshold {
                0.0
            } else {
                scale
            }
        })
    }
}

/// The masks of one forward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Masks(u64);

impl Masks {
    /// Where nothing is dropped.
    pub(crate) const NONE: Self = Self(0);

    pub(crate) fn new(address: Address) -> Self {
        let Address { seed, step, draw } = address;
        Self(hash(hash(hash(seed ^ DOMAIN) ^ step) ^ u64::from(draw)))
    }

    /// That of the layer with this index; see [`DropoutMask::new`].
    pub(crate) fn layer(self, layer: u32, probability: f32) -> DropoutMask {
        let key = hash(self.0 ^ u64::from(layer));
        // Adding half and truncating rounds to the nearest integer.
        let threshold = (probability * 65536.0 + 0.5) as u32;
        DropoutMask { key, threshold, scale: 1.0 / (1.0 - probability) }
    }
}

fn hash(x: u64) -> u64 {
    SplitMix64::seed_from_u64(x).next_u64()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    const ADDRESS: Address = Address {
        seed: 1,
        step: 2,
        draw: 3,
    };

    fn mask(address: Address, layer: u32, probability: f32, image: u32) -> Vec<f32> {
        DropoutMask::new(address, layer, probability)
            .factors(image)
            .take(20_000)
            .collect()
    }

    #[test]
    fn dropped_share_and_mean_are_those_asked_for() {
        for probability in [0.0f32, 0.1, 0.5, 0.9] {
            let factors = mask(ADDRESS, 4, probability, 0);
            let dropped = factors.iter().filter(|&&f| f == 0.0).count() as f64 / 20_000.0;
            let p = f64::from(probability);
            // Four standard deviations of a binomial share.
            assert!((dropped - p).abs() <= 4.0 * (p * (1.0 - p) / 20_000.0).sqrt());
            assert!(
                factors
                    .iter()
                    .all(|&f| f == 0.0 || f == 1.0 / (1.0 - probability))
            );
        }
    }

    #[test]
    fn every_part_of_the_address_makes_another_mask() {
        let base = mask(ADDRESS, 4, 0.5, 0);
        let others = [
            mask(Address { seed: 9, ..ADDRESS }, 4, 0.5, 0),
            mask(Address { step: 9, ..ADDRESS }, 4, 0.5, 0),
            mask(Address { draw: 9, ..ADDRESS }, 4, 0.5, 0),
            mask(ADDRESS, 9, 0.5, 0),
            mask(ADDRESS, 4, 0.5, 1),
        ];
        for other in others {
            let equal = base.iter().zip(&other).filter(|(a, b)| a == b).count() as f64;
            assert!((equal / 20_000.0 - 0.5).abs() < 0.02, "{equal}");
        }
    }

    /// Committed values: a change of any of them is a breaking change.
    #[test]
    fn bits_are_those_of_the_contract() {
        let signs = |factors: &[f32]| {
            factors
                .iter()
                .fold(0u32, |bits, &f| bits << 1 | u32::from(f != 0.0))
        };
        let factors = mask(ADDRESS, 4, 0.5, 7);
        assert_eq!(signs(&factors[..32]), FIRST);
        assert_eq!(signs(&factors[128..160]), SECOND_BLOCK);
    }

    const FIRST: u32 = 835_691_071;
    const SECOND_BLOCK: u32 = 3808685171;
}
