//! Random words, sixteen generators at a time.

use super::super::simd::Simd;
use super::super::simd::transpose::TILE;
use super::units::Units;
use smoothout::noise::{BLOCK, Key};

/// xoshiro128++ generators side by side, one a lane: `TILE / LANES` vectors of each word of the state.
#[derive(Clone, Copy)]
pub(in super::super) struct Generators<S: Simd> {
    states: [[S::I; 4]; 2],
}

impl<S: Simd> Generators<S> {
    /// The generators that `seed_from_u64` makes of sixteen seeds.
    #[inline(always)]
    pub(in super::super) fn seeded(s: S, seeds: impl Fn(usize) -> u64) -> Self {
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
    pub(in super::super) fn next(&mut self, s: S, part: usize) -> S::I {
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

/// Words that a buffer holds: half of a first-level cache, so that weights have room beside them.
const WORDS: usize = 6 * 1024;

/// Words behind them that whole vectors may touch.
const SLACK: usize = 32;

/// Elements that [`Buffer::cover`] can be asked for at once; a multiple of the block.
pub(super) const fn longest<U: Units>() -> usize {
    // Blocks come sixteen at a time, and the first and the last one may be needed in part.
    (WORDS / U::WORDS - TILE - 1) * BLOCK
}

/// Consecutive blocks of a tensor's stream, in the order of its elements.
pub(super) struct Buffer {
    key: Key,
    /// First block in the buffer, and the block behind the last one.
    first: usize,
    end: usize,
    /// Element at which the stream is not needed any more.
    limit: usize,
    words: [u32; WORDS + SLACK],
}

impl Buffer {
    /// An empty buffer for a stream that is needed up to element `limit`.
    pub(super) fn new(key: Key, limit: usize) -> Self {
        Self {
            key,
            first: 0,
            end: 0,
            limit,
            words: [0; WORDS + SLACK],
        }
    }

    /// Makes elements `start..end` present, at most [`longest`] of them, and returns the buffer and the index that the
    /// first of them has in it.
    #[inline(always)]
    pub(super) fn cover<S: Simd, U: Units>(
        &mut self,
        s: S,
        units: U,
        start: usize,
        end: usize,
    ) -> (*const u32, usize) {
        let block = start / BLOCK;
        if block < self.first || block >= self.end {
            (self.first, self.end) = (block, block);
        }
        if end > self.end * BLOCK {
            let kept = (block - self.first) * U::WORDS..(self.end - self.first) * U::WORDS;
            self.words.copy_within(kept, 0);
            self.first = block;
            while self.end * BLOCK < self.limit
                && (self.end - self.first + TILE) * U::WORDS <= WORDS
            {
                let place =
                    &mut self.words[(self.end - self.first) * U::WORDS..][..TILE * U::WORDS];
                draw(s, units, self.key.0.wrapping_add(self.end as u64), place);
                self.end += TILE;
            }
        }
        (self.words.as_ptr(), start - self.first * BLOCK)
    }
}

/// Sixteen blocks, the first of which has this seed.
#[inline(always)]
fn draw<S: Simd, U: Units>(s: S, units: U, seed: u64, place: &mut [u32]) {
    assert!(place.len() == TILE * U::WORDS);
    let mut generators = Generators::seeded(s, |lane| seed.wrapping_add(lane as u64));
    let mut tile = [0u32; TILE * TILE];
    for first in (0..U::WORDS).step_by(TILE) {
        for k in 0..TILE {
            for part in 0..TILE / S::LANES {
                let word = units.prepare(s, generators.next(s, part));
                // SAFETY: row k of the tile, of TILE words.
                unsafe { s.store_i(tile.as_mut_ptr().add(k * TILE + part * S::LANES), word) };
            }
        }
        // SAFETY: the tile's rows become columns: block j's words first..first + TILE.
        unsafe {
            let target = place.as_mut_ptr().add(first);
            s.transpose(tile.as_ptr().cast(), TILE, target.cast(), U::WORDS);
        }
    }
}
