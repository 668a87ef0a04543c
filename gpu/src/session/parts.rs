//! What a session remembers, read and overwritten.

use super::Session;
use crate::error::{GpuError, Result};
use crate::memory::Buffer;

/// Parts of what a session remembers. All but the statistics are in the plan's parameter order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Clean weights.
    Weights,
    /// Running statistics.
    Statistics,
    /// Momentum, or Adam's first moment; empty when the optimizer has none.
    First,
    /// Adam's second moment; empty when the optimizer has none.
    Second,
    /// Average of the weights; empty when there is none.
    Average,
}

impl Session {
    /// A copy of one part, after all steps that were launched.
    ///
    /// # Errors
    /// The driver's.
    pub fn read(&self, part: Part) -> Result<Vec<f32>> {
        self.part(part).to_vec(&self.gpu)
    }

    /// Number of values of one part.
    pub fn part_len(&self, part: Part) -> usize {
        self.part(part).len()
    }

    const fn part(&self, part: Part) -> &Buffer<f32> {
        match part {
            Part::Weights => &self.parameters.weights,
            Part::Statistics => &self.statistics,
            Part::First => &self.parameters.first,
            Part::Second => &self.parameters.second,
            Part::Average => &self.parameters.average,
        }
    }

    /// Overwrites one part.
    ///
    /// # Errors
    /// The length differs, or the driver's.
    pub fn write(&mut self, part: Part, values: &[f32]) -> Result<()> {
        let target = match part {
            Part::Weights => &mut self.parameters.weights,
            Part::Statistics => &mut self.statistics,
            Part::First => &mut self.parameters.first,
            Part::Second => &mut self.parameters.second,
            Part::Average => &mut self.parameters.average,
        };
        if target.len() != values.len() {
            return Err(GpuError::Length { what: "a part", needed: target.len(), given: values.len() });
        }
        target.write(&self.gpu, 0, values)
    }
}
