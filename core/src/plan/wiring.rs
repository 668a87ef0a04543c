//! From layers to the operations of a backend that fuses them: which values each one reads and writes, how gradients flow
//! between them, and when every value is needed.
//!
//! Values are numbered in the order in which they come to life: 0 is the images, the last one the logits.

use super::arena::Buffer;
use super::{Fusion, PlannedLayer};
use crate::network::{Layer, Source};

/// What an operation does with the gradient of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Flow {
    /// Nothing: the input is the images.
    Stop,
    /// It is worked out in the place of the output's gradient.
    InPlace,
    /// It is the first one to arrive at the input's place.
    Store,
    /// It is added to those that arrived before.
    Add,
}

/// One operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Wiring {
    /// The layer that it computes, of fused ones the batch norm; it numbers dropout's masks.
    pub layer: usize,
    /// Whether a ReLU is fused to the end of it.
    pub relu: bool,
    /// Number of the value that it reads.
    pub input: usize,
    /// Number of the value that a sum, or the sum in a fusion, adds.
    pub addend: Option<usize>,
    /// Number of the value that it gives.
    pub output: usize,
    /// Whether its backward pass reads its input, and whether it reads its output.
    pub reads_backward: [bool; 2],
    /// Where the input's gradient goes; see [`direct`].
    pub flow: Flow,
    /// Where the addend's gradient goes.
    pub addend_flow: Flow,
}

impl Wiring {
    /// Hands the operations of a plan's layers to `each`, together with the layer whose output is theirs. Layers are fused as
    /// [`Fusion`] says, and flattening is none.
    ///
    /// # Panics
    /// `outputs` has no room for a number for each layer.
    pub fn each(layers: &[PlannedLayer], outputs: &mut [usize], mut each: impl FnMut(Self, &PlannedLayer)) {
        let mut output = 0;
        for (i, last) in layers.iter().enumerate() {
            let value = |source: Source| match source {
                Source::Input => 0,
                Source::Layer(l) => outputs[l],
            };
            let fusion = Fusion::ending_at(layers, i);
            if matches!(last.layer, Layer::Flatten) {
                outputs[i] = value(last.input);
            } else if fusion.is_some() || Fusion::of(layers, i).is_none() {
                let (first, addend) = match fusion {
                    Some(fusion) => (fusion.norm, fusion.addend(layers)),
                    None => (i, last.addend()),
                };
                let relu = fusion.is_some_and(|fusion| fusion.relu.is_some());
                let addend = addend.map(value);
                output += 1;
                let wiring = Self {
                    layer: first,
                    relu,
                    input: value(layers[first].input),
                    addend,
                    output,
                    reads_backward: match layers[first].layer {
                        Layer::Conv2d(_) | Layer::Linear(_) => [true, false],
                        // Without a sum in between, the input tells what the ReLU let through.
                        Layer::BatchNorm(_) => [true, relu && addend.is_some()],
                        Layer::Relu => [false, true],
                        _ => [false, false],
                    },
                    flow: Flow::Stop,
                    addend_flow: Flow::Stop,
                };
                each(wiring, last);
                outputs[i] = output;
            }
            // Nobody but the fused operation reads a layer that is part of a later one.
        }
    }

    fn reads(&self, value: usize) -> usize {
        usize::from(self.input == value) + usize::from(self.addend == Some(value))
    }
}

/// Decides how gradients flow, and writes to `owners`, one for each value, the number of the value in whose place its
/// gradient lies. `layers` are the plan's.
///
/// # Panics
/// `owners` has no room for a number for each value, or `wirings` are not those of `layers`.
pub fn direct(wirings: &mut [Wiring], layers: &[PlannedLayer], owners: &mut [usize]) {
    owners.iter_mut().enumerate().for_each(|(v, owner)| *owner = v);
    for k in (0..wirings.len()).rev() {
        let readers = |value| wirings.iter().map(|wiring| wiring.reads(value)).sum::<usize>();
        let mut wiring = wirings[k];
        // Gradients arrive from the last operation on.
        let arrive = |value, before: bool| match value {
            0 => Flow::Stop,
            _ if before || wirings[k + 1..].iter().any(|later| later.reads(value) > 0) => Flow::Add,
            _ => Flow::Store,
        };
        if let Some(addend) = wiring.addend {
            wiring.addend_flow = arrive(addend, false);
        }
        let elementwise = matches!(
            layers[wiring.layer].layer,
            Layer::BatchNorm(_) | Layer::Relu | Layer::Dropout(_) | Layer::Add(_)
        );
        wiring.flow = if elementwise && wiring.input != 0 && readers(wiring.input) == 1 {
            owners[wiring.input] = owners[wiring.output];
            Flow::InPlace
        } else {
            arrive(wiring.input, wiring.addend == Some(wiring.input))
        };
        wirings[k] = wiring;
    }
}

/// Writes when each value is needed to `buffers`, which holds two for each: first the activations in order, then their
/// gradients from the last value's on, empty where a value owns none. Value `v` takes `len(v)` places of the arena. `owners` are
/// those of [`direct`]; none where there is no backward pass.
///
/// Operation k of n runs forward at moment k + 1 (the images come at 0), the loss is taken at n + 1, and operation k runs
/// backward at 2n + 1 - k.
///
/// # Panics
/// `buffers` or `owners` are too few.
pub fn lives(wirings: &[Wiring], owners: Option<&[usize]>, len: impl Fn(usize) -> usize, buffers: &mut [Buffer]) {
    let n = wirings.len();
    let backward = |k: usize| 2 * n + 1 - k;
    let values = buffers.len() / 2;
    let (activations, gradients) = buffers.split_at_mut(values);
    activations.iter_mut().enumerate().for_each(|(v, buffer)| *buffer = Buffer::new(v, v, len(v)));
    gradients.fill(Buffer::new(0, 0, 0));
    for (k, wiring) in wirings.iter().enumerate() {
        let [reads_input, reads_output] = wiring.reads_backward.map(|reads| reads && owners.is_some());
        let mut until = |v: usize, moment: usize| activations[v].end = activations[v].end.max(moment);
        until(wiring.input, if reads_input { backward(k) } else { k + 1 });
        if let Some(addend) = wiring.addend {
            until(addend, k + 1);
        }
        if reads_output {
            until(wiring.output, backward(k));
        }
    }
    if let Some(logits) = activations.last_mut() {
        logits.end = 2 * n + 2;
    }
    let Some(owners) = owners else { return };
    // From the first arrival to the backward pass of the last one's maker.
    let mut live = |v: usize, moment: usize| {
        let buffer = &mut gradients[values - 1 - owners[v]];
        if buffer.len == 0 {
            *buffer = Buffer::new(moment, moment, len(v));
        }
        buffer.start = buffer.start.min(moment);
        buffer.end = buffer.end.max(moment);
    };
    live(n, n + 1);
    for (k, wiring) in wirings.iter().enumerate().rev() {
        live(wiring.output, backward(k));
        for v in [Some(wiring.input), wiring.addend].into_iter().flatten().filter(|v| *v != 0) {
            live(v, backward(k));
        }
    }
}

/// Where activation and gradient of value `v` lie, in the buffers of [`lives`] after they were
/// [placed](super::arena::place); no gradient where nothing needs it. Whatever follows the buffers is left alone.
///
/// # Panics
/// As [`lives`].
pub fn places(buffers: &[Buffer], owners: Option<&[usize]>, values: usize, v: usize) -> (usize, Option<usize>) {
    let gradient = owners.map(|owners| buffers[2 * values - 1 - owners[v]]).filter(|buffer| buffer.len > 0);
    (buffers[v].offset, gradient.map(|buffer| buffer.offset))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::layers::{BatchNorm, Linear};
    use crate::network::Network;
    use crate::plan::arena::place;
    use crate::plan::{Plan, Purpose};
    use crate::shape::Shape;
    use std::vec;
    use std::vec::Vec;

    /// Linear, batch norm and ReLU, then a residual block, a sum of a value with itself, and a linear layer.
    fn plan() -> Plan<10> {
        let mut net: Network<10> = Network::new(Shape::flat(4));
        let mut push = |layer| net.push(format_args!("l"), layer).unwrap();
        push(Layer::Linear(Linear::new(4)));
        push(Layer::BatchNorm(BatchNorm::default()));
        let skip = push(Layer::Relu);
        push(Layer::Linear(Linear::new(4)));
        push(Layer::BatchNorm(BatchNorm::default()));
        push(Layer::Add(skip));
        let block = push(Layer::Relu);
        push(Layer::Add(block));
        push(Layer::Flatten);
        push(Layer::Linear(Linear::new(3)));
        Plan::new(&net, 2, Purpose::Training).unwrap()
    }

    fn wirings(layers: &[PlannedLayer]) -> Vec<Wiring> {
        let mut wirings = Vec::new();
        Wiring::each(layers, &mut vec![0; layers.len()], |wiring, _| wirings.push(wiring));
        wirings
    }

    #[test]
    fn operations_are_fused_and_gradients_find_their_way() {
        let plan = plan();
        let layers = plan.layers();
        let mut wirings = wirings(layers);
        let ends: Vec<_> = wirings.iter().map(|w| (w.layer, w.relu, w.input, w.addend, w.output)).collect();
        let expected = [
            (0, false, 0, None, 1),
            (1, true, 1, None, 2),
            (3, false, 2, None, 3),
            (4, true, 3, Some(2), 4),
            (7, false, 4, Some(4), 5),
            (9, false, 5, None, 6),
        ];
        assert_eq!(ends, expected);
        let mut owners = [0; 7];
        direct(&mut wirings, layers, &mut owners);
        let flows: Vec<_> = wirings.iter().map(|w| (w.flow, w.addend_flow)).collect();
        use Flow::{Add, InPlace, Stop, Store};
        let expected =
            [(Stop, Stop), (InPlace, Stop), (Add, Stop), (InPlace, Store), (Add, Store), (Store, Stop)];
        assert_eq!(flows, expected);
        assert_eq!(owners, [0, 2, 2, 4, 4, 5, 6]);
    }

    #[test]
    fn what_is_needed_together_lies_apart() {
        let plan = plan();
        let mut wirings = wirings(plan.layers());
        let mut owners = [0; 7];
        direct(&mut wirings, plan.layers(), &mut owners);
        for owners in [None, Some(&owners[..])] {
            let mut buffers = [Buffer::new(0, 0, 0); 14];
            lives(&wirings, owners, |v| 10 + v, &mut buffers);
            let total = place(&mut buffers).unwrap();
            let sum: usize = (0..7).map(|v| 10 + v).sum();
            assert!(total < if owners.is_some() { 2 * sum } else { sum }, "nothing was reused");
            // The backward pass of a linear layer reads its input; a gradient is there from its maker's reader on.
            let place_of = |v| places(&buffers, owners, 7, v);
            assert_eq!(place_of(6).1.is_some(), owners.is_some());
            assert_eq!(place_of(0).1, None);
            if owners.is_some() {
                assert_eq!(place_of(3).1, place_of(4).1);
                let (input, gradient) = (place_of(2).0, place_of(3).1.unwrap());
                assert!(input + 12 <= gradient || gradient + 14 <= input, "of the second linear layer");
            }
        }
    }
}
