//! The places of one channel in the blocked layout, and sums over them.

use super::super::layout::{Blocked, IMAGES};
use super::super::simd::Simd;

/// Pixels of one channel at a constant distance from each other.
pub(super) struct Run {
    /// Offset of the first pixel's first image.
    pub(super) start: usize,
    pixels: usize,
    stride: usize,
    /// All bits set in the lanes that are used.
    used: [u32; IMAGES],
}

impl Run {
    /// The vector with zeros in unused lanes.
    #[inline(always)]
    pub(super) fn keep_used<S: Simd>(&self, s: S, vector: usize, a: S::F) -> S::F {
        let lane = vector * S::LANES % IMAGES;
        // SAFETY: LANES divides the length.
        let used = unsafe { s.load_i(self.used.as_ptr().add(lane)) };
        s.with_bits(s.and_i(s.bits(a), used))
    }
}

/// All places of a channel. A run is a block's pixels, which are neighbours; or, of an activation of single
/// pixels, that pixel of all full blocks.
#[inline(always)]
pub(super) fn runs(shape: &Blocked, channel: usize) -> impl Iterator<Item = Run> + use<> {
    let (blocks, pixels, image_len) = (shape.blocks(), shape.pixels(), shape.image_len());
    let full = shape.images / IMAGES;
    let rest = shape.images % IMAGES;
    let flat = pixels == 1;
    let whole_runs = if flat { usize::from(full > 0) } else { full };
    let count = if pixels == 0 {
        0
    } else {
        whole_runs + (blocks - full)
    };
    (0..count).map(move |index| {
        let partial = index >= whole_runs;
        let block = if partial { full } else { index };
        let lanes = if partial { rest } else { IMAGES };
        let mut used = [0; IMAGES];
        used[..lanes].fill(u32::MAX);
        Run {
            start: (block * image_len + channel * pixels) * IMAGES,
            pixels: if flat && !partial { full } else { pixels },
            stride: if flat { image_len * IMAGES } else { IMAGES },
            used,
        }
    })
}

/// Vectors of a run.
#[inline(always)]
pub(super) fn vectors<S: Simd>(run: &Run) -> usize {
    run.pixels * (IMAGES / S::LANES)
}

/// Offset of vector `v` of a run.
#[inline(always)]
pub(super) fn offset<S: Simd>(run: &Run, v: usize) -> usize {
    let per_pixel = IMAGES / S::LANES;
    run.start + v / per_pixel * run.stride + v % per_pixel * S::LANES
}

/// Pairs (a, b) whose sums are wanted.
pub(super) trait Terms<S: Simd> {
    /// The pair of the vector at this offset.
    ///
    /// # Safety
    /// A vector at `offset` is inside of the activation.
    unsafe fn at(&self, s: S, offset: usize) -> (S::F, S::F);
}

/// Independent partial sums, to keep the adders busy.
const CHAINS: usize = 4;
/// Additions to a partial sum before it is handed on to f64, to keep its rounding errors few.
const CHAIN_LENGTH: usize = 64;

/// The sums of a and of a * b over the used lanes of a channel, in an order that depends on the shape alone.
#[inline(always)]
pub(super) fn sums<S: Simd, T: Terms<S>>(
    s: S,
    shape: &Blocked,
    channel: usize,
    terms: &T,
) -> [f64; 2] {
    let mut totals = [0.0; 2];
    let mut plain = [s.splat(0.0); CHAINS];
    let mut products = plain;
    let mut additions = 0;
    for run in runs(shape, channel) {
        let count = vectors::<S>(&run);
        let mut first = 0;
        while first < count {
            for k in 0..CHAINS {
                if first + k < count {
                    // SAFETY: vector first + k is one of the run.
                    let (a, b) = unsafe { terms.at(s, offset::<S>(&run, first + k)) };
                    let a = run.keep_used(s, k, a);
                    plain[k] = s.add(plain[k], a);
                    products[k] = s.mul_add(a, b, products[k]);
                }
            }
            first += CHAINS;
            additions += 1;
            if additions == CHAIN_LENGTH {
                hand_on(s, &mut plain, &mut totals[0]);
                hand_on(s, &mut products, &mut totals[1]);
                additions = 0;
            }
        }
    }
    hand_on(s, &mut plain, &mut totals[0]);
    hand_on(s, &mut products, &mut totals[1]);
    totals
}

#[inline(always)]
fn hand_on<S: Simd>(s: S, chains: &mut [S::F; CHAINS], total: &mut f64) {
    let [a, b, c, d] = *chains;
    *total += f64::from(s.sum(s.add(s.add(a, b), s.add(c, d))));
    *chains = [s.splat(0.0); CHAINS];
}
