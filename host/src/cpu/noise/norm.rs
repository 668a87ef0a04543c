//! Sums of squares: in the contract's order for floats, exact for integers.

use super::super::simd::Simd;

/// Values in the order of the elements, in vectors of eight.
pub(super) trait Values<E: Simd>: Copy {
    /// Eight values from the k-th on.
    ///
    /// # Safety
    /// They exist.
    unsafe fn at(self, e: E, k: usize) -> E::F;
    /// The same where only the first `n` exist: the others are zero.
    ///
    /// # Safety
    /// The first `n` exist.
    unsafe fn first(self, e: E, k: usize, n: usize) -> E::F;
}

impl<E: Simd> Values<E> for *const f32 {
    #[inline(always)]
    unsafe fn at(self, e: E, k: usize) -> E::F {
        // SAFETY: the caller's promise.
        unsafe { e.load(self.add(k)) }
    }

    #[inline(always)]
    unsafe fn first(self, e: E, k: usize, n: usize) -> E::F {
        // SAFETY: the caller's promise.
        unsafe { e.load_first(self.add(k), n) }
    }
}

/// Values of a chunk.
const CHUNK: usize = 128;

/// Adds the squares of `len` values to `total`, chunk by chunk as the contract says.
///
/// # Safety
/// There are `len` values.
#[inline(always)]
pub(super) unsafe fn add_squares<E: Simd, V: Values<E>>(
    e: E,
    values: V,
    len: usize,
    total: &mut f32,
) {
    let mut at = 0;
    // SAFETY: the chunks lie inside of `len` values.
    unsafe {
        // Chunks side by side, for the additions of one of them wait for each other.
        while at + 4 * CHUNK <= len {
            add_chunks::<4, _, _>(e, values, at, total);
            at += 4 * CHUNK;
        }
        if at + 2 * CHUNK <= len {
            add_chunks::<2, _, _>(e, values, at, total);
            at += 2 * CHUNK;
        }
        if at + CHUNK <= len {
            add_chunks::<1, _, _>(e, values, at, total);
            at += CHUNK;
        }
        if at < len {
            let mut lanes = e.splat(0.0);
            while at + 8 <= len {
                let value = values.at(e, at);
                lanes = e.add(lanes, e.mul(value, value));
                at += 8;
            }
            if at < len {
                let value = values.first(e, at, len - at);
                lanes = e.add(lanes, e.mul(value, value));
            }
            *total += e.sum(lanes);
        }
    }
}

/// # Safety
/// There are N whole chunks from `start` on.
#[inline(always)]
unsafe fn add_chunks<const N: usize, E: Simd, V: Values<E>>(
    e: E,
    values: V,
    start: usize,
    total: &mut f32,
) {
    let mut lanes = [e.splat(0.0); N];
    for k in (0..CHUNK).step_by(8) {
        for (chunk, lanes) in lanes.iter_mut().enumerate() {
            // SAFETY: the caller's promise.
            let value = unsafe { values.at(e, start + chunk * CHUNK + k) };
            *lanes = e.add(*lanes, e.mul(value, value));
        }
    }
    for lanes in lanes {
        *total += e.sum(lanes);
    }
}

/// Exact sum of k (k + 1) over 16-bit integers k, for up to 2^16 additions.
pub(super) struct Products<S: Simd> {
    /// A product's upper bits, with its sign.
    high: S::I,
    /// Its low 16 bits.
    low: S::I,
}

impl<S: Simd> Products<S> {
    #[inline(always)]
    pub(super) fn new(s: S) -> Self {
        Self {
            high: s.splat_i(0),
            low: s.splat_i(0),
        }
    }

    /// Adds two integers a lane.
    #[inline(always)]
    pub(super) fn add(&mut self, s: S, k: S::I) {
        // At least -2^31 + 2^16.
        let negative = s.dot_halves(k, s.xor_i(k, s.splat_i(u32::MAX)));
        self.high = s.add_i(self.high, s.sar::<16>(negative));
        self.low = s.add_i(self.low, s.and_i(negative, s.splat_i(0xffff)));
    }

    /// Adds one integer a lane, of the first `n` lanes.
    #[inline(always)]
    pub(super) fn add_first(&mut self, s: S, k: S::I, n: usize) {
        const LANES: [u32; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];
        // SAFETY: at most 16 lanes.
        let lane = unsafe { s.load_i(LANES.as_ptr()) };
        let used = s.gt_i(s.splat_i(n.min(16) as u32), lane);
        let k = s.select_i(used, s.and_i(k, s.splat_i(0xffff)), s.splat_i(0));
        // The upper half is zero, and so is its product.
        self.add(s, k);
    }

    #[inline(always)]
    pub(super) fn total(self, s: S) -> u64 {
        let (mut high, mut low) = ([0u32; 16], [0u32; 16]);
        // SAFETY: at most 16 lanes.
        unsafe {
            s.store_i(high.as_mut_ptr(), self.high);
            s.store_i(low.as_mut_ptr(), self.low);
        }
        let high: i64 = high.iter().map(|&lane| i64::from(lane as i32)).sum();
        let low: i64 = low.iter().map(|&lane| i64::from(lane)).sum();
        (-(high * 65536 + low)) as u64
    }
}
