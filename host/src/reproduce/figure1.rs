//! Figure 1(a, b): a loss with a sharp and a flat minimum, four of its 1024 shifted copies, and their mean.

use crate::plot::{Panel, Picture, PlotError, Point, Series, lines};
use serde::Serialize;
use smoothout::noise::{Address, Distribution, Noise, Scaling};

/// Shifted copies.
const COPIES: usize = 1024;

/// Largest shift.
const A: f32 = 0.5;

/// Where the flat and the sharp minimum lie.
const MINIMA: [f64; 2] = [-1.0, 1.2];

/// What the picture shows, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Minima {
    /// Where the loss is lowest: the sharp minimum.
    pub of_loss: f64,
    /// Where the mean of the copies is lowest: near the flat one.
    pub of_mean: f64,
    /// Flat and sharp minimum of the loss.
    pub losses: [f64; 2],
    /// The mean of the copies there.
    pub means: [f64; 2],
}

/// A basin of half-width 0.9 and one of 0.1 that goes deeper.
fn loss(w: f64) -> f64 {
    let basin = |at: f64, width: f64| (-((w - at) / width).powi(4)).exp();
    1.0 - 0.8 * basin(MINIMA[0], 0.9) - 0.9 * basin(MINIMA[1], 0.1)
}

/// Draws it, with the product's own noise of a seed.
///
/// # Errors
/// As [`lines`].
pub fn illustration(seed: u64) -> Result<(Picture, Minima), PlotError> {
    let mut shifts = vec![0.0f32; COPIES];
    if let Ok(noise) = Noise::new(Distribution::Uniform, Scaling::Constant, A) {
        let key = Address { seed, step: 0, draw: 0 }.tensor(0);
        noise.fill(key, 1, COPIES, &vec![0.0; COPIES], &mut shifts);
    }
    let mean = |w: f64| shifts.iter().map(|shift| loss(w + f64::from(*shift))).sum::<f64>() / COPIES as f64;
    let ws: Vec<f64> = (-300..=300).map(|i| f64::from(i) / 100.0).collect();
    let series = |label: String, value: &dyn Fn(f64) -> f64| Series {
        label,
        points: ws.iter().map(|w| Point::new(*w, value(*w))).collect(),
    };
    let basis = series("loss C(w)".into(), &loss);
    let average = series(format!("mean of {COPIES} C(w + θ)"), &mean);
    // Those at the odd eighths of all shifts lie apart.
    let mut sorted = shifts.clone();
    sorted.sort_by(f32::total_cmp);
    let copies = [1, 3, 5, 7].map(|eighth| {
        let shift = f64::from(sorted[COPIES * eighth / 8]);
        series(format!("C(w + θ), θ = {shift:+.2}"), &|w| loss(w + shift))
    });
    let panel = |title: &str, series: Vec<Series>| Panel {
        title: title.into(),
        x_title: "parameter w".into(),
        y_title: "loss".into(),
        series,
        ..Panel::default()
    };
    let picture = lines(&[
        panel("(a) A flat and a sharp minimum", vec![basis.clone()]),
        panel("(b) The mean keeps the flat one", [vec![basis, average], copies.into()].concat()),
    ])?;
    let lowest = |value: &dyn Fn(f64) -> f64| {
        ws.iter().copied().reduce(|best, w| if value(w) < value(best) { w } else { best }).unwrap_or(f64::NAN)
    };
    let minima = Minima {
        of_loss: lowest(&loss),
        of_mean: lowest(&mean),
        losses: MINIMA.map(loss),
        means: MINIMA.map(mean),
    };
    Ok((picture, minima))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_mean_keeps_the_flat_minimum_and_loses_the_sharp_one() {
        let (_, minima) = illustration(1).unwrap();
        assert!((minima.of_loss - MINIMA[1]).abs() < 0.02, "{minima:?}");
        assert!((minima.of_mean - MINIMA[0]).abs() < 0.1, "{minima:?}");
        // Its mean over (-a, a) about the sharp minimum: 1 - 0.9 * 0.1 * 2 gamma(5/4) / 2a, and the flat one's tail.
        assert!(minima.means[1] > 0.8 && minima.losses[1] < 0.11, "{minima:?}");
        assert!(minima.means[0] < 0.25, "{minima:?}");
    }
}
