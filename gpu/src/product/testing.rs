//! What the tests of convolutions and linear layers share: operands, their rounding, and bounds.

use super::Precision;
use crate::device::{Gpu, Selector};
use crate::memory::Buffer;

/// The device that tests run on: a GPU, or the emulator of tests/cuda-emulator.
pub(crate) fn gpu() -> Gpu {
    Gpu::open(&Selector::default()).expect("a device: run these tests with gpu/test or on a machine with a GPU")
}

/// The precisions that a device has.
pub(crate) fn precisions(gpu: &Gpu) -> &'static [Precision] {
    let all = &[Precision::F32, Precision::Tf32, Precision::Bf16];
    if gpu.capability() >= [8, 0] { all } else { &all[..1] }
}

/// Values in (-1, 1) with full mantissas, by Numerical Recipes' generator.
pub(crate) fn values(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(747_796_405).wrapping_add(1);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// An operand as the products see it.
pub(crate) fn rounded(precision: Precision, value: f32) -> f64 {
    let bits = value.to_bits();
    let bits = match precision {
        Precision::F32 => bits,
        // To nearest, ties away from zero: cvt.rna.tf32.
        Precision::Tf32 => (bits + 0x1000) & !0x1fff,
        // To nearest, ties to even: cvt.rn.bf16.
        Precision::Bf16 => (bits + 0x7fff + (bits >> 16 & 1)) & !0xffff,
    };
    f64::from(f32::from_bits(bits))
}

/// A sum of products in f64 of rounded operands, the sum of their magnitudes, and how many there are.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Exact {
    pub(crate) sum: f64,
    magnitude: f64,
    terms: usize,
}

impl Exact {
    pub(crate) fn add(&mut self, product: f64) {
        self.sum += product;
        self.magnitude += product.abs();
        self.terms += 1;
    }
}

/// Holds results to the exact ones. Products of operands that are rounded alike are exact in f64, so all that is left is the
/// sum's rounding, in whatever order: at most terms * 2^-23 of the magnitudes (tensor cores may cut off instead of rounding),
/// and a few more for bias, scale and what is added to. From f32 operands the error is larger by (2 r + r²) of the
/// magnitudes, where r is `Precision::roundoff`.
pub(crate) fn compare(what: &str, results: &[f32], exact: impl IntoIterator<Item = Exact>) {
    let mut count = 0;
    for (i, exact) in exact.into_iter().enumerate() {
        let off = (f64::from(results[i]) - exact.sum).abs();
        let allowed = (exact.terms + 4) as f64 * exact.magnitude / 8_388_608.0;
        assert!(off <= allowed, "{what}: number {i} is {} instead of {}, off by {off:e} of {allowed:e}", results[i], exact.sum);
        count += 1;
    }
    assert_eq!(count, results.len(), "{what}: as many results as there are");
}

/// Values on the device.
pub(crate) fn upload(gpu: &Gpu, values: &[f32]) -> Buffer<f32> {
    Buffer::from_slice(gpu, values).expect("device memory")
}

/// Values from the device.
pub(crate) fn download(gpu: &Gpu, buffer: &Buffer<f32>) -> Vec<f32> {
    buffer.to_vec(gpu).expect("device memory")
}
