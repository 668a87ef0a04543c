//! The backward pass.

use super::compile::Kernel;
use super::{Mode, Network, Point};
use crate::batch_norm::{Affine, Flows};
use crate::deliver::Deliver;
use crate::dropout::dropout;
use crate::error::Result;
use crate::pointer::Pointer;
use crate::pool::global_average_backward;
use crate::product::Gradients;
use crate::relu::relu_backward;
use crate::update::add_scaled;
use smoothout::plan::wiring::{Flow, Wiring};

impl Network {
    /// Runs all layers backward after [`loss`](Self::loss) and delivers every parameter's gradient, summed over the ghost
    /// batches, to `gradient`, laid out as the parameters. Point and running statistics are those of the forward pass.
    ///
    /// # Errors
    /// The driver's.
    pub fn backward(&mut self, point: Point, running: Pointer, gradient: Pointer, deliver: Deliver) -> Result<()> {
        for k in (0..self.program.operations.len()).rev() {
            self.operation_backward(k, point, running, gradient, deliver)?;
        }
        Ok(())
    }

    fn operation_backward(
        &self,
        k: usize,
        point: Point,
        running: Pointer,
        gradient: Pointer,
        deliver: Deliver,
    ) -> Result<()> {
        let (gpu, at) = (&*self.gpu, self.at);
        let values = &self.program.values;
        let op = &self.program.operations[k];
        let Wiring { layer, input, addend, output, flow, addend_flow, .. } = op.wiring;
        let value = |v: usize| self.value(v);
        let of_value = |v: usize| values[v].gradient.map_or(Pointer::NULL, |g| self.arena.pointer().at(g));
        let (x, y, dy, dx) = (value(input), value(output), of_value(output), of_value(input));
        let count = at.images * values[output].len;
        let parameter = |start: Pointer, tensor: Option<smoothout::plan::Tensor>| {
            tensor.map_or(Pointer::NULL, |t| start.at(t.offset))
        };
        let (weight, bias) = (parameter(point.start, op.weight), parameter(point.start, op.bias));
        let (dweight, dbias) = (parameter(gradient, op.weight), parameter(gradient, op.bias));
        let gradients = Gradients { weight: dweight, bias: dbias, deliver };
        let (add, workspace) = (flow == Flow::Add, self.workspace.pointer());
        match &op.kernel {
            // SAFETY: the arena, the parameters, the gradient and the workspace are as long as the plan says.
            Kernel::Conv(conv, start) => unsafe {
                if flow != Flow::Stop {
                    conv.input_gradient(gpu, (at.images, self.draws(point)), dy, self.packed(*start), dx, add)?;
                }
                conv.weight_gradient(gpu, at.images, [x, dy], gradients, workspace)
            },
            // SAFETY: as above.
            Kernel::Linear(linear) => unsafe {
                if flow != Flow::Stop {
                    linear.input_gradient(gpu, (at.images, self.draws(point)), dy, weight, dx, add, workspace)?;
                }
                linear.weight_gradient(gpu, at.images, [x, dy], gradients, workspace)
            },
            Kernel::BatchNorm(norm, start) => {
                let with_sum = norm.relu && addend.is_some();
                let target = matches!(addend_flow, Flow::Store | Flow::Add);
                let d_addend = addend.filter(|_| target).map_or(Pointer::NULL, of_value);
                let flows = Flows { dy, addend: d_addend, add: addend_flow == Flow::Add, dscale: dweight, dshift: dbias, deliver };
                let affine = Affine { scale: weight, shift: bias, pitch: point.pitch };
                let train = self.mode != Mode::Evaluate;
                let inputs = [x, if with_sum { y } else { Pointer::NULL }];
                let statistics = self.of_pass(running, *start);
                norm.backward(gpu, at, inputs, statistics, affine, &flows, train, workspace)?;
                self.pass_on(flow, dy, dx, count)
            }
            Kernel::Relu => {
                relu_backward(gpu, y, dy, count)?;
                self.pass_on(flow, dy, dx, count)
            }
            Kernel::MaxPool(windows, places) if flow != Flow::Stop => {
                windows.max_backward(gpu, at.images, [dy, self.arena.pointer().at(*places), dx], add)
            }
            Kernel::AvgPool(windows) if flow != Flow::Stop => {
                windows.average_backward(gpu, at.images, [dy, dx], add)
            }
            Kernel::GlobalAvgPool if flow != Flow::Stop => {
                global_average_backward(gpu, at.images * op.from.channels, op.from.pixels(), [dy, dx], add)
            }
            Kernel::MaxPool(..) | Kernel::AvgPool(_) | Kernel::GlobalAvgPool => Ok(()),
            Kernel::Dropout(probability) => {
                if let Mode::Train(mask) = self.mode {
                    dropout(gpu, at, [dy, dy], op.from.len(), mask, layer, *probability)?;
                }
                self.pass_on(flow, dy, dx, count)
            }
            Kernel::Add => {
                let d_addend = addend.map_or(Pointer::NULL, of_value);
                self.pass_on(addend_flow, dy, d_addend, count)?;
                self.pass_on(flow, dy, dx, count)
            }
        }
    }

    /// An output's gradient becomes that of an input.
    fn pass_on(&self, flow: Flow, dy: Pointer, dx: Pointer, count: usize) -> Result<()> {
        match flow {
            Flow::Stop | Flow::InPlace => Ok(()),
            Flow::Store => self.gpu.copy(dy, dx, count),
            Flow::Add => add_scaled(&self.gpu, 1.0, dy, dx, count),
        }
    }
}
