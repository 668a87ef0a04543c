//! The line search of L-BFGS-B.

use basin::{
    CostFunction, Gradient, LineSearch, LineSearchBounds, LineSearchOutcome, LineSearchResult, MoreThuente, Problem,
};

/// Moré and Thuente's search, which basin and SciPy end in two ways when none of 20 steps satisfies: basin goes on from
/// the best of them; SciPy (`lnsrlb` of L-BFGS-B 3.0) calls that a failure, goes back, forgets the curvature and searches
/// along the gradient. With the gradient's wrong sign that is the rule, not the exception.
pub(super) struct Search {
    inner: MoreThuente,
    /// Whether it ends as SciPy's.
    as_scipy: bool,
}

impl Search {
    pub(super) fn new(as_scipy: bool) -> Self {
        Self { inner: MoreThuente::new(), as_scipy }
    }
}

impl<P> LineSearch<P, Vec<f64>> for Search
where
    P: CostFunction<Param = Vec<f64>, Output = f64> + Gradient<Gradient = Vec<f64>>,
{
    type Error = P::Error;

    fn next(
        &mut self,
        problem: &mut Problem<P>,
        param: &Vec<f64>,
        cost: f64,
        gradient: &Vec<f64>,
        direction: &Vec<f64>,
    ) -> Result<f64, P::Error> {
        self.inner.next(problem, param, cost, gradient, direction)
    }

    fn next_with_bounds(
        &mut self,
        problem: &mut Problem<P>,
        param: &Vec<f64>,
        cost: f64,
        gradient: &Vec<f64>,
        direction: &Vec<f64>,
        bounds: LineSearchBounds,
    ) -> Result<LineSearchResult<Vec<f64>, f64>, P::Error> {
        let result = self.inner.next_with_bounds(problem, param, cost, gradient, direction, bounds)?;
        // A step that was found comes with what was evaluated there. A gain that a loss in f32 cannot show is none: it comes
        // from rounding, which would end the run where one in f64 goes on.
        let least = f64::from(f32::EPSILON) * cost.abs();
        let gains = result.evaluation.as_ref().is_some_and(|evaluation| cost - evaluation.cost > least);
        if self.as_scipy && !gains {
            return Ok(LineSearchResult::new(LineSearchOutcome::Failed));
        }
        Ok(result)
    }
}
