//! Noise before scaling, for each distribution.

use super::super::simd::Simd;
use super::norm::{Products, Values, add_squares};
use smoothout::noise::gaussian::{CENTRE, CENTRE_LIMIT, LN_2, LOG, TAIL};

/// The squared norm of a filter's unit noise, as far as it has been summed.
#[derive(Clone, Copy, Default)]
pub(super) struct Squares {
    exact: u64,
    rounded: f32,
}

/// Unit noise of a distribution.
pub(super) trait Units: Copy + Send + Sync {
    /// Words that a block takes.
    const WORDS: usize;
    /// What the unit noise of [`at`](Self::at) is multiplied by.
    const UNIT: f32;

    /// Turns random words into what the buffer holds.
    #[inline(always)]
    fn prepare<S: Simd>(self, _: S, words: S::I) -> S::I {
        words
    }

    /// Unit noise of the LANES elements from index `i` of the buffer on, whose weights are `w`.
    ///
    /// # Safety
    /// The buffer holds them.
    unsafe fn at<S: Simd>(self, s: S, buffer: *const u32, i: usize, w: S::F) -> S::F;

    /// Adds the squares of `len` elements from index `i` on, whose weights start at `w`. All calls for a filter but the
    /// last add whole chunks of the norm.
    ///
    /// # Safety
    /// The buffer holds the elements, and a vector's length behind them is readable; `w` has `len` weights.
    unsafe fn add_squares<S: Simd>(
        self,
        s: S,
        buffer: *const u32,
        i: usize,
        w: *const f32,
        len: usize,
        sum: &mut Squares,
    );

    /// The norm of what has been summed.
    fn norm(self, sum: Squares) -> f32 {
        sum.rounded.sqrt()
    }
}

/// Odd integers 2k + 1.
#[derive(Clone, Copy)]
pub(super) struct Uniform;

impl Units for Uniform {
    const WORDS: usize = 64;
    const UNIT: f32 = 1.0 / 65536.0;

    #[inline(always)]
    fn prepare<S: Simd>(self, s: S, words: S::I) -> S::I {
        in_memory_order(s, words)
    }

    #[inline(always)]
    unsafe fn at<S: Simd>(self, s: S, buffer: *const u32, i: usize, _: S::F) -> S::F {
        // SAFETY: the caller's promise.
        let k = unsafe { s.load_halves(buffer.cast::<i16>().add(i)) };
        // Exact, whether the product is rounded or not.
        s.mul_add(s.to_float(k), s.splat(2.0), s.splat(1.0))
    }

    /// The sum of (2k + 1)² is 4 times that of k (k + 1), plus the number of elements; and k + 1 is -(not k).
    #[inline(always)]
    unsafe fn add_squares<S: Simd>(
        self,
        s: S,
        buffer: *const u32,
        i: usize,
        _: *const f32,
        len: usize,
        sum: &mut Squares,
    ) {
        let start = buffer.cast::<i16>().wrapping_add(i);
        let mut products = Products::new(s);
        let whole = len - len % (2 * S::LANES);
        let mut at = 0;
        while at < whole {
            // SAFETY: 2 * LANES elements from `at` on end at `whole` at the latest.
            products.add(s, unsafe { s.load_i(start.add(at).cast()) });
            at += 2 * S::LANES;
        }
        while at < len {
            // SAFETY: the caller promised readable memory behind the elements.
            let k = unsafe { s.load_halves(start.add(at)) };
            products.add_first(s, k, len - at);
            at += S::LANES;
        }
        sum.exact += 4 * products.total(s) + len as u64;
    }

    fn norm(self, sum: Squares) -> f32 {
        (sum.exact as f32).sqrt() * Self::UNIT
    }
}

/// Standard normal deviates, kept in the buffer as floats.
#[derive(Clone, Copy)]
pub(super) struct Gaussian;

impl Units for Gaussian {
    const WORDS: usize = 128;
    const UNIT: f32 = 1.0;

    /// The contract's [`unit`](smoothout::noise::gaussian::unit), with both branches computed.
    #[inline(always)]
    fn prepare<S: Simd>(self, s: S, words: S::I) -> S::I {
        let doubled = s.shl::<1>(words);
        // 0xffff_ffff - 2m, which is odd. Above 2^31 its half is converted, whose lowest bit only says that something
        // below it is lost, and doubled.
        let odd = s.xor_i(doubled, s.splat_i(u32::MAX));
        let large = s.to_float(s.or_i(s.shr::<1>(odd), s.splat_i(1)));
        let is_large = s.gt_i(s.splat_i(0), odd);
        let odd = s.select(is_large, s.add(large, large), s.to_float(odd));
        let q = s.mul(odd, s.splat(1.0 / 8_589_934_592.0));
        let tail = s.gt(q, s.splat(CENTRE_LIMIT));

        let central_r = s.sub(s.splat(0.180_625), s.mul(q, q));
        // Where 2m + 1 does not fit a signed integer, the tail's result is not used.
        let tail_r = s.sub(
            s.sqrt(minus_ln(s, s.add_i(doubled, s.splat_i(1)))),
            s.splat(1.6),
        );
        let r = s.select(tail, tail_r, central_r);
        let mut sides = [s.splat(0.0); 2];
        for (sum, (centre, tail_side)) in sides.iter_mut().zip(CENTRE.iter().zip(&TAIL)) {
            *sum = s.select(tail, s.splat(tail_side[3]), s.splat(centre[3]));
            for k in [2, 1, 0] {
                let coefficient = s.select(tail, s.splat(tail_side[k]), s.splat(centre[k]));
                *sum = s.add(s.mul(*sum, r), coefficient);
            }
        }
        let ratio = s.div(sides[0], sides[1]);
        let z = s.select(tail, ratio, s.mul(q, ratio));
        s.xor_i(s.bits(z), s.and_i(words, s.splat_i(0x8000_0000)))
    }

    #[inline(always)]
    unsafe fn at<S: Simd>(self, s: S, buffer: *const u32, i: usize, _: S::F) -> S::F {
        // SAFETY: the caller's promise.
        unsafe { s.load(buffer.cast::<f32>().add(i)) }
    }

    #[inline(always)]
    unsafe fn add_squares<S: Simd>(
        self,
        s: S,
        buffer: *const u32,
        i: usize,
        _: *const f32,
        len: usize,
        sum: &mut Squares,
    ) {
        // SAFETY: the buffer holds `len` floats from index `i` on.
        unsafe {
            add_squares(
                s.eight(),
                buffer.cast::<f32>().add(i),
                len,
                &mut sum.rounded,
            )
        };
    }
}

/// -ln(odd / 2^33), as the contract writes it.
#[inline(always)]
fn minus_ln<S: Simd>(s: S, odd: S::I) -> S::F {
    let bits = s.bits(s.to_float(odd));
    let exponent = s.sar::<23>(s.sub_i(bits, s.splat_i(0x3f35_04f3)));
    let mantissa = s.with_bits(s.sub_i(bits, s.shl::<23>(exponent)));
    let one = s.splat(1.0);
    let t = s.div(s.sub(mantissa, one), s.add(mantissa, one));
    let square = s.mul(t, t);
    let mut series = s.splat(LOG[4]);
    for k in [3, 2, 1, 0] {
        series = s.add(s.splat(LOG[k]), s.mul(square, series));
    }
    let power = s.to_float(s.sub_i(s.splat_i(33), exponent));
    s.sub(
        s.mul(power, s.splat(LN_2)),
        s.mul(s.mul(s.splat(2.0), t), series),
    )
}

/// -w where 16 bits are below the threshold, else 0.
#[derive(Clone, Copy)]
pub(super) struct Dropout {
    pub(super) threshold: u32,
}

impl Units for Dropout {
    const WORDS: usize = 64;
    const UNIT: f32 = 1.0;

    #[inline(always)]
    fn prepare<S: Simd>(self, s: S, words: S::I) -> S::I {
        in_memory_order(s, words)
    }

    #[inline(always)]
    unsafe fn at<S: Simd>(self, s: S, buffer: *const u32, i: usize, w: S::F) -> S::F {
        // SAFETY: the caller's promise.
        let k = unsafe { s.load_halves(buffer.cast::<i16>().add(i)) };
        let unsigned = s.and_i(k, s.splat_i(0xffff));
        let dropped = s.gt_i(s.splat_i(self.threshold), unsigned);
        let negated = s.with_bits(s.xor_i(s.bits(w), s.splat_i(0x8000_0000)));
        s.select(dropped, negated, s.splat(0.0))
    }

    #[inline(always)]
    unsafe fn add_squares<S: Simd>(
        self,
        s: S,
        buffer: *const u32,
        i: usize,
        w: *const f32,
        len: usize,
        sum: &mut Squares,
    ) {
        let dropped = Dropped {
            units: self,
            buffer,
            i,
            w,
        };
        // SAFETY: the caller's promise.
        unsafe { add_squares(s.eight(), dropped, len, &mut sum.rounded) };
    }
}

/// Weights that are dropped, and zeros.
#[derive(Clone, Copy)]
struct Dropped {
    units: Dropout,
    buffer: *const u32,
    i: usize,
    w: *const f32,
}

impl<E: Simd> Values<E> for Dropped {
    #[inline(always)]
    unsafe fn at(self, e: E, k: usize) -> E::F {
        // SAFETY: the caller's promise.
        unsafe {
            self.units
                .at(e, self.buffer, self.i + k, e.load(self.w.add(k)))
        }
    }

    #[inline(always)]
    unsafe fn first(self, e: E, k: usize, n: usize) -> E::F {
        // SAFETY: the caller's promise; lanes from `n` on are zero or minus zero.
        unsafe {
            self.units
                .at(e, self.buffer, self.i + k, e.load_first(self.w.add(k), n))
        }
    }
}

/// Words whose halves are read as 16-bit integers, the low half first.
#[inline(always)]
fn in_memory_order<S: Simd>(s: S, words: S::I) -> S::I {
    if cfg!(target_endian = "big") {
        s.rotl::<16, 16>(words)
    } else {
        words
    }
}
