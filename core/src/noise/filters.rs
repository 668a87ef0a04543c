//! Noise of one filter after the other, from a [`Sequence`]; the same bits as everywhere.

use super::norm::RunningNorm;
use super::sequence::{Sequence, WIDE, negative_odd};
use super::{Distribution, NORM_EPS, Noise, Scaling, UNIT, norm};

/// The root of a square is the magnitude itself where the square neither overflows nor loses bits.
const EXACT: core::ops::Range<f32> = 1e-15..1e15;

/// Whether noise can be Gaussian, dropout, or scaled per weight here; what is left out takes no flash.
pub(crate) const ANY_NOISE: bool = cfg!(any(not(feature = "micro-lean"), feature = "micro-any-noise"));

impl Noise {
    /// Scaling and distribution, where those that are left out cannot be.
    #[inline(always)]
    fn kind(&self) -> (Scaling, Distribution) {
        match self.scaling {
            _ if ANY_NOISE => (self.scaling, self.distribution),
            Scaling::PerFilter => (Scaling::PerFilter, Distribution::Uniform),
            _ => (Scaling::Constant, Distribution::Uniform),
        }
    }

    /// Writes the next filter plus its noise to `to`, which is as long, and returns the noise's scale.
    pub(crate) fn perturb_filter(&self, at: &mut Sequence, clean: &[f32], to: &mut [f32]) -> f32 {
        if self.kind() == (Scaling::PerFilter, Distribution::Uniform) {
            let squares = at.draw(to);
            let scale = self.uniform_scale(clean, squares);
            add_uniform(scale, clean, to);
            scale
        } else {
            let scale = self.next_scale(at, clean, to);
            self.perturb_part(at, scale, clean, to);
            scale
        }
    }

    /// Scale of the next filter; nothing is passed over. `scratch` holds at least one value.
    pub(crate) fn next_scale(&self, at: &Sequence, clean: &[f32], scratch: &mut [f32]) -> f32 {
        let scale = match self.kind() {
            (Scaling::PerFilter, Distribution::Uniform) if WIDE => {
                return self.uniform_scale(clean, at.clone().squares(clean.len()));
            }
            (Scaling::PerFilter, Distribution::Uniform) => {
                let (mut at, mut squares) = (at.clone(), 0);
                for clean in clean.chunks(scratch.len().max(1)) {
                    squares += at.draw(scratch.get_mut(..clean.len()).unwrap_or_default());
                }
                return self.uniform_scale(clean, squares);
            }
            (Scaling::PerFilter, _) => {
                let mut of_noise = RunningNorm::default();
                let mut at = at.clone();
                for clean in clean.chunks(scratch.len().max(1)) {
                    let Some(part) = scratch.get_mut(..clean.len()) else { break };
                    self.units(&mut at, clean, part);
                    part.iter().for_each(|unit| of_noise.push(*unit));
                }
                self.ratio(clean, of_noise.value())
            }
            (_, Distribution::Uniform) => self.strength * UNIT,
            (_, Distribution::Gaussian) => self.strength,
            (_, Distribution::Dropout) => 1.0,
        };
        if self.negative { -scale } else { scale }
    }

    /// Writes the next part of a filter plus its noise of this scale to `to`.
    pub(crate) fn perturb_part(&self, at: &mut Sequence, scale: f32, clean: &[f32], to: &mut [f32]) {
        let per_weight = self.kind().0 == Scaling::PerWeight;
        if self.kind().1 == Distribution::Uniform && !per_weight {
            if WIDE {
                at.add(scale, clean, to);
            } else {
                at.draw(to);
                add_uniform(scale, clean, to);
            }
        } else {
            self.perturb_units(at, scale, clean, to);
        }
    }

    /// The same of any unit noise.
    #[inline(never)] // A frame of its own, which uniform noise does without.
    fn perturb_units(&self, at: &mut Sequence, scale: f32, clean: &[f32], to: &mut [f32]) {
        self.units(at, clean, to);
        let (scaling, distribution) = self.kind();
        let per_weight = scaling == Scaling::PerWeight && distribution != Distribution::Dropout;
        for (w, to) in clean.iter().zip(to) {
            let scale = if per_weight { scale * w.abs() } else { scale };
            *to = w + *to * scale;
        }
    }

    /// Writes the next values, filters of one value each, plus their noise to `to`.
    pub(crate) fn perturb_each(&self, at: &mut Sequence, clean: &[f32], to: &mut [f32]) {
        if self.kind().0 != Scaling::PerFilter {
            let scale = self.next_scale(at, &[], &mut []);
            return self.perturb_part(at, scale, clean, to);
        }
        self.units(at, clean, to);
        self.add_each(clean, to);
    }

    /// Makes of the unit noise in `to`, filters of one value each, the values plus their noise.
    #[inline(never)] // A frame of its own, gone when the next noise is drawn.
    fn add_each(&self, clean: &[f32], to: &mut [f32]) {
        let uniform = self.kind().1 == Distribution::Uniform;
        for (w, to) in clean.iter().zip(to) {
            let unit = *to;
            let (of_noise, last) =
                if uniform { (unit.abs() * UNIT, UNIT) } else { (magnitude(unit), 1.0) };
            let scale = magnitude(*w) / (of_noise + NORM_EPS) * self.strength * last;
            *to = w + unit * if self.negative { -scale } else { scale };
        }
    }

    /// Passes over the next `len` elements.
    #[inline(never)]
    pub(crate) fn pass_over(&self, at: &mut Sequence, len: usize) {
        at.pass_over(len, if self.kind().1 == Distribution::Gaussian { 1 } else { 2 });
    }

    /// Writes the unit noise of the next values.
    fn units(&self, at: &mut Sequence, clean: &[f32], to: &mut [f32]) {
        match self.kind().1 {
            Distribution::Gaussian => at.normals(to),
            Distribution::Uniform => {
                at.draw(to);
                to.iter_mut().for_each(|to| *to = -negative_odd(*to) as f32);
            }
            Distribution::Dropout => {
                at.draw(to);
                let threshold = self.threshold();
                for (to, w) in to.iter_mut().zip(clean) {
                    let half = (!negative_odd(*to) >> 1) as u16;
                    *to = if u32::from(half) < threshold { -w } else { 0.0 };
                }
            }
        }
    }

    fn uniform_scale(&self, clean: &[f32], squares: u64) -> f32 {
        let of_noise = libm::sqrtf(rounded(squares)) * UNIT;
        let scale = self.ratio(clean, of_noise) * UNIT;
        if self.negative { -scale } else { scale }
    }
}

/// `value as f32` in half the instructions that compilers take for it without a 64-bit unit.
fn rounded(value: u64) -> f32 {
    let zeros = (value | 1).leading_zeros();
    let first = value << zeros;
    // What 32 bits have no room for is at most more than nothing, for the rounding.
    let word = (first >> 32) as u32 | u32::from(first as u32 != 0);
    // 2^(32 - zeros)
    word as f32 * f32::from_bits((159 - zeros) << 23)
}

/// The norm of one value.
fn magnitude(value: f32) -> f32 {
    let value = value.abs();
    if EXACT.contains(&value) { value } else { norm(&[value]) }
}

/// Makes of the odd integers in `to` the values `clean` plus their noise.
#[inline(never)]
fn add_uniform(scale: f32, clean: &[f32], to: &mut [f32]) {
    let scale = -scale;
    let (fours, rest) = if WIDE { clean.as_chunks::<4>() } else { (&[][..], clean) };
    let (fours_to, rest_to) = to.split_at_mut_checked(clean.len() - rest.len()).unwrap_or_default();
    let (fours_to, _) = fours_to.as_chunks_mut::<4>();
    for (&[a, b, c, d], to) in fours.iter().zip(fours_to) {
        let [e, f, g, h] = to.map(|odd| negative_odd(odd) as f32);
        *to = [a + e * scale, b + f * scale, c + g * scale, d + h * scale];
    }
    for (w, to) in rest.iter().zip(rest_to) {
        *to = w + negative_odd(*to) as f32 * scale;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::Key;
    use std::vec;
    use std::vec::Vec;

    /// What the contract's own functions add to a tensor.
    fn expected(noise: &Noise, key: Key, row_len: usize, clean: &[f32]) -> Vec<f32> {
        let mut theta = vec![0.0; clean.len()];
        noise.fill(key, clean.len() / row_len, row_len, clean, &mut theta);
        clean.iter().zip(&theta).map(|(w, t)| w + t).collect()
    }

    #[test]
    fn sums_are_rounded_to_nearest() {
        let mut state = 1u64;
        for i in 0..200_000u32 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // Of any length, among them ties and those just beside ties.
            let value = state >> (i % 64);
            let tie = (value | 1 << 63) >> 39 << 39 >> (i % 40) | (1 << 38 >> (i % 40));
            for value in [value, tie, tie - 1, tie + 1, 0, u64::MAX, u64::from(u32::MAX)] {
                assert_eq!(rounded(value).to_bits(), (value as f32).to_bits(), "{value}");
            }
        }
    }

    #[test]
    fn filters_get_the_noise_of_the_contract_to_the_bit() {
        let key = Key(0xfeed);
        let clean: Vec<f32> = (0..900)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) * [0.01, 1e-33, 3e-8, 700.0][i / 225])
            .collect();
        for distribution in [Distribution::Uniform, Distribution::Gaussian, Distribution::Dropout] {
            for scaling in [Scaling::Constant, Scaling::PerWeight, Scaling::PerFilter] {
                for strength in [0.0, 0.3, 1e-34] {
                    let noise = Noise::new(distribution, scaling, strength).expect("valid");
                    if noise.kind() != (scaling, distribution) {
                        continue; // It is left out.
                    }
                    for noise in [noise, noise.negated()] {
                        for row_len in [1, 9, 25, 150, 225, 450] {
                            let expected = expected(&noise, key, row_len, &clean);
                            let mut at = Sequence::new(key);
                            let mut got = vec![0.0; 900];
                            for (clean, got) in clean.chunks(row_len).zip(got.chunks_mut(row_len)) {
                                let scale = noise.next_scale(&at, clean, &mut [0.0; 7]);
                                let mut parts = at.clone();
                                let of_filter = noise.perturb_filter(&mut at, clean, got);
                                assert_eq!(scale.to_bits(), of_filter.to_bits());
                                let mut again = vec![0.0; row_len];
                                for (clean, again) in clean.chunks(64).zip(again.chunks_mut(64)) {
                                    noise.perturb_part(&mut parts, scale, clean, again);
                                }
                                assert!(again == got);
                            }
                            assert!(got == expected, "{noise:?} {row_len}");
                        }
                        let mut got = vec![0.0; 900];
                        let mut at = Sequence::new(key);
                        for (clean, got) in clean.chunks(77).zip(got.chunks_mut(77)) {
                            noise.perturb_each(&mut at, clean, got);
                        }
                        assert!(got == self::expected(&noise, key, 1, &clean), "{noise:?}");
                    }
                }
            }
        }
    }
}
