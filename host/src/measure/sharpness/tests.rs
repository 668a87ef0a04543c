#![allow(clippy::unwrap_used)]
use super::*;

/// sum of c_i (x_i - m_i)^2, which ends itself after a number of evaluations.
struct Bowl {
    curvatures: Vec<f64>,
    minimum: Vec<f64>,
    left: usize,
}

impl Bowl {
    fn new(n: usize) -> Self {
        let curvatures = (0..n).map(|i| 1.0 + 50.0 * (i as f64 * 0.7).sin().powi(2)).collect();
        let minimum = (0..n).map(|i| (i as f64 * 1.3).cos()).collect();
        Self { curvatures, minimum, left: usize::MAX }
    }

    /// The highest value in the box around the minimum: at every corner.
    fn highest(&self, epsilon: f64) -> f64 {
        let side = |m: &f64| epsilon * (m.abs() + 1.0);
        self.curvatures.iter().zip(&self.minimum).map(|(c, m)| c * side(m) * side(m)).sum()
    }
}

impl Objective for Bowl {
    fn len(&self) -> usize {
        self.minimum.len()
    }

    fn gradient(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, MeasureError> {
        self.left = self.left.checked_sub(1).ok_or(MeasureError::Interrupted)?;
        let mut value = 0.0;
        for (i, g) in gradient.iter_mut().enumerate() {
            let away = point[i] - self.minimum[i];
            value += self.curvatures[i] * away * away;
            *g = 2.0 * self.curvatures[i] * away;
        }
        Ok(value)
    }
}

fn near(found: f64, known: f64, relative: f64) {
    assert!((found - known).abs() <= relative * known.abs(), "{found} instead of {known}");
}

#[test]
fn a_bowl_is_as_sharp_as_its_corners_are_high() {
    for n in [1, 2, 37, 1000] {
        let mut bowl = Bowl::new(n);
        let centre = bowl.minimum.clone();
        let found = sharpness(&mut bowl, &centre, &Settings::default()).unwrap();
        assert_eq!((found.loss, found.runs.len(), found.complete), (0.0, 5, true));
        near(found.sharpness, 100.0 * bowl.highest(5e-4), 1e-4);
        // The point that is handed over has that loss and lies in the box.
        let loss = bowl.gradient(&found.worst, &mut vec![0.0; n]).unwrap();
        near(100.0 * loss, found.sharpness, 1e-12);
        for (x, m) in found.worst.iter().zip(&bowl.minimum) {
            assert!((x - m).abs() <= 5e-4 * (m.abs() + 1.0) * (1.0 + 1e-12));
        }
    }
}

#[test]
fn away_from_the_minimum_the_farther_corner_counts() {
    let mut bowl = Bowl::new(20);
    let centre: Vec<f64> = bowl.minimum.iter().map(|m| m + 0.3).collect();
    let mut at = |point: &[f64]| bowl.gradient(point, &mut [0.0; 20]).unwrap();
    let corner: Vec<f64> = centre.iter().map(|c| c + 0.01 * (c.abs() + 1.0)).collect();
    let known = 100.0 * (at(&corner) - at(&centre)) / (1.0 + at(&centre));
    let settings = Settings { epsilon: 0.01, ..Settings::default() };
    near(sharpness(&mut bowl, &centre, &settings).unwrap().sharpness, known, 1e-4);
}

#[test]
fn a_subspace_of_every_dimension_finds_what_the_whole_space_does() {
    // With n columns of n dimensions A+ is the inverse; in a bowl of one curvature c at 0 the box is |z_i| <= eps and
    // the value c |A z|^2.
    let mut bowl = Bowl { curvatures: vec![3.0; 4], minimum: vec![0.0; 4], left: usize::MAX };
    let settings = Settings { space: Space::Subspace(4), runs: 1, epsilon: 0.1, ..Settings::default() };
    let found = sharpness(&mut bowl, &[0.0; 4], &settings).unwrap();
    let subspace = Subspace::new(&mut bowl, &[0.0; 4], 4, settings.seed, 0).unwrap();
    let corners = (0..16u32).map(|bits| {
        let z: Vec<f64> = (0..4).map(|i| if bits >> i & 1 == 1 { 0.1 } else { -0.1 }).collect();
        subspace.point(&z).iter().map(|p| 3.0 * p * p).sum::<f64>()
    });
    let highest = corners.fold(0.0, f64::max);
    assert!(found.sharpness <= 100.0 * highest * (1.0 + 1e-9));
    // One climb may end in a corner that is not the highest; not far from it in four dimensions.
    assert!(found.sharpness >= 50.0 * highest, "{} of {}", found.sharpness, 100.0 * highest);
    let known = subspace.centre_coordinates().unwrap();
    assert_eq!(known, [0.0; 4]);
}

#[test]
fn one_dimension_of_a_subspace_is_known_exactly() {
    let mut bowl = Bowl::new(50);
    let centre = bowl.minimum.clone();
    let settings = Settings { space: Space::Subspace(1), runs: 1, ..Settings::default() };
    let found = sharpness(&mut bowl, &centre, &settings).unwrap();
    let subspace = Subspace::new(&mut bowl, &centre, 1, settings.seed, 0).unwrap();
    let side = 5e-4 * (subspace.centre_coordinates().unwrap()[0].abs() + 1.0);
    let end = subspace.point(&[side]);
    drop(subspace);
    near(found.sharpness, 100.0 * bowl.gradient(&end, &mut [0.0; 50]).unwrap(), 1e-4);
}

#[test]
fn the_authors_sign_finds_nothing_where_there_is_much() {
    let mut bowl = Bowl::new(30);
    let centre: Vec<f64> = bowl.minimum.iter().map(|m| m + 0.3).collect();
    let right = sharpness(&mut bowl, &centre, &Settings::default()).unwrap();
    let wrong = sharpness(&mut bowl, &centre, &Settings::default().as_authors()).unwrap();
    // Downhill in the loss while it is told that it climbs, the line search fails and returns the start.
    assert_eq!(wrong.sharpness, 0.0);
    assert!(wrong.worst.iter().zip(&centre).all(|(w, c)| (w - c).abs() < 1e-12));
    assert!(right.sharpness > 0.1, "{}", right.sharpness);
}

#[test]
fn the_seed_decides_everything_and_runs_differ() {
    let measure = |seed| {
        let mut bowl = Bowl::new(30);
        let centre = bowl.minimum.clone();
        let settings = Settings { seed, ..Settings::default() };
        sharpness(&mut bowl, &centre, &settings).unwrap()
    };
    let (first, again, other) = (measure(1), measure(1), measure(2));
    assert_eq!(first, again);
    assert_ne!(first.starts, other.starts);
    assert_ne!(first.starts[0], first.starts[1]);
}

#[test]
fn an_interruption_gives_the_best_so_far_and_says_so() {
    let mut bowl = Bowl { left: 9, ..Bowl::new(30) };
    let centre = bowl.minimum.clone();
    let found = sharpness(&mut bowl, &centre, &Settings::default()).unwrap();
    assert!(!found.complete);
    let last = found.runs.last().unwrap();
    assert_eq!((last.ending.as_str(), last.iterations), (INTERRUPTED, None));
    assert!(found.sharpness > 0.0);
    let mut none = Bowl { left: 0, ..Bowl::new(30) };
    let error = sharpness(&mut none, &centre, &Settings::default()).unwrap_err();
    assert!(matches!(error, MeasureError::Interrupted));
}

#[test]
fn impossible_settings_are_refused() {
    let mut bowl = Bowl::new(3);
    let centre = bowl.minimum.clone();
    for settings in [
        Settings { epsilon: 0.0, ..Settings::default() },
        Settings { epsilon: f64::NAN, ..Settings::default() },
        Settings { runs: 0, ..Settings::default() },
        Settings { iterations: 0, ..Settings::default() },
        Settings { space: Space::Subspace(0), ..Settings::default() },
        Settings { space: Space::Subspace(4), ..Settings::default() },
    ] {
        assert!(matches!(sharpness(&mut bowl, &centre, &settings), Err(MeasureError::Request(_))), "{settings:?}");
    }
}

/// base + mean of 1 - cos(k w_i (x_i - m_i)), a loss in f32 as that of networks: many maxima, and too few digits for small
/// steps.
struct Waves {
    base: f64,
    k: f64,
}

impl Waves {
    fn minimum(i: usize) -> f64 {
        (1.0 + 0.7 * i as f64).sin()
    }
}

impl Objective for Waves {
    fn len(&self) -> usize {
        40
    }

    fn gradient(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, MeasureError> {
        let mut sum = 0.0;
        for (i, (x, g)) in point.iter().zip(gradient).enumerate() {
            let k = self.k * (1 + i % 5) as f64;
            let angle = k * (x - Self::minimum(i));
            sum += 1.0 - angle.cos();
            *g = f64::from((angle.sin() * k / 40.0) as f32);
        }
        Ok(f64::from((self.base + sum / 40.0) as f32))
    }
}

#[test]
fn the_authors_sign_ends_where_scipy_does() {
    // Distance from the minimum; sharpness by SciPy 1.17's fmin_l_bfgs_b on this loss in f64, with 10 iterations. On the first
    // four ways basin's own line search takes rounding for a gain and ends at 0.0021.
    for (base, k, epsilon, off, known) in [
        (5.0, 2.0, 0.02, 0.005, 0.212423),
        (5.0, 2.0, 0.05, 0.005, 1.211192),
        (5.0, 2.0, 0.1, 0.005, 1.783570),
        (5.0, 2.0, 0.4, 0.005, 1.803360),
        (0.0, 2.0, 0.05, 0.02, 3.889330),
        (0.0, 3.0, 0.1, 0.02, 40.081251),
        (0.0, 3.0, 0.1, 0.1, 23.821136),
    ] {
        let centre: Vec<f64> = (0..40).map(|i| Waves::minimum(i) + off * (1.3 * i as f64).cos()).collect();
        let settings = Settings { epsilon, runs: 1, ..Settings::default() }.as_authors();
        let found = sharpness(&mut Waves { base, k }, &centre, &settings).unwrap();
        near(found.sharpness, known, 1e-4);
    }
}

/// A loss that is finite at 0 alone.
struct Cliff;

impl Objective for Cliff {
    fn len(&self) -> usize {
        3
    }

    fn gradient(&mut self, point: &[f64], gradient: &mut [f64]) -> Result<f64, MeasureError> {
        gradient.fill(1.0);
        Ok(if point == [0.0; 3] { 1.0 } else { f64::NAN })
    }
}

#[test]
fn a_box_without_a_finite_loss_is_refused() {
    let error = sharpness(&mut Cliff, &[0.0; 3], &Settings::default()).unwrap_err().to_string();
    assert!(error.contains("run 1 met no finite loss"), "{error}");
}
