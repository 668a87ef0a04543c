//! Layers without parameters that stand alone: sums, dropout, pooling, ReLU.

use super::parts::Parts;
use super::pass::{Backward, Forward, Pass};
use super::slices::{apart, copy, sum, take, take_mut};
use super::stage::{Feed, Head, Stage, gradient_of, output_of};
use super::{pool, relu};
use crate::dropout_mask::DropoutMask;
use core::ops::Range;

/// Forward pass of these channels.
#[inline(never)] // Frames of all layers in one would be too large.
pub(super) fn forward(
    stage: &Stage<'_>,
    rows: Range<usize>,
    pass: &Pass,
    parts: &mut Parts<'_>,
    images: &[f32],
) -> Option<()> {
    let addend = addend(stage, pass, parts, images, &rows)?;
    let Forward { x, y, extra, .. } = pass.forward_buffers(stage, parts.stages, parts.values, images)?;
    let (channels, pixels) = (stage.shape().channels, stage.shape().pixels());
    let of_input = stage.input_shape().pixels();
    for image in 0..pass.images {
        for row in rows.clone() {
            let channel = image * channels + row;
            let x = take(x, channel * of_input, of_input)?;
            let y = take_mut(y, channel * pixels, pixels)?;
            match &stage.head {
                Head::Same if stage.pool.is_some() => relu::finish(stage, image, row, x, y, extra)?,
                Head::AvgPool(window) => pool::mean(*window, stage.input_shape(), stage.shape(), x, y),
                Head::GlobalAvgPool => y.fill(sum(x) / of_input as f32),
                Head::Dropout(dropout, layer) if pass.training => {
                    let mask = pass.masks.layer(u32::from(*layer), dropout.probability);
                    let factors = factors(&mask, image, row * pixels);
                    y.iter_mut().zip(x).zip(factors).for_each(|((y, x), f)| *y = x * f);
                }
                Head::Add if addend => y.iter_mut().zip(x).for_each(|(y, x)| *y += x),
                _ => copy(x, y),
            }
            if stage.pool.is_none() {
                relu::finish_in_place(stage, image, row, y, extra)?;
            }
        }
    }
    Some(())
}

/// The factors of an image's elements from `start` on.
fn factors(mask: &DropoutMask, image: usize, start: usize) -> impl Iterator<Item = f32> {
    let (threshold, scale) = (mask.threshold(), mask.scale());
    let keep = move |half: u16| if u32::from(half) < threshold { 0.0 } else { scale };
    mask.image(image as u32).halves(start).map(keep)
}

/// Writes the second input of a sum to its output; whether there is one.
fn addend(
    stage: &Stage<'_>,
    pass: &Pass,
    parts: &mut Parts<'_>,
    images: &[f32],
    rows: &Range<usize>,
) -> Option<bool> {
    if stage.addend == Feed::NOTHING {
        return Some(false);
    }
    let len = pass.images * stage.shape().len();
    let from_images = stage.addend == Feed::IMAGES;
    let at = output_of(parts.stages, stage.addend);
    let from = if from_images { 0..0 } else { at..at + len };
    let [from, y, ..] = apart(parts.values, [from, stage.output..stage.output + len, 0..0, 0..0, 0..0])?;
    let from = if from_images { images.get(..len)? } else { from };
    let pixels = stage.shape().pixels();
    for image in 0..pass.images {
        let start = (image * stage.shape().channels + rows.start) * pixels;
        let len = rows.len() * pixels;
        copy(take(from, start, len)?, take_mut(y, start, len)?);
    }
    Some(true)
}

/// Backward pass of these channels.
#[inline(never)]
pub(super) fn backward(
    stage: &Stage<'_>,
    rows: Range<usize>,
    pass: &Pass,
    parts: &mut Parts<'_>,
) -> Option<()> {
    if stage.addend_gradient {
        let len = pass.images * stage.shape().len();
        let (from, to) = (stage.gradient, gradient_of(parts.stages, stage.addend));
        let [dy, dx, ..] = apart(parts.values, [from..from + len, to..to + len, 0..0, 0..0, 0..0])?;
        let pixels = stage.shape().pixels();
        for image in 0..pass.images {
            let start = (image * stage.shape().channels + rows.start) * pixels;
            let len = rows.len() * pixels;
            let dx = take_mut(dx, start, len)?;
            dx.iter_mut().zip(take(dy, start, len)?).for_each(|(dx, dy)| *dx += dy);
        }
    }
    if !stage.input_gradient {
        return Some(());
    }
    let Backward { dy, dx, extra, .. } = pass.backward_buffers(stage, parts.stages, parts.values, &[])?;
    let (channels, pixels) = (stage.shape().channels, stage.shape().pixels());
    let of_input = stage.input_shape().pixels();
    for image in 0..pass.images {
        for row in rows.clone() {
            let channel = image * channels + row;
            let dy = take(dy, channel * pixels, pixels)?;
            let dx = take_mut(dx, channel * of_input, of_input)?;
            match &stage.head {
                Head::Same if stage.pool.is_some() => relu::spread(stage, image, row, dy, extra, dx)?,
                Head::AvgPool(window) => {
                    pool::mean_backward(*window, stage.input_shape(), stage.shape(), dy, dx);
                }
                Head::GlobalAvgPool => {
                    let share = dy.first()? / of_input as f32;
                    dx.iter_mut().for_each(|dx| *dx += share);
                }
                Head::Dropout(dropout, layer) if pass.training => {
                    let mask = pass.masks.layer(u32::from(*layer), dropout.probability);
                    let factors = factors(&mask, image, row * pixels);
                    dx.iter_mut().zip(dy).zip(factors).for_each(|((dx, dy), f)| *dx += dy * f);
                }
                _ => dx.iter_mut().zip(dy).for_each(|(dx, dy)| *dx += *dy),
            }
        }
    }
    Some(())
}
