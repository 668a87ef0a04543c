//! Filters at the evaluation point: the clean weights plus their noise, made where they are read and kept nowhere.

use super::Weights;
use super::pass::Pass;
use super::slices::copy;
use super::parameters::Parameter;
use super::stage::Stage;
use crate::noise::Noise;
use crate::noise::sequence::Sequence;
use crate::plan::Role;
use core::ops::Range;

/// Noise of a tensor's next values.
pub(super) type NextNoise<'n> = Option<(&'n Noise, &'n mut Sequence)>;

impl Pass {
    /// The noise of a tensor's next values; `at` is where its stream stands, nowhere at first.
    #[inline(never)]
    pub(super) fn noise<'n>(
        &'n self,
        parameter: &Parameter<'_>,
        role: Role,
        at: &'n mut Option<Sequence>,
    ) -> NextNoise<'n> {
        let noise = self.noise.as_ref()?;
        if !parameter.is_trained() || !self.selection.contains(role) {
            return None;
        }
        let at = at.get_or_insert_with(|| Sequence::new(self.key.tensor(parameter.index.into())));
        Some((noise, at))
    }
}

/// The same noise, lent for one filter.
#[inline(always)]
pub(super) fn lend<'n>(noise: &'n mut NextNoise<'_>) -> NextNoise<'n> {
    noise.as_mut().map(|(noise, at)| (*noise, &mut **at))
}

/// Keeps the scale of a filter's noise for the backward pass, where that needs it.
pub(super) fn remember(stage: &Stage<'_>, row: usize, scale: f32, scales: &mut [f32]) -> Option<()> {
    if stage.again {
        *scales.get_mut(stage.kept + row)? = scale;
    }
    Some(())
}

/// The scale that was kept; 0 where there is no noise.
pub(super) fn remembered(stage: &Stage<'_>, row: usize, scales: &[f32]) -> Option<f32> {
    if stage.again { scales.get(stage.kept + row).copied() } else { Some(0.0) }
}

impl<'m> Parameter<'m> {
    /// Filter `row`, and the scale of its noise. `scratch` has room for the filter.
    pub(super) fn at_point<'a>(
        &self,
        row: usize,
        mut noise: NextNoise<'_>,
        weights: &'a [f32],
        scratch: &'a mut [f32],
    ) -> Option<(&'a [f32], f32)>
    where
        'm: 'a,
    {
        if let (Some((noise, at)), Some(range)) = (&mut noise, self.range(row)) {
            let to = scratch.get_mut(..self.row_len)?;
            let scale = noise.perturb_filter(at, weights.get(range)?, to);
            return Some((to, scale));
        }
        Some((self.part(row, 0..self.row_len, noise, 0.0, weights, scratch)?, 0.0))
    }

    /// A part of filter `row`, whose noise has this scale. `scratch` has room for the part.
    pub(super) fn part<'a>(
        &self,
        row: usize,
        part: Range<usize>,
        noise: NextNoise<'_>,
        scale: f32,
        weights: &'a [f32],
        scratch: &'a mut [f32],
    ) -> Option<&'a [f32]>
    where
        'm: 'a,
    {
        let len = part.len();
        if let Some(range) = self.range(row) {
            let clean = weights.get(range)?.get(part)?;
            let Some((noise, at)) = noise else { return Some(clean) };
            let to = scratch.get_mut(..len)?;
            noise.perturb_part(at, scale, clean, to);
            return Some(to);
        }
        if let Some((noise, at)) = noise {
            noise.pass_over(at, len);
        }
        let start = row * self.row_len + part.start;
        if let Weights::F32(values) = self.model {
            return values.get(start..)?.get(..len);
        }
        let to = scratch.get_mut(..len)?;
        self.model.read(row, start, to);
        Some(to)
    }

    /// Values of a one-dimensional tensor at the evaluation point, handed to `each` with their index, in order.
    pub(super) fn each_value(
        &self,
        role: Role,
        rows: usize,
        pass: &Pass,
        weights: &[f32],
        scratch: &mut [f32],
        mut each: impl FnMut(usize, f32),
    ) -> Option<()> {
        let mut at = None;
        let mut start = 0;
        while start < rows {
            let values = self.values(start, rows, pass.noise(self, role, &mut at), weights, scratch)?;
            values.iter().enumerate().for_each(|(i, value)| each(start + i, *value));
            start += values.len();
        }
        Some(())
    }

    /// The next values from `start` on of a one-dimensional tensor of `rows` at the evaluation point, written to `scratch`:
    /// as many as there is room for.
    #[inline(never)]
    pub(super) fn values<'a>(
        &self,
        start: usize,
        rows: usize,
        noise: NextNoise<'_>,
        weights: &[f32],
        scratch: &'a mut [f32],
    ) -> Option<&'a [f32]> {
        // With a stride the trained values do not follow each other in the noise.
        let most = if self.stride == 1 { rows.checked_sub(start)? } else { 1 };
        let len = most.min(scratch.len()).max(1);
        let to = scratch.get_mut(..len)?;
        match (self.range(start), noise) {
            (Some(range), noise) => {
                let clean = weights.get(range.start..)?.get(..len)?;
                match noise {
                    Some((noise, at)) => noise.perturb_each(at, clean, to),
                    None => copy(clean, to),
                }
            }
            (None, noise) => {
                if let Some((noise, at)) = noise {
                    noise.pass_over(at, len);
                }
                self.model.read(start, start, to);
            }
        }
        Some(to)
    }
}
