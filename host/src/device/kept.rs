//! What a device on core's code remembers, read and written part by part.

use super::{DeviceError, Keeps, Part};
use crate::net::{NetPlan, initial_statistics};

/// Weights, running statistics and what the optimizer keeps.
#[derive(Debug)]
pub(super) struct Kept {
    pub weights: Vec<f32>,
    pub statistics: Vec<f32>,
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    pub average: Vec<f32>,
}

impl Kept {
    pub(super) fn new(plan: &NetPlan, weights: Vec<f32>, keeps: Keeps) -> Self {
        let kept = |yes: bool| vec![0.0; if yes { weights.len() } else { 0 }];
        Self {
            statistics: initial_statistics(plan),
            first: kept(keeps.moments > 0),
            second: kept(keeps.moments > 1),
            average: kept(keeps.average),
            weights,
        }
    }

    pub(super) fn read(&self, part: Part) -> Vec<f32> {
        match part {
            Part::Weights => &self.weights,
            Part::Statistics => &self.statistics,
            Part::First => &self.first,
            Part::Second => &self.second,
            Part::Average => &self.average,
        }
        .clone()
    }

    pub(super) fn write(&mut self, part: Part, values: &[f32]) -> Result<(), DeviceError> {
        let target = match part {
            Part::Weights => &mut self.weights,
            Part::Statistics => &mut self.statistics,
            Part::First => &mut self.first,
            Part::Second => &mut self.second,
            Part::Average => &mut self.average,
        };
        let (needed, given) = (target.len(), values.len());
        if needed != given {
            return Err(DeviceError::Length { part, needed, given });
        }
        target.copy_from_slice(values);
        Ok(())
    }
}
