//! Algorithm 1 and its variants in f64: one step, written out.

use super::cases::{BATCH, LAYERS, Recipe};
use crate::layers::Loss;
use crate::network::Layer;
use crate::noise::{Address, Noise};
use crate::optimizer::Optimizer;
use crate::plan::{Plan, PlannedLayer};
use crate::portable::{Mode, NetworkPass, ObjectiveError};
use crate::step::{FIXED_STEP, Method, Renewal, SmoothOut};

/// Slices in f64, as long as the plan says.
pub struct Reference<'r> {
    pub plan: &'r Plan<LAYERS>,
    /// The evaluation point.
    pub point: &'r mut [f64],
    /// Mean gradient of a step; then, the step's change of direction.
    pub gradient: &'r mut [f64],
    pub moments: [&'r mut [f64]; 2],
    pub statistics: &'r mut [f64],
    pub images: &'r mut [f64],
    pub workspace: &'r mut [f64],
}

/// What a step gave.
pub struct Stepped {
    /// Mean loss at the evaluation points.
    pub loss: f64,
    /// Largest logit of the last pass, in magnitude.
    pub logit: f64,
    /// Norm of the gradient, after clipping.
    pub gradient: f64,
    /// Norm of w + θ.
    pub point: f64,
}

impl Reference<'_> {
    /// Takes step `step` from the clean weights. `perturbed` is scratch. The new weights are `point` in the end.
    pub fn step(
        &mut self,
        recipe: &Recipe,
        step: u64,
        clean: &[f32],
        perturbed: &mut [f32],
        labels: &[u32],
    ) -> Result<Stepped, ObjectiveError> {
        self.gradient.fill(0.0);
        let address = Address { seed: recipe.seed, step, draw: 0 };
        let mut last = (0.0, 0.0);
        let mut loss = 0.0;
        let mut base = clean;
        match recipe.method {
            Method::Sgd => {
                widen(clean, self.point);
                last = self.pass(Mode::Train(address), labels, 1.0, true)?;
                loss = last.0;
            }
            Method::SmoothOut(method) => {
                let count = method.draws.count;
                for draw in 0..count {
                    perturbed.copy_from_slice(clean);
                    self.perturb(&method, recipe.strength, address, draw, perturbed);
                    widen(perturbed, self.point);
                    let mode = Mode::Train(Address { draw, ..address });
                    last = self.pass(mode, labels, 1.0 / f64::from(count), true)?;
                    loss += last.0 / f64::from(count);
                }
                if !method.denoise {
                    base = perturbed;
                }
            }
            Method::Sam { radius } => {
                widen(clean, self.point);
                last = self.pass(Mode::Train(address), labels, 1.0, true)?;
                loss = last.0;
                let scale = f64::from(radius) / (norm(self.gradient) + 1e-12);
                self.point.iter_mut().zip(self.gradient.iter()).for_each(|(p, g)| *p += scale * g);
                self.gradient.fill(0.0);
                self.pass(Mode::Train(address), labels, 1.0, false)?;
            }
        }
        if let Some(limit) = recipe.clip {
            let factor = (f64::from(limit) / (norm(self.gradient) + 1e-6)).min(1.0);
            self.gradient.iter_mut().for_each(|g| *g *= factor);
        }
        let (gradient, point) = (norm(self.gradient), norm(self.point));
        widen(base, self.point);
        self.update(recipe, step + 1);
        Ok(Stepped { loss, logit: last.1, gradient, point })
    }

    /// Loss and hits at the clean weights, and the largest logit.
    pub fn evaluate(&mut self, clean: &[f32], labels: &[u32]) -> Result<(Loss<f64>, f64), ObjectiveError> {
        widen(clean, self.point);
        let Some(mut pass) = NetworkPass::new(self.plan, self.workspace) else {
            return Ok((Loss::default(), 0.0));
        };
        pass.forward(self.point, self.statistics, self.images, Mode::Evaluate)?;
        Ok((pass.loss_only(labels)?, largest(pass.logits())))
    }

    /// w + θ: the noise of one draw, whose bits are a contract.
    fn perturb(&self, method: &SmoothOut, strength: f32, address: Address, draw: u32, weights: &mut [f32]) {
        let Ok(noise) = Noise::new(method.distribution, method.scaling, strength) else { return };
        let draws = method.draws;
        let negative = draws.antithetic && draw % 2 == 1;
        let noise = if negative { noise.negated() } else { noise };
        let step = if draws.renewal == Renewal::Never { FIXED_STEP } else { address.step };
        let draw = if draws.antithetic { draw / 2 } else { draw };
        let address = Address { step, draw, ..address };
        for tensor in self.plan.tensors().filter(|t| method.selection.contains(t.role)) {
            let key = address.tensor(tensor.index);
            for (row, filter) in weights[tensor.range()].chunks_exact_mut(tensor.row_len).enumerate() {
                noise.add(key, row * tensor.row_len, filter);
            }
        }
    }

    /// Adds a share of the gradient at the point; returns the loss and the largest logit.
    fn pass(
        &mut self,
        mode: Mode,
        labels: &[u32],
        share: f64,
        statistics: bool,
    ) -> Result<(f64, f64), ObjectiveError> {
        let Some(mut pass) = NetworkPass::new(self.plan, self.workspace) else { return Ok((0.0, 0.0)) };
        pass.forward(self.point, self.statistics, self.images, mode)?;
        let loss = pass.loss(labels)?;
        let logit = largest(pass.logits());
        if statistics {
            pass.update_statistics(self.statistics)?;
        }
        let gradient = &mut *self.gradient;
        pass.backward(
            self.point,
            |point| point,
            self.statistics,
            self.images,
            |_, tensor, row, values| {
                let at = tensor.offset + row * tensor.row_len;
                gradient[at..].iter_mut().zip(values).for_each(|(to, g)| *to += share * g);
                Ok::<(), ObjectiveError>(())
            },
        )?;
        Ok((loss.mean, logit))
    }

    /// The optimizer's rule, from the weights in `point`.
    fn update(&mut self, recipe: &Recipe, time: u64) {
        let (rate, decay) = (f64::from(recipe.rate), f64::from(recipe.weight_decay));
        let [first, second] = &mut self.moments;
        let moments = first.iter_mut().zip(second.iter_mut());
        let all = self.point.iter_mut().zip(self.gradient.iter_mut()).zip(moments);
        match recipe.optimizer {
            Optimizer::Sgd { momentum, nesterov } => {
                let momentum = f64::from(momentum);
                for ((w, g), (v, _)) in all {
                    let with_decay = *g + decay * *w;
                    *v = momentum * *v + with_decay;
                    *w -= rate * if nesterov { with_decay + momentum * *v } else { *v };
                }
            }
            Optimizer::Adam { betas, eps, decoupled } => {
                let [b1, b2] = betas.map(f64::from);
                let left = |beta: f64| 1.0 - libm::pow(beta, time as f64);
                let (in_gradient, apart) = if decoupled { (0.0, decay) } else { (decay, 0.0) };
                for ((w, g), (m, v)) in all {
                    let g = *g + in_gradient * *w;
                    *m = b1 * *m + (1.0 - b1) * g;
                    *v = b2 * *v + (1.0 - b2) * g * g;
                    let root = libm::sqrt(*v / left(b2));
                    *w -= rate * apart * *w + rate * *m / left(b1) / (root + f64::from(eps));
                }
            }
        }
    }
}

/// R of the suite's page: terms of all sums on the longest path through a network, forward and backward.
pub fn roundings(plan: &Plan<LAYERS>) -> f64 {
    let of = |layer: &PlannedLayer| {
        let values = BATCH * layer.output_shape.pixels();
        match (&layer.layer, layer.weight) {
            // Mean, variance and the two sums of the backward pass, and what is done with them.
            (Layer::BatchNorm(_), _) => 4 * values + 16,
            (_, Some(weight)) => weight.row_len + 1 + weight.len().div_ceil(layer.input_shape.channels),
            (Layer::MaxPool2d(_) | Layer::Relu | Layer::Flatten, _) => 0,
            _ => 2 * layer.input_shape.pixels(),
        }
    };
    let path: usize = plan.layers().iter().map(of).sum();
    let gradient = plan.layers().iter().map(|l| BATCH * l.output_shape.pixels()).max().unwrap_or(0);
    // Softmax and its functions have a few of their own.
    (path + gradient + plan.classes() + 8) as f64
}

/// P of the suite's page: products on the longest path through a network, forward and backward.
pub fn products(plan: &Plan<LAYERS>) -> f64 {
    let multiplies = |layer: &&PlannedLayer| matches!(layer.layer, Layer::Conv2d(_) | Layer::Linear(_));
    3.0 * plan.layers().iter().filter(multiplies).count() as f64
}

/// Copies f32 values into f64.
pub fn widen(from: &[f32], to: &mut [f64]) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to = f64::from(*from));
}

/// Euclidean norm.
pub fn norm(values: &[f64]) -> f64 {
    libm::sqrt(values.iter().map(|v| v * v).sum())
}

fn largest(values: &[f64]) -> f64 {
    values.iter().fold(0.0, |most, v| most.max(v.abs()))
}
