//! (C_eps, A)-sharpness (Keskar et al. 2017, definition 2.1; section IV of the paper): by how many percent of 1 + f(x)
//! the loss can rise in a small box around x,
//!
//! ```text
//! 100 (max f(x + A z) - f(x)) / (1 + f(x)),   |z_i| <= eps (|(A+ x)_i| + 1)
//! ```
//!
//! with A the identity, or random columns whose pseudo-inverse is A+. The maximum is sought by L-BFGS-B from several
//! starts; what is found is a lower bound of the maximum, and the largest of the runs counts.

mod line_search;

use super::random::{Purpose, generator, unit};
use super::subspace::Subspace;
use super::{MeasureError, Objective};
use basin::{
    BoxBounds, ConstraintDescription, ConstraintSet, ConstraintSolveError, Constraints, CostFunction, Executor,
    FirstOrderState, Gradient, Lbfgs,
};
use line_search::Search;
use serde::Serialize;
use std::cell::RefCell;

/// Where the maximum is sought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Space {
    /// In all parameters: A is the identity.
    Full,
    /// In a random subspace of this dimension, another one in each run.
    Subspace(usize),
}

/// Where a run starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// At a random point of the box.
    Random,
    /// At x: its centre.
    Centre,
}

/// How sharpness is measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    /// Size of the box.
    pub epsilon: f64,
    /// Where the maximum is sought.
    pub space: Space,
    /// Runs, of which the maximum counts.
    pub runs: usize,
    /// Most iterations of a run.
    pub iterations: u64,
    /// Where runs start.
    pub start: Start,
    /// Whether L-BFGS-B is given the gradient with the wrong sign, as the authors' program does.
    pub wrong_sign: bool,
    /// Largest component of the projected gradient at which a run ends; 0 for only where there is none.
    pub gradient_tolerance: f64,
    /// Relative gain of an iteration at which a run ends; none for whatever the gain.
    pub gain_tolerance: Option<f64>,
    /// Seed of starts and subspaces.
    pub seed: u64,
}

impl Default for Settings {
    /// The paper's: eps 5e-4, full space, maximum of 5 runs of 10 iterations, here from random starts.
    fn default() -> Self {
        Self {
            epsilon: 5e-4,
            space: Space::Full,
            runs: 5,
            iterations: 10,
            start: Start::Random,
            wrong_sign: false,
            gradient_tolerance: 0.0,
            gain_tolerance: None,
            seed: 1,
        }
    }
}

impl Settings {
    /// As the authors' program does: the gradient has the wrong sign, every run starts at x, and SciPy's tolerances
    /// hold (pgtol 1e-5, factr 1e7).
    #[must_use]
    pub fn as_authors(self) -> Self {
        Self {
            start: Start::Centre,
            wrong_sign: true,
            gradient_tolerance: 1e-5,
            gain_tolerance: Some(1e7 * f64::EPSILON),
            ..self
        }
    }

    fn check(&self) -> Result<(), MeasureError> {
        let refuse = |problem: String| Err(MeasureError::Request(problem));
        if !(self.epsilon.is_finite() && self.epsilon > 0.0) {
            return refuse(format!("epsilon {} is not a finite number above 0", self.epsilon));
        }
        if self.runs == 0 || self.iterations == 0 {
            return refuse("sharpness needs at least 1 run of at least 1 iteration".into());
        }
        Ok(())
    }
}

/// What one run found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Ascent {
    /// Which run, from 1.
    pub run: usize,
    /// The loss that counts: the highest met, or that of the point returned with the wrong sign.
    pub loss: f64,
    /// Its sharpness in percent.
    pub sharpness: f64,
    /// Iterations done; unknown where the run was interrupted.
    pub iterations: Option<u64>,
    /// Why the run ended.
    pub ending: String,
    /// Loss of every evaluation, the start first.
    pub losses: Vec<f64>,
}

/// What all runs found.
#[derive(Clone, Debug, PartialEq)]
pub struct Sharpness {
    /// f(x).
    pub loss: f64,
    /// The largest sharpness, in percent.
    pub sharpness: f64,
    /// The runs; with an interruption those that had begun.
    pub runs: Vec<Ascent>,
    /// Start of each run, in the coordinates of the objective.
    pub starts: Vec<Vec<f64>>,
    /// The point of the largest sharpness.
    pub worst: Vec<f64>,
    /// Whether all runs were done to their end.
    pub complete: bool,
}

/// Measures the sharpness of an objective at `centre`. An interruption after the first evaluation gives the best so
/// far, with `complete` unset.
///
/// # Errors
/// Settings that make no sense, a loss that is not finite at `centre`, or what the objective can meet.
pub fn sharpness(
    objective: &mut dyn Objective,
    centre: &[f64],
    settings: &Settings,
) -> Result<Sharpness, MeasureError> {
    settings.check()?;
    let mut gradient = vec![0.0; objective.len()];
    let loss = objective.gradient(centre, &mut gradient)?;
    if !loss.is_finite() {
        return Err(MeasureError::Request(format!("the loss of the network itself is {loss}")));
    }
    let mut found = Sharpness {
        loss,
        sharpness: f64::NEG_INFINITY,
        runs: Vec::new(),
        starts: Vec::new(),
        worst: centre.to_vec(),
        complete: true,
    };
    for index in 0..settings.runs {
        let run = match settings.space {
            Space::Full => climb(objective, centre, loss, index, settings)?,
            Space::Subspace(dimension) => {
                let mut subspace = Subspace::new(objective, centre, dimension, settings.seed, index as u64)?;
                let coordinates = subspace.centre_coordinates()?;
                let mut run = climb_around(&mut subspace, &vec![0.0; dimension], &coordinates, loss, index, settings)?;
                run.best = subspace.point(&run.best);
                run.start = subspace.point(&run.start);
                run
            }
        };
        let interrupted = run.ascent.as_ref().is_none_or(|a| a.ending == INTERRUPTED);
        if let Some(ascent) = run.ascent {
            if ascent.sharpness > found.sharpness {
                found.sharpness = ascent.sharpness;
                found.worst = run.best;
            }
            found.runs.push(ascent);
            found.starts.push(run.start);
        }
        if interrupted {
            found.complete = false;
            if found.runs.is_empty() {
                return Err(MeasureError::Interrupted);
            }
            break;
        }
    }
    Ok(found)
}

/// The ending of a run that its watcher ended.
const INTERRUPTED: &str = "interrupted";

struct Run {
    /// None if it was interrupted in its first evaluation.
    ascent: Option<Ascent>,
    start: Vec<f64>,
    best: Vec<f64>,
}

fn climb(
    objective: &mut dyn Objective,
    centre: &[f64],
    loss: f64,
    index: usize,
    settings: &Settings,
) -> Result<Run, MeasureError> {
    climb_around(objective, centre, centre, loss, index, settings)
}

/// One run in the box around `centre` whose sides are measured by `sizes`.
fn climb_around(
    objective: &mut dyn Objective,
    centre: &[f64],
    sizes: &[f64],
    loss: f64,
    index: usize,
    settings: &Settings,
) -> Result<Run, MeasureError> {
    let side = |size: &f64| settings.epsilon * (size.abs() + 1.0);
    let lower: Vec<f64> = centre.iter().zip(sizes).map(|(c, s)| c - side(s)).collect();
    let upper: Vec<f64> = centre.iter().zip(sizes).map(|(c, s)| c + side(s)).collect();
    let mut rng = generator(settings.seed, Purpose::Start, index as u64);
    let start: Vec<f64> = match settings.start {
        Start::Centre => centre.to_vec(),
        Start::Random => {
            let mut place = |(low, high): (&f64, &f64)| {
                // Rounded to what a network can hold, so that the start can be saved as it is.
                let place = f64::from((low + (high - low) * unit(&mut rng)) as f32);
                place.clamp(*low, *high)
            };
            lower.iter().zip(&upper).map(&mut place).collect()
        }
    };
    let climb = Climb {
        objective: RefCell::new(objective),
        seen: RefCell::new(Seen { losses: Vec::new(), best: None }),
        lower,
        upper,
        sign: if settings.wrong_sign { 1.0 } else { -1.0 },
    };
    let solver = Lbfgs::with_line_search(Search::new(settings.wrong_sign))
        .with_absolute_projected_gradient_tolerance(settings.gradient_tolerance)
        .with_relative_cost_reduction_tolerance(settings.gain_tolerance);
    let result = Executor::new(&climb, solver, FirstOrderState::new(start.clone()))
        .max_iter(settings.iterations)
        .run();
    let (iterations, ending, returned) = match result {
        Ok(result) => {
            let ending = format!("{:?}", result.report.code());
            (Some(result.iter()), ending, Some((-result.cost(), result.param().clone())))
        }
        Err(ConstraintSolveError::Evaluation(MeasureError::Interrupted)) => (None, INTERRUPTED.to_owned(), None),
        Err(ConstraintSolveError::Evaluation(error)) => return Err(error),
        Err(error) => return Err(MeasureError::Request(error.to_string())),
    };
    let Seen { losses, best } = climb.seen.into_inner();
    let counts = if settings.wrong_sign { returned.or(best) } else { best };
    let Some((highest, point)) = counts else {
        if ending == INTERRUPTED {
            return Ok(Run { ascent: None, best: start.clone(), start });
        }
        let problem = format!("run {} met no finite loss in its box of epsilon {}", index + 1, settings.epsilon);
        return Err(MeasureError::Request(problem));
    };
    let ascent = Ascent {
        run: index + 1,
        loss: highest,
        sharpness: 100.0 * (highest - loss) / (1.0 + loss),
        iterations,
        ending,
        losses,
    };
    Ok(Run { ascent: Some(ascent), start, best: point })
}

struct Seen {
    losses: Vec<f64>,
    /// Highest finite loss so far and where it was met.
    best: Option<(f64, Vec<f64>)>,
}

/// The problem that L-BFGS-B minimises: -f in a box.
struct Climb<'o> {
    objective: RefCell<&'o mut dyn Objective>,
    seen: RefCell<Seen>,
    lower: Vec<f64>,
    upper: Vec<f64>,
    /// What the gradient of f is multiplied by: -1 is right.
    sign: f64,
}

impl Constraints for &Climb<'_> {
    type Set = ConstraintSet<BoxBounds<Vec<f64>>>;

    fn constraints(&self) -> <Self::Set as ConstraintDescription>::Borrowed<'_> {
        ConstraintSet::new().with_bounds(BoxBounds::new(Some(&self.lower), Some(&self.upper)))
    }
}

impl CostFunction for &Climb<'_> {
    type Param = Vec<f64>;
    type Output = f64;
    type Error = MeasureError;

    fn cost(&self, point: &Vec<f64>) -> Result<f64, MeasureError> {
        Ok(self.cost_and_gradient(point)?.0)
    }
}

impl Gradient for &Climb<'_> {
    type Gradient = Vec<f64>;

    fn gradient(&self, point: &Vec<f64>) -> Result<Vec<f64>, MeasureError> {
        Ok(self.cost_and_gradient(point)?.1)
    }

    fn cost_and_gradient(&self, point: &Vec<f64>) -> Result<(f64, Vec<f64>), MeasureError> {
        let mut gradient = vec![0.0; point.len()];
        let loss = self.objective.borrow_mut().gradient(point, &mut gradient)?;
        let mut seen = self.seen.borrow_mut();
        gradient.iter_mut().for_each(|g| *g *= self.sign);
        seen.losses.push(loss);
        if loss.is_finite() && seen.best.as_ref().is_none_or(|(best, _)| loss > *best) {
            seen.best = Some((loss, point.clone()));
        }
        Ok((-loss, gradient))
    }
}

#[cfg(test)]
mod tests;
