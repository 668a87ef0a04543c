//! What the tests of the kernels share.
#![allow(clippy::unwrap_used)]

use super::layout::{Blocked, IMAGES, to_blocked};
use super::simd::Isa;

const fn shape(images: usize, channels: usize, height: usize, width: usize) -> Blocked {
    Blocked {
        images,
        channels,
        height,
        width,
    }
}

/// Partial blocks, single pixels, single channels, rows that fill no tile, and one larger than any task's piece.
pub(crate) const ODD_SHAPES: [Blocked; 9] = [
    shape(1, 1, 1, 1),
    shape(5, 3, 2, 7),
    shape(16, 10, 1, 1),
    shape(17, 64, 1, 1),
    shape(129, 10, 1, 1),
    shape(16, 3, 33, 33),
    shape(17, 3, 33, 31),
    shape(129, 1, 5, 5),
    shape(40, 10, 8, 9),
];

/// Runs `work` in a pool of this many threads.
pub(crate) fn with_threads<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(work)
}

/// Pseudo-random values of about unit variance around `mean`.
pub(crate) fn values(len: usize, seed: u64, mean: f32) -> Vec<f32> {
    use rand_core::{Rng, SeedableRng};
    let mut generator = rand_xoshiro::Xoshiro128PlusPlus::seed_from_u64(seed);
    let mut unit = || generator.next_u32() as f32 / 4_294_967_296.0 - 0.5;
    (0..len)
        .map(|_| mean + 2.0 * (unit() + unit() + unit()))
        .collect()
}

/// NCHW values in the blocked layout, with unused lanes that must not matter.
pub(crate) fn blocked(shape: &Blocked, images: &[f32], unused: f32) -> Vec<f32> {
    let mut all = vec![0.0; shape.len()];
    to_blocked(Isa::PORTABLE, shape, images, &mut all);
    for (k, value) in all.iter_mut().enumerate() {
        if image_of(shape, k) >= shape.images {
            *value = unused;
        }
    }
    all
}

/// The image that element k of a blocked activation belongs to; unused lanes have numbers from `images` on.
pub(crate) fn image_of(shape: &Blocked, k: usize) -> usize {
    k / (shape.image_len() * IMAGES) * IMAGES + k % IMAGES
}

/// Euclidean distance over the norm of what is wanted.
pub(crate) fn distance(got: &[f32], want: &[f64]) -> f64 {
    assert_eq!(got.len(), want.len());
    let norm = want.iter().map(|w| w * w).sum::<f64>().sqrt();
    let error = got
        .iter()
        .zip(want)
        .map(|(&g, w)| (f64::from(g) - w).powi(2))
        .sum::<f64>()
        .sqrt();
    error / norm.max(f64::MIN_POSITIVE)
}
