//! What a parameter's gradient is delivered as.

/// What to do with a gradient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deliver {
    /// The gradient is multiplied by this: 1 over the draws or ghost batches that are averaged.
    pub scale: f32,
    /// Whether it is added to the values there, or overwrites them.
    pub accumulate: bool,
}

impl Deliver {
    /// Writes a gradient as it is.
    pub const OVERWRITE: Self = Self {
        scale: 1.0,
        accumulate: false,
    };

    /// Delivers values.
    #[inline(always)]
    pub(super) fn write(self, values: &[f32], target: &mut [f32]) {
        for (target, value) in target.iter_mut().zip(values) {
            let before = if self.accumulate { *target } else { 0.0 };
            *target = before + self.scale * value;
        }
    }
}
