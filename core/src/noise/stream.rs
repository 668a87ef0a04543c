use rand_core::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro128PlusPlus};

/// Elements whose bits come from one generator.
pub const BLOCK: usize = 128;

/// Where the bits of a draw come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Address {
    /// Seed of the training.
    pub seed: u64,
    /// Step of the training.
    pub step: u64,
    /// Draw within the step.
    pub draw: u32,
}

impl Address {
    /// Key of the tensor with this index.
    pub fn tensor(self, index: u32) -> Key {
        self.key().tensor(index)
    }

    /// What the keys of all tensors are made from.
    pub(crate) fn key(self) -> DrawKey {
        DrawKey(hash(hash(hash(self.seed) ^ self.step) ^ u64::from(self.draw)))
    }
}

/// An address in the form that the keys of its tensors are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DrawKey(u64);

impl DrawKey {
    /// Where there is no noise.
    pub(crate) const NONE: Self = Self(0);

    /// Key of the tensor with this index.
    pub(crate) fn tensor(self, index: u32) -> Key {
        Key(hash(self.0 ^ u64::from(index)))
    }
}

/// First output of SplitMix64 seeded with `x`.
#[inline(never)]
pub(crate) fn hash(x: u64) -> u64 {
    SplitMix64::seed_from_u64(x).next_u64()
}

/// The stream of one tensor in one draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Key(pub u64);

impl Key {
    /// Generator of block `block`.
    #[inline(never)] // Seeding is long, and needed in many places.
    pub fn generator(self, block: usize) -> Xoshiro128PlusPlus {
        Xoshiro128PlusPlus::seed_from_u64(self.0.wrapping_add(block as u64))
    }

    /// Sixteen bits an element from element `start` on, without end: each 32-bit draw serves two elements, the low half
    /// first.
    pub fn halves(self, start: usize) -> impl Iterator<Item = u16> + use<> {
        let mut next = start;
        let mut generator = self.generator_at(start, 2);
        let mut word = if start % 2 == 1 { generator.next_u32() } else { 0 };
        core::iter::repeat_with(move || {
            if next != start && next.is_multiple_of(BLOCK) {
                generator = self.generator(next / BLOCK);
            }
            if next.is_multiple_of(2) {
                word = generator.next_u32();
            } else {
                word >>= 16;
            }
            next += 1;
            word as u16
        })
    }

    /// Hands each item its element's sixteen bits, those of [`halves`](Self::halves); the first item is element
    /// `start`. Faster than an iterator: the generator's state stays in registers throughout a block.
    pub(super) fn each_half<T>(
        self,
        start: usize,
        mut items: impl ExactSizeIterator<Item = T>,
        mut each: impl FnMut(T, u16),
    ) {
        let mut element = start;
        while items.len() > 0 {
            let mut generator = self.generator_at(element, 2);
            if element % 2 == 1
                && let Some(item) = items.next()
            {
                each(item, (generator.next_u32() >> 16) as u16);
            }
            for _ in 0..(BLOCK - element % BLOCK) / 2 {
                let Some(item) = items.next() else { return };
                let word = generator.next_u32();
                each(item, word as u16);
                let Some(item) = items.next() else { return };
                each(item, (word >> 16) as u16);
            }
            element = (element / BLOCK + 1) * BLOCK;
        }
    }

    /// Hands each item its element's 32-bit draw; the first item is element `start`.
    pub(super) fn each_word<T>(
        self,
        start: usize,
        mut items: impl ExactSizeIterator<Item = T>,
        mut each: impl FnMut(T, u32),
    ) {
        let mut element = start;
        while items.len() > 0 {
            let mut generator = self.generator_at(element, 1);
            for _ in element % BLOCK..BLOCK {
                let Some(item) = items.next() else { return };
                each(item, generator.next_u32());
            }
            element = (element / BLOCK + 1) * BLOCK;
        }
    }

    /// The generator of an element's block, before the draw that serves it, where a draw serves `share` elements.
    fn generator_at(self, element: usize, share: usize) -> Xoshiro128PlusPlus {
        let mut generator = self.generator(element / BLOCK);
        for _ in 0..element % BLOCK / share {
            generator.next_u32();
        }
        generator
    }
}
