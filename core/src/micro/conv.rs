//! Convolution: one filter at a time, over all images of the batch.

use super::pass::{Backward, Forward, Parts, Pass, take};
use super::relu;
use super::stage::Stage;
use super::update::Receive;
use crate::layers::Conv2d;
use crate::noise::sequence::Sequence;
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

/// Channels of one group of the input.
const fn group_of(conv: &Conv2d, input: Shape, row: usize) -> (usize, usize) {
    let groups = if conv.groups == 0 { 1 } else { conv.groups };
    let out = conv.out_channels / groups;
    let channels = input.channels / groups;
    (row / if out == 0 { 1 } else { out } * channels, channels)
}

impl Geometry {
    const fn new(conv: &Conv2d, stage: &Stage<'_>) -> Self {
        Self {
            kernel: conv.kernel,
            stride: conv.stride,
            padding: conv.padding,
            input: stage.input_shape,
            output: stage.head_shape,
        }
    }

    /// That of the input's gradient, as a convolution of the output's with the filter turned round; with stride 1 only.
    const fn turned(&self) -> Self {
        let [kh, kw] = self.kernel;
        let [ph, pw] = self.padding;
        let padding = [kh.saturating_sub(1 + ph), kw.saturating_sub(1 + pw)];
        Self { padding, input: self.output, output: self.input, ..*self }
    }

    /// Whether the fast ways apply: stride 1, a common kernel, and no more padding than the kernel covers.
    const fn is_plain(&self) -> bool {
        let [kh, kw] = self.kernel;
        let [ph, pw] = self.padding;
        matches!((self.stride, kw), ([1, 1], 3 | 5)) && ph < kh && pw < kw
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
    conv: &Conv2d,
    stage: &Stage<'_>,
    rows: Range<usize>,
    pass: &Pass,
    parts: &mut Parts<'_>,
    images: &[f32],
    at: &mut Option<Sequence>,
) -> Option<()> {
    let weight = stage.weight.as_ref()?;
    let geometry = Geometry::new(conv, stage);
    let Forward { x, y, extra } = pass.forward_buffers(stage, parts.values, images)?;
    let (row_scratch, plane) = parts.scratch.split_at_mut_checked(weight.row_len)?;
    let plane = plane.get_mut(..geometry.output.pixels()).unwrap_or_default();
    let pixels = stage.shape.pixels().max(1);
    for row in rows {
        let noise = pass.noise(weight, at);
        let (filter, scale) = weight.at_point(row, noise, None, parts.state.weights, row_scratch)?;
        if let Some(scales) = stage.scales {
            *parts.scales.get_mut(scales + row)? = scale;
        }
        // The bias waits where the first image's channel begins.
        let bias = *y.get(row * pixels)?;
        let (channel, channels) = group_of(conv, geometry.input, row);
        for image in 0..pass.images {
            let x = take(x, image * geometry.input.len() + channel * geometry.input.pixels(),
                channels * geometry.input.pixels())?;
            let y = y.get_mut((image * stage.shape.channels + row) * pixels..)?.get_mut(..pixels)?;
            if stage.pool.is_some() {
                convolve(&geometry, x, filter, bias, plane);
                relu::finish(stage, image, row, plane, y, extra)?;
            } else {
                convolve(&geometry, x, filter, bias, y);
                relu::finish_in_place(stage, image, row, y, extra)?;
            }
        }
    }
    Some(())
}

/// Backward pass of these filters.
#[expect(clippy::too_many_arguments, reason = "the forward pass's, and who receives the gradient")]
#[inline(never)]
pub(super) fn backward(
    conv: &Conv2d,
    stage: &Stage<'_>,
    rows: Range<usize>,
    pass: &Pass,
    parts: &mut Parts<'_>,
    images: &[f32],
    at: &mut Option<Sequence>,
    receive: &Receive,
) -> Option<()> {
    let weight = stage.weight.as_ref()?;
    let geometry = Geometry::new(conv, stage);
    let Backward { x, dy, dx, extra } = pass.backward_buffers(stage, parts.values, images)?;
    let (row_scratch, rest) = parts.scratch.split_at_mut_checked(weight.row_len)?;
    let (gradient, plane) = rest.split_at_mut_checked(weight.row_len)?;
    let plane = plane.get_mut(..geometry.output.pixels()).unwrap_or_default();
    let pixels = stage.shape.pixels().max(1);
    let input = geometry.input.len();
    for row in rows {
        let mut filter: &[f32] = &[];
        if stage.input_gradient {
            let noise = pass.noise(weight, at);
            let scale = stage.scales.and_then(|s| parts.scales.get(s + row).copied());
            (filter, _) = weight.at_point(row, noise, scale, parts.state.weights, row_scratch)?;
        }
        let trained = weight.range(row);
        gradient.fill(0.0);
        let mut of_bias = 0.0;
        let (channel, channels) = group_of(conv, geometry.input, row);
        let window = channel * geometry.input.pixels()..(channel + channels) * geometry.input.pixels();
        for image in 0..pass.images {
            let dy = take(dy, (image * stage.shape.channels + row) * pixels, pixels)?;
            let dy = if stage.pool.is_some() {
                plane.fill(0.0);
                relu::spread(stage, image, row, dy, extra, plane)?;
                &*plane
            } else {
                dy
            };
            of_bias += sum(dy);
            if trained.is_some() {
                let x = take(x, image * input, input)?.get(window.clone())?;
                weight_gradient(&geometry, x, dy, gradient);
            }
            if stage.input_gradient {
                let dx = dx.get_mut(image * input..(image + 1) * input)?.get_mut(window.clone())?;
                input_gradient(&geometry, filter, dy, dx);
            }
        }
        if let Some(range) = trained {
            receive.take(&mut parts.state, range, gradient.iter().copied())?;
        }
        if let Some(range) = stage.bias.and_then(|bias| bias.range(row)) {
            receive.take(&mut parts.state, range, core::iter::once(of_bias))?;
        }
    }
    Some(())
}

/// Sum in four partial sums.
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
    add_convolution(geometry, x, filter, y);
}

/// y += the convolution of x with one filter.
fn add_convolution(geometry: &Geometry, x: &[f32], filter: &[f32], y: &mut [f32]) {
    match (geometry.is_plain(), geometry.kernel[1], geometry.output.width > 4) {
        (true, 3, true) => blocks::<3, 8, 10>(geometry, x, filter, y),
        (true, 3, false) => blocks::<3, 4, 6>(geometry, x, filter, y),
        (true, 5, true) => blocks::<5, 8, 12>(geometry, x, filter, y),
        (true, 5, false) => blocks::<5, 4, 8>(geometry, x, filter, y),
        _ => each_tap(geometry, |at, tap, from| {
            if let (Some(y), Some(w), Some(x)) = (y.get_mut(at), filter.get(tap), x.get(from)) {
                *y += w * x;
            }
        }, filter.len()),
    }
}

/// `W` neighbouring outputs at a time, whose sums stay in registers; `S` = W + KW - 1 inputs give them.
fn blocks<const KW: usize, const W: usize, const S: usize>(
    geometry: &Geometry,
    x: &[f32],
    filter: &[f32],
    y: &mut [f32],
) {
    let (pixels, width) = (geometry.input.pixels().max(1), geometry.input.width.max(1));
    let taps = (geometry.kernel[0] * KW).max(1);
    for (oh, y) in y.chunks_exact_mut(geometry.output.width.max(1)).enumerate() {
        let (rows, first) = geometry.rows(oh);
        for (block, y) in y.chunks_mut(W).enumerate() {
            let left = (block * W).wrapping_sub(geometry.padding[1]);
            let mut sums = [0.0f32; W];
            sums.iter_mut().zip(&*y).for_each(|(sum, y)| *sum = *y);
            for (x, filter) in x.chunks_exact(pixels).zip(filter.chunks_exact(taps)) {
                let (filter, _) = filter.as_chunks::<KW>();
                let filter = filter.get(rows.clone()).unwrap_or_default();
                let x = x.get(first * width..).unwrap_or_default();
                for (x, taps) in x.chunks_exact(width).zip(filter) {
                    let segment = segment::<S>(x, left);
                    for (j, tap) in taps.iter().enumerate() {
                        let values = segment.get(j..).unwrap_or_default();
                        sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += tap * x);
                    }
                }
            }
            y.iter_mut().zip(sums).for_each(|(y, sum)| *y = sum);
        }
    }
}

/// `S` values of a row from `left` on, which may lie before its beginning (wrapped) or reach past its end: zeros there.
#[inline(always)]
fn segment<const S: usize>(row: &[f32], left: usize) -> [f32; S] {
    match row.get(left..).and_then(|row| row.first_chunk()) {
        Some(inside) => *inside,
        None => core::array::from_fn(|t| row.get(left.wrapping_add(t)).copied().unwrap_or(0.0)),
    }
}

/// gradient += that of one filter.
fn weight_gradient(geometry: &Geometry, x: &[f32], dy: &[f32], gradient: &mut [f32]) {
    match (geometry.is_plain(), geometry.kernel[1], geometry.output.width > 4) {
        (true, 3, true) => gradient_blocks::<3, 8, 10>(geometry, x, dy, gradient),
        (true, 3, false) => gradient_blocks::<3, 4, 6>(geometry, x, dy, gradient),
        (true, 5, true) => gradient_blocks::<5, 8, 12>(geometry, x, dy, gradient),
        (true, 5, false) => gradient_blocks::<5, 4, 8>(geometry, x, dy, gradient),
        _ => {
            let taps = gradient.len();
            each_tap(geometry, |at, tap, from| {
                if let (Some(dy), Some(g), Some(x)) = (dy.get(at), gradient.get_mut(tap), x.get(from)) {
                    *g += dy * x;
                }
            }, taps);
        }
    }
}

/// One row of a filter's taps at a time, whose sums over the channel stay in registers.
fn gradient_blocks<const KW: usize, const W: usize, const S: usize>(
    geometry: &Geometry,
    x: &[f32],
    dy: &[f32],
    gradient: &mut [f32],
) {
    let (pixels, width) = (geometry.input.pixels().max(1), geometry.input.width.max(1));
    let taps = (geometry.kernel[0] * KW).max(1);
    for (x, gradient) in x.chunks_exact(pixels).zip(gradient.chunks_exact_mut(taps)) {
        let (gradient, _) = gradient.as_chunks_mut::<KW>();
        for (i, gradient) in gradient.iter_mut().enumerate() {
            // Output row oh meets input row oh + i - padding.
            let skipped = geometry.padding[0].saturating_sub(i);
            let first = i.saturating_sub(geometry.padding[0]);
            let rows = x.get(first * width..).unwrap_or_default().chunks_exact(width);
            let dy = dy.chunks_exact(geometry.output.width.max(1)).skip(skipped);
            let mut sums = *gradient;
            for (x, dy) in rows.zip(dy) {
                for (block, dy) in dy.chunks(W).enumerate() {
                    let left = (block * W).wrapping_sub(geometry.padding[1]);
                    let segment = segment::<S>(x, left);
                    let mut of_block = [0.0f32; W];
                    of_block.iter_mut().zip(dy).for_each(|(to, dy)| *to = *dy);
                    for (j, sum) in sums.iter_mut().enumerate() {
                        let values = segment.get(j..).unwrap_or_default();
                        of_block.iter().zip(values).for_each(|(dy, x)| *sum += dy * x);
                    }
                }
            }
            *gradient = sums;
        }
    }
}

/// dx += the input's gradient by one filter.
fn input_gradient(geometry: &Geometry, filter: &[f32], dy: &[f32], dx: &mut [f32]) {
    let taps = (geometry.kernel[0] * geometry.kernel[1]).max(1);
    let pixels = geometry.input.pixels().max(1);
    if geometry.is_plain() && taps <= MOST_TAPS {
        let turned = geometry.turned();
        for (dx, filter) in dx.chunks_exact_mut(pixels).zip(filter.chunks_exact(taps)) {
            let mut round = [0.0f32; MOST_TAPS];
            round.iter_mut().zip(filter.iter().rev()).for_each(|(to, from)| *to = *from);
            add_convolution(&turned, dy, round.get(..taps).unwrap_or_default(), dx);
        }
    } else {
        each_tap(geometry, |at, tap, from| {
            if let (Some(dy), Some(w), Some(dx)) = (dy.get(at), filter.get(tap), dx.get_mut(from)) {
                *dx += dy * w;
            }
        }, filter.len());
    }
}

/// Most taps of one channel's kernel that are turned round on the stack.
const MOST_TAPS: usize = 25;

/// Calls `each` with the index of an output pixel, of a tap and of the input that the tap meets there.
fn each_tap(geometry: &Geometry, mut each: impl FnMut(usize, usize, usize), taps: usize) {
    let [kh, kw] = geometry.kernel;
    let (pixels, width) = (geometry.input.pixels(), geometry.input.width);
    let channels = taps / (kh * kw).max(1);
    for oh in 0..geometry.output.height {
        let (rows, first) = geometry.rows(oh);
        for ow in 0..geometry.output.width {
            let left = ow * geometry.stride[1];
            let columns = geometry.padding[1].saturating_sub(left)
                ..kw.min((width + geometry.padding[1]).saturating_sub(left));
            for c in 0..channels {
                for (row, i) in rows.clone().enumerate() {
                    for j in columns.clone() {
                        let from = c * pixels + (first + row) * width + left + j - geometry.padding[1];
                        each(oh * geometry.output.width + ow, (c * kh + i) * kw + j, from);
                    }
                }
            }
        }
    }
}
