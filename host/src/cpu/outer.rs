//! The contraction over pixels that a convolution's weight gradient is made of.
//!
//! `sums[m][t] += Σ_pixel gradient[m][pixel] * point[t][pixel]`, every one of the 16 images in a
//! lane of its own; the lanes are added up only at the very end. A register tile of rows x taps
//! holds the sums of a few rows of pixels, which go to the sums in memory as one term, so that no
//! chain of additions is long.
#![expect(clippy::needless_range_loop, reason = "the tiles of registers are indexed as in the formula")]

use super::layout::IMAGES;
use super::partition::{part, piece};
use super::simd::{Isa, Kernel, Simd};
use std::ops::Range;

/// Some rows of pixels of the output's gradient, times the points under them.
pub(super) struct Outer<'a> {
    /// Where each tap reads, in floats from `points`.
    pub(super) taps: &'a [u32],
    pub(super) points: *const f32,
    /// Floats from what a pixel reads to what its right neighbour reads.
    pub(super) point_step: usize,
    /// Floats from what a pixel reads to what its lower neighbour reads.
    pub(super) point_line: usize,
    pub(super) gradient: *const f32,
    /// Floats from a channel of the gradient to the next.
    pub(super) gradient_channel: usize,
    /// Channels of the gradient.
    pub(super) channels: usize,
    pub(super) width: usize,
    pub(super) height: usize,
    /// `[channels][taps][16]`.
    pub(super) sums: *mut f32,
    /// `[channels][16]`: the gradient's own sums.
    pub(super) bias_sums: Option<*mut f32>,
}

impl Outer<'_> {
    /// Adds to the sums.
    ///
    /// # Safety
    /// The gradient's `channels` x `height` x `width` pixels and, for each tap, the points that
    /// belong to them are valid for reads; the sums are valid for reads and writes and nobody else
    /// uses them meanwhile.
    #[inline]
    pub(super) unsafe fn run(self, isa: Isa) {
        isa.run(self);
    }
}

impl Kernel for Outer<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let most = if S::REGISTERS >= 16 { 4 } else { 3 };
        for i in 0..self.channels.div_ceil(most) {
            let tile = piece(self.channels, most, i);
            for half in (0..IMAGES).step_by(S::LANES) {
                // SAFETY: the promise of `Outer::run`; a tile lies inside the channels, and `half`
                // inside a point.
                unsafe {
                    match tile.len() {
                        1 => self.channels::<S, 1>(s, tile.start, half),
                        2 => self.channels::<S, 2>(s, tile.start, half),
                        3 => self.channels::<S, 3>(s, tile.start, half),
                        4 if most >= 4 => self.channels::<S, 4>(s, tile.start, half),
                        _ => unreachable!("a tile has at most {most} channels"),
                    }
                }
            }
        }
    }
}

impl Outer<'_> {
    /// All taps for `M` channels from `first` on, of the images from `half` on.
    #[inline(always)]
    unsafe fn channels<S: Simd, const M: usize>(&self, s: S, first: usize, half: usize) {
        // Taps of the widest tile: with 4 channels, the sums, the channels' pixels and a point fill
        // the registers.
        let most = const { S::REGISTERS * 3 / 16 };
        // SAFETY: the promise of `Outer::run`.
        unsafe {
            if let Some(sums) = self.bias_sums {
                self.bias::<S, M>(s, first, half, sums.add(first * IMAGES + half));
            }
            let tiles = self.taps.len().div_ceil(most);
            for i in 0..tiles {
                let tile = piece(self.taps.len(), most, i);
                self.prefetch::<S, M>(s, first, part(self.height * self.width, tiles, i));
                match tile.len() {
                    1 => self.tile::<S, M, 1>(s, first, tile.start, half),
                    2 if most >= 2 => self.tile::<S, M, 2>(s, first, tile.start, half),
                    3 if most >= 3 => self.tile::<S, M, 3>(s, first, tile.start, half),
                    4 if most >= 4 => self.tile::<S, M, 4>(s, first, tile.start, half),
                    5 if most >= 5 => self.tile::<S, M, 5>(s, first, tile.start, half),
                    6 if most >= 6 => self.tile::<S, M, 6>(s, first, tile.start, half),
                    _ => unreachable!("a tile has at most {most} taps"),
                }
            }
        }
    }

    /// Asks for some pixels of the channels that come next: the next ones, or the first ones of the
    /// rows below. They are far away and too many streams for the processor to foresee.
    #[inline(always)]
    fn prefetch<S: Simd, const M: usize>(&self, s: S, first: usize, pixels: Range<usize>) {
        let below = first + M == self.channels;
        let next = if below { 0 } else { first + M };
        let lower = if below { self.height * self.width } else { 0 };
        for m in 0..M {
            let channel = (next + m) * self.gradient_channel;
            for pixel in pixels.clone() {
                s.prefetch(self.gradient.wrapping_add(channel + (lower + pixel) * IMAGES));
            }
        }
    }

    /// `M` channels x `T` taps.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const T: usize>(
        &self,
        s: S,
        first: usize,
        tap: usize,
        half: usize,
    ) {
        // SAFETY: the promise of `Outer::run`.
        unsafe {
            let mut points = [self.points.add(half); T];
            for t in 0..T {
                points[t] = points[t].add(*self.taps.get_unchecked(tap + t) as usize);
            }
            let channel = self.gradient_channel;
            let mut gradient = self.gradient.add(first * channel + half);
            let mut sums = [[s.splat(0.0); T]; M];
            for _ in 0..self.height {
                let mut offset = 0;
                for _ in 0..self.width {
                    let mut dy = [s.splat(0.0); M];
                    for m in 0..M {
                        dy[m] = s.load(gradient.add(m * channel));
                    }
                    for t in 0..T {
                        let x = s.load(points[t].add(offset));
                        for m in 0..M {
                            sums[m][t] = s.mul_add(dy[m], x, sums[m][t]);
                        }
                    }
                    gradient = gradient.add(IMAGES);
                    offset += self.point_step;
                }
                for t in 0..T {
                    points[t] = points[t].add(self.point_line);
                }
            }
            for m in 0..M {
                for t in 0..T {
                    let at = ((first + m) * self.taps.len() + tap + t) * IMAGES + half;
                    let out = self.sums.add(at);
                    s.store(out, s.add(s.load(out), sums[m][t]));
                }
            }
        }
    }

    /// The sums of the gradient itself, over even and odd pixels so that additions overlap.
    #[inline(always)]
    unsafe fn bias<S: Simd, const M: usize>(&self, s: S, first: usize, half: usize, out: *mut f32) {
        // SAFETY: the promise of `Outer::run`.
        unsafe {
            let gradient = self.gradient.add(first * self.gradient_channel + half);
            let pixels = self.height * self.width;
            let mut sums = [[s.splat(0.0); 2]; M];
            for pair in 0..pixels / 2 {
                for m in 0..M {
                    let at = gradient.add(m * self.gradient_channel + pair * 2 * IMAGES);
                    sums[m][0] = s.add(sums[m][0], s.load(at));
                    sums[m][1] = s.add(sums[m][1], s.load(at.add(IMAGES)));
                }
            }
            for m in 0..M {
                let mut sum = s.add(sums[m][0], sums[m][1]);
                if pixels % 2 == 1 {
                    let at = gradient.add(m * self.gradient_channel + (pixels - 1) * IMAGES);
                    sum = s.add(sum, s.load(at));
                }
                let out = out.add(m * IMAGES);
                s.store(out, s.add(s.load(out), sum));
            }
        }
    }
}

/// The sums of lanes: `out[i] = Σ_lane sums[i][lane]`.
pub(super) struct LaneSums<'a> {
    pub(super) sums: &'a [f32],
    pub(super) out: &'a mut [f32],
}

impl Kernel for LaneSums<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (lanes, out) in self.sums.chunks_exact(IMAGES).zip(self.out) {
            // SAFETY: `lanes` has 16 floats, one or two vectors.
            let sum = unsafe {
                let low = s.load(lanes.as_ptr());
                if S::LANES == IMAGES {
                    low
                } else {
                    s.add(low, s.load(lanes.as_ptr().add(S::LANES)))
                }
            };
            *out = s.sum(sum);
        }
    }
}
