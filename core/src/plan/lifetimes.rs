//! From when to when each activation and each gradient is needed.

use super::arena::{Buffer, place};
use super::{PlannedLayer, Purpose};
use crate::network::{Layer, Source};
use heapless::Vec;

/// Places outputs and gradients of all layers and returns the arena's length: outputs in forward order, then gradients
/// in backward order, the order in which they come to life.
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
    let mut buffers = [[Buffer::new(0, 0, 0); N]; 2];
    let [outputs, gradients] = &mut buffers;
    for (i, layer) in layers.iter().enumerate() {
        let mine = Source::Layer(i);
        let mut last_read = if i + 1 == n { n } else { i };
        let mut first_gradient = n;
        if training && matches!(layer.layer, Layer::Relu) {
            last_read = backward(i); // the output's sign is the mask
        }
        for (j, reader) in layers.iter().enumerate().skip(i + 1) {
            if reader.reads(mine) == 0 {
                continue;
            }
            let read = if training && reads_input_backward(&reader.layer) { backward(j) } else { j };
            last_read = last_read.max(read);
            first_gradient = backward(j); // readers come in order, so the last one found writes first
        }
        let len = layer.output_shape.len().checked_mul(batch)?;
        *outputs.get_mut(i)? = Buffer::new(i, last_read, len);
        // Gradients come to life in backward order.
        let gradient = Buffer::new(first_gradient, backward(i), if training { len } else { 0 });
        *gradients.get_mut(N - 1 - i)? = gradient;
    }
    let total = place(buffers.as_flattened_mut())?;
    let [outputs, gradients] = &buffers;
    for ((layer, output), gradient) in layers.iter_mut().zip(outputs).zip(gradients.iter().rev()) {
        layer.output = output.offset;
        layer.gradient = gradient.offset;
    }
    Some(total)
}

/// Whether the backward pass reads what the forward pass was fed with.
const fn reads_input_backward(layer: &Layer) -> bool {
    matches!(
        layer,
        Layer::Conv2d(_) | Layer::Linear(_) | Layer::BatchNorm(_) | Layer::MaxPool2d(_)
    )
}
