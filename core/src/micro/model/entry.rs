//! The table of tensors, and the words of which the file consists.

use super::ModelError;

/// Bytes of an entry.
pub(super) const ENTRY: usize = 16;

/// Length rounded up to whole words.
pub(super) const fn padded(len: usize) -> usize {
    len.saturating_add(3) / 4 * 4
}

/// The little-endian words of bytes.
pub(super) fn words(bytes: &[u8]) -> impl Iterator<Item = u32> {
    bytes.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word))
}

/// A line of the table of tensors.
pub(super) struct Entry {
    /// 0 f32, 1 int8.
    pub encoding: u32,
    pub rows: u32,
    pub row_len: u32,
    /// Where its data begin in the file.
    pub start: u32,
}

impl Entry {
    pub fn read(bytes: &[u8; ENTRY]) -> Self {
        let (words, _) = bytes.as_chunks();
        let word = |i: usize| words.get(i).map_or(0, |word| u32::from_le_bytes(*word));
        Self { encoding: word(0), rows: word(1), row_len: word(2), start: word(3) }
    }

    /// Values (of int8 ones the scales, then the values) and what fills the last word; `None` when the file has not that many
    /// bytes.
    pub fn data<'m>(&self, bytes: &'m [u8]) -> Option<(&'m [u8], &'m [u8])> {
        let values = (self.rows as usize).checked_mul(self.row_len as usize)?;
        let len = match self.encoding {
            0 => values.checked_mul(4)?,
            _ => self.scales()?.checked_add(values)?,
        };
        let (data, rest) = bytes.get(self.start as usize..)?.split_at_checked(len)?;
        Some((data, rest.get(..padded(len) - len)?))
    }

    /// Bytes of the scales of int8 values.
    pub fn scales(&self) -> Option<usize> {
        (self.rows as usize).checked_mul(4)
    }
}

/// Whether f32 values are neither infinite nor NaN.
pub(super) fn finite(tensor: usize, bytes: &[u8]) -> Result<(), ModelError> {
    let values = words(bytes).map(f32::from_bits).enumerate();
    match values.into_iter().find(|(_, value)| !value.is_finite()) {
        Some((index, value)) => Err(ModelError::Value { tensor, index, value }),
        None => Ok(()),
    }
}
