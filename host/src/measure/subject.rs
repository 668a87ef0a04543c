//! A trained network under measurement: evaluated anywhere, and left as it was found.

use super::MeasureError;
use crate::data::{BatchOptions, Batches, Split};
use crate::device::{Batch, Device, Part};
use smoothout::backend::{Draw, Selection};
use std::ops::Range;

/// Mean loss and accuracy over a split.
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize)]
pub struct Mean {
    /// Mean loss in nats.
    pub loss: f64,
    /// Share of images whose class was found.
    pub accuracy: f64,
}

/// A network on a device. Whatever is written to it while it is measured, its weights and running statistics are back
/// when this is dropped.
pub struct Subject<'a> {
    device: &'a mut dyn Device,
    /// Told of each batch's images; says whether to go on.
    watch: &'a mut dyn FnMut(usize) -> bool,
    weights: Vec<f32>,
    statistics: Vec<f32>,
}

impl std::fmt::Debug for Subject<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Subject").field("parameters", &self.weights.len()).finish_non_exhaustive()
    }
}

impl<'a> Subject<'a> {
    /// The network on this device. `watch` is told the number of images after each batch and says whether to go on.
    ///
    /// # Errors
    /// The device failed.
    pub fn new(device: &'a mut dyn Device, watch: &'a mut dyn FnMut(usize) -> bool) -> Result<Self, MeasureError> {
        let (weights, statistics) = (device.read(Part::Weights)?, device.read(Part::Statistics)?);
        Ok(Self { device, watch, weights, statistics })
    }

    /// The weights as they were found.
    pub fn weights(&self) -> &[f32] {
        &self.weights
    }

    /// The running statistics as they were found.
    pub fn statistics(&self) -> &[f32] {
        &self.statistics
    }

    /// The device, whose weights and statistics may be overwritten.
    pub fn device(&mut self) -> &mut dyn Device {
        self.device
    }

    /// Where the selected parameters lie, in ascending order.
    pub fn ranges(&self, selection: Selection) -> Vec<Range<usize>> {
        let selected = self.device.plan().tensors().filter(|tensor| selection.contains(tensor.role));
        selected.map(|tensor| tensor.range()).collect()
    }

    /// Puts these weights on the device.
    ///
    /// # Errors
    /// Their number is not the network's.
    pub fn write(&mut self, weights: &[f32]) -> Result<(), MeasureError> {
        Ok(self.device.write(Part::Weights, weights)?)
    }

    /// Mean loss and accuracy over a split at the device's weights, batch `i` under `draw(i)`.
    ///
    /// # Errors
    /// An empty split, the data, the device, or [`MeasureError::Interrupted`].
    pub fn evaluate(
        &mut self,
        split: &Split,
        mut draw: impl FnMut(usize) -> Option<Draw>,
    ) -> Result<Mean, MeasureError> {
        let (mut loss, mut correct) = (0.0, 0);
        self.each_batch(split, |device, batch, index| {
            let part = device.evaluate(batch, draw(index).as_ref())?;
            loss += part.loss;
            correct += part.correct;
            Ok(())
        })?;
        let images = split.len() as f64;
        Ok(Mean { loss: loss / images, accuracy: correct as f64 / images })
    }

    /// Mean loss and accuracy of the network that the device has, for one that was trained: what a measurement compares
    /// with, which has no meaning where the loss is not finite.
    ///
    /// # Errors
    /// As [`Subject::evaluate`], or a loss that is not finite.
    pub fn clean(&mut self, split: &Split) -> Result<Mean, MeasureError> {
        let mean = self.evaluate(split, |_| None)?;
        if !mean.loss.is_finite() {
            return Err(MeasureError::Request(format!("the loss of the network itself is {}", mean.loss)));
        }
        Ok(mean)
    }

    /// Mean loss over a split at the device's weights; its gradient with respect to all parameters is written to
    /// `gradient`, which holds as many values.
    ///
    /// # Errors
    /// As [`Subject::evaluate`].
    pub fn gradient(&mut self, split: &Split, gradient: &mut [f64]) -> Result<f64, MeasureError> {
        let images = split.len() as f64;
        let mut loss = 0.0;
        gradient.fill(0.0);
        self.each_batch(split, |device, batch, _| {
            let share = batch.labels.len() as f64 / images;
            let part = device.gradient(batch, None)?;
            loss += share * f64::from(part.loss);
            gradient.iter_mut().zip(&part.gradient).for_each(|(sum, g)| *sum += share * f64::from(*g));
            Ok(())
        })?;
        Ok(loss)
    }

    /// Hands every batch of a split, in its order, to `work`.
    pub(super) fn each_batch(
        &mut self,
        split: &Split,
        mut work: impl FnMut(&mut dyn Device, Batch<'_>, usize) -> Result<(), MeasureError>,
    ) -> Result<(), MeasureError> {
        if split.is_empty() {
            return Err(MeasureError::Request("there are no images to measure on".into()));
        }
        let size = self.device.plan().batch();
        let mut batches = Batches::new(split, BatchOptions::evaluate(size))?;
        while let Some(batch) = batches.next()? {
            let borrowed = Batch { images: &batch.images, labels: &batch.labels };
            work(self.device, borrowed, batch.index)?;
            if !(self.watch)(batch.len()) {
                return Err(MeasureError::Interrupted);
            }
        }
        Ok(())
    }
}

impl Drop for Subject<'_> {
    fn drop(&mut self) {
        // They came from this device, so their lengths fit.
        let _ = self.device.write(Part::Weights, &self.weights);
        let _ = self.device.write(Part::Statistics, &self.statistics);
    }
}

/// Parameters by name: weights, biases, norms, in any combination with commas between, or all.
///
/// # Errors
/// A name that is none of these.
pub fn parse_selection(text: &str) -> Result<Selection, String> {
    let mut selection = Selection { weights: false, biases: false, norms: false };
    for name in text.split(',') {
        match name.trim() {
            "weights" => selection.weights = true,
            "biases" => selection.biases = true,
            "norms" => selection.norms = true,
            "all" => selection = Selection { weights: true, biases: true, norms: true },
            other => return Err(format!("'{other}' is not one of weights, biases, norms, all")),
        }
    }
    Ok(selection)
}
