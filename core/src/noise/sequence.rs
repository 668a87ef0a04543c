//! The noise of a tensor's elements one run after the other, as fast as a microcontroller can make it.
//!
//! A [`Key`] can begin anywhere, which costs a seeding and up to 63 draws; a sequence begins where its last run ended.

use super::{BLOCK, Key, gaussian};
use rand_core::Rng;
use rand_xoshiro::Xoshiro128PlusPlus;

/// Whether the same bits may take more flash to take fewer instructions.
pub(crate) const WIDE: bool = cfg!(any(not(feature = "micro-lean"), feature = "micro-wide"));

/// Where a tensor's stream stands. A copy of it makes the same noise again.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    /// The key in halves, which need no alignment that would cost memory in a session.
    key: [u32; 2],
    generator: Xoshiro128PlusPlus,
    /// The next element.
    element: usize,
    /// The draw whose high half serves the next element, if that is odd.
    word: u32,
}

/// -(2k + 1) of an element's sixteen bits k, which costs less than 2k + 1: stands in memory as the f32 of the same bits.
#[inline(always)]
pub(crate) fn negative_odd(stored: f32) -> i32 {
    stored.to_bits().cast_signed()
}

/// Of a word's low half: -(2k + 1) = !(2k).
#[inline(always)]
fn low(word: u32) -> i32 {
    !((word << 16).cast_signed() >> 15)
}

/// Of its high half. The shift leaves a bit of the low half where !(2k) has a 1.
#[inline(always)]
fn high(word: u32) -> i32 {
    !(word.cast_signed() >> 15) | 1
}

#[inline(always)]
fn stored(odd: i32) -> f32 {
    f32::from_bits(odd.cast_unsigned())
}

#[inline(always)]
fn square(odd: i32) -> i64 {
    i64::from(odd) * i64::from(odd)
}

/// k !k of a half, which is (1 - (2k + 1)²) / 4 as !k = -k - 1.
#[inline(always)]
fn product(half: u32) -> i64 {
    let k = i32::from(half as i16);
    i64::from(k * !k)
}

impl Sequence {
    /// The stream of a tensor from its first element on.
    pub(crate) fn new(key: Key) -> Self {
        let Key(word) = key;
        Self { key: [word as u32, (word >> 32) as u32], generator: key.generator(0), element: 0, word: 0 }
    }

    fn generator(&self, block: usize) -> Xoshiro128PlusPlus {
        let [low, high] = self.key.map(u64::from);
        Key(high << 32 | low).generator(block)
    }

    /// Sum of the squared odd integers of the next `len` elements, which are passed over.
    pub(crate) fn squares(&mut self, len: usize) -> u64 {
        let mut sum = 0;
        let both = |sum: i64, word: u32| sum + product(word) + product(word >> 16);
        let mut left = len;
        while left > 0 {
            let mut run = self.run(left);
            left -= run;
            self.element += run;
            if (self.element - run) % 2 == 1 {
                sum += product(self.word >> 16);
                run -= 1;
            }
            let mut generator = self.generator.clone();
            for _ in 0..run / 4 {
                sum = both(sum, generator.next_u32());
                sum = both(sum, generator.next_u32());
            }
            if run & 2 != 0 {
                sum = both(sum, generator.next_u32());
            }
            if run & 1 != 0 {
                self.word = generator.next_u32();
                sum += product(self.word);
            }
            self.generator = generator;
        }
        (len as i64 - 4 * sum).cast_unsigned()
    }

    /// Writes the next elements' odd integers to `to`, as [`negative_odd`] reads them; returns the sum of their squares.
    #[inline(never)]
    pub(crate) fn draw(&mut self, to: &mut [f32]) -> u64 {
        let (mut rest, mut squares) = (to, 0);
        while !rest.is_empty() {
            let run = self.even_run(rest.len());
            let Some((now, later)) = rest.split_at_mut_checked(run) else { break };
            rest = later;
            let (eights, few) = now.as_chunks_mut();
            if eights.is_empty() {
                squares += self.few(few);
            } else {
                self.element += run;
                squares += eight_odds(&mut self.generator, eights);
            }
        }
        squares.cast_unsigned()
    }

    /// Writes `clean`, which is as long, plus the next elements' odd integers times `scale` to `to`.
    #[inline(never)]
    pub(crate) fn add(&mut self, scale: f32, clean: &[f32], to: &mut [f32]) {
        let (mut clean, mut to) = (clean, to);
        let scale = -scale;
        while !to.is_empty() {
            let run = self.even_run(to.len());
            let Some((now, later)) = core::mem::take(&mut to).split_at_mut_checked(run) else { break };
            let Some((weights, others)) = clean.split_at_checked(run) else { break };
            (to, clean) = (later, others);
            let (eights, few) = now.as_chunks_mut();
            if eights.is_empty() {
                self.few(few);
                for (w, to) in weights.iter().zip(few) {
                    *to = w + negative_odd(*to) as f32 * scale;
                }
            } else {
                self.element += run;
                eight_sums(&mut self.generator, scale, weights.as_chunks().0, eights);
            }
        }
    }

    /// How many of `left` elements come next together: eights from an even element on, others one by one.
    #[inline(always)]
    fn even_run(&mut self, left: usize) -> usize {
        let run = self.run(left);
        if self.element % 2 == 1 {
            1
        } else if run < 8 {
            run
        } else {
            run / 8 * 8
        }
    }

    /// Writes a few elements' odd integers and returns the sum of their squares.
    #[inline(never)] // Here and below: a frame of its own, in which all that a loop needs fits the registers.
    fn few(&mut self, to: &mut [f32]) -> i64 {
        let mut squares = 0;
        for to in to {
            let odd = if self.element % 2 == 1 {
                high(self.word)
            } else {
                self.word = next(&mut self.generator);
                low(self.word)
            };
            self.element += 1;
            *to = stored(odd);
            squares += square(odd);
        }
        squares
    }

    /// Writes the next elements' standard normal deviates.
    #[inline(never)] // A frame of its own, which uniform noise does without.
    pub(crate) fn normals(&mut self, to: &mut [f32]) {
        let mut rest = to;
        while !rest.is_empty() {
            let run = self.run(rest.len());
            let Some((now, later)) = rest.split_at_mut_checked(run) else { return };
            rest = later;
            now.iter_mut().for_each(|z| *z = gaussian::unit(self.generator.next_u32()));
            self.element += run;
        }
    }

    /// Passes over the next `len` elements, `share` of which share a draw: at most one block's draws are made.
    pub(crate) fn pass_over(&mut self, len: usize, share: usize) {
        let draws = |element: usize| (element % BLOCK).div_ceil(share.max(1));
        let end = self.element + len;
        let mut made = draws(self.element);
        if made == 0 || end / BLOCK != self.element / BLOCK {
            made = 0;
            if !end.is_multiple_of(BLOCK) {
                self.generator = self.generator(end / BLOCK);
            }
        }
        for _ in made..draws(end) {
            self.word = self.generator.next_u32();
        }
        self.element = end;
    }

    /// How many of `left` elements the present block still has, at least 1; a block that begins is seeded.
    fn run(&mut self, left: usize) -> usize {
        let inside = self.element % BLOCK;
        // The first block is seeded from the beginning.
        if inside == 0 && self.element > 0 {
            self.generator = self.generator(self.element / BLOCK);
        }
        left.min(BLOCK - inside)
    }
}

/// The next draw, where few follow each other.
#[inline(never)] // Loops over it are not worth unrolling.
fn next(generator: &mut Xoshiro128PlusPlus) -> u32 {
    generator.next_u32()
}

/// Writes the odd integers that are drawn next, and returns the sum of their squares.
#[inline(never)]
fn eight_odds(generator: &mut Xoshiro128PlusPlus, to: &mut [[f32; 8]]) -> i64 {
    let mut squares = 0;
    let mut state = generator.clone();
    for to in to {
        for [even, odd] in to.as_chunks_mut::<2>().0 {
            let word = state.next_u32();
            let values = [low(word), high(word)];
            squares += square(values[0]) + square(values[1]);
            [*even, *odd] = values.map(stored);
        }
    }
    *generator = state;
    squares
}

/// Writes `clean` plus the negative odd integers that are drawn next times `scale`.
#[inline(never)]
fn eight_sums(generator: &mut Xoshiro128PlusPlus, scale: f32, clean: &[[f32; 8]], to: &mut [[f32; 8]]) {
    let mut state = generator.clone();
    let (clean, to) = (clean.as_flattened().as_chunks::<4>().0, to.as_flattened_mut().as_chunks_mut::<4>().0);
    for (to, [a, b, c, d]) in to.iter_mut().zip(clean) {
        let (first, second) = (state.next_u32(), state.next_u32());
        let noise = [low(first), high(first), low(second), high(second)].map(|odd| odd as f32 * scale);
        *to = [a + noise[0], b + noise[1], c + noise[2], d + noise[3]];
    }
    *generator = state;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::odd;
    use std::vec;
    use std::vec::Vec;

    #[test]
    fn runs_of_any_length_are_the_stream_of_the_key() {
        let key = Key(0x1234_5678_9abc_def0);
        let expected: Vec<i32> = key.halves(0).take(3000).map(odd).collect();
        for lens in [&[1usize, 2, 3, 127, 128, 129, 200, 5, 64][..], &[25], &[150], &[784], &[72, 9]] {
            let mut sequence = Sequence::new(key);
            let (mut at, mut turn) = (0, 0);
            while at < 2000 {
                let len = lens[turn % lens.len()];
                turn += 1;
                let part = &expected[at..at + len];
                let mut to = vec![0.0; len];
                let passed = sequence.clone().squares(len);
                let clean = vec![1.0; len];
                let squares = sequence.clone().draw(&mut to);
                let mut sums = vec![0.0; len];
                sequence.clone().add(2.0, &clean, &mut sums);
                let mut over = sequence.clone();
                over.pass_over(len, 2);
                sequence.draw(&mut to);
                let mut next = [[0.0; 9]; 2];
                over.draw(&mut next[0]);
                sequence.clone().draw(&mut next[1]);
                assert!(next[0].map(f32::to_bits) == next[1].map(f32::to_bits), "{lens:?} {at}");
                let got: Vec<i32> = to.iter().map(|odd| -negative_odd(*odd)).collect();
                assert!(got == part, "{lens:?} {at}");
                assert!(sums.iter().zip(part).all(|(sum, n)| *sum == 1.0 + *n as f32 * 2.0));
                assert_eq!(squares, part.iter().map(|n| (*n as i64 * *n as i64) as u64).sum::<u64>());
                assert_eq!(passed, squares);
                at += len;
            }
        }
    }

    #[test]
    fn normals_are_those_of_the_stream() {
        let key = Key(77);
        let mut expected = Vec::new();
        key.each_word(0, 0..400, |_, word| expected.push(gaussian::unit(word)));
        let mut sequence = Sequence::new(key);
        let mut got = vec![0.0; 400];
        for part in got.chunks_mut(37) {
            let mut over = sequence.clone();
            sequence.normals(part);
            over.pass_over(part.len(), 1);
            let mut next = [[0.0; 3]; 2];
            over.normals(&mut next[0]);
            sequence.clone().normals(&mut next[1]);
            assert!(next[0] == next[1]);
        }
        assert!(got == expected);
    }
}
