//! The noise: a public contract, the same bits on every machine.
//!
//! θ is a function of (seed, step, draw, tensor, element) and of the clean weights; of nothing else. Changing one bit of
//! it is a breaking change.
//!
//! **Streams.** h(x) is the first output of SplitMix64 seeded with x. A tensor's key is
//! `h(h(h(h(seed) ^ step) ^ draw) ^ tensor)`. The tensor, flat, is cut into blocks of [`BLOCK`] elements, and block b's
//! generator is xoshiro128++ seeded with `seed_from_u64(key + b)`: any block can be made alone, and again.
//!
//! **Arithmetic.** Only + − × ÷ √ in f32, each rounded to nearest, nothing contracted, and integers. a is the strength.
//!
//! | distribution | unit noise of an element | drawn from |
//! |---|---|---|
//! | uniform | n = 2k + 1, k a signed 16-bit integer; n / 65536 is uniform in (-1, 1) and never 0 | half a 32-bit draw, the low half first |
//! | Gaussian | z, see [`gaussian::unit`] | one 32-bit draw |
//! | dropout | −w when k < round(a * 65536), k unsigned, else 0 (section III-B of the paper) | half a draw, as above |
//!
//! | scaling | uniform, s = a / 65536 | Gaussian | dropout |
//! |---|---|---|---|
//! | constant | n * s | z * a | as it is |
//! | per weight | n * (s * abs(w)) | z * (a * abs(w)) | as it is |
//! | per filter (equation 12) | n * ((r * a) / 65536) | z * (r * a) | times (r * a) |
//!
//! r = ‖w‖ / (‖noise‖ + 1e-6) over the filter, norms by [`norm`] in its stated order; the uniform noise's own is exact:
//! the sum of n² in integers, rounded once to f32, its root divided by 65536. A one-dimensional tensor has filters of
//! one element, so that per-filter noise is close to ±a abs(w) there.

pub(crate) mod filters;
pub mod gaussian;
mod norm;
mod replay;
pub(crate) mod sequence;
mod stream;

pub use norm::norm;
pub(crate) use stream::DrawKey;
pub use stream::{Address, BLOCK, Key};

use core::fmt;
use norm::RunningNorm;

/// Distribution of the noise.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Distribution {
    /// U(-a, a).
    #[default]
    Uniform,
    /// N(0, a²).
    Gaussian,
    /// −w with probability a: dropout seen as noise.
    Dropout,
}

/// What the noise of a weight is scaled by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Scaling {
    /// Nothing: SmoothOut.
    #[default]
    Constant,
    /// The weight's magnitude.
    PerWeight,
    /// The filter's norm: AdaSmoothOut, equation 12.
    PerFilter,
}

/// Noise that cannot be.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum NoiseError {
    /// The strength is negative, infinite or not a number.
    Strength {
        /// The strength given.
        value: f32,
    },
    /// The probability of dropout is more than 1.
    Probability {
        /// The probability given.
        value: f32,
    },
}

impl fmt::Display for NoiseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoiseError::Strength { value } => {
                write!(f, "noise strength {value} is not a finite number of at least 0")
            }
            NoiseError::Probability { value } => {
                write!(f, "the strength of dropout is a probability, and {value} is more than 1")
            }
        }
    }
}

impl core::error::Error for NoiseError {}

/// 2^-16, the unit of uniform noise.
const UNIT: f32 = 1.0 / 65536.0;

/// Added to the norm of a filter's noise, as in the authors' program.
const NORM_EPS: f32 = 1e-6;

/// Noise of one distribution, scaling, strength and sign.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Noise {
    distribution: Distribution,
    scaling: Scaling,
    strength: f32,
    negative: bool,
}

impl Noise {
    /// Noise of strength `strength` (a, after the schedule).
    ///
    /// # Errors
    /// A strength that is negative or not finite, or a probability of more than 1.
    pub fn new(
        distribution: Distribution,
        scaling: Scaling,
        strength: f32,
    ) -> Result<Self, NoiseError> {
        if !(strength.is_finite() && strength >= 0.0) {
            return Err(NoiseError::Strength { value: strength });
        }
        if distribution == Distribution::Dropout && strength > 1.0 {
            return Err(NoiseError::Probability { value: strength });
        }
        Ok(Self { distribution, scaling, strength, negative: false })
    }

    /// The same noise with the other sign: the second of an antithetic pair.
    pub const fn negated(self) -> Self {
        Self { negative: !self.negative, ..self }
    }

    /// Its distribution.
    pub const fn distribution(&self) -> Distribution {
        self.distribution
    }

    /// Its scaling.
    pub const fn scaling(&self) -> Scaling {
        self.scaling
    }

    /// Its strength.
    pub const fn strength(&self) -> f32 {
        self.strength
    }

    /// Whether its sign is turned: the second of an antithetic pair.
    pub const fn is_negative(&self) -> bool {
        self.negative
    }

    /// Whether the scale depends on the clean weights of the filter.
    pub const fn adapts(&self) -> bool {
        matches!(self.scaling, Scaling::PerFilter)
    }

    /// Draws below this are dropped: round(a * 65536), at most 65536.
    pub fn threshold(&self) -> u32 {
        // Truncation after adding a half rounds to nearest.
        (self.strength * 65536.0 + 0.5) as u32
    }

    /// Scale of the noise of one filter, which its unit noise is multiplied by. It depends on the clean weights with
    /// per-filter scaling alone. `start` is the filter's first element in its tensor.
    pub fn scale(&self, key: Key, start: usize, clean: &[f32]) -> f32 {
        let scale = match (self.scaling, self.distribution) {
            (Scaling::PerFilter, Distribution::Uniform) => {
                let of_noise = libm::sqrtf(squares(key, start, clean.len()) as f32) * UNIT;
                self.ratio(clean, of_noise) * UNIT
            }
            (Scaling::PerFilter, _) => {
                let mut of_noise = RunningNorm::default();
                self.each_theta(key, start, 1.0, clean.iter(), |w| **w, |_, unit| of_noise.push(unit));
                self.ratio(clean, of_noise.value())
            }
            (_, Distribution::Uniform) => self.strength * UNIT,
            (_, Distribution::Gaussian) => self.strength,
            (_, Distribution::Dropout) => 1.0,
        };
        if self.negative { -scale } else { scale }
    }

    /// Hands the noise θ of a filter's elements, in order, to `each` with their index in the filter. `scale` is the
    /// filter's [`scale`](Self::scale). With constant and per-filter scaling of uniform and Gaussian noise only the
    /// length of `clean` matters, so that θ can be made again when the weights are no longer clean.
    pub fn for_each(
        &self,
        key: Key,
        start: usize,
        scale: f32,
        clean: &[f32],
        mut each: impl FnMut(usize, f32),
    ) {
        let items = clean.iter().enumerate();
        self.each_theta(key, start, scale, items, |(_, w)| **w, |(i, _), theta| each(i, theta));
    }

    /// Writes the noise θ of a whole tensor of `rows` filters of `row_len` elements.
    /// `clean` and `theta` hold rows * row_len values; whatever is longer is cut.
    pub fn fill(&self, key: Key, rows: usize, row_len: usize, clean: &[f32], theta: &mut [f32]) {
        let filters = clean.chunks_exact(row_len.max(1)).zip(theta.chunks_exact_mut(row_len.max(1)));
        for (row, (clean, theta)) in filters.take(rows).enumerate() {
            let start = row * row_len;
            let scale = self.scale(key, start, clean);
            let items = clean.iter().zip(theta);
            self.each_theta(key, start, scale, items, |(w, _)| **w, |(_, theta), value| *theta = value);
        }
    }

    /// Hands each item, of weight `weight(item)`, its noise; the first item is element `start`.
    fn each_theta<T>(
        &self,
        key: Key,
        start: usize,
        scale: f32,
        items: impl ExactSizeIterator<Item = T>,
        weight: impl Fn(&T) -> f32,
        mut each: impl FnMut(T, f32),
    ) {
        let per_weight = self.scaling == Scaling::PerWeight;
        match self.distribution {
            Distribution::Uniform if per_weight => key.each_half(start, items, |item, half| {
                let scale = scale * weight(&item).abs();
                each(item, odd(half) as f32 * scale);
            }),
            Distribution::Uniform => {
                key.each_half(start, items, |item, half| each(item, odd(half) as f32 * scale));
            }
            Distribution::Gaussian => key.each_word(start, items, |item, word| {
                let scale = if per_weight { scale * weight(&item).abs() } else { scale };
                each(item, gaussian::unit(word) * scale);
            }),
            Distribution::Dropout => {
                let threshold = self.threshold();
                key.each_half(start, items, |item, half| {
                    let unit = if u32::from(half) < threshold { -weight(&item) } else { 0.0 };
                    each(item, unit * scale);
                });
            }
        }
    }

    /// r * a for a filter whose unit noise has this norm.
    fn ratio(&self, clean: &[f32], of_noise: f32) -> f32 {
        norm(clean) / (of_noise + NORM_EPS) * self.strength
    }
}

/// The odd integer 2k + 1 of sixteen random bits.
pub const fn odd(half: u16) -> i32 {
    2 * (half as i16 as i32) + 1
}

/// Sum of the squared odd integers of `len` elements; exact below 2^32 elements.
fn squares(key: Key, start: usize, len: usize) -> u64 {
    let mut sum = 0;
    // A square fits 32 bits: odd integers are at most 65535.
    key.each_half(start, 0..len, |_, half| sum += u64::from(odd(half).unsigned_abs().pow(2)));
    sum
}

#[cfg(test)]
mod tests;
