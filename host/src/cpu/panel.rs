//! The contraction that convolution and linear layers are made of.
//!
//! `out[m][p] = Σ_t weight[m][t] · point[t][p]` where a point is 16 floats, one
//! for each image that lies side by side: a weight is broadcast
//! and multiplied with vectors of points. Both operands are read through a table of offsets, one
//! entry a term ("tap"), so that one kernel serves every layout: a convolution's taps, its flipped
//! taps, the rows or the columns of a matrix. A register tile of rows x points holds the sums.
#![expect(clippy::needless_range_loop, reason = "the tiles of registers are indexed as in the formula")]

use super::layout::IMAGES;
use super::partition::piece;
use super::simd::{Isa, Kernel, Simd};

/// Where a term's operands lie, in floats from the panel's `weights` and `points`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tap {
    pub(super) weight: u32,
    pub(super) point: u32,
}

impl Tap {
    /// Both offsets fit: a chunk of weights or points has less than 2³² floats.
    #[allow(clippy::expect_used)]
    pub(super) fn new(weight: usize, point: usize) -> Self {
        let offset = |at: usize| u32::try_from(at).expect("an offset within a chunk");
        Self {
            weight: offset(weight),
            point: offset(point),
        }
    }
}

/// What the sums are added to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// Nothing: the output is overwritten.
    Zero,
    /// One value a row, at this address; the output is overwritten.
    Bias(*const f32),
    /// The output's values.
    Output,
}

/// A contraction of `rows` rows of weights with `count` points.
pub(super) struct Panel<'a> {
    /// The terms, summed in this order from zero. At most a few hundred, which bounds the rounding.
    pub(super) taps: &'a [Tap],
    pub(super) weights: *const f32,
    /// Floats from a row of weights to the next.
    pub(super) weight_row: usize,
    pub(super) rows: usize,
    pub(super) points: *const f32,
    /// Floats from a point to the next.
    pub(super) point_step: usize,
    pub(super) count: usize,
    pub(super) out: *mut f32,
    /// Floats from an output row to the next.
    pub(super) out_row: usize,
    /// Floats from an output point to the next.
    pub(super) out_step: usize,
    pub(super) start: Start,
}

impl Panel<'_> {
    /// Computes the panel.
    ///
    /// # Safety
    /// For each tap, row and point the addresses that the strides give are valid: weights for a
    /// read of one float, points for a read of 16, outputs for a read and write of 16, and
    /// nobody else writes them meanwhile.
    #[inline]
    pub(super) unsafe fn run(self, isa: Isa) {
        isa.run(self);
    }
}

impl Kernel for Panel<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        // Points of the widest tile. With the rows of `most_rows` the tile's sums, a row of points
        // and a weight fill the registers.
        let most = S::REGISTERS * 3 / 16;
        for i in 0..self.count.div_ceil(most) {
            let tile = piece(self.count, most, i);
            for half in (0..IMAGES).step_by(S::LANES) {
                // SAFETY: the promise of `Panel::run`; a tile lies inside the panel, and `half`
                // inside a point.
                unsafe {
                    let points = self.points.add(tile.start * self.point_step + half);
                    let out = self.out.add(tile.start * self.out_step + half);
                    match tile.len() {
                        1 => self.rows::<S, 1>(s, points, out),
                        2 if most >= 2 => self.rows::<S, 2>(s, points, out),
                        3 if most >= 3 => self.rows::<S, 3>(s, points, out),
                        4 if most >= 4 => self.rows::<S, 4>(s, points, out),
                        5 if most >= 5 => self.rows::<S, 5>(s, points, out),
                        6 if most >= 6 => self.rows::<S, 6>(s, points, out),
                        _ => unreachable!("a tile has at most {most} points"),
                    }
                }
            }
        }
    }
}

impl Panel<'_> {
    /// All rows for `P` points.
    #[inline(always)]
    unsafe fn rows<S: Simd, const P: usize>(&self, s: S, points: *const f32, out: *mut f32) {
        let most = const { most_rows(S::REGISTERS, P) };
        for i in 0..self.rows.div_ceil(most) {
            let tile = piece(self.rows, most, i);
            let first = tile.start;
            // SAFETY: the promise of `Panel::run`; the tile's rows lie inside the panel.
            unsafe {
                match tile.len() {
                    1 => self.tile::<S, 1, P>(s, first, points, out),
                    2 if most >= 2 => self.tile::<S, 2, P>(s, first, points, out),
                    3 if most >= 3 => self.tile::<S, 3, P>(s, first, points, out),
                    4 if most >= 4 => self.tile::<S, 4, P>(s, first, points, out),
                    5 if most >= 5 => self.tile::<S, 5, P>(s, first, points, out),
                    6 if most >= 6 => self.tile::<S, 6, P>(s, first, points, out),
                    7 if most >= 7 => self.tile::<S, 7, P>(s, first, points, out),
                    8 if most >= 8 => self.tile::<S, 8, P>(s, first, points, out),
                    _ => unreachable!("a tile has at most {most} rows"),
                }
            }
        }
    }

    /// `M` rows for `P` points.
    #[inline(always)]
    unsafe fn tile<S: Simd, const M: usize, const P: usize>(
        &self,
        s: S,
        first: usize,
        points: *const f32,
        out: *mut f32,
    ) {
        let (point_step, weight_row) = (self.point_step, self.weight_row);
        // SAFETY: the promise of `Panel::run`.
        unsafe {
            let weights = self.weights.add(first * weight_row);
            let out = out.add(first * self.out_row);
            let mut sums = [[s.splat(0.0); P]; M];
            for tap in self.taps {
                let weights = weights.add(tap.weight as usize);
                let points = points.add(tap.point as usize);
                let mut x = [s.splat(0.0); P];
                for p in 0..P {
                    x[p] = s.load(points.add(p * point_step));
                }
                for m in 0..M {
                    let w = s.splat(*weights.add(m * weight_row));
                    for p in 0..P {
                        sums[m][p] = s.mul_add(w, x[p], sums[m][p]);
                    }
                }
            }
            for m in 0..M {
                for p in 0..P {
                    let out = out.add(m * self.out_row + p * self.out_step);
                    let value = match self.start {
                        Start::Zero => sums[m][p],
                        Start::Bias(bias) => s.add(s.splat(*bias.add(first + m)), sums[m][p]),
                        Start::Output => s.add(s.load(out), sums[m][p]),
                    };
                    s.store(out, value);
                }
            }
        }
    }
}

/// Rows of the tallest tile of `points` points: sums, a row of points and a weight in registers.
const fn most_rows(registers: usize, points: usize) -> usize {
    let rows = (registers - 1) / points - 1;
    if rows < 8 { rows } else { 8 }
}
