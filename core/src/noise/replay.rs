//! Noise added in place and taken away again: made twice from its address, kept nowhere.

use super::{Distribution, Key, Noise, Scaling, gaussian, odd};

impl Noise {
    /// Whether noise added in place can be taken away again: not dropout, which forgets the weight, and per-weight
    /// noise only when its strength leaves each weight its sign (Gaussian noise has no bound, so never there).
    pub fn is_replayable(&self) -> bool {
        match (self.distribution, self.scaling) {
            (Distribution::Dropout, _) | (Distribution::Gaussian, Scaling::PerWeight) => false,
            (_, Scaling::PerWeight) => self.strength < 1.0,
            _ => true,
        }
    }

    /// Adds θ to the clean weights of one filter and returns the scale that takes it away again.
    pub fn add(&self, key: Key, start: usize, filter: &mut [f32]) -> f32 {
        let scale = self.scale(key, start, filter);
        let per_weight = self.scaling == Scaling::PerWeight;
        self.each_unit(key, start, filter, |w, unit| {
            *w += unit * if per_weight { scale * w.abs() } else { scale };
        });
        scale
    }

    /// Takes θ away from one filter that [`add`](Self::add) perturbed with this scale; a scale of 0 changes nothing.
    ///
    /// The weight differs from the one before by at most one rounding of w + θ and one of the difference:
    /// 2^-24 (|w + θ| + |w|) with constant and per-filter scaling, to first order. Per-weight noise is divided away,
    /// w = p / (1 ± u a), with at most 2^-22 |w| / (1 - a).
    pub fn take_away(&self, key: Key, start: usize, scale: f32, filter: &mut [f32]) {
        if scale == 0.0 {
            return;
        }
        let per_weight = self.scaling == Scaling::PerWeight;
        self.each_unit(key, start, filter, |w, unit| {
            if per_weight {
                *w /= 1.0 + unit * scale * w.signum();
            } else {
                *w -= unit * scale;
            }
        });
    }

    fn each_unit(&self, key: Key, start: usize, filter: &mut [f32], mut each: impl FnMut(&mut f32, f32)) {
        match self.distribution {
            Distribution::Uniform => {
                let units = key.halves(start).map(|half| odd(half) as f32);
                filter.iter_mut().zip(units).for_each(|(w, unit)| each(w, unit));
            }
            Distribution::Gaussian => {
                let units = key.words(start).map(gaussian::unit);
                filter.iter_mut().zip(units).for_each(|(w, unit)| each(w, unit));
            }
            Distribution::Dropout => {
                let threshold = self.threshold();
                let dropped = key.halves(start).map(|half| u32::from(half) < threshold);
                for (w, dropped) in filter.iter_mut().zip(dropped) {
                    let unit = if dropped { -*w } else { 0.0 };
                    each(w, unit);
                }
            }
        }
    }
}
