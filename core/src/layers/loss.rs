use crate::real::Real;
use core::fmt;

/// A label that is not a class.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Label {
    /// Index of the image in its batch.
    pub image: usize,
    /// Its label.
    pub label: u32,
    /// Number of classes.
    pub classes: usize,
}

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Label { image, label, classes } = self;
        write!(f, "image {image} of the batch has label {label}, there are {classes} classes")
    }
}

impl core::error::Error for Label {}

/// Softmax cross-entropy of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Loss<T> {
    /// Mean over the images.
    pub mean: T,
    /// Images whose label has the largest logit (the first one of equals).
    pub correct: usize,
}

/// Mean of ln(sum exp(logits)) - logit of the label, for logits (N, classes).
/// The gradient (softmax - one-hot) / N goes to `gradient`, unless that is empty.
pub(crate) fn softmax_cross_entropy<T: Real>(
    classes: usize,
    logits: &[T],
    labels: &[u32],
    gradient: &mut [T],
) -> Result<Loss<T>, Label> {
    let count = T::from_usize(labels.len());
    let (mut sum_of_losses, mut lost) = (T::ZERO, T::ZERO);
    let mut correct = 0;
    for (image, (&label, logits)) in labels.iter().zip(logits.chunks_exact(classes)).enumerate() {
        let Some(&of_label) = logits.get(label as usize) else {
            return Err(Label { image, label, classes });
        };
        let (mut best, mut largest) = (0, T::MINUS_INFINITY);
        for (class, &logit) in logits.iter().enumerate() {
            if logit > largest {
                (best, largest) = (class, logit);
            }
        }
        correct += usize::from(best == label as usize);
        let sum = logits.iter().fold(T::ZERO, |sum, z| sum + (*z - largest).exp());
        // What rounding loses of a sum is kept for the next one (Kahan), so that large batches lose nothing.
        let loss = sum.ln() + (largest - of_label) - lost;
        let total = sum_of_losses + loss;
        lost = (total - sum_of_losses) - loss;
        sum_of_losses = total;
        if let Some(gradient) = gradient.get_mut(image * classes..(image + 1) * classes) {
            for (class, (g, z)) in gradient.iter_mut().zip(logits).enumerate() {
                let target = if class == label as usize { T::ONE } else { T::ZERO };
                *g = ((*z - largest).exp() / sum - target) / count;
            }
        }
    }
    Ok(Loss { mean: sum_of_losses / count, correct })
}
