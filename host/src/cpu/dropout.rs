//! Dropout of activations, with the masks of [`DropoutMask`] drawn again whenever they are needed.
//!
//! Sixteen images lie side by side, and each has a generator of its own: one vector of random words serves two
//! neighbouring values of sixteen images, without memory and without regard to how images are split into tasks.

use super::generators::Generators;
use super::layout::{Blocked, IMAGES};
use super::simd::{Isa, Kernel, Simd};
use rayon::prelude::*;
use smoothout::dropout_mask::DropoutMask;
use smoothout::noise::BLOCK;

/// Values of an image that a task multiplies; a multiple of the mask's block.
const PIECE: usize = 8 * BLOCK;

/// Multiplies each value by 0 or 1 / (1 - p): activations on the way forward, their gradients on the way back. Images
/// of the ghost batch are numbered from `first_image`.
///
/// # Panics
/// `values` does not have the shape.
pub fn dropout(
    isa: Isa,
    shape: &Blocked,
    mask: &DropoutMask,
    first_image: u32,
    values: &mut [f32],
) {
    assert_eq!(values.len(), shape.len());
    if values.is_empty() {
        return;
    }
    values
        .par_chunks_mut(shape.image_len() * IMAGES)
        .enumerate()
        .for_each(|(block, values)| {
            let image = first_image.wrapping_add((block * IMAGES) as u32);
            values
                .par_chunks_mut(PIECE * IMAGES)
                .enumerate()
                .for_each(|(piece, values)| {
                    let block = (piece * (PIECE / BLOCK)) as u64;
                    isa.run(Piece {
                        mask,
                        image,
                        block,
                        values,
                    });
                });
        });
}

/// Values of sixteen images from `block` of their masks on.
struct Piece<'a> {
    mask: &'a DropoutMask,
    image: u32,
    block: u64,
    values: &'a mut [f32],
}

impl Kernel for Piece<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            mask,
            image,
            block,
            values,
        } = self;
        let keys: [u64; IMAGES] =
            std::array::from_fn(|lane| mask.image(image.wrapping_add(lane as u32)).0);
        let (threshold, factor) = (s.splat_i(mask.threshold()), s.splat(mask.scale()));
        for (index, values) in values.chunks_mut(BLOCK * IMAGES).enumerate() {
            let block = block + index as u64;
            let mut generators = Generators::seeded(s, |lane| keys[lane].wrapping_add(block));
            for pair in values.chunks_mut(2 * IMAGES) {
                for part in 0..IMAGES / S::LANES {
                    let words = generators.next(s, part);
                    let halves = [s.and_i(words, s.splat_i(0xffff)), s.shr::<16>(words)];
                    for (values, half) in pair.chunks_exact_mut(IMAGES).zip(halves) {
                        let place = values.as_mut_ptr().wrapping_add(part * S::LANES);
                        let kept = s.select(s.gt_i(threshold, half), s.splat(0.0), factor);
                        // SAFETY: `values` has 16 lanes, and part is below 16 / LANES.
                        unsafe { s.store(place, s.mul(s.load(place), kept)) };
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ODD_SHAPES, blocked, values, with_threads};
    use super::*;
    use smoothout::noise::Address;

    #[test]
    fn masks_are_those_of_the_algorithm() {
        let address = Address {
            seed: 3,
            step: 2,
            draw: 1,
        };
        let large = Blocked {
            images: 20,
            channels: 9216,
            height: 1,
            width: 1,
        };
        for shape in ODD_SHAPES.into_iter().chain([large]) {
            let x = blocked(
                &shape,
                &values(shape.images * shape.image_len(), 1, 0.0),
                5.0,
            );
            for (probability, first) in [(0.0, 0), (0.5, 7), (0.9, 1000)] {
                let mask = DropoutMask::new(address, 4, probability);
                let mut want = x.clone();
                for block in 0..shape.blocks() {
                    for lane in 0..IMAGES {
                        let factors = mask.factors(first + (block * IMAGES + lane) as u32);
                        for (e, factor) in factors.take(shape.image_len()).enumerate() {
                            want[(block * shape.image_len() + e) * IMAGES + lane] *= factor;
                        }
                    }
                }
                for isa in Isa::available() {
                    for threads in 1..=3 {
                        let mut got = x.clone();
                        with_threads(threads, || dropout(isa, &shape, &mask, first, &mut got));
                        let same = got
                            .iter()
                            .zip(&want)
                            .all(|(a, b)| a.to_bits() == b.to_bits());
                        assert!(same, "{shape:?} {probability} {}", isa.name());
                    }
                }
            }
        }
    }
}
