//! Choosing the strength a from data: the largest whose smoothed loss stays within a tolerance.
//!
//! The paper leaves a to cross-validation. Here a is as large as the network bears: the rise of the smoothed loss is
//! measured as sharpness is, (C̄(w; a) - C(w)) / (1 + C(w)), and bisected over common random numbers, so that it is one
//! function of a, evaluated without sampling noise between strengths.

use super::sensitivity::{AtStrength, Kind, at_strength};
use super::{MeasureError, Subject};
use crate::data::Split;
use smoothout::noise::Distribution;

/// How a strength is chosen.
#[derive(Clone, Copy, Debug)]
pub struct Search {
    /// Largest rise, as a share of 1 + C(w).
    pub tolerance: f64,
    /// Strength at which the search begins.
    pub first: f64,
    /// Share of the strength to which it is narrowed down.
    pub precision: f64,
    /// Passes over the split at each strength.
    pub passes: u32,
}

/// Most doublings or halvings from the first strength: a factor of about 10^6 each way.
const DOUBLINGS: usize = 20;

/// The rise at a strength, as a share of 1 + C(w).
pub fn rise(at: &AtStrength, clean: f64) -> f64 {
    (at.loss().mean - clean) / (1.0 + clean)
}

/// Standard error of a strength that was found between two others, from the spread of the passes: that of the loss at
/// `low` over the loss's slope from `low` to `high`, which the passes' common noise gives well. None with one pass.
pub fn error(low: &AtStrength, high: &AtStrength) -> Option<f64> {
    let slope = high.slope_from(low)?.mean;
    low.loss().error.map(|error| error / slope.abs())
}

/// The largest strength found whose rise is within the tolerance, and the smallest found whose rise is not, between
/// which the answer lies. Every strength that was measured is pushed to `measured`, the network itself first.
///
/// # Errors
/// Settings that make no sense, a network whose own loss is not finite, no strength in reach that is within or beyond the
/// tolerance, or what an evaluation can meet.
pub fn choose(
    subject: &mut Subject<'_>,
    split: &Split,
    kind: Kind,
    search: Search,
    measured: &mut Vec<AtStrength>,
) -> Result<[f64; 2], MeasureError> {
    for (name, value) in
        [("tolerance", search.tolerance), ("first strength", search.first), ("precision", search.precision)]
    {
        if !(value.is_finite() && value > 0.0) {
            return Err(MeasureError::Request(format!("the {name} {value} is not a finite number above 0")));
        }
    }
    // A dropout probability goes no further than 1.
    let most = if kind.distribution == Distribution::Dropout { 1.0 } else { f64::MAX };
    let clean = subject.clean(split)?;
    let loss = clean.loss;
    measured.push(AtStrength { strength: 0.0, passes: vec![clean] });
    let mut within = |strength: f64| {
        let at = at_strength(subject, split, kind, strength, search.passes)?;
        let fits = rise(&at, loss) <= search.tolerance;
        measured.push(at);
        Ok::<_, MeasureError>(fits)
    };
    let [mut low, mut high] = bracket(search.first.min(most), most, &mut within)?;
    while high > low * (1.0 + search.precision) {
        let middle = (low * high).sqrt();
        *(if within(middle)? { &mut low } else { &mut high }) = middle;
    }
    Ok([low, high])
}

/// A strength that is within and one twice as large that is not.
fn bracket(
    first: f64,
    most: f64,
    within: &mut impl FnMut(f64) -> Result<bool, MeasureError>,
) -> Result<[f64; 2], MeasureError> {
    let grows = within(first)?;
    let mut strength = first;
    for _ in 0..DOUBLINGS {
        let next = if grows { (strength * 2.0).min(most) } else { strength / 2.0 };
        if grows && next == strength {
            break;
        }
        if within(next)? != grows {
            return Ok(if grows { [strength, next] } else { [next, strength] });
        }
        strength = next;
    }
    let (side, way) = if grows { ("within", "strong") } else { ("beyond", "weak") };
    Err(MeasureError::Request(format!(
        "noise as {way} as {strength} is still {side} the tolerance: choose another tolerance"
    )))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::Mean;
    use super::*;

    #[test]
    fn the_error_is_that_of_the_loss_over_its_slope() {
        let at = |strength: f64, losses: &[f64]| AtStrength {
            strength,
            passes: losses.iter().map(|loss| Mean { loss: *loss, accuracy: 0.5 }).collect(),
        };
        // Losses 2, 3, 4 rise by 0.2 on average over 0.1; the standard error of their mean is sqrt(1/3).
        let found = error(&at(0.5, &[2.0, 3.0, 4.0]), &at(0.6, &[2.1, 3.2, 4.3])).unwrap();
        assert!((found - (1.0f64 / 3.0).sqrt() / 2.0).abs() < 1e-9, "{found}");
        assert_eq!(error(&at(0.5, &[2.0]), &at(0.6, &[2.1])), None);
    }

    #[test]
    fn a_bracket_is_found_on_either_side_or_the_search_says_why() {
        let mut below = |a: f64| Ok(a <= 0.3);
        assert_eq!(bracket(0.1, f64::MAX, &mut below).unwrap(), [0.2, 0.4]);
        assert_eq!(bracket(1.6, f64::MAX, &mut below).unwrap(), [0.2, 0.4]);
        let always = bracket(0.1, 1.0, &mut |_| Ok(true)).unwrap_err().to_string();
        assert!(always.contains("as strong as 1 is still within"), "{always}");
        let never = bracket(0.1, 1.0, &mut |_| Ok(false)).unwrap_err().to_string();
        assert!(never.contains("is still beyond"), "{never}");
    }
}
