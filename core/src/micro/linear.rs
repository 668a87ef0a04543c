//! Fully connected layers: one neuron at a time, in parts of its weights, over all images of the batch.

use super::pass::{Backward, Forward, Parts, Pass, take};
use super::relu;
use super::rows::lend;
use super::stage::Stage;
use super::update::Receive;
use crate::noise::sequence::Sequence;
use core::ops::Range;

/// Images whose sums are formed side by side.
const SIDE: usize = 4;

/// Forward pass of these neurons.
pub(super) fn forward(
    stage: &Stage<'_>,
    rows: Range<usize>,
    pass: &Pass,
    parts: &mut Parts<'_>,
    images: &[f32],
    at: &mut Option<Sequence>,
) -> Option<()> {
    let weight = stage.weight.as_ref()?;
    let (inputs, outputs) = (weight.row_len, stage.shape.channels);
    let Forward { x, y, extra } = pass.forward_buffers(stage, parts.values, images)?;
    if rows.start == 0 {
        // The first image has the biases: they begin every image's sums.
        let (first, others) = y.split_at_mut_checked(outputs)?;
        for y in others.chunks_exact_mut(outputs.max(1)) {
            y.iter_mut().zip(&*first).for_each(|(to, from)| *to = *from);
        }
    }
    let block = parts.scratch.len().max(1);
    let mut noise = pass.noise(weight, at);
    for row in rows {
        if inputs <= block {
            let (filter, scale) = weight.at_point(row, lend(&mut noise), None, parts.state.weights, parts.scratch)?;
            remember(stage, row, scale, parts.scales)?;
            add_dots(filter, 0, x, inputs, row, y, outputs);
        } else {
            let mut scale = 0.0;
            if let (Some((noise, at)), Some(range)) = (&noise, weight.range(row)) {
                scale = noise.next_scale(at, parts.state.weights.get(range)?, parts.scratch);
                remember(stage, row, scale, parts.scales)?;
            }
            for start in (0..inputs).step_by(block) {
                let part = start..(start + block).min(inputs);
                let filter = weight.part(row, part, lend(&mut noise), scale, parts.state.weights, parts.scratch)?;
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
    if let Some(first) = stage.scales {
        *scales.get_mut(first + row)? = scale;
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
    let mut ys = y.chunks_exact_mut(outputs.max(1)).filter_map(|y| y.get_mut(row));
    let part = |x, image| take(x, image * inputs + start, filter.len()).unwrap_or_default();
    let mut groups = x.chunks_exact((SIDE * inputs).max(1));
    for group in &mut groups {
        let sums = dots(filter, core::array::from_fn(|image| part(group, image)));
        sums.iter().zip(&mut ys).for_each(|(sum, y)| *y += sum);
    }
    let rest = groups.remainder();
    ys.enumerate().for_each(|(image, y)| *y += dot(filter, part(rest, image)));
}

/// Sum of products in four partial sums.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 4];
    let (fours, rest) = a.as_chunks::<4>();
    let (b_fours, b) = b.as_chunks::<4>();
    // Two fours at a time halve the cost of the loop.
    let (pairs, odd) = fours.as_chunks::<2>();
    let (b_pairs, b_odd) = b_fours.as_chunks::<2>();
    for ([a, c], [b, d]) in pairs.iter().zip(b_pairs) {
        multiply_add(&mut lanes, a, b);
        multiply_add(&mut lanes, c, d);
    }
    odd.iter().zip(b_odd).for_each(|(a, b)| multiply_add(&mut lanes, a, b));
    add_rest(total(lanes), rest, b)
}

/// The same products of `a` with four others.
fn dots(a: &[f32], [b, c, d, e]: [&[f32]; SIDE]) -> [f32; SIDE] {
    let mut lanes = [[0.0f32; 4]; SIDE];
    let (fours, rest) = a.as_chunks::<4>();
    let ((bs, b), (cs, c), (ds, d), (es, e)) = (b.as_chunks(), c.as_chunks(), d.as_chunks(), e.as_chunks());
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

/// Backward pass of these neurons.
pub(super) fn backward(
    stage: &Stage<'_>,
    rows: Range<usize>,
    pass: &Pass,
    parts: &mut Parts<'_>,
    images: &[f32],
    at: &mut Option<Sequence>,
    receive: &Receive,
) -> Option<()> {
    let weight = stage.weight.as_ref()?;
    let (inputs, outputs) = (weight.row_len, stage.shape.channels);
    let Backward { x, dy, dx, .. } = pass.backward_buffers(stage, parts.values, images)?;
    let mut noise = if stage.input_gradient { pass.noise(weight, at) } else { None };
    for row in rows {
        let scale = stage.scales.and_then(|s| parts.scales.get(s + row).copied()).unwrap_or(0.0);
        let trained = weight.range(row);
        let block = parts.scratch.len().max(1);
        // A neuron that the ReLU has shut for all images passes no gradient on.
        let shut = dy.chunks_exact(outputs.max(1)).all(|dy| dy.get(row) == Some(&0.0));
        if shut && let Some((noise, at)) = lend(&mut noise) {
            noise.pass_over(at, inputs);
        }
        for start in (0..inputs).step_by(block) {
            let part = start..(start + block).min(inputs);
            if stage.input_gradient && !shut {
                let noise = lend(&mut noise);
                let filter =
                    weight.part(row, part.clone(), noise, scale, parts.state.weights, parts.scratch)?;
                for (dx, dy) in dx.chunks_exact_mut(inputs.max(1)).zip(dy.chunks_exact(outputs.max(1))) {
                    let g = *dy.get(row)?;
                    if g != 0.0 {
                        let dx = dx.get_mut(part.clone())?;
                        dx.iter_mut().zip(filter).for_each(|(dx, w)| *dx += g * w);
                    }
                }
            }
            if let Some(range) = &trained {
                let range = range.start + part.start..range.start + part.end;
                if pass.images == 1 {
                    receive.take(&mut parts.state, range, *dy.get(row)?, x.get(part)?)?;
                } else {
                    let gradient = parts.scratch.get_mut(..part.len())?;
                    sum_images(x, inputs, start, dy, outputs, row, gradient);
                    receive.take(&mut parts.state, range, 1.0, gradient)?;
                }
            }
        }
        if let Some(range) = stage.bias.and_then(|bias| bias.range(row)) {
            let sum = dy.chunks_exact(outputs.max(1)).filter_map(|dy| dy.get(row));
            let sum = sum.fold(0.0, |sum, g| sum + g);
            receive.take(&mut parts.state, range, 1.0, &[sum])?;
        }
    }
    Some(())
}

/// gradient = sum over images of dy[image][row] times the part of the image that begins at `start`.
fn sum_images(
    x: &[f32],
    inputs: usize,
    start: usize,
    dy: &[f32],
    outputs: usize,
    row: usize,
    gradient: &mut [f32],
) {
    let len = gradient.len();
    let each = || x.chunks_exact(inputs.max(1)).zip(dy.chunks_exact(outputs.max(1)));
    let (eights, rest) = gradient.as_chunks_mut::<8>();
    for (i, to) in eights.iter_mut().enumerate() {
        let mut sums = [0.0f32; 8];
        for (x, dy) in each() {
            if let (Some(x), Some(g)) =
                (x.get(start + 8 * i..).and_then(|x| x.first_chunk::<8>()), dy.get(row))
            {
                sums.iter_mut().zip(x).for_each(|(sum, x)| *sum += g * x);
            }
        }
        *to = sums;
    }
    let end = start + len - rest.len();
    for (i, to) in rest.iter_mut().enumerate() {
        *to = each()
            .filter_map(|(x, dy)| Some(x.get(end + i)? * dy.get(row)?))
            .fold(0.0, |sum, product| sum + product);
    }
}
