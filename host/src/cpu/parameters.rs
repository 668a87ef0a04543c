//! Parameters in this machine's memory: the CPU's [`Backend`].
//!
//! Its strategy is Shadow: clean weights stay untouched, the perturbed copy stands beside them, and de-noising costs
//! nothing and is exact.

use super::aligned::Aligned;
use super::deliver::Deliver;
use super::elementwise::{add_scaled, copy};
use super::noise::{Filters, perturb, perturb_again};
use super::shared::Shared;
use super::simd::Isa;
use super::update;
use rayon::prelude::*;
use smoothout::backend::{Backend, Base, Draw, Reception};
use smoothout::optimizer::Update;
use smoothout::plan::Tensor;
use std::time::{Duration, Instant};

/// What the parameters remember beside the weights and their gradient.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keeps {
    /// Moments of the optimizer: 0, 1 or 2.
    pub moments: usize,
    /// Whether an average of the weights is kept.
    pub average: bool,
}

/// Something was asked for that these parameters have no memory for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} is not kept by these parameters")]
pub struct NotKept {
    /// What was asked for.
    pub what: &'static str,
}

/// All parameters of a network, in the plan's order.
#[derive(Debug)]
pub struct Parameters {
    isa: Isa,
    tensors: Vec<Tensor>,
    pub(crate) weights: Aligned,
    shadow: Aligned,
    /// Whether the shadow is the evaluation point.
    perturbed: bool,
    /// Time that making noise has taken so far.
    pub(crate) perturbing: Duration,
    gradient: Aligned,
    /// Whether the stored gradient counts as 0, whatever is there.
    cleared: bool,
    /// Momentum, or Adam's first moment; empty unless kept.
    pub(crate) first: Aligned,
    /// Adam's second moment; empty unless kept.
    pub(crate) second: Aligned,
    /// Average of the weights; empty unless kept.
    pub(crate) average: Aligned,
    partial: Vec<f64>,
}

impl Parameters {
    /// Parameters of these tensors, of a plan and in its order, with these weights.
    ///
    /// # Panics
    /// The tensors do not follow each other, or the number of weights is not theirs.
    #[must_use]
    pub fn new(tensors: Vec<Tensor>, weights: &[f32], keeps: Keeps) -> Self {
        let len = tensors.iter().fold(0, |offset, tensor| {
            assert_eq!(tensor.offset, offset, "tensor {} does not follow the one before", tensor.index);
            tensor.range().end
        });
        assert_eq!(weights.len(), len);
        let kept = |yes: bool| Aligned::zeroed(if yes { len } else { 0 });
        Self {
            isa: Isa::detect(),
            tensors,
            weights: Aligned::from(weights),
            shadow: kept(true),
            perturbed: false,
            perturbing: Duration::ZERO,
            gradient: kept(true),
            cleared: true,
            first: kept(keeps.moments > 0),
            second: kept(keeps.moments > 1),
            average: kept(keeps.average),
            partial: vec![0.0; update::partial_sums(len)],
        }
    }

    /// The evaluation point: w + θ between perturb and denoise, else w.
    #[must_use]
    pub fn point(&self) -> &[f32] {
        if self.perturbed { &self.shadow } else { &self.weights }
    }

    /// The evaluation point, the stored gradient, and how a gradient of this weight is delivered to it: what an
    /// objective that knows these parameters writes to without a detour.
    pub(super) fn gradients(&mut self, weight: f32) -> (&[f32], &mut [f32], Deliver) {
        let deliver = Deliver { scale: weight, accumulate: !self.cleared };
        self.cleared = false;
        let point = if self.perturbed { &self.shadow } else { &self.weights };
        (point, &mut self.gradient, deliver)
    }

    /// The stored gradient; zeros where nothing was delivered yet.
    fn stored(&mut self) -> &[f32] {
        if std::mem::replace(&mut self.cleared, false) {
            self.gradient.fill(0.0);
        }
        &self.gradient
    }

    fn check_moments(&self, update: &Update) -> Result<(), NotKept> {
        match update.optimizer.moments() {
            1.. if self.first.is_empty() => Err(NotKept { what: "the optimizer's first moment" }),
            2.. if self.second.is_empty() => Err(NotKept { what: "the optimizer's second moment" }),
            _ => Ok(()),
        }
    }
}

impl Backend for Parameters {
    type Gradient<'g> = &'g [f32];
    type Error = NotKept;

    fn perturb(&mut self, draw: &Draw, base: Base) -> Result<(), NotKept> {
        let start = Instant::now();
        let isa = self.isa;
        let clean = &self.weights[..];
        let shadow = Shared::new(&mut self.shadow);
        // All tensors at once: most of them are far too small to be shared among threads one by one.
        self.tensors.par_iter().for_each(|tensor| {
            let Tensor { rows, row_len, index, role, .. } = *tensor;
            // SAFETY: inside the shadow, where each tensor has its own place: checked in `new`.
            let shadow = unsafe { std::slice::from_raw_parts_mut(shadow.at(tensor.offset), tensor.len()) };
            let filters = Filters { rows, row_len };
            let clean = &clean[tensor.range()];
            let key = draw.address.tensor(index);
            match (draw.selection.contains(role), base) {
                (true, Base::Clean) => perturb(isa, &draw.noise, key, filters, clean, shadow, row_len),
                (true, Base::Perturbed) => perturb_again(isa, &draw.noise, key, filters, shadow, row_len),
                (false, Base::Clean) => copy(isa, clean, shadow),
                (false, Base::Perturbed) => {}
            }
        });
        self.perturbed = true;
        self.perturbing += start.elapsed();
        Ok(())
    }

    fn ascend(&mut self, scale: f32) -> Result<(), NotKept> {
        self.stored();
        update::ascend(self.isa, scale, &self.weights, &self.gradient, &mut self.shadow);
        self.perturbed = true;
        Ok(())
    }

    fn denoise(&mut self) -> Result<(), NotKept> {
        self.perturbed = false;
        Ok(())
    }

    fn keep_noise(&mut self) -> Result<(), NotKept> {
        if std::mem::replace(&mut self.perturbed, false) {
            copy(self.isa, &self.shadow, &mut self.weights);
        }
        Ok(())
    }

    fn clear_gradient(&mut self) -> Result<(), NotKept> {
        self.cleared = true;
        Ok(())
    }

    fn receive(
        &mut self,
        tensor: &Tensor,
        first_row: usize,
        gradient: &[f32],
        reception: &Reception,
    ) -> Result<(), NotKept> {
        let start = tensor.offset + first_row * tensor.row_len;
        let at = start..start + gradient.len();
        match reception {
            Reception::Add { weight } => {
                self.stored();
                add_scaled(self.isa, *weight, gradient, &mut self.gradient[at]);
            }
            Reception::Update(rule) => {
                self.check_moments(rule)?;
                let moments = rule.optimizer.moments();
                let first = if moments > 0 { &mut self.first[at.clone()] } else { &mut [][..] };
                let second = if moments > 1 { &mut self.second[at.clone()] } else { &mut [][..] };
                update::update(self.isa, rule, &mut self.weights[at], gradient, first, second);
            }
        }
        Ok(())
    }

    fn gradient_norm(&mut self) -> Result<f32, NotKept> {
        self.stored();
        Ok(update::squared_norm(self.isa, &self.gradient, &mut self.partial).sqrt() as f32)
    }

    fn update(&mut self, rule: &Update) -> Result<(), NotKept> {
        self.check_moments(rule)?;
        self.stored();
        let moments = rule.optimizer.moments();
        let first = if moments > 0 { &mut self.first[..] } else { &mut [][..] };
        let second = if moments > 1 { &mut self.second[..] } else { &mut [][..] };
        update::update(self.isa, rule, &mut self.weights, &self.gradient, first, second);
        Ok(())
    }

    fn average(&mut self, share: f32) -> Result<(), NotKept> {
        if self.average.is_empty() {
            return Err(NotKept { what: "an average of the weights" });
        }
        update::average(self.isa, share, &self.weights, &mut self.average);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::values;
    use super::*;
    use smoothout::backend::Selection;
    use smoothout::noise::{Address, Distribution, Noise, Scaling};
    use smoothout::optimizer::Optimizer;
    use smoothout::plan::{Plan, Purpose};
    use smoothout::portable;

    /// Core's parameters, whose every operation is the meaning.
    struct Plain {
        tensors: Vec<Tensor>,
        slices: [Vec<f32>; 6],
    }

    impl Plain {
        fn with<R>(&mut self, work: impl FnOnce(&mut portable::Parameters<'_>) -> R) -> R {
            let [weights, shadow, gradient, first, second, average] = &mut self.slices;
            let memory = portable::Memory { weights, shadow, scales: &mut [], gradient, first, second, average };
            let strategy = portable::Strategy::Shadow;
            work(&mut portable::Parameters::new(&self.tensors, memory, strategy).expect("lengths fit"))
        }
    }

    fn same(ours: &[f32], core: &[f32]) -> bool {
        ours.iter().zip(core).all(|(a, b)| a.to_bits() == b.to_bits()) && ours.len() == core.len()
    }

    /// The same calls on both, each followed by a comparison of the evaluation point and the weights.
    #[test]
    fn every_operation_makes_the_bits_of_cores() {
        let net = crate::net::NetName::Digits.build(0, 10).expect("a network");
        let plan: Box<crate::net::NetPlan> = Box::new(Plan::new(&net, 1, Purpose::Training).expect("a plan"));
        let tensors: Vec<Tensor> = plan.tensors().copied().collect();
        let (len, weights) = (plan.parameters(), values(plan.parameters(), 1, 0.1));
        for scaling in [Scaling::Constant, Scaling::PerWeight, Scaling::PerFilter] {
            for norms in [false, true] {
                let zeros = || vec![0.0; len];
                let slices = [weights.clone(), zeros(), zeros(), zeros(), zeros(), zeros()];
                let mut core = Plain { tensors: tensors.clone(), slices };
                let keeps = Keeps { moments: 2, average: true };
                let mut ours = Parameters::new(tensors.clone(), &weights, keeps);
                let noise = Noise::new(Distribution::Uniform, scaling, 0.1).expect("finite");
                let selection = Selection { norms, ..Selection::default() };
                let draw = |step| Draw { noise, selection, address: Address { seed: 7, step, draw: 0 } };
                let update =
                    Update { optimizer: Optimizer::adam(), rate: 0.1, weight_decay: 1e-3, gradient_scale: 0.5, time: 1 };
                core.with(|core| {
                    macro_rules! both {
                        ($($call:tt)*) => {
                            ours.$($call)*.expect("kept");
                            core.$($call)*.expect("kept");
                            assert!(same(ours.point(), core.point()), "{}", stringify!($($call)*));
                            assert!(same(&ours.weights, core.memory().weights), "{}", stringify!($($call)*));
                        };
                    }
                    both!(perturb(&draw(1), Base::Clean));
                    both!(perturb(&draw(2), Base::Perturbed));
                    both!(denoise());
                    both!(clear_gradient());
                    for (i, tensor) in tensors.iter().enumerate().rev() {
                        let gradient = values(tensor.len(), 9 + i as u64, 0.0);
                        both!(receive(tensor, 0, &gradient, &Reception::Add { weight: 0.25 }));
                        both!(receive(tensor, 0, &gradient, &Reception::Add { weight: 0.5 }));
                    }
                    both!(ascend(0.05));
                    both!(denoise());
                    both!(average(0.5));
                    both!(update(&update));
                    both!(perturb(&draw(3), Base::Clean));
                    both!(keep_noise());
                    let gradient = values(tensors[0].len(), 5, 0.0);
                    both!(receive(&tensors[0], 0, &gradient, &Reception::Update(update)));
                    both!(average(0.25));
                });
                assert!(same(&ours.average, &core.slices[5]));
            }
        }
    }

    #[test]
    fn what_is_not_kept_is_refused_and_nothing_changes() {
        let tensors: Vec<Tensor> = Vec::new();
        let mut parameters = Parameters::new(tensors, &[], Keeps::default());
        let update =
            Update { optimizer: Optimizer::adam(), rate: 0.1, weight_decay: 0.0, gradient_scale: 1.0, time: 1 };
        assert_eq!(parameters.update(&update), Err(NotKept { what: "the optimizer's first moment" }));
        assert_eq!(parameters.average(0.5), Err(NotKept { what: "an average of the weights" }));
    }
}
