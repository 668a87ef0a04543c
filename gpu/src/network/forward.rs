//! The forward pass of one operation.

use super::compile::Kernel;
use super::{Mode, Network, Point};
use crate::batch_norm::Affine;
use crate::dropout::dropout;
use crate::error::Result;
use crate::pointer::Pointer;
use crate::pool::global_average;
use crate::relu::{relu, sum};
use smoothout::plan::wiring::Wiring;

impl Network {
    pub(super) fn operation_forward(&self, k: usize, point: Point, running: Pointer) -> Result<()> {
        let (gpu, at) = (&*self.gpu, self.at);
        let values = &self.program.values;
        let op = &self.program.operations[k];
        let Wiring { layer, input, addend, output, .. } = op.wiring;
        let value = |v: usize| self.value(v);
        let (x, y) = (value(input), value(output));
        let count = at.images * values[output].len;
        let weight = op.weight.map_or(Pointer::NULL, |t| point.start.at(t.offset));
        let bias = op.bias.map_or(Pointer::NULL, |t| point.start.at(t.offset));
        let workspace = self.workspace.pointer();
        match &op.kernel {
            // SAFETY: the arena, the parameters and the workspace are as long as the plan says.
            Kernel::Conv(conv, start) => unsafe {
                conv.forward(gpu, (at.images, self.draws(point)), x, self.packed(*start), bias, y, false)
            },
            // SAFETY: as above.
            Kernel::Linear(linear) => unsafe {
                linear.forward(gpu, (at.images, self.draws(point)), x, weight, bias, y, false, workspace)
            },
            Kernel::BatchNorm(norm, start) => {
                let statistics = self.of_pass(running, *start);
                if let Mode::Train(_) = self.mode {
                    norm.take(gpu, at, x, statistics, workspace)?;
                }
                let residual = addend.map_or(Pointer::NULL, value);
                let affine = Affine { scale: weight, shift: bias, pitch: point.pitch };
                norm.apply(gpu, at, [x, residual, y], statistics, affine)
            }
            Kernel::Relu => relu(gpu, x, y, count),
            Kernel::MaxPool(windows, places) => {
                let trains = values[output].gradient.is_some();
                let places = if trains { self.arena.pointer().at(*places) } else { Pointer::NULL };
                windows.max(gpu, at.images, [x, y, places])
            }
            Kernel::AvgPool(windows) => windows.average(gpu, at.images, [x, y]),
            Kernel::GlobalAvgPool => {
                global_average(gpu, at.images * op.from.channels, op.from.pixels(), [x, y])
            }
            Kernel::Dropout(probability) => match self.mode {
                Mode::Train(mask) => dropout(gpu, at, [x, y], op.from.len(), mask, layer, *probability),
                Mode::Evaluate => gpu.copy(x, y, count),
            },
            Kernel::Add => sum(gpu, [x, addend.map_or(x, value), y], count),
        }
    }
}
