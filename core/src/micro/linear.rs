//! Fully connected layers: one neuron at a time, in parts of its weights, over all images of the batch.

use super::built;
use super::dots::add_dots;
use super::parts::Parts;
use super::pass::{Backward, Forward, Pass};
use super::relu;
use super::rows::{NextNoise, lend, remember, remembered};
use super::runs::{runs, runs_mut};
use super::slices::copy;
use super::stage::{Stage, block};
use super::update::{Receive, State};
use crate::noise::sequence::Sequence;
use crate::plan::Role;
use core::ops::Range;

/// Forward pass of these neurons.
#[inline(never)] // Frames of all layers in one would be too large.
pub(super) fn forward(
    stage: &Stage<'_>,
    rows: Range<usize>,
    pass: &Pass,
    parts: &mut Parts<'_>,
    images: &[f32],
    at: &mut Option<Sequence>,
) -> Option<()> {
    let inputs = stage.weight()?.row_len;
    let mut buffers = pass.forward_buffers(stage, parts.stages, parts.values, images);
    let buffers = buffers.as_mut()?; // Where it lies: moved, it would be on the stack twice.
    if rows.start == 0 {
        spread_biases(buffers.y, stage.shape().channels)?;
    }
    let mut noise = pass.noise(stage.weight()?, Role::Weight, at);
    for row in rows {
        let noise = lend(&mut noise);
        let scale = if built::WIDE && inputs <= block(inputs) {
            whole(stage, row, noise, parts.state.weights, buffers)?
        } else {
            in_parts(stage, row, noise, parts.state.weights, buffers)?
        };
        remember(stage, row, scale, parts.state.scales)?;
        if stage.relu {
            cut(stage, row, pass.images, buffers)?;
        }
    }
    Some(())
}

/// The first image has the biases: they begin every image's sums.
#[inline(never)] // Here and below: frames of their own, gone when the next one comes.
fn spread_biases(y: &mut [f32], outputs: usize) -> Option<()> {
    let (first, others) = y.split_at_mut_checked(outputs)?;
    runs_mut(others, outputs).for_each(|y| copy(first, y));
    Some(())
}

/// The ReLU of a neuron.
#[inline(never)]
fn cut(stage: &Stage<'_>, row: usize, images: usize, buffers: &mut Forward<'_>) -> Option<()> {
    for image in 0..images {
        let at = image * stage.shape().channels + row;
        relu::finish_in_place(stage, image, row, buffers.y.get_mut(at..=at)?, buffers.extra)?;
    }
    Some(())
}

/// The sums of a neuron whose weights are perturbed together; returns the scale of its noise.
#[inline(never)]
fn whole(
    stage: &Stage<'_>,
    row: usize,
    noise: NextNoise<'_>,
    weights: &[f32],
    buffers: &mut Forward<'_>,
) -> Option<f32> {
    let (filter, scale) = stage.weight()?.at_point(row, noise, weights, buffers.scratch)?;
    add_dots(filter, 0, buffers.x, filter.len(), row, buffers.y, stage.shape().channels);
    Some(scale)
}

/// The same in parts.
#[inline(never)]
fn in_parts(
    stage: &Stage<'_>,
    row: usize,
    mut noise: NextNoise<'_>,
    weights: &[f32],
    buffers: &mut Forward<'_>,
) -> Option<f32> {
    let weight = stage.weight()?;
    let mut scale = 0.0;
    if let (Some((noise, at)), Some(range)) = (&noise, weight.range(row)) {
        scale = noise.next_scale(at, weights.get(range)?, buffers.scratch);
    }
    for part in parts_of(weight.row_len, block(weight.row_len)) {
        let start = part.start;
        let filter = weight.part(row, part, lend(&mut noise), scale, weights, buffers.scratch)?;
        add_dots(filter, start, buffers.x, weight.row_len, row, buffers.y, stage.shape().channels);
    }
    Some(scale)
}

/// One neuron's gradient in each image.
struct Column<'g> {
    /// Those of all neurons, image after image.
    dy: &'g [f32],
    outputs: usize,
    row: usize,
}

impl<'g> Column<'g> {
    #[inline(always)]
    fn iter(&self) -> impl Iterator<Item = &'g f32> {
        self.dy.get(self.row..).unwrap_or_default().chunks(self.outputs.max(1)).filter_map(|dy| dy.first())
    }
}

/// Whether the ReLU has shut a neuron for all images, so that it passes no gradient on.
#[inline(never)]
fn is_shut(dy: &[f32], outputs: usize, row: usize) -> bool {
    Column { dy, outputs, row }.iter().all(|g| *g == 0.0)
}

/// Backward pass of these neurons.
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
    let mut buffers = pass.backward_buffers(stage, parts.stages, parts.values, images);
    let buffers = buffers.as_mut()?; // Where it lies: moved, it would be on the stack twice.
    let mut noise = if stage.input_gradient { pass.noise(stage.weight()?, Role::Weight, at) } else { None };
    for row in rows.clone() {
        if stage.input_gradient {
            pass_on(stage, row, lend(&mut noise), &parts.state, buffers)?;
        }
        learn(stage, row, pass.images, receive, &mut parts.state, buffers)?;
    }
    let outputs = stage.shape().channels;
    // All at once: one by one, each would cost as much as twenty weights.
    if rows.end == outputs {
        learn_biases(stage, buffers.dy, outputs, receive, &mut parts.state)?;
    }
    Some(())
}

/// A neuron's weights in parts of at most so many.
fn parts_of(inputs: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    core::iter::from_fn(move || {
        let part = start..(start + most).min(inputs);
        start = part.end;
        if part.is_empty() { None } else { Some(part) }
    })
}

/// Adds what a neuron gives to the input's gradient.
#[inline(never)]
fn pass_on(
    stage: &Stage<'_>,
    row: usize,
    mut noise: NextNoise<'_>,
    state: &State<'_>,
    buffers: &mut Backward<'_>,
) -> Option<()> {
    let inputs = stage.weight()?.row_len;
    // A neuron that the ReLU has shut for all images passes no gradient on.
    if is_shut(buffers.dy, stage.shape().channels, row) {
        if let Some((noise, at)) = noise {
            noise.pass_over(at, inputs);
        }
        return Some(());
    }
    for part in parts_of(inputs, buffers.scratch.len()) {
        pass_part_on(stage, row, part, lend(&mut noise), state, buffers)?;
    }
    Some(())
}

/// The same of a part of its weights.
#[inline(never)]
fn pass_part_on(
    stage: &Stage<'_>,
    row: usize,
    part: Range<usize>,
    noise: NextNoise<'_>,
    state: &State<'_>,
    buffers: &mut Backward<'_>,
) -> Option<()> {
    let (weight, start) = (stage.weight()?, part.start);
    let scale = remembered(stage, row, state.scales)?;
    let filter = weight.part(row, part, noise, scale, state.weights, buffers.scratch)?;
    let of_neuron = buffers.dy.get(row..)?;
    spread(of_neuron, stage.shape().channels, filter, start, weight.row_len, buffers.dx);
    Some(())
}

/// Hands on the gradients of a neuron's weights.
#[inline(never)]
fn learn(
    stage: &Stage<'_>,
    row: usize,
    images: usize,
    receive: &Receive,
    state: &mut State<'_>,
    buffers: &mut Backward<'_>,
) -> Option<()> {
    let weight = stage.weight()?;
    let Some(range) = weight.range(row) else { return Some(()) };
    if images == 1 {
        return receive.take(state, range, *buffers.dy.get(row)?, buffers.x.get(..weight.row_len)?);
    }
    let column = Column { dy: buffers.dy, outputs: stage.shape().channels, row };
    for part in parts_of(weight.row_len, buffers.scratch.len()) {
        let gradient = buffers.scratch.get_mut(..part.len())?;
        sum_images(&column, buffers.x, part.start, weight.row_len, gradient);
        receive.take(state, range.start + part.start..range.start + part.end, 1.0, gradient)?;
    }
    Some(())
}

/// Hands on the biases' gradients: sums over images, which take the place of the first image's.
#[inline(never)]
fn learn_biases(
    stage: &Stage<'_>,
    dy: &mut [f32],
    outputs: usize,
    receive: &Receive,
    state: &mut State<'_>,
) -> Option<()> {
    let Some(bias) = stage.bias() else { return Some(()) };
    let mut count = 0;
    for row in 0..outputs {
        if bias.range(row).is_some() {
            let sum = Column { dy, outputs, row }.iter().fold(0.0, |sum, g| sum + g);
            *dy.get_mut(count)? = sum;
            count += 1;
        }
    }
    let start = bias.range(0).map_or(0, |range| range.start);
    receive.take(state, start..start + count, 1.0, dy.get(..count)?)
}

/// dx of each image += its gradient, one of each `outputs` values of `dy`, times a part of the neuron's weights, of which the
/// first is number `start`.
#[inline(never)]
fn spread(dy: &[f32], outputs: usize, filter: &[f32], start: usize, inputs: usize, dx: &mut [f32]) {
    for (dx, g) in runs_mut(dx, inputs).zip(dy.chunks(outputs.max(1)).filter_map(|dy| dy.first())) {
        if *g != 0.0 {
            let dx = dx.get_mut(start..).unwrap_or_default();
            dx.iter_mut().zip(filter).for_each(|(dx, w)| *dx += g * w);
        }
    }
}

/// gradient = sum over images of the neuron's gradient times the part of the image that begins at `start`.
#[inline(never)]
fn sum_images(column: &Column<'_>, x: &[f32], start: usize, inputs: usize, gradient: &mut [f32]) {
    let mut start = start;
    let mut rest = gradient;
    while !rest.is_empty() {
        let done = match rest.len() {
            16.. if built::WIDE => sum_block::<16>(column, x, start, inputs, rest),
            8.. if built::WIDE => sum_block::<8>(column, x, start, inputs, rest),
            _ => sum_block::<1>(column, x, start, inputs, rest),
        };
        rest = rest.get_mut(done..).unwrap_or_default();
        start += done;
    }
}

/// The same for the first `W` values from there on, whose sums stay in registers.
#[inline(always)]
fn sum_block<const W: usize>(column: &Column<'_>, x: &[f32], start: usize, inputs: usize, to: &mut [f32]) -> usize {
    let mut sums = [0.0f32; W];
    for (x, dy) in runs(x, inputs).zip(runs(column.dy, column.outputs)) {
        // The same for all images, so that the loop need not ask; with a break the sums would be set to 0 many times.
        let (Some(values), Some(g)) = (x.get(start..).and_then(|x| x.first_chunk::<W>()), dy.get(column.row)) else {
            return W;
        };
        sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += g * x);
    }
    if let Some(to) = to.first_chunk_mut() {
        *to = sums;
    }
    W
}
