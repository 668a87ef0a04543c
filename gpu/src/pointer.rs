//! Places in the device's memory.

/// Where something starts on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointer(u64);

impl Pointer {
    /// Nothing: kernels take it for what is left out.
    pub const NULL: Self = Self(0);

    pub(crate) const fn new(address: u64) -> Self {
        Self(address)
    }

    /// The address.
    pub const fn address(self) -> u64 {
        self.0
    }

    /// What starts `values` 32-bit values further on.
    pub const fn at(self, values: usize) -> Self {
        Self(self.0 + 4 * values as u64)
    }

    /// What starts `bytes` bytes further on.
    pub const fn byte(self, bytes: usize) -> Self {
        Self(self.0 + bytes as u64)
    }
}
