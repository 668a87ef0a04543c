//! The forward pass of one operation.

use super::super::batch_norm::{BatchNorm, Statistics, StatisticsMut, inverse_std};
use super::super::dropout::dropout;
use super::super::elementwise::{add, copy, relu};
use super::super::pool::{average_forward, global_average_forward, max_forward};
use super::Network;
use super::compile::{Kernel, Norm, blocked};
use smoothout::dropout_mask::DropoutMask;
use smoothout::plan::wiring::Wiring;
use smoothout::portable::Mode;

impl Network {
    pub(super) fn operation_forward(&mut self, k: usize, parameters: &[f32], statistics: &[f32]) {
        let (isa, n) = (self.isa, self.images);
        let values = &self.program.values;
        let op = &mut self.program.operations[k];
        let Wiring { layer, input, addend, output, .. } = op.wiring;
        let reads = [values[input].activation(n), addend.map_or(0..0, |v| values[v].activation(n))];
        let ([x, other], [y]) = self.arena.lend(reads, [values[output].activation(n)]);
        let from = blocked(op.from, n);
        let weight = op.weight.map_or(&[][..], |t| &parameters[t.range()]);
        let bias = op.bias.map(|t| &parameters[t.range()]);
        match &mut op.kernel {
            Kernel::Conv(conv) => conv.forward(isa, x, weight, bias, y, &mut self.workspace),
            Kernel::Linear(linear) => linear.forward(isa, x, weight, bias, y),
            Kernel::BatchNorm(norm) => {
                let Norm { eps, relu, mean, inverse, variance, statistics: at, .. } = norm;
                let fused = BatchNorm { shape: from, gamma: weight, beta: bias.unwrap_or(&[]), relu: *relu };
                let residual = addend.map(|_| other);
                if let Mode::Train(_) = self.mode {
                    let saved = StatisticsMut { mean, inv_std: inverse, variance };
                    fused.train(isa, *eps, x, residual, y, saved);
                } else {
                    let (running, rest) = statistics[*at..].split_at(from.channels);
                    mean.copy_from_slice(running);
                    for (inverse, v) in inverse.iter_mut().zip(rest) {
                        *inverse = inverse_std(f64::from(*v), *eps);
                    }
                    fused.apply(isa, Statistics { mean, inv_std: inverse }, x, residual, y);
                }
            }
            Kernel::Relu => relu(isa, x, y),
            Kernel::MaxPool(windows, places) => {
                let len = y.len();
                max_forward(isa, &from, windows, x, y, &mut places[..len]);
            }
            Kernel::AvgPool(windows) => average_forward(isa, &from, windows, x, y),
            Kernel::GlobalAvgPool => global_average_forward(isa, &from, x, y),
            Kernel::Dropout(probability) => {
                copy(isa, x, y);
                if let Mode::Train(address) = self.mode {
                    dropout(isa, &from, &DropoutMask::new(address, layer as u32, *probability), 0, y);
                }
            }
            Kernel::Add => add(isa, x, other, y),
        }
    }
}
