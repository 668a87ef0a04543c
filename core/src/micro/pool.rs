//! Pooling, one channel of one image at a time. The place of each maximum is kept in a byte.

use super::built;
use super::runs::{runs, runs_mut};
use super::window::{CLIPPED, Window};
use crate::shape::Shape;
use core::ops::Range;

/// The part of the window inside the input along one axis.
fn clipped(o: usize, kernel: usize, stride: usize, padding: usize, size: usize) -> Range<usize> {
    let start = o * stride;
    let end = (start + kernel).saturating_sub(padding).min(size);
    start.saturating_sub(padding).min(end)..end
}

/// Packs bytes four a word into words that may be missing.
struct Packer<'w> {
    words: core::slice::IterMut<'w, f32>,
    packed: u32,
    count: u32,
}

impl Packer<'_> {
    #[inline(always)]
    fn push(&mut self, byte: u8) {
        self.packed |= u32::from(byte) << (8 * (self.count % 4));
        self.count += 1;
        if self.count.is_multiple_of(4) {
            self.write();
        }
    }

    fn write(&mut self) {
        if let Some(word) = self.words.next() {
            *word = f32::from_bits(self.packed);
        }
        self.packed = 0;
    }

    fn finish(mut self) {
        if !self.count.is_multiple_of(4) {
            self.write();
        }
    }
}

/// Not a number is larger than any: it must reach the loss, where it is noticed.
#[inline(always)]
fn exceeds(x: f32, largest: f32) -> bool {
    x > largest || (x.is_nan() && !largest.is_nan())
}

/// y = the maximum of each window of x, and its place in `bytes`, four a word, unless that is empty. With `relu`, values
/// below 0 become 0.
pub(super) fn maximum(
    window: Window,
    relu: bool,
    input: Shape,
    output: Shape,
    x: &[f32],
    y: &mut [f32],
    bytes: &mut [f32],
) {
    let ([kh, kw], [sh, sw], [ph, pw]) = (window.kernel(), window.stride(), window.padding());
    let mut bytes = Packer { words: bytes.iter_mut(), packed: 0, count: 0 };
    let mut give = |y: &mut f32, place: usize, largest: f32| {
        let cut = relu && largest <= 0.0;
        *y = if cut { 0.0 } else { largest };
        bytes.push(if cut { CLIPPED } else { place as u8 });
    };
    if !built::ANY_WINDOW || window.is_usual() {
        // Two rows of pairs at a time.
        for (x, y) in runs(x, 2 * input.width).zip(runs_mut(y, output.width)) {
            let (upper, lower) = x.split_at_checked(input.width).unwrap_or_default();
            let (upper, lower) = (upper.as_chunks::<2>().0, lower.as_chunks::<2>().0);
            for ((&[a, b], &[c, d]), y) in upper.iter().zip(lower).zip(y) {
                let (place, largest) = if exceeds(b, a) { (1, b) } else { (0, a) };
                let (below, other) = if exceeds(d, c) { (3, d) } else { (2, c) };
                let second = exceeds(other, largest);
                give(y, if second { below } else { place }, if second { other } else { largest });
            }
        }
    } else {
        for (oh, y) in runs_mut(y, output.width).enumerate() {
            let rows = clipped(oh, kh, sh, ph, input.height);
            for (ow, y) in y.iter_mut().enumerate() {
                let columns = clipped(ow, kw, sw, pw, input.width);
                let (mut place, mut largest) = (0, f32::NEG_INFINITY);
                for row in rows.clone() {
                    let start = row * input.width;
                    let x = x.get(start + columns.start..start + columns.end).unwrap_or_default();
                    let first = (row + ph - oh * sh) * kw + columns.start + pw - ow * sw;
                    for (at, x) in (first..).zip(x) {
                        if exceeds(*x, largest) {
                            (place, largest) = (at, *x);
                        }
                    }
                }
                give(y, place, largest);
            }
        }
    }
    bytes.finish();
}

/// dx += dy at the place of each maximum.
pub(super) fn maximum_backward(
    window: Window,
    input: Shape,
    output: Shape,
    bytes: &[f32],
    dy: &[f32],
    dx: &mut [f32],
) {
    each_maximum(window, output, bytes, dy, |[row, column], dy| {
        if let Some(dx) = dx.get_mut(row.wrapping_mul(input.width).wrapping_add(column)) {
            *dx += dy;
        }
    });
}

/// Hands the row and column of each maximum that the ReLU let through to `each`, with its gradient.
pub(super) fn each_maximum(
    window: Window,
    output: Shape,
    bytes: &[f32],
    dy: &[f32],
    mut each: impl FnMut([usize; 2], f32),
) {
    let ([_, kw], [sh, sw], [ph, pw]) = (window.kernel(), window.stride(), window.padding());
    let kw = kw.max(1);
    let mut places = bytes.iter().flat_map(|word| word.to_bits().to_le_bytes());
    for (oh, dy) in runs(dy, output.width).enumerate() {
        for (ow, dy) in dy.iter().enumerate() {
            // Windows of one pixel have no bytes.
            let place = places.next().unwrap_or(0);
            if place != CLIPPED {
                let (i, j) = (usize::from(place) / kw, usize::from(place) % kw);
                // A maximum lies inside the input, so nothing wraps.
                each([(oh * sh + i).wrapping_sub(ph), (ow * sw + j).wrapping_sub(pw)], *dy);
            }
        }
    }
}

/// y = the mean of each window of x, where padding counts as zeros.
pub(super) fn mean(window: Window, input: Shape, output: Shape, x: &[f32], y: &mut [f32]) {
    y.fill(0.0);
    each_mean(window, input, output, |from, at, share| {
        if let (Some(y), Some(x)) = (y.get_mut(at), x.get(from)) {
            *y += x * share;
        }
    });
}

/// dx += each pixel's share of dy.
pub(super) fn mean_backward(window: Window, input: Shape, output: Shape, dy: &[f32], dx: &mut [f32]) {
    each_mean(window, input, output, |from, at, share| {
        if let (Some(dy), Some(dx)) = (dy.get(at), dx.get_mut(from)) {
            *dx += dy * share;
        }
    });
}

fn each_mean(window: Window, input: Shape, output: Shape, mut each: impl FnMut(usize, usize, f32)) {
    let ([kh, kw], [sh, sw], [ph, pw]) = (window.kernel(), window.stride(), window.padding());
    let share = 1.0 / (kh * kw) as f32;
    for oh in 0..output.height {
        let rows = clipped(oh, kh, sh, ph, input.height);
        for ow in 0..output.width {
            for row in rows.clone() {
                for column in clipped(ow, kw, sw, pw, input.width) {
                    each(row * input.width + column, oh * output.width + ow, share);
                }
            }
        }
    }
}
