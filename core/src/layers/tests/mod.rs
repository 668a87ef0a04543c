//! Every kernel by itself: its meaning, its gradients against finite differences, and f32 against f64.

mod accuracy;
mod gradients;
mod meaning;

use crate::real::Real;
use std::vec::Vec;

/// Values in [-1, 1), each of them exact in f32.
fn uniform<T: Real>(len: usize, seed: u32) -> Vec<T> {
    let mut s = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
    (0..len)
        .map(|_| {
            s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            T::from_f32((s >> 8) as f32 / 8_388_608.0 - 1.0)
        })
        .collect()
}
