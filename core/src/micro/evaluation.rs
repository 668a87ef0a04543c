//! Inference and evaluation.

use super::loss::cross_entropy;
use super::parts::Parts;
use super::pass::Pass;
use super::session::OVERLAP;
use super::{Outcome, Session, SessionError};
use crate::backend::Draw;
use crate::layers::Label;

impl<const N: usize> Session<'_, '_, N> {
    /// Logits (n, classes) of at most the plan's images, with running statistics.
    ///
    /// # Errors
    /// Images that do not fit, or a step that was begun and not finished.
    pub fn infer(&mut self, images: &[f32]) -> Result<&[f32], SessionError> {
        self.logits(images, None)
    }

    /// Loss and images found of any number of images, with running statistics and clean weights.
    ///
    /// # Errors
    /// Images or labels that do not fit, or a step that was begun and not finished.
    pub fn evaluate(&mut self, images: &[f32], labels: &[u32]) -> Result<Outcome, SessionError> {
        self.evaluate_at(images, labels, None)
    }

    /// The same at the weights perturbed by `draw`.
    ///
    /// # Errors
    /// Those of [`evaluate`](Self::evaluate).
    pub fn evaluate_at(
        &mut self,
        images: &[f32],
        labels: &[u32],
        draw: Option<Draw>,
    ) -> Result<Outcome, SessionError> {
        self.fits(images, labels, usize::MAX)?;
        let (batch, image_len, classes) = (self.batch.max(1), self.image_len().max(1), self.classes());
        let mut outcome = Outcome { images: labels.len(), ..Outcome::default() };
        let batches = images.chunks(batch.saturating_mul(image_len).max(1)).zip(labels.chunks(batch));
        for (number, (images, labels)) in batches.enumerate() {
            let logits = self.logits(images, draw)?;
            let loss = cross_entropy(classes, logits, labels, &mut []).map_err(|label| {
                SessionError::Label(Label { image: number * batch + label.image, ..label })
            })?;
            outcome.loss += loss.mean * (labels.len() as f32 / outcome.images as f32);
            outcome.correct += loss.correct;
        }
        Ok(outcome)
    }

    fn logits(&mut self, images: &[f32], draw: Option<Draw>) -> Result<&[f32], SessionError> {
        self.idle()?;
        let count = images.len() / self.image_len().max(1);
        let (needed, given) = (self.batch * self.image_len(), images.len());
        if given > needed || count == 0 || count * self.image_len() != given {
            return Err(SessionError::Length { what: "the images", needed, given });
        }
        let classes = self.classes();
        let pass = Pass::evaluation(count, draw);
        let mut parts = Parts::new(&self.stages, self.arena, &self.layout, &self.settings.terms).ok_or(OVERLAP)?;
        for stage in &self.stages {
            pass.forward(stage, 0..stage.shape().channels, &mut parts, images, &mut None)
                .ok_or(OVERLAP)?;
        }
        let start = self.stages.last().map_or(0, |stage| stage.output);
        parts.values.get(start..start + count * classes).ok_or(OVERLAP)
    }
}
