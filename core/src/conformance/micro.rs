//! The microcontroller backend under the suite; also an example of how a backend takes part.

use super::{Backend, Drive, LAYERS, Recipe, Support, Task, Training};
use crate::micro::{Config, Session, SessionError, Slices, Trained};
use crate::plan::{Plan, Purpose};

/// Sessions of [`micro`](crate::micro), one after the other in one arena.
#[derive(Debug)]
pub struct Micro<'a> {
    /// Memory for the sessions; [`ARENA`](Self::ARENA) values are enough.
    pub arena: &'a mut [f32],
}

impl Micro<'_> {
    /// Length of an arena that every case fits in, in values.
    pub const ARENA: usize = 2600;
}

struct Begun<'m, 'a> {
    session: Session<'m, 'a, LAYERS>,
    statistics: usize,
}

impl Training for Begun<'_, '_> {
    type Error = SessionError;

    fn step(&mut self, images: &[f32], labels: &[u32]) -> Result<f32, SessionError> {
        Ok(self.session.step(images, labels)?.loss)
    }

    fn evaluate(&mut self, images: &[f32], labels: &[u32]) -> Result<(f32, usize), SessionError> {
        let outcome = self.session.evaluate(images, labels)?;
        Ok((outcome.loss, outcome.correct))
    }

    fn read(&mut self, parameters: &mut [f32], statistics: &mut [f32]) -> Result<(), SessionError> {
        let state = self.session.state();
        parameters.iter_mut().zip(self.session.weights()).for_each(|(to, w)| *to = *w);
        let kept = state.iter().skip(state.len() - self.statistics);
        statistics.iter_mut().zip(kept).for_each(|(to, s)| *to = *s);
        Ok(())
    }
}

impl Backend for Micro<'_> {
    type Error = SessionError;

    fn train(&mut self, task: &Task<'_>, drive: Drive<'_, SessionError>) -> Result<Support, SessionError> {
        let Recipe { method, seed, strength, optimizer, rate, weight_decay, clip } = task.recipe;
        let trained = Trained::all();
        let config = Config { method, seed, optimizer, rate, weight_decay, strength, clip, accumulate: false, trained };
        // A network that has no plan is a mistake of the suite, which has planned it before.
        let Ok(plan) = Plan::new(task.network, task.batch, Purpose::Training) else {
            return Ok(Support::Unsupported);
        };
        let model = Slices { parameters: task.parameters, statistics: task.statistics };
        let session = match Session::new(&plan, &model, config, self.arena) {
            Err(SessionError::Unsupported { .. }) => return Ok(Support::Unsupported),
            session => session?,
        };
        drive(&mut Begun { session, statistics: plan.statistics() })?;
        Ok(Support::Done)
    }
}
