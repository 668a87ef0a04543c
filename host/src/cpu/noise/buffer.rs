//! Random words in the order of a tensor's elements.

use super::super::generators::Generators;
use super::super::simd::Simd;
use super::super::simd::transpose::TILE;
use super::units::Units;
use smoothout::noise::{BLOCK, Key};

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
