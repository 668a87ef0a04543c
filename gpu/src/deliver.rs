//! Where gradients go.

/// How a gradient is delivered to the stored one: stored = scale * gradient, plus what was stored when it accumulates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Deliver {
    /// Share of the gradient.
    pub scale: f32,
    /// Whether it is added to what was stored before.
    pub accumulate: bool,
}

impl Deliver {
    /// The gradient itself.
    pub const OVERWRITE: Self = Self { scale: 1.0, accumulate: false };
}
