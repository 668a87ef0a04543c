//! The sharpness of the minimum on the device, and the gradient that it climbs.

use super::loss::cross_entropy;
use super::parts::Parts;
use super::pass::Pass;
use super::session::OVERLAP;
use super::slices::{apart, copy};
use super::update::Receive;
use super::{Session, SessionError, built};

/// How sharp the minimum is that the weights are in.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Sharpness {
    /// Loss at the clean weights.
    pub loss: f32,
    /// Largest loss that was found in the box.
    pub largest: f32,
}

impl Sharpness {
    /// (largest - loss) / (1 + loss) * 100 (equation 9 of the paper).
    pub fn value(&self) -> f32 {
        (self.largest - self.loss) / (1.0 + self.loss) * 100.0
    }
}

impl<const N: usize> Session<'_, '_, N> {
    /// Sharpness over the trained weights w, in the box of half sides epsilon * (abs(w) + 1) around them, on any number of
    /// images, in evaluation mode.
    ///
    /// The maximum is searched by `iterations` steps of gradient ascent by signs, projected onto the box: a lower bound,
    /// in two passes an image and iteration. `memory` holds twice as many values as there are trained weights. The weights
    /// are those from before to the bit.
    ///
    /// # Errors
    /// Images, labels or memory that do not fit, a loss that is not finite, a plan for inference, or
    /// a build without feature `micro-gradient`.
    pub fn sharpness(
        &mut self,
        images: &[f32],
        labels: &[u32],
        epsilon: f32,
        iterations: u32,
        memory: &mut [f32],
    ) -> Result<Sharpness, SessionError> {
        self.idle()?;
        self.fits(images, labels, usize::MAX)?;
        let (needed, given) = (2 * self.layout.trained, memory.len());
        let error = SessionError::Length { what: "memory", needed, given };
        let memory = memory.get_mut(..needed).ok_or(error)?;
        let (clean, gradient) = memory.split_at_mut_checked(self.layout.trained).ok_or(error)?;
        copy(self.weights(), clean);
        let result = self.ascend(images, labels, epsilon, iterations, clean, gradient);
        copy(clean, self.arena);
        result
    }

    /// Mean loss over any number of images and its gradient with respect to the trained weights, in their order, at the
    /// clean weights in evaluation mode; nothing is updated.
    ///
    /// # Errors
    /// Images, labels or a gradient that do not fit, a loss that is not finite, a step that was begun and not finished, a
    /// plan for inference, or a build without feature `micro-gradient`.
    pub fn gradient(&mut self, images: &[f32], labels: &[u32], gradient: &mut [f32]) -> Result<f32, SessionError> {
        self.idle()?;
        self.fits(images, labels, usize::MAX)?;
        let (needed, given) = (self.layout.trained, gradient.len());
        if needed != given {
            return Err(SessionError::Length { what: "the gradient", needed, given });
        }
        self.loss_and_gradient(images, labels, gradient)
    }

    fn ascend(
        &mut self,
        images: &[f32],
        labels: &[u32],
        epsilon: f32,
        iterations: u32,
        clean: &[f32],
        gradient: &mut [f32],
    ) -> Result<Sharpness, SessionError> {
        let loss = self.loss_and_gradient(images, labels, gradient)?;
        let mut found = Sharpness { loss, largest: loss };
        // Steps that could cross the box two and a half times together, each one inside it.
        let share = (2.5 / iterations.max(1) as f32).min(1.0);
        for _ in 0..iterations {
            for ((w, clean), g) in self.arena.iter_mut().zip(clean).zip(&*gradient) {
                let side = epsilon * (clean.abs() + 1.0);
                let step = if *g > 0.0 { share * side } else if *g < 0.0 { -share * side } else { 0.0 };
                *w = (*w + step).max(clean - side).min(clean + side);
            }
            found.largest = found.largest.max(self.loss_and_gradient(images, labels, gradient)?);
        }
        Ok(found)
    }

    /// Mean loss over all images and its gradient, in evaluation mode.
    fn loss_and_gradient(
        &mut self,
        images: &[f32],
        labels: &[u32],
        gradient: &mut [f32],
    ) -> Result<f32, SessionError> {
        built::check_gradient(true)?;
        gradient.fill(0.0);
        let (batch, image_len) = (self.batch.max(1), self.image_len().max(1));
        let mut mean = 0.0;
        let batches = images.chunks(batch.saturating_mul(image_len).max(1)).zip(labels.chunks(batch));
        for (part, of_part) in batches {
            let pass = Pass::evaluation(of_part.len(), None);
            let share = of_part.len() as f32 / labels.len() as f32;
            mean += share * self.pass_at(&pass, part, of_part, share, gradient)?;
        }
        Ok(mean)
    }

    fn pass_at(
        &mut self,
        pass: &Pass,
        images: &[f32],
        labels: &[u32],
        share: f32,
        gradient: &mut [f32],
    ) -> Result<f32, SessionError> {
        let classes = self.classes();
        let mut parts = Parts::new(&self.stages, self.arena, &self.layout, &self.settings.terms).ok_or(OVERLAP)?;
        parts.state.gradient = gradient;
        for stage in &self.stages {
            let rows = 0..stage.shape().channels;
            pass.forward(stage, rows, &mut parts, images, &mut None).ok_or(OVERLAP)?;
        }
        let last = self.stages.last().ok_or(OVERLAP)?;
        if !last.live {
            return Err(SessionError::Inference);
        }
        let len = labels.len() * classes;
        let ranges = [last.output..last.output + len, last.gradient..last.gradient + len, 0..0, 0..0, 0..0];
        let [logits, dy, ..] = apart(parts.values, ranges).ok_or(OVERLAP)?;
        let loss = cross_entropy(classes, logits, labels, dy).map_err(SessionError::Label)?;
        if !loss.mean.is_finite() {
            return Err(SessionError::Loss { value: loss.mean });
        }
        for stage in self.stages.iter().rev().filter(|stage| stage.live) {
            let rows = 0..stage.shape().channels;
            pass.backward(stage, rows, &mut parts, images, &mut None, &Receive::Add(share))
                .ok_or(OVERLAP)?;
        }
        Ok(loss.mean)
    }
}
