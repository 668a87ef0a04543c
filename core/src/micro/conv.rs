//! Convolution: one filter at a time, over all images of the batch.

use super::geometry::Geometry;
use super::parts::Parts;
use super::pass::{Backward, Forward, Pass};
use super::planes::{add_plane, input_gradient, weight_gradient};
use super::rows::{lend, remember, remembered};
use super::runs::runs_mut;
use super::slices::{sum, take, take_mut};
use super::stage::{Head, Stage};
use super::update::Receive;
use super::{built, relu};
use crate::noise::sequence::Sequence;
use crate::plan::Role;
use core::ops::Range;

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

/// First channel of the input, and number of channels, of the group that a filter belongs to.
fn group_of(groups: u16, geometry: &Geometry, row: usize) -> (usize, usize) {
    if !built::ANY_WINDOW {
        return (0, geometry.input.channels);
    }
    let groups = usize::from(groups).max(1);
    let channels = geometry.input.channels / groups;
    (row / (geometry.output.channels / groups).max(1) * channels, channels)
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
