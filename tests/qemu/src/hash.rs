//! FNV-1a over the bits of floats: one number that changes when any bit of any value does.

/// A hash under construction.
#[derive(Clone, Copy)]
pub struct Fnv(u32);

impl Default for Fnv {
    fn default() -> Self {
        Self(0x811c_9dc5)
    }
}

impl Fnv {
    /// Hash of all values.
    pub fn of(values: &[f32]) -> u32 {
        let mut hash = Self::default();
        values.iter().for_each(|value| hash.push(*value));
        hash.value()
    }

    /// Adds a value's four bytes, the lowest first.
    pub fn push(&mut self, value: f32) {
        for byte in value.to_bits().to_le_bytes() {
            self.0 = (self.0 ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
    }

    /// The hash.
    pub const fn value(&self) -> u32 {
        self.0
    }
}
