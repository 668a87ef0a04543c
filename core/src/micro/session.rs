use super::layout::{Layout, lay_out};
use super::parts::Parts;
use super::slices::copy;
use super::stage::Stage;
use super::work::{Phase, Work};
use super::config::Settings;
use super::compile::{MOST_LAYERS, compile};
use super::{Config, Model, SessionError};
use crate::plan::{Plan, Purpose};
use heapless::Vec;

/// What came of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Outcome {
    /// Mean loss; of a training step at the perturbed weights.
    pub loss: f32,
    /// Images whose class was found, over all passes.
    pub correct: usize,
    /// Images of all passes: those of the batch, times the number of draws.
    pub images: usize,
}

/// How far a training has come; with [`Session::state`] all that has to outlive a power cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Counters {
    /// Batches so far: the step in the address of the noise.
    pub batches: u64,
    /// Updates so far.
    pub updates: u64,
}

/// A training over one arena, which holds everything that changes; `'m` is the model's life, `'a` the arena's.
///
/// `N` is the number of stages that there is room for. Layers with parameters, sums, dropout and pooling are stages; a ReLU,
/// a flattening, and max pooling behind a convolution or batch norm belong to the stage before them. The number of layers
/// is always enough.
#[derive(Debug)]
pub struct Session<'m, 'a, const N: usize> {
    pub(super) stages: Vec<Stage<'m>, N>,
    pub(super) layout: Layout,
    pub(super) settings: Settings,
    pub(super) counters: Counters,
    /// Batches whose gradients wait for an update.
    pub(super) waiting: u32,
    pub(super) work: Work,
    pub(super) arena: &'a mut [f32],
    pub(super) training: bool,
    pub(super) batch: usize,
}

/// The buffers of a stage overlap where they must not, which [`lay_out`] rules out.
pub(super) const OVERLAP: SessionError = SessionError::Layout;

impl Session<'_, '_, 0> {
    /// Length of the arena, in values of 4 bytes: exactly what [`new`](Session::new) needs, whatever the session's `N`.
    ///
    /// # Errors
    /// What `new` would refuse but the arena and the model.
    pub fn required<const L: usize>(plan: &Plan<L>, config: &Config<'_>) -> Result<usize, SessionError> {
        let mut stages = Vec::<_, L>::new();
        Ok(prepare(plan, None, config, &mut stages)?.1)
    }
}

impl<'m, 'a, const N: usize> Session<'m, 'a, N> {
    /// A session that begins with the model's parameters and statistics.
    ///
    /// # Errors
    /// An arena that is too small, more stages than `N`, a model of another network, or a configuration that cannot be.
    #[inline(never)]
    pub fn new<const L: usize>(
        plan: &Plan<L>,
        model: &impl Model<'m>,
        config: Config<'m>,
        arena: &'a mut [f32],
    ) -> Result<Self, SessionError> {
        let mut stages = Vec::new();
        let (layout, needed) = prepare(plan, Some(model), &config, &mut stages)?;
        let given = arena.len();
        let arena = arena.get_mut(..needed).ok_or(SessionError::Arena { needed, given })?;
        arena.fill(0.0);
        let settings = config.settings();
        load(&stages, &layout, &settings, model, arena)?;
        Ok(Self {
            stages,
            layout,
            settings,
            counters: Counters::default(),
            waiting: 0,
            work: Work::IDLE,
            arena,
            training: plan.purpose() == Purpose::Training,
            batch: plan.batch(),
        })
    }

    /// Sets the learning rate of the next steps.
    pub fn set_rate(&mut self, rate: f32) {
        self.settings.terms.rate = rate;
    }

    /// Sets the strength of the noise of the next steps.
    pub fn set_strength(&mut self, strength: f32) {
        self.settings.strength = strength;
    }

    /// The trained weights, tensor after tensor in the plan's order.
    pub fn weights(&self) -> &[f32] {
        self.arena.get(..self.layout.trained).unwrap_or_default()
    }

    /// All that training changes, in one run: trained weights, first moments, second moments, running statistics.
    pub fn state(&self) -> &[f32] {
        self.arena.get(..self.layout.state()).unwrap_or_default()
    }

    /// [`state`](Self::state) to be overwritten by a saved one, where there is no memory for a copy; drops a step that
    /// was begun. [`set_counters`](Self::set_counters) goes with it.
    pub fn state_mut(&mut self) -> &mut [f32] {
        self.abort();
        self.arena.get_mut(..self.layout.state()).unwrap_or_default()
    }

    /// Sets how far the training has come; drops a step that was begun.
    pub fn set_counters(&mut self, counters: Counters) {
        self.abort();
        self.counters = counters;
    }

    /// How far the training has come.
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Goes on from a saved state.
    ///
    /// # Errors
    /// The state has another length.
    pub fn restore(&mut self, state: &[f32], counters: Counters) -> Result<(), SessionError> {
        let (needed, given) = (self.layout.state(), state.len());
        if needed != given {
            return Err(SessionError::Length { what: "the saved state", needed, given });
        }
        copy(state, self.state_mut());
        self.counters = counters;
        Ok(())
    }

    /// Values of an image.
    pub(super) fn image_len(&self) -> usize {
        self.stages.first().map_or(0, |stage| stage.input_shape().len())
    }

    /// Number of classes: the values that the last stage gives.
    pub(super) fn classes(&self) -> usize {
        self.stages.last().map_or(0, |stage| stage.shape().len())
    }

    pub(super) fn idle(&self) -> Result<(), SessionError> {
        if self.work.phase == Phase::Idle {
            return Ok(());
        }
        Err(SessionError::Order { first: "the step that was begun has to end" })
    }

    pub(super) fn fits(&self, images: &[f32], labels: &[u32], most: usize) -> Result<(), SessionError> {
        let (needed, given) = (labels.len().saturating_mul(self.image_len()), images.len());
        if needed != given {
            return Err(SessionError::Length { what: "the images", needed, given });
        }
        let given = labels.len();
        if given == 0 || given > most {
            return Err(SessionError::Length { what: "labels", needed: most, given });
        }
        Ok(())
    }
}

/// Copies the trained weights and the statistics from the model.
#[inline(never)]
fn load<'m>(
    stages: &[Stage<'_>],
    layout: &Layout,
    settings: &Settings,
    model: &impl Model<'m>,
    arena: &mut [f32],
) -> Result<(), SessionError> {
    let exact = |what, given, needed| {
        let error = SessionError::Length { what, needed, given };
        if given == needed { Ok(()) } else { Err(error) }
    };
    let parts = Parts::new(stages, arena, layout, &settings.terms).ok_or(OVERLAP)?;
    for stage in stages {
        let rows = stage.shape().channels;
        for parameter in [stage.weight().copied(), stage.bias()].into_iter().flatten() {
            exact("a tensor of the model", parameter.model.len(), rows * parameter.row_len)?;
            for row in 0..rows {
                if let Some(to) = parameter.range(row).and_then(|range| parts.state.weights.get_mut(range)) {
                    parameter.model.read(row, row * parameter.row_len, to);
                }
            }
        }
    }
    exact("the model's statistics", model.statistics().len(), layout.statistics)?;
    model.statistics().read(0, 0, parts.norms.get_mut(..layout.statistics).unwrap_or_default());
    Ok(())
}

/// Adds the stages and lays out the arena, after all checks; returns the arena's length too.
#[inline(never)] // Its frame and that of `load` do not add up.
fn prepare<'m, const L: usize, const N: usize>(
    plan: &Plan<L>,
    model: Option<&dyn Model<'m>>,
    config: &Config<'_>,
    stages: &mut Vec<Stage<'m>, N>,
) -> Result<(Layout, usize), SessionError> {
    if plan.layers().is_empty() {
        return Err(SessionError::Unsupported { what: "plan of nothing" });
    }
    if plan.layers().len() > MOST_LAYERS {
        return Err(SessionError::TooLarge);
    }
    config.check()?;
    let trained = compile(plan, model, config, stages)?;
    lay_out(plan, stages, trained, config).ok_or(SessionError::TooLarge)
}
