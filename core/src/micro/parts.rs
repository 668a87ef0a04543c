//! The arena in parts.

use super::layout::Layout;
use super::stage::Stage;
use super::update::{State, Terms};

/// The arena's parts, see [`Layout`], and the stages that work in them.
pub(super) struct Parts<'a> {
    pub stages: &'a [Stage<'a>],
    pub state: State<'a>,
    /// [`Norms`] of this many running statistics.
    pub norms: &'a mut [f32],
    pub statistics: usize,
    pub values: &'a mut [f32],
}

impl<'a> Parts<'a> {
    pub(super) fn new(
        stages: &'a [Stage<'a>],
        arena: &'a mut [f32],
        layout: &Layout,
        terms: &'a Terms,
    ) -> Option<Self> {
        let (weights, arena) = arena.split_at_mut_checked(layout.trained)?;
        let (moments, arena) = arena.split_at_mut_checked(layout.moments())?;
        let (norms, arena) = arena.split_at_mut_checked(layout.norms())?;
        let (gradient, arena) = arena.split_at_mut_checked(layout.gradient())?;
        let (scales, values) = arena.split_at_mut_checked(layout.scales)?;
        let state = State { weights, moments, gradient, terms, scales };
        Some(Self { stages, state, norms, statistics: layout.statistics, values })
    }
}

/// What belongs to batch norms.
pub(super) struct Norms<'a> {
    /// Running statistics.
    pub running: &'a mut [f32],
    /// Of each batch norm's channels mean and variance in the present pass, then scale and shift at the evaluation point.
    pub present: &'a mut [f32],
    /// Running statistics from before the step; empty when they do not change.
    pub backup: &'a mut [f32],
}

impl<'a> Norms<'a> {
    pub(super) fn new(norms: &'a mut [f32], statistics: usize) -> Option<Self> {
        let (running, norms) = norms.split_at_mut_checked(statistics)?;
        let (present, backup) = norms.split_at_mut_checked(2 * statistics)?;
        Some(Self { running, present, backup })
    }
}
