//! Softmax cross-entropy: the meaning of core's layer with one exponential a logit.

use super::runs::{runs, runs_mut};
use crate::layers::{Label, Loss};

/// Mean loss of logits (n, classes) and images found; the gradient goes to `gradient` unless that is empty.
pub(super) fn cross_entropy(
    classes: usize,
    logits: &[f32],
    labels: &[u32],
    gradient: &mut [f32],
) -> Result<Loss<f32>, Label> {
    let count = labels.len() as f32;
    let mut loss = Loss { mean: 0.0, correct: 0 };
    let classes = classes.max(1);
    let mut gradients = runs_mut(gradient, classes);
    for (image, (&label, logits)) in labels.iter().zip(runs(logits, classes)).enumerate() {
        let Some(&of_label) = logits.get(label as usize) else {
            return Err(Label { image, label, classes });
        };
        let (mut best, mut largest) = (0, f32::NEG_INFINITY);
        for (class, &logit) in logits.iter().enumerate() {
            if logit > largest {
                (best, largest) = (class, logit);
            }
        }
        loss.correct += usize::from(best == label as usize);
        let gradient = gradients.next().unwrap_or_default();
        let mut sum = 0.0;
        let mut to = gradient.iter_mut();
        for logit in logits {
            let exponential = libm::expf(logit - largest);
            sum += exponential;
            if let Some(to) = to.next() {
                *to = exponential;
            }
        }
        loss.mean += (libm::logf(sum) + largest - of_label) / count;
        for (class, g) in gradient.iter_mut().enumerate() {
            let target = if class == label as usize { 1.0 } else { 0.0 };
            *g = (*g / sum - target) / count;
        }
    }
    Ok(loss)
}
