//! What is done with a filter's gradient the moment it is there.

use super::built;
use crate::optimizer::Optimizer;
use core::ops::Range;

/// What updates have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub optimizer: Optimizer,
    pub rate: f32,
    pub weight_decay: f32,
}

/// The trained weights and what belongs to each of them.
pub(super) struct State<'a> {
    pub weights: &'a mut [f32],
    /// First moments of the optimizer, then second ones; none when it has none.
    pub moments: &'a mut [f32],
    /// Stored gradient; empty when none is.
    pub gradient: &'a mut [f32],
    /// How they are updated.
    pub terms: &'a Terms,
    /// Scales of the noise of filters that the backward pass perturbs again.
    pub scales: &'a mut [f32],
}

/// What one update has of its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rule {
    /// The gradient is multiplied by this first.
    gradient_scale: f32,
    /// Adam's 1 / (1 - beta^t), the second one's square root.
    corrections: [f32; 2],
}

impl Rule {
    /// Update number `time`, from 1, of a gradient that is multiplied by `gradient_scale` first.
    pub(super) fn new(optimizer: Optimizer, gradient_scale: f32, time: u64) -> Self {
        let mut corrections = [1.0, 1.0];
        if let Optimizer::Adam { betas: [first, second], .. } = optimizer
            && built::ANY_OPTIMIZER
        {
            corrections = [1.0 / left(first, time), 1.0 / libm::sqrtf(left(second, time))];
        }
        Self { gradient_scale, corrections }
    }

    /// The arithmetic of [`Update::apply`](crate::optimizer::Update::apply); the gradient is `factor` times `values`.
    #[inline(never)] // Many loops, in one place.
    fn apply(
        &self,
        terms: &Terms,
        weights: &mut [f32],
        factor: f32,
        values: &[f32],
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let gradient = values.iter().map(|value| factor * value);
        let &Terms { optimizer, rate, weight_decay } = terms;
        let gradient_scale = self.gradient_scale;
        let plain = weight_decay == 0.0 && gradient_scale == 1.0;
        match optimizer {
            Optimizer::Sgd { momentum: 0.0, .. } => {
                for (w, g) in weights.iter_mut().zip(gradient) {
                    *w -= rate * (g * gradient_scale + weight_decay * *w);
                }
            }
            Optimizer::Sgd { momentum, nesterov: false } if plain && built::WIDE => {
                for ((w, g), v) in weights.iter_mut().zip(gradient).zip(first) {
                    *v = momentum * *v + g;
                    *w -= rate * *v;
                }
            }
            Optimizer::Sgd { momentum, nesterov } => {
                for ((w, g), v) in weights.iter_mut().zip(gradient).zip(first) {
                    let g = g * gradient_scale + weight_decay * *w;
                    *v = momentum * *v + g;
                    *w -= rate * if nesterov && built::ANY_OPTIMIZER { g + momentum * *v } else { *v };
                }
            }
            Optimizer::Adam { .. } if !built::ANY_OPTIMIZER => {}
            Optimizer::Adam { betas: [b1, b2], eps, decoupled } => {
                let [c1, c2] = self.corrections;
                let step = rate * c1;
                let (inside, apart) = if decoupled { (0.0, weight_decay) } else { (weight_decay, 0.0) };
                let keep = 1.0 - rate * apart;
                for (((w, g), m), v) in weights.iter_mut().zip(gradient).zip(first).zip(second) {
                    let g = g * gradient_scale + inside * *w;
                    *m += (1.0 - b1) * (g - *m);
                    *v = b2 * *v + (1.0 - b2) * g * g;
                    *w = *w * keep - step * *m / (libm::sqrtf(*v) * c2 + eps);
                }
            }
        }
    }

    /// Updates these trained weights by the gradient `factor` times `values`.
    pub(super) fn update<'s>(
        &self,
        state: &'s mut State<'_>,
        range: Range<usize>,
        factor: f32,
        values: &[f32],
    ) -> Option<()> {
        let (first, second) = state.moments.split_at_mut_checked(state.weights.len()).unwrap_or_default();
        let of_range = |moment: &'s mut [f32]| moment.get_mut(range.clone()).unwrap_or_default();
        let second = if built::ANY_OPTIMIZER { of_range(second) } else { &mut [] };
        self.apply(state.terms, state.weights.get_mut(range.clone())?, factor, values, of_range(first), second);
        Some(())
    }
}

/// 1 - beta^t in f32 without cancellation: with d(t) = 1 - beta^t, d(s + t) = d(s) + d(t) - d(s) d(t).
fn left(beta: f32, time: u64) -> f32 {
    let (mut result, mut power, mut rest) = (0.0f32, 1.0 - beta, time);
    while rest > 0 {
        if rest & 1 == 1 {
            result += power - result * power;
        }
        power += power - power * power;
        rest >>= 1;
    }
    result
}

/// What happens to gradients as they come.
#[derive(Clone, Copy, Debug)]
pub(super) enum Receive {
    /// The weights are updated right there.
    Update(Rule),
    /// The stored gradient grows by this share.
    Add(f32),
}

impl Receive {
    /// Takes the gradient of these trained weights: `factor` times `values`.
    pub(super) fn take(
        &self,
        state: &mut State<'_>,
        range: Range<usize>,
        factor: f32,
        values: &[f32],
    ) -> Option<()> {
        match self {
            Receive::Update(rule) => rule.update(state, range, factor, values),
            Receive::Add(_) if !built::GRADIENT => None,
            Receive::Add(share) => {
                let stored = state.gradient.get_mut(range)?;
                stored.iter_mut().zip(values).for_each(|(to, value)| *to += share * (factor * value));
                Some(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::optimizer::Update;

    #[test]
    fn rules_are_those_of_the_optimizer() {
        let nesterov = Optimizer::Sgd { momentum: 0.9, nesterov: true };
        let optimizers =
            [Optimizer::sgd(0.0), Optimizer::sgd(0.9), nesterov, Optimizer::adam(), Optimizer::adamw()];
        for optimizer in optimizers {
            for (weight_decay, gradient_scale) in [(0.0, 1.0), (0.01, 0.5)] {
                let mut ours = [[0.3f32, -0.7, 1e-3], [0.0; 3], [0.0; 3]];
                let mut theirs = ours;
                for time in 1..=2000u64 {
                    let gradient = [0.1, -0.02 * time as f32 % 0.7, 3.0];
                    let update = Update { optimizer, rate: 0.01, weight_decay, gradient_scale, time };
                    let (weights, moments) = ours.as_flattened_mut().split_at_mut(3);
                    let moments = &mut moments[..3 * optimizer.moments()];
                    let terms = &Terms { optimizer, rate: 0.01, weight_decay };
                    let state = &mut State { weights, moments, gradient: &mut [], terms, scales: &mut [] };
                    let rule = Rule::new(optimizer, gradient_scale, time);
                    rule.update(state, 0..3, 1.0, &gradient).expect("fits");
                    let [w, m, v] = &mut theirs;
                    update.apply(w, &gradient, m, v);
                }
                for (a, b) in ours[0].iter().zip(theirs[0]) {
                    let adam = matches!(optimizer, Optimizer::Adam { .. });
                    assert!((a - b).abs() <= if adam { 2e-6 * b.abs().max(1.0) } else { 0.0 }, "{optimizer:?} {a} {b}");
                }
            }
        }
    }

    #[test]
    fn what_is_left_of_a_beta_has_no_cancellation() {
        for beta in [0.9f32, 0.999, 0.99999] {
            for time in [1u64, 2, 3, 10, 1000, 123_456, 10_000_000_000] {
                let exact = 1.0 - libm::pow(f64::from(beta), time as f64);
                let error = (f64::from(left(beta, time)) - exact).abs() / exact;
                assert!(error < 1e-5, "{beta} {time} {error}");
            }
        }
    }
}
