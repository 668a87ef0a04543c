//! Fully connected layers: one neuron at a time, in parts of its weights, over all images of the batch.

use super::built;
use super::pass::{Backward, Forward, Parts, Pass, State, take};
use super::relu;
use super::rows::lend;
use super::runs::runs_mut;
use super::session::copy;
use super::stage::{Stage, block};
use super::update::Receive;
use crate::noise::sequence::Sequence;
use core::ops::Range;

/// Images whose sums are formed side by side.
const SIDE: usize = 4;

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
    let weight = stage.weight()?;
    let (inputs, outputs) = (weight.row_len, stage.shape().channels);
    let Forward { x, y, extra, scratch } = pass.forward_buffers(stage, parts.stages, parts.values, images)?;
    if rows.start == 0 {
        // The first image has the biases: they begin every image's sums.
        let (first, others) = y.split_at_mut_checked(outputs)?;
        for y in runs_mut(others, outputs) {
            copy(first, y);
        }
    }
    let block = block(inputs).max(1);
    let mut noise = pass.noise(weight, at);
    for row in rows {
        if inputs <= block {
            let (filter, scale) = weight.at_point(row, lend(&mut noise), None, parts.state.weights, scratch)?;
            remember(stage, row, scale, parts.scales)?;
            add_dots(filter, 0, x, inputs, row, y, outputs);
        } else {
            let mut scale = 0.0;
            if let (Some((noise, at)), Some(range)) = (&noise, weight.range(row)) {
                scale = noise.next_scale(at, parts.state.weights.get(range)?, scratch);
                remember(stage, row, scale, parts.scales)?;
            }
            for start in (0..inputs).step_by(block) {
                let part = start..(start + block).min(inputs);
                let filter = weight.part(row, part, lend(&mut noise), scale, parts.state.weights, scratch)?;
                add_dots(filter, start, x, inputs, row, y, outputs);
            }
        }
        for image in 0..pass.images {
            let at = image * outputs + row;
            relu::finish_in_place(stage, image, row, y.get_mut(at..=at)?, extra)?;
        }
    }
    Some(())
}

fn remember(stage: &Stage<'_>, row: usize, scale: f32, scales: &mut [f32]) -> Option<()> {
    if stage.again {
        *scales.get_mut(stage.kept + row)? = scale;
    }
    Some(())
}

/// y[image][row] += the product of a part of a neuron's weights with that part of each image.
fn add_dots(
    filter: &[f32],
    start: usize,
    x: &[f32],
    inputs: usize,
    row: usize,
    y: &mut [f32],
    outputs: usize,
) {
    let mut ys = runs_mut(y, outputs).filter_map(|y| y.get_mut(row));
    let part = |x, image| take(x, image * inputs + start, filter.len()).unwrap_or_default();
    let mut rest = x;
    while built::WIDE
        && let Some((group, later)) = rest.split_at_checked(SIDE * inputs)
        && inputs > 0
    {
        let sums = dots(filter, core::array::from_fn(|image| part(group, image)));
        sums.iter().zip(&mut ys).for_each(|(sum, y)| *y += sum);
        rest = later;
    }
    ys.enumerate().for_each(|(image, y)| *y += dot(filter, part(rest, image)));
}

/// Sum of products in four partial sums.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 4];
    let (fours, rest) = a.as_chunks::<4>();
    let (b_fours, b) = b.as_chunks::<4>();
    // Two fours at a time halve the cost of the loop.
    let (pairs, odd) = if built::WIDE { fours.as_chunks::<2>() } else { (&[][..], fours) };
    let (b_pairs, b_odd) = if built::WIDE { b_fours.as_chunks::<2>() } else { (&[][..], b_fours) };
    for ([a, c], [b, d]) in pairs.iter().zip(b_pairs) {
        multiply_add(&mut lanes, a, b);
        multiply_add(&mut lanes, c, d);
    }
    odd.iter().zip(b_odd).for_each(|(a, b)| multiply_add(&mut lanes, a, b));
    if rest.is_empty() { total(lanes) } else { add_rest(total(lanes), rest, b) }
}

/// The same products of `a` with four others, which are at least as long.
fn dots(a: &[f32], [b, c, d, e]: [&[f32]; SIDE]) -> [f32; SIDE] {
    let len = a.len();
    let (Some(b), Some(c), Some(d), Some(e)) = (b.get(..len), c.get(..len), d.get(..len), e.get(..len)) else {
        return [0.0; SIDE];
    };
    let mut lanes = [[0.0f32; 4]; SIDE];
    let (fours, rest) = a.as_chunks::<4>();
    let ((bs, b), (cs, c), (ds, d), (es, e)) =
        (b.as_chunks::<4>(), c.as_chunks::<4>(), d.as_chunks::<4>(), e.as_chunks::<4>());
    for ((((a, b), c), d), e) in fours.iter().zip(bs).zip(cs).zip(ds).zip(es) {
        let [of_b, of_c, of_d, of_e] = &mut lanes;
        multiply_add(of_b, a, b);
        multiply_add(of_c, a, c);
        multiply_add(of_d, a, d);
        multiply_add(of_e, a, e);
    }
    let mut sums = lanes.map(total);
    if !rest.is_empty() {
        sums.iter_mut().zip([b, c, d, e]).for_each(|(sum, b)| *sum = add_rest(*sum, rest, b));
    }
    sums
}

#[inline(always)]
fn multiply_add(lanes: &mut [f32; 4], a: &[f32; 4], b: &[f32; 4]) {
    lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += a * b);
}

fn total(lanes: [f32; 4]) -> f32 {
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
}

/// The products of what does not fill four lanes.
#[inline(never)]
fn add_rest(sum: f32, a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(sum, |sum, (a, b)| sum + a * b)
}

/// One neuron's gradient in each image.
#[derive(Clone, Copy)]
struct Column<'g> {
    /// Those of all neurons, image after image.
    dy: &'g [f32],
    outputs: usize,
    row: usize,
}

impl<'g> Column<'g> {
    #[inline(always)]
    fn iter(self) -> impl Iterator<Item = &'g f32> {
        self.dy.get(self.row..).unwrap_or_default().chunks(self.outputs.max(1)).filter_map(|dy| dy.first())
    }
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
    let weight = stage.weight()?;
    let inputs = weight.row_len;
    let Backward { x, dy, dx, scratch, .. } = pass.backward_buffers(stage, parts.stages, parts.values, images)?;
    let mut noise = if stage.input_gradient { pass.noise(weight, at) } else { None };
    for row in rows {
        let column = Column { dy, outputs: stage.shape().channels, row };
        let scale = if stage.again { *parts.scales.get(stage.kept + row)? } else { 0.0 };
        let block = block(inputs).max(1);
        // A neuron that the ReLU has shut for all images passes no gradient on.
        let shut = column.iter().all(|g| *g == 0.0);
        if shut && let Some((noise, at)) = lend(&mut noise) {
            noise.pass_over(at, inputs);
        }
        for start in (0..inputs).step_by(block) {
            let part = start..(start + block).min(inputs);
            if stage.input_gradient && !shut {
                let noise = lend(&mut noise);
                let filter =
                    weight.part(row, part.clone(), noise, scale, parts.state.weights, scratch)?;
                spread(column, filter, start, inputs, dx);
            }
            if let Some(range) = weight.range(row) {
                let range = range.start + part.start..range.start + part.end;
                if pass.images == 1 {
                    receive.take(&mut parts.state, range, *dy.get(row)?, x.get(part)?)?;
                } else {
                    let gradient = scratch.get_mut(..part.len())?;
                    sum_images(column, x, start, inputs, gradient);
                    receive.take(&mut parts.state, range, 1.0, gradient)?;
                }
            }
        }
        update_bias(stage, column, receive, &mut parts.state)?;
    }
    Some(())
}

#[inline(never)] // Here and below: frames of their own, gone when the next one comes.
fn update_bias(
    stage: &Stage<'_>,
    column: Column<'_>,
    receive: &Receive,
    state: &mut State<'_>,
) -> Option<()> {
    let Some(range) = stage.bias().and_then(|bias| bias.range(column.row)) else { return Some(()) };
    let sum = column.iter().fold(0.0, |sum, g| sum + g);
    receive.take(state, range, 1.0, &[sum])
}

/// dx of each image += its gradient times a part of the neuron's weights, of which the first is number `start`.
#[inline(never)]
fn spread(column: Column<'_>, filter: &[f32], start: usize, inputs: usize, dx: &mut [f32]) {
    for (dx, g) in runs_mut(dx, inputs).zip(column.iter()) {
        if *g != 0.0 {
            let dx = dx.get_mut(start..).unwrap_or_default();
            dx.iter_mut().zip(filter).for_each(|(dx, w)| *dx += g * w);
        }
    }
}

/// gradient = sum over images of the neuron's gradient times the part of the image that begins at `start`.
#[inline(never)]
fn sum_images(column: Column<'_>, x: &[f32], start: usize, inputs: usize, gradient: &mut [f32]) {
    let mut x = x.get(start..).unwrap_or_default();
    let mut rest = gradient;
    while !rest.is_empty() {
        let done = match rest.len() {
            16.. if built::WIDE => sum_block::<16>(column, x, inputs, rest),
            8.. if built::WIDE => sum_block::<8>(column, x, inputs, rest),
            _ => sum_block::<1>(column, x, inputs, rest),
        };
        rest = rest.get_mut(done..).unwrap_or_default();
        x = x.get(done..).unwrap_or_default();
    }
}

/// The same for the first `W` values of each image, whose sums stay in registers.
#[inline(always)]
fn sum_block<const W: usize>(column: Column<'_>, x: &[f32], inputs: usize, to: &mut [f32]) -> usize {
    let (mut x, mut dy) = (x, column.dy.get(column.row..).unwrap_or_default());
    let mut sums = [0.0f32; W];
    while let (Some(values), Some(g)) = (x.first_chunk::<W>(), dy.first()) {
        sums.iter_mut().zip(values).for_each(|(sum, x)| *sum += g * x);
        let (Some(later), Some(others)) = (x.get(inputs..), dy.get(column.outputs..)) else { break };
        (x, dy) = (later, others);
    }
    if let Some(to) = to.first_chunk_mut() {
        *to = sums;
    }
    W
}
