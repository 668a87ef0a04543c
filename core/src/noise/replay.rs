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

    /// Adds θ to the clean weights of one filter and returns the scale that takes it away again. `start` is the
    /// filter's first element in its tensor.
    pub fn add(&self, key: Key, start: usize, filter: &mut [f32]) -> f32 {
        let scale = self.scale(key, start, filter);
        self.each_theta(key, start, scale, filter.iter_mut(), |w| **w, |w, theta| *w += theta);
        scale
    }

    /// Takes θ away from one filter that [`add`](Self::add) perturbed with this scale; a scale of 0 changes nothing.
    ///
    /// With constant and per-filter scaling the same θ is subtracted. The weight differs from the one before by at most
    /// one rounding of w + θ and one of the difference: 2^-24 (abs(w + θ) + abs(w)), to first order. Per-weight noise is
    /// divided away, w = p / (1 ± u a), with at most 2^-22 abs(w) / (1 - a) as long as nothing is subnormal.
    /// The other noise, which is not [replayable](Self::is_replayable), does not come off.
    pub fn take_away(&self, key: Key, start: usize, scale: f32, filter: &mut [f32]) {
        if scale == 0.0 {
            return;
        }
        let divide = |w: &mut f32, unit: f32| *w /= 1.0 + unit * scale * w.signum();
        let items = filter.iter_mut();
        match (self.scaling, self.distribution) {
            (Scaling::PerWeight, Distribution::Uniform) => {
                key.each_half(start, items, |w, half| divide(w, odd(half) as f32));
            }
            (Scaling::PerWeight, Distribution::Gaussian) => {
                key.each_word(start, items, |w, word| divide(w, gaussian::unit(word)));
            }
            _ => self.each_theta(key, start, scale, items, |w| **w, |w, theta| *w -= theta),
        }
    }
}
