//! The backward pass of one operation.

use super::super::batch_norm::{
    BatchNorm, Mode as NormMode, ParameterGradients, ResidualGradient, Saved, Statistics,
};
use super::super::deliver::Deliver;
use super::super::dropout::dropout;
use super::super::elementwise::{add_to, copy, relu_backward};
use super::super::pool::{average_backward, global_average_backward, max_backward};
use super::super::simd::Isa;
use super::Network;
use super::compile::{Kernel, Operation, blocked};
use smoothout::dropout_mask::DropoutMask;
use smoothout::plan::wiring::{Flow, Wiring};
use smoothout::portable::Mode;

impl Network {
    pub(super) fn operation_backward(
        &mut self,
        k: usize,
        parameters: &[f32],
        gradient: &mut [f32],
        deliver: Deliver,
    ) {
        let (isa, n) = (self.isa, self.images);
        let values = &self.program.values;
        let op = &mut self.program.operations[k];
        let Wiring { layer, input, addend, output, flow, addend_flow, reads_backward, .. } = op.wiring;
        let target = |flow: Flow, value: usize| match flow {
            Flow::Stop | Flow::InPlace => 0..0,
            Flow::Store | Flow::Add => values[value].gradient(n),
        };
        // What is not read may have gone: its memory may belong to others by now.
        let read = |reads: bool, value: usize| if reads { values[value].activation(n) } else { 0..0 };
        let reads = [read(reads_backward[0], input), read(reads_backward[1], output)];
        // A value that is input and addend has one gradient.
        let twice = addend == Some(input);
        let writes = [
            values[output].gradient(n),
            if twice { 0..0 } else { target(flow, input) },
            target(addend_flow, addend.unwrap_or(0)),
        ];
        let ([x, y], [dy, dx, d_addend]) = self.arena.lend(reads, writes);
        let (from, accumulate) = (blocked(op.from, n), flow == Flow::Add);
        let weight = op.weight.map_or(&[][..], |t| &parameters[t.range()]);
        let (dweight, dbias) = split(gradient, op);
        match &mut op.kernel {
            Kernel::Conv(conv) => {
                if flow != Flow::Stop {
                    conv.input_gradient(isa, dy, weight, dx, accumulate, &mut self.workspace);
                }
                conv.weight_gradient(isa, x, dy, dweight, dbias, deliver, &mut self.workspace);
            }
            Kernel::Linear(linear) => {
                if flow != Flow::Stop {
                    linear.input_gradient(isa, dy, weight, dx, accumulate);
                }
                linear.weight_gradient(isa, x, dy, dweight, dbias, deliver, &mut self.workspace);
            }
            Kernel::BatchNorm(norm) => {
                let beta = op.bias.map_or(&[][..], |t| &parameters[t.range()]);
                let fused = BatchNorm { shape: from, gamma: weight, beta, relu: norm.relu };
                let mode = if self.mode == Mode::Evaluate { NormMode::Eval } else { NormMode::Train };
                let saved = Saved {
                    input: x,
                    output: (norm.relu && addend.is_some()).then_some(y),
                    statistics: Statistics { mean: &norm.mean, inv_std: &norm.inverse },
                };
                let residual = match addend_flow {
                    Flow::Stop | Flow::InPlace => None,
                    flow => Some(ResidualGradient { gradient: d_addend, accumulate: flow == Flow::Add }),
                };
                let parameters =
                    ParameterGradients { gamma: dweight, beta: dbias.unwrap_or(&mut []), deliver };
                fused.backward(isa, mode, &saved, dy, residual, parameters);
                pass_on(isa, flow, dy, if twice { d_addend } else { dx });
            }
            Kernel::Relu => {
                relu_backward(isa, y, dy);
                pass_on(isa, flow, dy, dx);
            }
            Kernel::MaxPool(windows, places) => {
                if flow != Flow::Stop {
                    max_backward(isa, &from, windows, dy, &places[..dy.len()], dx, accumulate);
                }
            }
            Kernel::AvgPool(windows) => {
                if flow != Flow::Stop {
                    average_backward(isa, &from, windows, dy, dx, accumulate);
                }
            }
            Kernel::GlobalAvgPool => {
                if flow != Flow::Stop {
                    global_average_backward(isa, &from, dy, dx, accumulate);
                }
            }
            Kernel::Dropout(probability) => {
                if let Mode::Train(address) = self.mode {
                    dropout(isa, &from, &DropoutMask::new(address, layer as u32, *probability), 0, dy);
                }
                pass_on(isa, flow, dy, dx);
            }
            Kernel::Add => {
                pass_on(isa, addend_flow, dy, d_addend);
                pass_on(isa, flow, dy, if twice { d_addend } else { dx });
            }
        }
    }
}

/// An output's gradient becomes that of an input.
fn pass_on(isa: Isa, flow: Flow, dy: &[f32], dx: &mut [f32]) {
    match flow {
        Flow::Stop | Flow::InPlace => {}
        Flow::Store => copy(isa, dy, dx),
        Flow::Add => add_to(isa, dy, dx),
    }
}

/// Gradients of an operation's weight and bias, which lie side by side.
fn split<'a>(all: &'a mut [f32], op: &Operation) -> (&'a mut [f32], Option<&'a mut [f32]>) {
    let Some(weight) = op.weight else { return (&mut [], None) };
    let (dweight, rest) = all[weight.offset..].split_at_mut(weight.len());
    (dweight, op.bias.map(|bias| &mut rest[..bias.len()]))
}
