//! Sixteen generators at a time, for streams in which any block can be drawn alone.

use super::simd::Simd;
use super::simd::transpose::TILE;

/// xoshiro128++ generators side by side, one a lane: `TILE / LANES` vectors of each word of the state.
#[derive(Clone, Copy)]
pub(super) struct Generators<S: Simd> {
    states: [[S::I; 4]; 2],
}

impl<S: Simd> Generators<S> {
    /// The generators that `seed_from_u64` makes of sixteen seeds.
    #[inline(always)]
    pub(super) fn seeded(s: S, seeds: impl Fn(usize) -> u64) -> Self {
        let mut words = [[0u32; TILE]; 4];
        for lane in 0..TILE {
            // SplitMix64's outputs are a bijection of its counter, so that both are never zero and no
            // state is all zeros.
            let seed = seeds(lane);
            let (a, b) = (
                mix(seed.wrapping_add(GOLDEN)),
                mix(seed.wrapping_add(GOLDEN.wrapping_mul(2))),
            );
            for (words, word) in words.iter_mut().zip([a, a >> 32, b, b >> 32]) {
                words[lane] = word as u32;
            }
        }
        let mut states = [[s.splat_i(0); 4]; 2];
        for (part, state) in states.iter_mut().enumerate().take(TILE / S::LANES) {
            for (word, words) in state.iter_mut().zip(&words) {
                // SAFETY: part is below TILE / LANES.
                *word = unsafe { s.load_i(words.as_ptr().add(part * S::LANES)) };
            }
        }
        Self { states }
    }

    /// The next word of the generators in lanes `part * LANES..`.
    #[inline(always)]
    pub(super) fn next(&mut self, s: S, part: usize) -> S::I {
        let [a, b, c, d] = self.states[part];
        let word = s.add_i(s.rotl::<7, 25>(s.add_i(a, d)), a);
        let c = s.xor_i(c, a);
        let d = s.xor_i(d, b);
        let shifted = s.shl::<9>(b);
        self.states[part] = [
            s.xor_i(a, d),
            s.xor_i(b, c),
            s.xor_i(c, shifted),
            s.rotl::<11, 21>(d),
        ];
        word
    }
}

const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// The output of SplitMix64 whose counter is `z`.
#[inline(always)]
fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
