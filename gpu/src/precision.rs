//! How exact the products of convolutions and linear layers are.

/// Precision of the products of convolutions and linear layers. Sums are f32 in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// f32, on the GPU's ordinary units.
    F32,
    /// Operands rounded to tf32 (unit roundoff 2⁻¹¹), on tensor cores; Ampere and later.
    Tf32,
    /// Operands rounded to bf16 (unit roundoff 2⁻⁸), on tensor cores; Ampere and later.
    Bf16,
}

impl Precision {
    /// Largest relative error of an operand.
    pub const fn roundoff(self) -> f64 {
        match self {
            Self::F32 => 0.0,
            Self::Tf32 => 1.0 / 2048.0,
            Self::Bf16 => 1.0 / 256.0,
        }
    }
}
