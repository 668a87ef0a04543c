//! How fast the smoothed loss C̄(w; a) = E[C(w + θ)] rises with the strength a of the noise (figures 2b, 6b and 7), and
//! the metric s = ΔC̄/Δa that the paper makes of it (equation 9).
//!
//! As in section III-B each batch sees its own noise. A pass over the split is one estimate; several passes, each with
//! noise of its own, give the standard error. The noise of a pass and batch has the same bits at every strength (common
//! random numbers), so that differences between strengths are not drowned by the draw.

use super::{Estimate, Mean, MeasureError, Subject};
use crate::data::Split;
use smoothout::backend::{Draw, Selection};
use smoothout::noise::{Address, Distribution, Noise, Scaling};

/// What the noise is, but for its strength.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Distribution.
    pub distribution: Distribution,
    /// Scaling.
    pub scaling: Scaling,
    /// What is perturbed.
    pub selection: Selection,
    /// Seed.
    pub seed: u64,
}

/// The network under noise of one strength.
#[derive(Clone, Debug, PartialEq)]
pub struct AtStrength {
    /// a.
    pub strength: f64,
    /// Loss and accuracy of each pass; one pass alone where a = 0.
    pub passes: Vec<Mean>,
}

impl AtStrength {
    /// C̄(w; a).
    pub fn loss(&self) -> Estimate {
        Estimate::of(&self.passes.iter().map(|p| p.loss).collect::<Vec<_>>())
    }

    /// Mean accuracy.
    pub fn accuracy(&self) -> Estimate {
        Estimate::of(&self.passes.iter().map(|p| p.accuracy).collect::<Vec<_>>())
    }

    /// Equation 9 from another strength to this one: the mean over passes of (C̄(a) - C̄(b)) / (a - b); none where a = b.
    pub fn slope_from(&self, other: &Self) -> Option<Estimate> {
        let distance = self.strength - other.strength;
        let of_other = |i: usize| other.passes[i.min(other.passes.len() - 1)].loss;
        let slopes: Vec<f64> =
            self.passes.iter().enumerate().map(|(i, p)| (p.loss - of_other(i)) / distance).collect();
        (distance != 0.0).then(|| Estimate::of(&slopes))
    }
}

/// Measures one strength in `passes` passes over a split; one pass is enough for a = 0.
///
/// # Errors
/// A strength that cannot be, no passes, or what an evaluation can meet.
pub fn at_strength(
    subject: &mut Subject<'_>,
    split: &Split,
    kind: Kind,
    strength: f64,
    passes: u32,
) -> Result<AtStrength, MeasureError> {
    let noise = Noise::new(kind.distribution, kind.scaling, strength as f32)
        .map_err(|e| MeasureError::Request(e.to_string()))?;
    if passes == 0 {
        return Err(MeasureError::Request("the number of draws is 0, at least 1 is needed".into()));
    }
    let mut at = AtStrength { strength, passes: Vec::new() };
    for pass in 0..if strength == 0.0 { 1 } else { passes } {
        let mean = subject.evaluate(split, |batch| {
            let address = Address { seed: kind.seed, step: u64::from(pass), draw: batch as u32 };
            (strength > 0.0).then_some(Draw { noise, selection: kind.selection, address })
        })?;
        at.passes.push(mean);
    }
    Ok(at)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn slopes_are_those_of_the_passes() {
        let at = |strength, losses: &[f64]| AtStrength {
            strength,
            passes: losses.iter().map(|loss| Mean { loss: *loss, accuracy: 0.5 }).collect(),
        };
        let (clean, noisy, more) = (at(0.0, &[1.0]), at(0.5, &[2.0, 3.0]), at(1.0, &[4.0, 9.0]));
        assert_eq!(noisy.slope_from(&clean).unwrap(), Estimate::of(&[2.0, 4.0]));
        assert_eq!(more.slope_from(&noisy).unwrap(), Estimate::of(&[4.0, 12.0]));
        assert_eq!(clean.slope_from(&clean), None);
    }
}
