//! A plan run by the kernels: forward and backward passes over one or more ghost batches at once.
//!
//! A batch norm takes the residual addition and the ReLU behind it along, gradients are worked out in place wherever one
//! layer alone reads a value, and the parameters' gradients go straight to where they are stored. All memory is taken
//! once; a pass is a list of launches, and nothing waits.

mod backward;
mod compile;
mod forward;

use crate::batch_norm::Statistics;
use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::ghosts::Ghosts;
use crate::kernels::{int, launch, over};
use crate::loss::Loss;
use crate::memory::Buffer;
use crate::noise::Packed;
use crate::packing::{Packing, packed_places};
use crate::pointer::Pointer;
use crate::precision::Precision;
use crate::product::Draws;
use compile::{Kernel, Program, compile};
use smoothout::network::Layer;
use smoothout::noise::Address;
use smoothout::plan::{Plan, Tensor};
use std::sync::Arc;

/// Address of dropout masks: those of the first ghost batch, and how far the draws of the next one's are from them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mask {
    /// The first ghost batch's.
    pub address: Address,
    /// From ghost batch to ghost batch.
    pub step: u32,
}

/// How batch norm and dropout behave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Batch statistics, and dropout with these masks.
    Train(Mask),
    /// Running statistics, no dropout.
    Evaluate,
}

/// Parameters that a pass reads.
#[derive(Clone, Copy, Debug)]
pub struct Point {
    /// Those of the first ghost batch.
    pub start: Pointer,
    /// Values from those of a ghost batch to those of the next one; 0 when they are the same.
    pub pitch: usize,
    /// Whether the weights of convolutions were written to [`Network::packed_copies`].
    pub packed: bool,
}

/// Images of a pass, (n, C, H, W), and their labels, each of them a class.
#[derive(Clone, Copy, Debug)]
pub struct Input {
    /// n * C * H * W values.
    pub images: Pointer,
    /// n integers.
    pub labels: Pointer,
}

/// A network on a GPU.
#[derive(Debug)]
pub struct Network {
    gpu: Arc<Gpu>,
    program: Program,
    most: Ghosts,
    classes: usize,
    arena: Buffer<f32>,
    workspace: Buffer<f32>,
    packing: Packing,
    /// The convolutions' weights as their kernels read them, for each ghost batch that has its own.
    packed: Buffer<f32>,
    loss: Loss,
    /// Statistics of the last training pass: for each ghost batch as the running ones.
    batch: Buffer<f32>,
    statistics: usize,
    /// Share of the newest batch in every running statistic.
    momentum: Buffer<f32>,
    /// Pixels of the channel of a variance, 0 for a mean.
    pixels: Buffer<i32>,
    /// The last pass.
    input: Input,
    at: Ghosts,
    mode: Mode,
}

impl Network {
    /// Compiles a plan for passes of at most `most`, with products of this precision.
    ///
    /// # Errors
    /// Sizes that kernels cannot count, or the driver's.
    pub fn new<const N: usize>(
        gpu: &Arc<Gpu>,
        plan: &Plan<N>,
        most: Ghosts,
        precision: Precision,
    ) -> Result<Self> {
        let mut program = compile(plan, most, precision)?;
        let tensors: Vec<Tensor> = plan.tensors().copied().collect();
        let (packing, starts) = Packing::new(gpu, precision, &tensors)?;
        let convolutions = program.operations.iter_mut().filter_map(|op| match &mut op.kernel {
            Kernel::Conv(_, start) => Some(start),
            _ => None,
        });
        convolutions.zip(starts).for_each(|(start, at)| *start = at);
        let (mut momentum, mut pixels) = (Vec::new(), Vec::new());
        for layer in plan.layers() {
            if let Layer::BatchNorm(norm) = layer.layer {
                let channels = layer.output_shape.channels;
                momentum.extend(std::iter::repeat_n(norm.momentum, 2 * channels));
                pixels.extend(std::iter::repeat_n(0, channels));
                let of_channel = int("pixels", layer.output_shape.pixels())?;
                pixels.extend(std::iter::repeat_n(of_channel, channels));
            }
        }
        Ok(Self {
            arena: Buffer::zeroed(gpu, program.arena)?,
            workspace: Buffer::zeroed(gpu, program.workspace)?,
            packed: Buffer::zeroed(gpu, most.count() * packing.len())?,
            packing,
            loss: Loss::new(gpu, most)?,
            batch: Buffer::zeroed(gpu, most.count() * plan.statistics())?,
            momentum: Buffer::from_slice(gpu, &momentum)?,
            pixels: Buffer::from_slice(gpu, &pixels)?,
            statistics: plan.statistics(),
            classes: plan.classes(),
            input: Input { images: Pointer::NULL, labels: Pointer::NULL },
            at: Ghosts::one(0),
            mode: Mode::Evaluate,
            gpu: gpu.clone(),
            program,
            most,
        })
    }

    /// Compiles the same plan for other passes.
    ///
    /// # Errors
    /// As [`new`](Self::new); there is then no room for any pass.
    pub fn resize<const N: usize>(&mut self, plan: &Plan<N>, most: Ghosts, precision: Precision) -> Result<()> {
        // The old buffers go first, as there may be no room for both.
        self.most = Ghosts::one(0);
        for buffer in [&mut self.arena, &mut self.workspace, &mut self.packed, &mut self.batch] {
            *buffer = Buffer::zeroed(&self.gpu, 0)?;
        }
        *self = Self::new(&self.gpu.clone(), plan, most, precision)?;
        Ok(())
    }

    /// Bytes that a network takes on the device.
    ///
    /// # Errors
    /// Sizes that kernels cannot count.
    pub fn bytes<const N: usize>(plan: &Plan<N>, most: Ghosts, precision: Precision) -> Result<u64> {
        let program = compile(plan, most, precision)?;
        let (_, packed) = packed_places(&plan.tensors().copied().collect::<Vec<_>>());
        let copies = most.count() * (packed + plan.statistics());
        let values = program.arena + program.workspace + copies + 2 * plan.statistics();
        Ok(4 * values as u64 + Loss::bytes(most))
    }

    /// The largest pass.
    pub const fn most(&self) -> Ghosts {
        self.most
    }

    /// Where a value lies.
    fn value(&self, v: usize) -> Pointer {
        if v == 0 { self.input.images } else { self.arena.pointer().at(self.program.values[v].activation) }
    }

    /// Runs all layers over the images of `input`, (n, C, H, W). `running` are the running statistics, read with
    /// [`Mode::Evaluate`] alone. The input stays until the passes after it are done.
    ///
    /// # Errors
    /// More images or ghost batches than the network was compiled for, or the driver's.
    pub fn forward(&mut self, point: Point, running: Pointer, input: Input, at: Ghosts, mode: Mode) -> Result<()> {
        if at.images > self.most.images || at.size > self.most.size || at.count() > self.most.count() {
            return Err(GpuError::Length { what: "images of a pass", needed: self.most.images, given: at.images });
        }
        self.input = input;
        self.at = at;
        self.mode = mode;
        if !point.packed {
            let copies = if point.pitch == 0 { 1 } else { at.count() };
            // SAFETY: there is room for every ghost batch's, and as many parameters at the point.
            unsafe { self.packing.pack(&self.gpu, (point.start, point.pitch), copies, self.packed.pointer())? };
        }
        for k in 0..self.program.operations.len() {
            self.operation_forward(k, point, running)?;
        }
        Ok(())
    }

    /// Works out the losses of the last forward pass and, with `gradient`, that of the logits.
    ///
    /// # Errors
    /// The driver's.
    pub fn loss(&mut self, gradient: bool) -> Result<()> {
        let Some(last) = self.program.values.last() else { return Ok(()) };
        let gradient = last.gradient.filter(|_| gradient).map_or(Pointer::NULL, |at| self.arena.pointer().at(at));
        let pointers = [self.arena.pointer().at(last.activation), self.input.labels, gradient];
        self.loss.take(&self.gpu, self.at, self.classes, pointers)
    }

    /// Adds `share` of the losses of the last pass, and its hits, to a `record` of two values; a loss that is not finite is
    /// noted in `failed` as a failure of step `number` in its ghost batch: (`first` + its number in the pass) / `draws`.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn record(
        &self,
        (first, draws): (usize, u32),
        share: f32,
        places: [Pointer; 2],
        number: i32,
    ) -> Result<()> {
        self.loss.record(&self.gpu, self.at, (first, draws), share, places, number)
    }

    /// Mean loss and hits of every ghost batch of the last pass, once everything that was launched is done.
    ///
    /// # Errors
    /// The driver's.
    pub fn results(&self) -> Result<Vec<(f64, usize)>> {
        let mut results = vec![0.0; 2 * self.at.count()];
        self.loss.results.read(&self.gpu, 0, &mut results)?;
        Ok(results.chunks_exact(2).map(|pair| (pair[0], pair[1] as usize)).collect())
    }

    /// Logits of the last forward pass, (n, classes).
    ///
    /// # Errors
    /// The driver's.
    pub fn logits(&self) -> Result<Vec<f32>> {
        let mut logits = vec![0.0; self.at.images * self.classes];
        if let Some(last) = self.program.values.last() {
            self.arena.read(&self.gpu, last.activation, &mut logits)?;
        }
        Ok(logits)
    }

    /// Moves the running statistics towards those of the last training pass, unless a step has `failed`.
    ///
    /// # Errors
    /// The driver's.
    pub fn follow(&self, running: Pointer, failed: Pointer) -> Result<()> {
        if self.statistics == 0 {
            return Ok(());
        }
        let (momentum, pixels, count) = (self.momentum.pointer(), self.pixels.pointer(), self.statistics as i32);
        let Ghosts { images, size } = self.at;
        // SAFETY: as many running statistics, momenta and pixels, and statistics of every ghost batch.
        unsafe {
            launch!(self.gpu, batch_norm_follow, over(self.statistics, 128)?, 0, self.batch.pointer(), running, momentum,
                pixels, count, images as i32, size as i32, self.at.count() as i32, failed)
        }
    }

    /// How the images of the last pass share the parameters of a point.
    const fn draws(&self, point: Point) -> Draws {
        if point.pitch == 0 { Draws::one(self.at.images) } else { Draws { images: self.at.size, pitch: point.pitch } }
    }

    /// Where perturbed weights of convolutions go, for each ghost batch.
    pub(crate) fn packed_copies(&self) -> Packed {
        Packed { to: self.packed.pointer(), pitch: self.packing.len(), tf32: self.packing.is_tf32(), both: false }
    }

    /// Packed weights of a convolution, and how far those of the next ghost batch are from them.
    fn packed(&self, start: usize) -> (Pointer, usize) {
        (self.packed.pointer().at(start), self.packing.len())
    }

    /// Statistics of the last pass that start at `at` among those of a network.
    fn of_pass(&self, running: Pointer, at: usize) -> Statistics {
        match self.mode {
            Mode::Train(_) => Statistics { start: self.batch.pointer().at(at), stride: self.statistics },
            Mode::Evaluate => Statistics { start: running.at(at), stride: 0 },
        }
    }
}
