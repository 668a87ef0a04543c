//! A plan run by the CPU's kernels: forward and backward passes over activations blocked by batch.
//!
//! A batch norm takes the residual addition and the ReLU behind it along, gradients are worked out in place wherever
//! one layer alone reads a value, and the weights' gradients go straight to where they are stored.

mod arena;
mod backward;
mod compile;
mod forward;
#[cfg(test)]
mod tests;

use super::batch_norm::follow;
use super::deliver::Deliver;
use super::layout::{from_blocked, to_blocked};
use super::loss::{Loss, softmax_cross_entropy};
use super::simd::Isa;
use super::workspace::Workspace;
use crate::net::NetPlan;
use arena::Arena;
use compile::{Kernel, Program, blocked, compile};
use smoothout::layers::Label;
use smoothout::portable::Mode;
use smoothout::shape::Shape;

/// A network on the CPU. All memory is taken once; passes allocate nothing but task lists of the thread pool.
#[derive(Debug)]
pub struct Network {
    isa: Isa,
    program: Program,
    arena: Arena,
    workspace: Workspace,
    losses: Vec<f64>,
    input: Shape,
    classes: usize,
    /// Images of the last forward pass.
    images: usize,
    mode: Mode,
}

impl Network {
    /// Compiles a plan for the present thread pool.
    #[must_use]
    pub fn new(plan: &NetPlan) -> Self {
        let program = compile(plan);
        Self {
            isa: Isa::detect(),
            arena: Arena::new(program.arena),
            workspace: Workspace::new(program.workspace, rayon::current_num_threads()),
            losses: vec![0.0; plan.batch()],
            input: plan.input(),
            classes: plan.classes(),
            images: 0,
            mode: Mode::Evaluate,
            program,
        }
    }

    /// Bytes of activations and gradients.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.program.arena * size_of::<f32>()
    }

    /// Runs all layers over `images` (n, C, H, W), n at most the plan's batch. `statistics` are the running ones, read
    /// with [`Mode::Evaluate`] alone.
    ///
    /// # Panics
    /// More images than were planned for.
    pub fn forward(&mut self, parameters: &[f32], statistics: &[f32], images: &[f32], mode: Mode) {
        self.images = images.len() / self.input.len();
        assert!(self.images <= self.losses.len(), "{} images, planned for {}", self.images, self.losses.len());
        self.mode = mode;
        let target = self.arena.write(self.program.values[0].activation(self.images));
        to_blocked(self.isa, &blocked(self.input, self.images), images, target);
        for k in 0..self.program.operations.len() {
            self.operation_forward(k, parameters, statistics);
        }
    }

    /// Loss of the last forward pass; with `gradient`, that of the logits is prepared for [`backward`](Self::backward).
    ///
    /// # Errors
    /// A label that is not a class.
    pub fn loss(&mut self, labels: &[u32], gradient: bool) -> Result<Loss, Label> {
        let classes = self.classes;
        let wrong = |(_, label): &(usize, &u32)| **label as usize >= classes;
        if let Some((image, &label)) = labels.iter().enumerate().find(wrong) {
            return Err(Label { image, label, classes });
        }
        let Some(last) = self.program.values.last() else { return Ok(Loss { mean: 0.0, correct: 0 }) };
        let range = if gradient { last.gradient(labels.len()) } else { 0..0 };
        let ([logits], [target]) = self.arena.lend([last.activation(labels.len())], [range]);
        let target = if target.is_empty() { None } else { Some(target) };
        Ok(softmax_cross_entropy(self.isa, classes, labels, logits, &mut self.losses[..labels.len()], target))
    }

    /// Logits of the last forward pass, (n, classes).
    #[must_use]
    pub fn logits(&self) -> Vec<f32> {
        let shape = blocked(Shape::flat(self.classes), self.images);
        let mut logits = vec![0.0; self.images * self.classes];
        if let Some(last) = self.program.values.last() {
            from_blocked(self.isa, &shape, self.arena.read(last.activation(self.images)), &mut logits);
        }
        logits
    }

    /// Moves the running statistics towards the last training pass's.
    pub fn update_statistics(&self, statistics: &mut [f32]) {
        for op in &self.program.operations {
            if let Kernel::BatchNorm(norm) = &op.kernel {
                let channels = norm.mean.len();
                let running = &mut statistics[norm.statistics..norm.statistics + 2 * channels];
                let (mean, variance) = running.split_at_mut(channels);
                follow(norm.momentum, &norm.mean, mean);
                follow(norm.momentum, &norm.variance, variance);
            }
        }
    }

    /// Runs all layers backward after [`loss`](Self::loss) and delivers every parameter's gradient to `gradient`, laid
    /// out as the parameters. `parameters` are those of the forward pass.
    pub fn backward(&mut self, parameters: &[f32], gradient: &mut [f32], deliver: Deliver) {
        for k in (0..self.program.operations.len()).rev() {
            self.operation_backward(k, parameters, gradient, deliver);
        }
    }
}
