//! Convolution: one filter at a time, over all images of the batch.

use super::pass::{Backward, Forward, Parts, Pass, take, take_mut};
use super::rows::{lend, remember, remembered};
use super::runs::{runs, runs_mut};
use super::stage::{Head, Stage};
use super::update::Receive;
use super::window::Window;
use super::{built, relu};
use crate::noise::sequence::Sequence;
use crate::plan::Role;
use crate::shape::Shape;
use core::ops::Range;

/// Geometry of a convolution.
#[derive(Clone, Copy)]
struct Geometry {
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    input: Shape,
    output: Shape,
}

/// First channel of the input, and number of channels, of the group that a filter belongs to.
fn group_of(groups: u16, geometry: &Geometry, row: usize) -> (usize, usize) {
    if !built::ANY_WINDOW {
        return (0, geometry.input.channels);
    }
    let groups = usize::from(groups).max(1);
    let channels = geometry.input.channels / groups;
    (row / (geometry.output.channels / groups).max(1) * channels, channels)
}

impl Geometry {
    fn new(window: Window, stage: &Stage<'_>) -> Self {
        Self {
            kernel: window.kernel(),
            stride: window.stride(),
            padding: window.padding(),
            input: stage.input_shape(),
            output: stage.head_shape(),
        }
    }

    /// That of the input's gradient, as a convolution of the output's with the filter turned round; with stride 1 only.
    const fn turned(&self) -> Self {
        let [kh, kw] = self.kernel;
        let [ph, pw] = self.padding;
        let padding = [kh.saturating_sub(1 + ph), kw.saturating_sub(1 + pw)];
        Self { padding, input: self.output, output: self.input, ..*self }
    }

    /// Whether the fast ways apply: stride 1, a common square kernel, and no more padding than it covers.
    const fn is_plain(&self) -> bool {
        if !built::WIDE {
            return false;
        }
        if !built::ANY_WINDOW {
            return true;
        }
        let [ph, pw] = self.padding;
        let small = matches!((self.stride, self.kernel), ([1, 1], [3, 3] | [5, 5]));
        small && ph < self.kernel[0] && pw < self.kernel[1]
    }

    /// Taps of one channel.
    const fn taps(&self) -> usize {
        let taps = self.kernel[0] * self.kernel[1];
        if taps == 0 { 1 } else { taps }
    }

    /// The channels of a group's input.
    fn channels<'x>(&self, x: &'x [f32]) -> impl Iterator<Item = &'x [f32]> {
        runs(x, self.input.pixels())
    }

    /// The taps of a filter's channels.
    fn kernels<'f>(&self, filter: &'f [f32]) -> impl Iterator<Item = &'f [f32]> {
        runs(filter, self.taps())
    }

    /// Columns of the kernel that meet the input in output column `ow`, and the input's column that the first one meets.
    const fn columns(&self, ow: usize) -> (Range<usize>, usize) {
        let left = ow * self.stride[1];
        let first = self.padding[1].saturating_sub(left);
        let mut end = (self.input.width + self.padding[1]).saturating_sub(left);
        if end > self.kernel[1] {
            end = self.kernel[1];
        }
        (first..end, (left + first).saturating_sub(self.padding[1]))
    }

    /// Rows of the kernel that meet the input in output row `oh`, and the input's row that the first one meets.
    const fn rows(&self, oh: usize) -> (Range<usize>, usize) {
        let top = oh * self.stride[0];
        let first = self.padding[0].saturating_sub(top);
        let mut end = (self.input.height + self.padding[0]).saturating_sub(top);
        if end > self.kernel[0] {
            end = self.kernel[0];
        }
        (first..end, (top + first).saturating_sub(self.padding[0]))
    }
}

/// Forward pass of these filters.
#[inline(never)] // Frames of all layers in one would be too large.
pub(super) fn forward(
    stage: &Stage<'_>,
    rows: Range<usize>,
    pass: &Pass,
    parts: &mut Parts<'_>,
    images: &[f32],
    at: &mut Option<Sequence>,
) -> Option<()> {
    let Head::Conv { window, groups } = stage.head else { return None };
    let weight = stage.weight()?;
    let geometry = Geometry::new(window, stage);
    let Forward { x, y, extra, scratch } = pass.forward_buffers(stage, parts.stages, parts.values, images)?;
    let (row_scratch, plane) = scratch.split_at_mut_checked(weight.row_len)?;
    let plane = plane.get_mut(..geometry.output.pixels()).unwrap_or_default();
    let (of_stage, pixels) = (stage.shape().channels, stage.shape().pixels().max(1));
    let mut noise = pass.noise(weight, Role::Weight, at);
    for row in rows {
        let (filter, scale) = weight.at_point(row, lend(&mut noise), parts.state.weights, row_scratch)?;
        remember(stage, row, scale, parts.state.scales)?;
        // The bias waits where the first image's channel begins.
        let bias = *y.get(row * pixels)?;
        let (channel, channels) = group_of(groups, &geometry, row);
        for image in 0..pass.images {
            let x = take(x, image * geometry.input.len() + channel * geometry.input.pixels(),
                channels * geometry.input.pixels())?;
            let y = take_mut(y, (image * of_stage + row) * pixels, pixels)?;
            let pooled = stage.pool.is_some();
            convolve(&geometry, x, filter, bias, if pooled { &mut *plane } else { &mut *y });
            if pooled {
                relu::finish(stage, image, row, plane, y, extra)?;
            } else {
                relu::finish_in_place(stage, image, row, y, extra)?;
            }
        }
    }
    Some(())
}

/// Backward pass of these filters.
#[inline(never)]
pub(super) fn backward(
    stage: &Stage<'_>,
    rows: Range<usize>,
    pass: &Pass,
    parts: &mut Parts<'_>,
    images: &[f32],
    at: &mut Option<Sequence>,
    receive: &Receive,
) -> Option<()> {
    let Head::Conv { window, groups } = stage.head else { return None };
    let weight = stage.weight()?;
    let geometry = Geometry::new(window, stage);
    let Backward { x, dy, dx, extra, scratch } = pass.backward_buffers(stage, parts.stages, parts.values, images)?;
    let (row_scratch, rest) = scratch.split_at_mut_checked(weight.row_len)?;
    let gradient = rest.get_mut(..weight.row_len)?;
    let (of_stage, pixels) = (stage.shape().channels, stage.shape().pixels().max(1));
    let input = geometry.input.len();
    let by_planes = built::PLANES && stage.pool.is_none() && geometry.is_plain();
    let mut noise = pass.noise(weight, Role::Weight, at);
    for row in rows {
        let mut filter: &[f32] = &[];
        if stage.input_gradient {
            let (noise, scale) = (lend(&mut noise), remembered(stage, row, parts.state.scales)?);
            filter = weight.part(row, 0..weight.row_len, noise, scale, parts.state.weights, row_scratch)?;
        }
        let trained = weight.range(row);
        gradient.fill(0.0);
        let (mut of_planes, mut of_pixels) = (0.0, 0.0);
        let (channel, channels) = group_of(groups, &geometry, row);
        let window = channel * geometry.input.pixels()..(channel + channels) * geometry.input.pixels();
        for image in 0..pass.images {
            let dy = take(dy, (image * of_stage + row) * pixels, pixels)?;
            let mut x: &[f32] = if trained.is_some() { take(x, image * input, input)? } else { &[] };
            let mut dx = if stage.input_gradient { take_mut(dx, image * input, input)? } else { &mut [] };
            if trained.is_some() {
                x = x.get(window.clone())?;
            }
            if stage.input_gradient {
                dx = dx.get_mut(window.clone())?;
            }
            if !by_planes {
                // Few pixels of a pooled plane have a gradient: one a window at most.
                relu::each_pixel(stage, image, row, dy, extra, |pixel, g| {
                    of_pixels += g;
                    add_window(&geometry, pixel, g, x, filter, gradient, dx);
                })?;
            }
            if stage.pool.is_some() {
                continue;
            }
            of_planes += sum(dy);
            if !by_planes {
                continue;
            }
            if trained.is_some() {
                weight_gradient(&geometry, x, dy, gradient);
            }
            if stage.input_gradient {
                input_gradient(&geometry, filter, dy, dx);
            }
        }
        if let Some(range) = trained {
            receive.take(&mut parts.state, range, 1.0, gradient)?;
        }
        if let Some(range) = stage.bias().and_then(|bias| bias.range(row)) {
            let of_bias = if stage.pool.is_some() { of_pixels } else { of_planes };
            receive.take(&mut parts.state, range, 1.0, &[of_bias])?;
        }
    }
    Some(())
}

/// Sum in four partial sums.
#[inline(never)]
pub(super) fn sum(values: &[f32]) -> f32 {
    let (fours, rest) = values.as_chunks::<4>();
    let mut lanes = [0.0f32; 4];
    for four in fours {
        lanes.iter_mut().zip(four).for_each(|(lane, value)| *lane += value);
    }
    rest.iter().fold((lanes[0] + lanes[2]) + (lanes[1] + lanes[3]), |sum, value| sum + value)
}

/// y = bias + the convolution of x with one filter.
fn convolve(geometry: &Geometry, x: &[f32], filter: &[f32], bias: f32, y: &mut [f32]) {
    y.fill(bias);
    if geometry.is_plain() {
        for (x, taps) in geometry.channels(x).zip(geometry.kernels(filter)) {
            add_plane(geometry, x, taps, y);
        }
        return;
    }
    let width = geometry.input.width;
    for (oh, y) in runs_mut(y, geometry.output.width).enumerate() {
        let (rows, first) = geometry.rows(oh);
        for (ow, y) in y.iter_mut().enumerate() {
            let (columns, left) = geometry.columns(ow);
            for (x, taps) in geometry.channels(x).zip(geometry.kernels(filter)) {
                let x = x.get(first * width + left..).unwrap_or_default();
                let taps = taps.get(rows.start * geometry.kernel[1] + columns.start..).unwrap_or_default();
                for row in 0..rows.len() {
                    let x = x.get(row * width..).unwrap_or_default();
                    let taps = taps.get(row * geometry.kernel[1]..).unwrap_or_default();
                    x.iter().zip(taps).take(columns.len()).for_each(|(x, w)| *y += w * x);
                }
            }
        }
    }
}

/// y += the convolution of one channel with its taps.
fn add_plane(geometry: &Geometry, x: &[f32], taps: &[f32], y: &mut [f32]) {
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
fn weight_gradient(geometry: &Geometry, x: &[f32], dy: &[f32], gradient: &mut [f32]) {
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
fn input_gradient(geometry: &Geometry, filter: &[f32], dy: &[f32], dx: &mut [f32]) {
    let turned = geometry.turned();
    let pixels = geometry.input.pixels();
    for (dx, taps) in runs_mut(dx, pixels).zip(geometry.kernels(filter)) {
        let mut round = [0.0f32; MOST_TAPS];
        round.iter_mut().zip(taps.iter().rev()).for_each(|(to, from)| *to = *from);
        add_plane(&turned, dy, round.get(..taps.len()).unwrap_or_default(), dx);
    }
}

/// The gradient g of one output pixel: gradient += g times its window of x, and its window of dx += g times the filter.
/// Whichever of `x` and `dx` nobody needs is empty.
#[cfg_attr(all(feature = "micro-lean", not(feature = "micro-wide")), inline(never))]
fn add_window(
    geometry: &Geometry,
    [oh, ow]: [usize; 2],
    g: f32,
    x: &[f32],
    filter: &[f32],
    gradient: &mut [f32],
    dx: &mut [f32],
) {
    let [kh, kw] = geometry.kernel;
    let (rows, first) = geometry.rows(oh);
    let (columns, left) = geometry.columns(ow);
    let len = columns.len();
    let (pixels, width) = (geometry.input.pixels(), geometry.input.width);
    let mut start = first * width + left;
    let mut taps = rows.start * kw + columns.start;
    for _ in 0..gradient.len() / geometry.taps() {
        let (mut at, mut tap) = (start, taps);
        for _ in rows.clone() {
            if let (Some(x), Some(to)) = (x.get(at..at + len), gradient.get_mut(tap..tap + len)) {
                add_multiple(to, g, x);
            }
            if let (Some(to), Some(w)) = (dx.get_mut(at..at + len), filter.get(tap..tap + len)) {
                add_multiple(to, g, w);
            }
            (at, tap) = (at + width, tap + kw);
        }
        (start, taps) = (start + pixels, taps + kh * kw);
    }
}

/// to += g * from, fast for the usual kernels.
#[inline(always)]
fn add_multiple(to: &mut [f32], g: f32, from: &[f32]) {
    fn whole<const K: usize>(to: &mut [f32], g: f32, from: &[f32]) -> Option<()> {
        let (to, from) = (<&mut [f32; K]>::try_from(to).ok()?, <&[f32; K]>::try_from(from).ok()?);
        to.iter_mut().zip(from).for_each(|(to, from)| *to += g * from);
        Some(())
    }
    let done = match (built::WIDE, built::ANY_WINDOW) {
        (true, true) => whole::<3>(to, g, from).or_else(|| whole::<5>(to, g, from)),
        (true, false) => whole::<3>(to, g, from),
        (false, _) => None,
    };
    if done.is_none() {
        to.iter_mut().zip(from).for_each(|(to, from)| *to += g * from);
    }
}

/// Most taps of one channel's kernel that are turned round on the stack.
const MOST_TAPS: usize = 25;
