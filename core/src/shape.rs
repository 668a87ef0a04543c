//! Shapes of activations.

use core::fmt;

/// Shape of one image's activation: (channels, height, width).
///
/// A flat feature vector has height and width 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Shape {
    /// Number of channels, or of features when flat.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Columns of pixels.
    pub width: usize,
}

impl Shape {
    /// The shape (channels, height, width).
    pub const fn new(channels: usize, height: usize, width: usize) -> Self {
        Self { channels, height, width }
    }

    /// The shape of a flat vector of `features` values.
    pub const fn flat(features: usize) -> Self {
        Self::new(features, 1, 1)
    }

    /// Number of values of one image, or `None` when it does not fit the machine's word.
    pub const fn checked_len(self) -> Option<usize> {
        match self.channels.checked_mul(self.height) {
            Some(rows) => rows.checked_mul(self.width),
            None => None,
        }
    }

    /// Number of values of one image. Plans only hold shapes for which this does not overflow.
    pub const fn len(self) -> usize {
        self.channels * self.height * self.width
    }

    /// Pixels of one channel.
    pub const fn pixels(self) -> usize {
        self.height * self.width
    }

    /// Whether the shape holds no value at all.
    pub const fn is_empty(self) -> bool {
        self.channels == 0 || self.height == 0 || self.width == 0
    }

    /// Whether height and width are 1.
    pub const fn is_flat(self) -> bool {
        self.height == 1 && self.width == 1
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}x{}", self.channels, self.height, self.width)
    }
}
