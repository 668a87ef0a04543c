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
        let draw = hash(hash(hash(self.seed) ^ self.step) ^ u64::from(self.draw));
        Key(hash(draw ^ u64::from(index)))
    }
}

/// First output of SplitMix64 seeded with `x`.
pub(crate) fn hash(x: u64) -> u64 {
    SplitMix64::seed_from_u64(x).next_u64()
}

/// The stream of one tensor in one draw.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Key(pub u64);

impl Key {
    /// Generator of block `block`.
    pub fn generator(self, block: usize) -> Xoshiro128PlusPlus {
        Xoshiro128PlusPlus::seed_from_u64(self.0.wrapping_add(block as u64))
    }

    /// Sixteen bits an element from element `start` on.
    pub fn halves(self, start: usize) -> Halves {
        let block = start / BLOCK;
        let mut halves = Halves { key: self, block, left: 0, generator: self.generator(block), high: None };
        let skipped = start % BLOCK;
        halves.left = BLOCK - skipped;
        for _ in 0..skipped / 2 {
            halves.generator.next_u32();
        }
        if skipped % 2 == 1 {
            halves.high = Some((halves.generator.next_u32() >> 16) as u16);
        }
        halves
    }

    /// Thirty-two bits an element from element `start` on.
    pub fn words(self, start: usize) -> Words {
        let (block, skipped) = (start / BLOCK, start % BLOCK);
        let mut generator = self.generator(block);
        for _ in 0..skipped {
            generator.next_u32();
        }
        Words { key: self, block, left: BLOCK - skipped, generator }
    }
}

/// Endless sixteen-bit draws of a tensor: each 32-bit draw serves two elements, low half first.
#[derive(Clone, Debug)]
pub struct Halves {
    key: Key,
    block: usize,
    left: usize,
    generator: Xoshiro128PlusPlus,
    high: Option<u16>,
}

impl Iterator for Halves {
    type Item = u16;

    #[inline]
    fn next(&mut self) -> Option<u16> {
        if self.left == 0 {
            self.block += 1;
            self.generator = self.key.generator(self.block);
            self.left = BLOCK;
        }
        self.left -= 1;
        // A block is even, so that no half is left over at its end.
        Some(match self.high.take() {
            Some(high) => high,
            None => {
                let word = self.generator.next_u32();
                self.high = Some((word >> 16) as u16);
                word as u16
            }
        })
    }
}

/// Endless 32-bit draws of a tensor, one an element.
#[derive(Clone, Debug)]
pub struct Words {
    key: Key,
    block: usize,
    left: usize,
    generator: Xoshiro128PlusPlus,
}

impl Iterator for Words {
    type Item = u32;

    #[inline]
    fn next(&mut self) -> Option<u32> {
        if self.left == 0 {
            self.block += 1;
            self.generator = self.key.generator(self.block);
            self.left = BLOCK;
        }
        self.left -= 1;
        Some(self.generator.next_u32())
    }
}
