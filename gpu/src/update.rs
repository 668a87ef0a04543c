//! What is done to all parameters at once: updates, norms, averages.

use crate::device::Gpu;
use crate::error::Result;
use crate::kernels::{int, launch, over};
use crate::memory::Buffer;
use crate::pointer::Pointer;
use smoothout::optimizer::{Optimizer, Update};

/// Threads of a block of these kernels.
const THREADS: u32 = 256;

/// Most blocks of the first half of a norm.
const NORM_BLOCKS: usize = 1024;

/// Where the norm of the gradient comes to lie, and what it takes to work it out.
#[derive(Debug)]
pub(crate) struct Norm {
    partial: Buffer<f64>,
    norm: Buffer<f64>,
    count: usize,
}

impl Norm {
    /// For `count` values.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn new(gpu: &Gpu, count: usize) -> Result<Self> {
        let partial = Buffer::zeroed(gpu, Self::blocks(count))?;
        Ok(Self { partial, norm: Buffer::zeroed(gpu, 1)?, count })
    }

    /// A function of the number of values alone, and so the order of the sum.
    fn blocks(count: usize) -> usize {
        count.div_ceil(THREADS as usize).clamp(1, NORM_BLOCKS)
    }

    /// Bytes that this takes on the device.
    pub(crate) fn bytes(count: usize) -> u64 {
        8 * (Self::blocks(count) + 1) as u64
    }

    /// Works out the norm, unless a step has `failed`. One that is not finite is noted there as a failure of step `number`.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn take(&self, gpu: &Gpu, values: Pointer, number: i32, failed: Pointer) -> Result<()> {
        let blocks = Self::blocks(self.count);
        let (partial, norm) = (self.partial.pointer(), self.norm.pointer());
        let (n, count) = (int("parameters", self.count)?, int("blocks", blocks)?);
        // SAFETY: as many values, a partial sum for every block, and one norm.
        unsafe {
            launch!(gpu, squares, [[count.cast_unsigned(), 1, 1], [THREADS, 1, 1]], 0, values, partial, n)?;
            launch!(gpu, gradient_norm, over(1, THREADS)?, 0, partial, count, norm, number, failed)
        }
    }

    /// The norm, once everything that was launched is done.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn read(&self, gpu: &Gpu) -> Result<f64> {
        let mut norm = [0.0];
        self.norm.read(gpu, 0, &mut norm)?;
        Ok(norm[0])
    }

    /// Where it lies.
    pub(crate) fn pointer(&self) -> Pointer {
        self.norm.pointer()
    }
}

/// Slices of parameters that an update works on; moments that the optimizer lacks are null.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slices {
    /// What the update starts from: the weights, or a perturbed copy whose noise stays.
    pub(crate) base: Pointer,
    pub(crate) weights: Pointer,
    pub(crate) gradient: Pointer,
    pub(crate) first: Pointer,
    pub(crate) second: Pointer,
    pub(crate) count: usize,
}

/// One update, clipped to `limit` by `norm` where there is one, unless a step has `failed`.
///
/// # Errors
/// The driver's.
pub(crate) fn update(
    gpu: &Gpu,
    rule: &Update,
    slices: Slices,
    clip: Option<(&Norm, f32)>,
    failed: Pointer,
) -> Result<()> {
    let Slices { base, weights, gradient, first, second, count } = slices;
    let [c1, c2] = rule.bias_corrections();
    let (number, b1, b2, eps): (i32, f32, f32, f32) = match rule.optimizer {
        Optimizer::Sgd { momentum: 0.0, .. } => (0, 0.0, 0.0, 0.0),
        Optimizer::Sgd { momentum, nesterov } => (1 + i32::from(nesterov), momentum, 0.0, 0.0),
        Optimizer::Adam { betas: [b1, b2], eps, decoupled } => (3 + i32::from(decoupled), b1, b2, eps),
    };
    let (norm, limit) = clip.map_or((Pointer::NULL, -1.0), |(norm, limit)| (norm.pointer(), limit));
    let Update { rate, weight_decay, gradient_scale, .. } = *rule;
    // SAFETY: slices of `count` values each, for all that the optimizer has.
    unsafe {
        launch!(gpu, update, over(count, THREADS)?, 0, base, weights, gradient, first, second, int("parameters", count)?,
            number, rate, weight_decay, b1, b2, eps, rate * c1, c2, gradient_scale, norm, limit, failed)
    }
}

/// average += share * (weights - average), unless a step has `failed`.
///
/// # Errors
/// The driver's.
pub(crate) fn average(
    gpu: &Gpu,
    share: f32,
    weights: Pointer,
    average: Pointer,
    count: usize,
    failed: Pointer,
) -> Result<()> {
    // SAFETY: slices of `count` values each.
    unsafe {
        launch!(gpu, average, over(count, THREADS)?, 0, weights, average, int("parameters", count)?, share, failed)
    }
}

/// to += weight * from.
///
/// # Errors
/// The driver's.
pub(crate) fn add_scaled(gpu: &Gpu, weight: f32, from: Pointer, to: Pointer, count: usize) -> Result<()> {
    // SAFETY: slices of `count` values each.
    unsafe { launch!(gpu, add_scaled, over(count, THREADS)?, 0, from, to, int("parameters", count)?, weight) }
}

/// values = those from before, if step `number` has `failed`.
///
/// # Errors
/// The driver's.
pub(crate) fn restore(
    gpu: &Gpu,
    before: Pointer,
    values: Pointer,
    count: usize,
    number: i32,
    failed: Pointer,
) -> Result<()> {
    if count == 0 {
        return Ok(());
    }
    // SAFETY: slices of `count` values each.
    unsafe {
        launch!(gpu, restore, over(count, THREADS)?, 0, before, values, int("statistics", count)?, number, failed)
    }
}
