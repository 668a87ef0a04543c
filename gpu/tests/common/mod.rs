//! What several tests share.
#![allow(dead_code, reason = "each test uses a part of it")]

use smoothout::optimizer::{Optimizer, Update};
use smoothout::plan::{Plan, Role};
use smoothout_gpu::{Gpu, Keeps, Precision, Selector, Session};
use std::sync::Arc;

/// SGD with momentum and decay.
pub const UPDATE: Update = Update {
    optimizer: Optimizer::sgd(0.9),
    rate: 0.05,
    weight_decay: 1e-4,
    gradient_scale: 1.0,
    time: 1,
};

/// The device under test: a GPU, or the emulator.
pub fn gpu() -> Arc<Gpu> {
    Arc::new(Gpu::open(&Selector::default()).expect("a device"))
}

/// Uniform numbers in [-1, 1), by Numerical Recipes' generator.
pub fn uniform(seed: u32) -> impl FnMut() -> f32 {
    let mut state = seed.wrapping_mul(12345);
    move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 8_388_608.0 - 1.0
    }
}

/// Weights that keep the size of activations, and running statistics.
pub fn start<const N: usize>(plan: &Plan<N>) -> (Vec<f32>, Vec<f32>) {
    let mut uniform = uniform(1);
    let mut weights = vec![0.0; plan.parameters()];
    for tensor in plan.tensors() {
        let scale = (6.0 / tensor.row_len as f32).sqrt();
        for value in &mut weights[tensor.range()] {
            let u = uniform();
            *value = match tensor.role {
                Role::Weight => u * scale,
                Role::NormScale => 1.0 + 0.5 * u,
                Role::Bias | Role::NormShift => 0.2 * u,
            };
        }
    }
    (weights, (0..plan.statistics()).map(|_| 1.0 + 0.5 * uniform()).collect())
}

/// Images and labels.
pub fn batch<const N: usize>(plan: &Plan<N>, images: usize, seed: u32) -> (Vec<f32>, Vec<u32>) {
    let mut uniform = uniform(seed);
    let pixels = (0..images * plan.input().len()).map(|_| uniform()).collect();
    (pixels, (0..images).map(|i| ((i * 7 + 3) % plan.classes()) as u32).collect())
}

/// A session at [`start`].
pub fn session<const N: usize>(gpu: &Arc<Gpu>, plan: &Plan<N>, precision: Precision) -> Session {
    let (weights, statistics) = start(plan);
    let keeps = Keeps { moments: 1, average: true };
    Session::new(gpu, plan, &weights, &statistics, keeps, precision).expect("memory")
}
