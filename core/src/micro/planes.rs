//! The fast ways of a convolution with stride 1 and a common square kernel: whole channels at a time, with sums in registers.

use super::built;
use super::geometry::Geometry;
use super::runs::runs_mut;

/// y += the convolution of one channel with its taps.
pub(super) fn add_plane(geometry: &Geometry, x: &[f32], taps: &[f32], y: &mut [f32]) {
    match (geometry.kernel[1], geometry.output.width > 4) {
        (3, true) => add_rows::<3, 8, 10>(geometry, x, taps, y),
        (3, false) => add_rows::<3, 4, 6>(geometry, x, taps, y),
        _ if !built::ANY_WINDOW => {}
        (_, true) => add_rows::<5, 8, 12>(geometry, x, taps, y),
        (_, false) => add_rows::<5, 4, 8>(geometry, x, taps, y),
    }
}

/// `W` neighbouring outputs at a time, whose sums stay in registers; `S` = W + K - 1 inputs give them.
fn add_rows<const K: usize, const W: usize, const S: usize>(
    geometry: &Geometry,
    x: &[f32],
    taps: &[f32],
    y: &mut [f32],
) {
    let (taps, _) = taps.as_chunks::<K>();
    let (width, padding) = (geometry.input.width, geometry.padding[1]);
    for (oh, y) in runs_mut(y, geometry.output.width).enumerate() {
        let (rows, first) = geometry.rows(oh);
        let taps = taps.get(rows).unwrap_or_default();
        let x = x.get(first * width..).unwrap_or_default();
        for (block, y) in y.chunks_mut(W).enumerate() {
            let left = (block * W).wrapping_sub(padding);
            let mut sums = load::<W>(y);
            let mut rest = x;
            for taps in taps {
                let Some((row, later)) = rest.split_at_checked(width) else { break };
                rest = later;
                let segment = segment::<K, S>(row, left);
                for (j, tap) in taps.iter().enumerate() {
                    let values = segment.get(j..).unwrap_or_default();
                    sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += tap * x);
                }
            }
            match y.first_chunk_mut::<W>() {
                Some(y) => *y = sums,
                None => y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum),
            }
        }
    }
}

/// The first `W` values, zeros where there are fewer.
#[inline(always)]
fn load<const W: usize>(values: &[f32]) -> [f32; W] {
    match values.first_chunk() {
        Some(whole) => *whole,
        None => core::array::from_fn(|t| values.get(t).copied().unwrap_or(0.0)),
    }
}

/// `S` values of a row from `left` on, which may lie before its beginning (wrapped) or reach past its end: zeros there.
/// The usual padding, half the kernel `K`, costs no more than loading.
#[inline(always)]
fn segment<const K: usize, const S: usize>(row: &[f32], left: usize) -> [f32; S] {
    if let Some(inside) = row.get(left..).and_then(|row| row.first_chunk()) {
        return *inside;
    }
    let half = K / 2;
    let before = left == 0usize.wrapping_sub(half);
    if before && row.len() + 2 * half == S {
        return core::array::from_fn(|t| if t < half || t + half >= S { 0.0 } else { at(row, t - half) });
    }
    if built::PLANES && before && row.len() + half >= S {
        return core::array::from_fn(|t| if t < half { 0.0 } else { at(row, t - half) });
    }
    if built::PLANES
        && let Some(row) = row.get(left..)
        && row.len() + half == S
    {
        return core::array::from_fn(|t| if t + half >= S { 0.0 } else { at(row, t) });
    }
    core::array::from_fn(|t| at(row, left.wrapping_add(t)))
}

#[inline(always)]
fn at(row: &[f32], index: usize) -> f32 {
    row.get(index).copied().unwrap_or(0.0)
}

/// gradient += that of one filter, plane by plane.
pub(super) fn weight_gradient(geometry: &Geometry, x: &[f32], dy: &[f32], gradient: &mut [f32]) {
    for (x, gradient) in geometry.channels(x).zip(runs_mut(gradient, geometry.taps())) {
        match (geometry.kernel[1], geometry.output.width > 4) {
            (3, true) => add_taps::<3, 8, 10>(geometry, x, dy, gradient),
            (3, false) => add_taps::<3, 4, 6>(geometry, x, dy, gradient),
            _ if !built::ANY_WINDOW => {}
            (_, true) => add_taps::<5, 8, 12>(geometry, x, dy, gradient),
            (_, false) => add_taps::<5, 4, 8>(geometry, x, dy, gradient),
        }
    }
}

/// One row of one channel's taps at a time, whose sums over the channel stay in registers.
fn add_taps<const K: usize, const W: usize, const S: usize>(
    geometry: &Geometry,
    x: &[f32],
    dy: &[f32],
    gradient: &mut [f32],
) {
    let (width, outputs) = (geometry.input.width, geometry.output.width);
    let (gradient, _) = gradient.as_chunks_mut::<K>();
    for (i, gradient) in gradient.iter_mut().enumerate() {
        // Output row oh meets input row oh + i - padding.
        let skipped = geometry.padding[0].saturating_sub(i) * outputs;
        let first = i.saturating_sub(geometry.padding[0]) * width;
        let (mut x, mut dy) = (x.get(first..).unwrap_or_default(), dy.get(skipped..).unwrap_or_default());
        let mut sums = *gradient;
        while let (Some((row, later)), Some((of_row, rest))) =
            (x.split_at_checked(width), dy.split_at_checked(outputs))
            && outputs > 0
        {
            (x, dy) = (later, rest);
            for (block, dy) in of_row.chunks(W).enumerate() {
                let left = (block * W).wrapping_sub(geometry.padding[1]);
                let segment = segment::<K, S>(row, left);
                let dy = load::<W>(dy);
                for (j, sum) in sums.iter_mut().enumerate() {
                    let values = segment.get(j..).unwrap_or_default();
                    dy.iter().zip(values).for_each(|(dy, x)| *sum += dy * x);
                }
            }
        }
        *gradient = sums;
    }
}

/// dx += the input's gradient by one filter, plane by plane.
pub(super) fn input_gradient(geometry: &Geometry, filter: &[f32], dy: &[f32], dx: &mut [f32]) {
    let turned = geometry.turned();
    let pixels = geometry.input.pixels();
    for (dx, taps) in runs_mut(dx, pixels).zip(geometry.kernels(filter)) {
        let mut round = [0.0f32; MOST_TAPS];
        round.iter_mut().zip(taps.iter().rev()).for_each(|(to, from)| *to = *from);
        add_plane(&turned, dy, round.get(..taps.len()).unwrap_or_default(), dx);
    }
}

/// Most taps of one channel's kernel that are turned round on the stack.
const MOST_TAPS: usize = 25;
