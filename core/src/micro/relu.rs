//! What is fused behind a stage's head: ReLU and max pooling, one channel of one image at a time.

use super::{built, pool};
use super::runs::{runs, runs_mut};
use super::stage::{Memory, Stage};
use super::window::Window;

/// max(x, 0); not a number stays one.
#[inline(always)]
fn cut(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// Pools channel `row` of the head's output, `plane`, into `y`.
pub(super) fn finish(
    stage: &Stage<'_>,
    image: usize,
    row: usize,
    plane: &[f32],
    y: &mut [f32],
    extra: &mut [f32],
) -> Option<()> {
    let window = stage.pool?;
    let bytes = channel_bytes(stage, image, row);
    let bytes = if stage.memory == Memory::Bytes { extra.get_mut(bytes)? } else { &mut [] };
    pool::maximum(window, stage.relu, stage.head_shape(), stage.shape(), plane, y, bytes);
    Some(())
}

/// ReLU of channel `row`, where there is one.
pub(super) fn finish_in_place(
    stage: &Stage<'_>,
    image: usize,
    row: usize,
    y: &mut [f32],
    extra: &mut [f32],
) -> Option<()> {
    if !stage.relu {
        return Some(());
    }
    y.iter_mut().for_each(|y| *y = cut(*y));
    if built::BITS && stage.memory == Memory::Bits {
        let words = stage.extra_words();
        let bits = extra.get_mut(image * words..)?.get_mut(..words)?;
        let first = row * stage.shape().pixels();
        for (i, y) in y.iter().enumerate() {
            let (word, bit) = ((first + i) / 32, (first + i) % 32);
            let word = bits.get_mut(word)?;
            let others = word.to_bits() & !(1 << bit);
            *word = f32::from_bits(others | u32::from(*y > 0.0) << bit);
        }
    }
    Some(())
}

/// Adds the gradient of channel `row` of the head's output, whose pooled gradient is `dy`, to `plane`.
pub(super) fn spread(
    stage: &Stage<'_>,
    image: usize,
    row: usize,
    dy: &[f32],
    extra: &[f32],
    plane: &mut [f32],
) -> Option<()> {
    let window = stage.pool?;
    let bytes = extra.get(channel_bytes(stage, image, row))?;
    pool::maximum_backward(window, stage.head_shape(), stage.shape(), bytes, dy, plane);
    Some(())
}

/// Hands the row and column of each pixel of channel `row` of the head's output that its gradient reaches to `each`: all
/// of them without pooling.
pub(super) fn each_pixel(
    stage: &Stage<'_>,
    image: usize,
    row: usize,
    dy: &[f32],
    extra: &[f32],
    each: impl FnMut([usize; 2], f32),
) -> Option<()> {
    let (window, bytes) = match stage.pool {
        Some(window) => (window, extra.get(channel_bytes(stage, image, row))?),
        None => (Window::ONE, &[][..]),
    };
    pool::each_maximum(window, stage.shape(), bytes, dy, each);
    Some(())
}

fn channel_bytes(stage: &Stage<'_>, image: usize, row: usize) -> core::ops::Range<usize> {
    let words = stage.plane_words();
    let start = (image * stage.shape().channels + row) * words;
    start..start + words
}

/// Clears the gradient where the ReLU cut its output off.
#[inline(never)]
pub(super) fn mask(stage: &Stage<'_>, y: &[f32], extra: &[f32], dy: &mut [f32]) {
    match stage.memory {
        Memory::Sign => {
            for (dy, y) in dy.iter_mut().zip(y) {
                *dy = if *y > 0.0 { *dy } else { 0.0 };
            }
        }
        Memory::Bits if built::BITS => {
            for (dy, words) in runs_mut(dy, stage.shape().len()).zip(runs(extra, stage.extra_words())) {
                let mut words = words.iter();
                let mut word = 0;
                for (i, dy) in dy.iter_mut().enumerate() {
                    if i % 32 == 0 {
                        word = words.next().map_or(0, |word| word.to_bits());
                    }
                    *dy = if word & 1 == 1 { *dy } else { 0.0 };
                    word >>= 1;
                }
            }
        }
        Memory::Nothing | Memory::Bits | Memory::Bytes => {}
    }
}
