//! From when to when each activation and each gradient is needed.

use super::arena::{Buffer, place};
use super::{PlannedLayer, Purpose};
use crate::network::{Layer, Source};
use heapless::Vec;

/// Places outputs and gradients of all layers and returns the arena's length.
///
/// Moments: layer i runs forward at i, the loss is taken at n, layer i runs backward at 2n - i.
pub(super) fn assign<const N: usize>(
    layers: &mut Vec<PlannedLayer, N>,
    batch: usize,
    purpose: Purpose,
) -> Option<usize> {
    let n = layers.len();
    let training = purpose == Purpose::Training;
    let backward = |layer: usize| 2 * n - layer;
    let mut outputs: Vec<Buffer, N> = Vec::new();
    let mut gradients: Vec<Buffer, N> = Vec::new();
    for (i, layer) in layers.iter().enumerate() {
        let mine = Source::Layer(i);
        let mut last_read = if i + 1 == n { n } else { i };
        let mut first_gradient = n;
        if training && matches!(layer.layer, Layer::Relu) {
            last_read = backward(i); // the output's sign is the mask
        }
        for (j, reader) in layers.iter().enumerate().skip(i + 1) {
            if reader.input != mine && reader.addend() != Some(mine) {
                continue;
            }
            let read = if training && reads_input_backward(&reader.layer) { backward(j) } else { j };
            last_read = last_read.max(read);
            first_gradient = backward(j); // readers come in order, so the last one found writes first
        }
        let len = layer.output_shape.len().checked_mul(batch)?;
        let _ = outputs.push(Buffer::new(i, last_read, len));
        let _ = gradients.push(Buffer::new(first_gradient, backward(i), if training { len } else { 0 }));
    }
    place_both(layers, &mut outputs, &mut gradients)
}

/// Whether the backward pass reads what the forward pass was fed with.
const fn reads_input_backward(layer: &Layer) -> bool {
    matches!(
        layer,
        Layer::Conv2d(_) | Layer::Linear(_) | Layer::BatchNorm(_) | Layer::MaxPool2d(_)
    )
}

/// Outputs in forward order, then gradients in backward order: the order in which they come to life.
fn place_both<const N: usize>(
    layers: &mut Vec<PlannedLayer, N>,
    outputs: &mut Vec<Buffer, N>,
    gradients: &mut Vec<Buffer, N>,
) -> Option<usize> {
    let mut total = place(outputs)?;
    for i in (0..layers.len()).rev() {
        // One gradient at a time against everything placed so far; there is no list of both, as it would need 2N places.
        let mut gradient = *gradients.get(i)?;
        gradient.offset = 0;
        loop {
            let placed = gradients.iter().skip(i + 1).chain(outputs.iter());
            let Some(obstacle) = placed.into_iter().find(|other| gradient.collides(other)) else {
                break;
            };
            gradient.offset = obstacle.stop();
        }
        total = total.max(gradient.offset.checked_add(gradient.len)?);
        *gradients.get_mut(i)? = gradient;
    }
    for ((layer, output), gradient) in layers.iter_mut().zip(outputs.iter()).zip(gradients.iter()) {
        layer.output = output.offset;
        layer.gradient = gradient.offset;
    }
    Some(total)
}
