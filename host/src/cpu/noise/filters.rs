//! The noise of rows of weights, and the sum of both.

use super::super::shared::Shared;
use super::super::simd::{Kernel, Simd};
use super::buffer::{Buffer, longest};
use super::norm::add_squares;
use super::units::{Squares, Units};
use super::{Filters, TASK};
use smoothout::noise::Key;
use std::ops::Range;

/// One scale for all.
pub(super) const CONSTANT: u8 = 0;
/// A scale times the weight's magnitude.
pub(super) const PER_WEIGHT: u8 = 1;
/// A scale for each filter.
pub(super) const PER_FILTER: u8 = 2;
/// The same where every filter is a single weight.
pub(super) const PER_SINGLE: u8 = 3;

/// Added to the norm of a filter's noise, as in the authors' program.
const NORM_EPS: f32 = 1e-6;

/// Where the rows of a tensor are. The last one may be shorter.
#[derive(Clone, Copy)]
pub(super) struct Tensor<'a> {
    pub(super) key: Key,
    pub(super) row_len: usize,
    pub(super) total: usize,
    source: *const f32,
    source_stride: usize,
    target: Shared<'a, f32>,
    target_stride: usize,
}

// SAFETY: a task reads and writes only its own rows; the source is not written by anybody, or is the target.
unsafe impl Send for Tensor<'_> {}
// SAFETY: as for Send.
unsafe impl Sync for Tensor<'_> {}

impl<'a> Tensor<'a> {
    pub(super) fn new(
        key: Key,
        Filters { rows, row_len }: Filters,
        (source, source_stride): (*const f32, usize),
        (target, target_stride): (Shared<'a, f32>, usize),
    ) -> Self {
        Self {
            key,
            row_len,
            total: rows * row_len,
            source,
            source_stride,
            target,
            target_stride,
        }
    }

    /// For noise to which rows mean nothing: without gaps between them, a tensor is cut into longer ones.
    pub(super) fn flat(self) -> Self {
        if self.source_stride == self.row_len && self.target_stride == self.row_len {
            Self {
                row_len: TASK,
                source_stride: TASK,
                target_stride: TASK,
                ..self
            }
        } else {
            self
        }
    }
}

/// Some rows of a tensor.
pub(super) struct Task<'a, U, const SCALING: u8> {
    pub(super) units: U,
    pub(super) tensor: Tensor<'a>,
    pub(super) rows: Range<usize>,
    /// Scale of noise that has only one.
    pub(super) scale: f32,
    /// Signed strength of noise that is scaled by filters.
    pub(super) strength: f32,
}

impl<U: Units, const SCALING: u8> Kernel for Task<'_, U, SCALING> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Tensor {
            key,
            row_len,
            total,
            source,
            source_stride,
            target,
            target_stride,
        } = self.tensor;
        let mut buffer = Buffer::new(key, total.min(self.rows.end * row_len));
        for row in self.rows.clone() {
            let start = row * row_len;
            let len = row_len.min(total - start);
            // SAFETY: the row is one of the tensor's, at both strides, and nobody else's task.
            unsafe {
                let source = source.add(row * source_stride);
                let target = target.at(row * target_stride);
                let mut scale = self.scale;
                if SCALING == PER_FILTER {
                    scale = self.filter_scale(s, &mut buffer, start, source, len);
                }
                for piece in pieces::<U>(len) {
                    let (words, first) =
                        buffer.cover(s, self.units, start + piece.start, start + piece.end);
                    let source = source.add(piece.start);
                    let target = target.add(piece.start);
                    self.add_noise(s, words, first, scale, source, target, piece.len());
                }
            }
        }
    }
}

/// Parts of a row that the buffer can hold.
#[inline(always)]
fn pieces<U: Units>(len: usize) -> impl Iterator<Item = Range<usize>> {
    (0..len)
        .step_by(longest::<U>())
        .map(move |start| start..len.min(start + longest::<U>()))
}

impl<U: Units, const SCALING: u8> Task<'_, U, SCALING> {
    /// Equation 12.
    ///
    /// # Safety
    /// `source` has `len` weights, those of the filter that starts at element `start`.
    #[inline(always)]
    unsafe fn filter_scale<S: Simd>(
        &self,
        s: S,
        buffer: &mut Buffer,
        start: usize,
        source: *const f32,
        len: usize,
    ) -> f32 {
        let mut squares = Squares::default();
        for piece in pieces::<U>(len) {
            let (words, first) =
                buffer.cover(s, self.units, start + piece.start, start + piece.end);
            // SAFETY: the caller's promise, and the buffer covers the piece.
            unsafe {
                let source = source.add(piece.start);
                self.units
                    .add_squares(s, words, first, source, piece.len(), &mut squares);
            }
        }
        let mut of_weights = 0.0;
        // SAFETY: the caller's promise.
        unsafe { add_squares(s.eight(), source, len, &mut of_weights) };
        of_weights.sqrt() / (self.units.norm(squares) + NORM_EPS) * self.strength * U::UNIT
    }

    /// Weights plus noise.
    ///
    /// # Safety
    /// `len` elements of noise from index `first` of the buffer on, as many weights at `source`, places at `target`.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    unsafe fn add_noise<S: Simd>(
        &self,
        s: S,
        words: *const u32,
        first: usize,
        scale: f32,
        source: *const f32,
        target: *mut f32,
        len: usize,
    ) {
        let whole = len - len % S::LANES;
        // SAFETY: the caller's promise; the buffer has room behind it for whole vectors.
        unsafe {
            for at in (0..whole).step_by(S::LANES) {
                let w = s.load(source.add(at));
                let unit = self.units.at(s, words, first + at, w);
                s.store(
                    target.add(at),
                    s.add(w, s.mul(unit, self.scale_of(s, scale, unit, w))),
                );
            }
            let rest = len - whole;
            if rest > 0 {
                let w = s.load_first(source.add(whole), rest);
                let unit = self.units.at(s, words, first + whole, w);
                let perturbed = s.add(w, s.mul(unit, self.scale_of(s, scale, unit, w)));
                s.store_first(target.add(whole), rest, perturbed);
            }
        }
    }

    #[inline(always)]
    fn scale_of<S: Simd>(&self, s: S, scale: f32, unit: S::F, w: S::F) -> S::F {
        match SCALING {
            PER_WEIGHT => s.mul(s.splat(scale), s.abs(w)),
            PER_SINGLE => {
                let of_weight = s.sqrt(s.mul(w, w));
                let of_noise = s.mul(s.sqrt(s.mul(unit, unit)), s.splat(U::UNIT));
                let ratio = s.div(of_weight, s.add(of_noise, s.splat(NORM_EPS)));
                s.mul(s.mul(ratio, s.splat(self.strength)), s.splat(U::UNIT))
            }
            _ => s.splat(scale),
        }
    }
}
