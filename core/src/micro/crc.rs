//! CRC-32 as in IEEE 802.3, zlib and PNG: polynomial 0x04C11DB7, bits reversed. It finds every error of up to 32 bits
//! in a row.

/// The remainder of each value of four bits: 64 bytes of flash, and an eighth of the steps of a loop over bits.
const TABLE: [u32; 16] = {
    let mut table = [0; 16];
    let mut value = 0;
    while value < 16 {
        let mut remainder = value as u32;
        let mut bit = 0;
        while bit < 4 {
            remainder = (remainder >> 1) ^ (0xEDB8_8320 & (remainder & 1).wrapping_neg());
            bit += 1;
        }
        table[value] = remainder;
        value += 1;
    }
    table
};

/// A checksum in the making.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Crc32(u32);

impl Crc32 {
    /// The checksum of nothing yet.
    pub const fn new() -> Self {
        Self(u32::MAX)
    }

    /// Goes on with the four bytes of a word, lowest first.
    pub const fn word(self, word: u32) -> Self {
        let mut remainder = self.0 ^ word;
        let mut nibble = 0;
        while nibble < 8 {
            remainder = (remainder >> 4) ^ TABLE[(remainder & 15) as usize];
            nibble += 1;
        }
        Self(remainder)
    }

    /// Goes on with words.
    pub fn words(self, words: &[u32]) -> Self {
        words.iter().fold(self, |crc, word| crc.word(*word))
    }

    /// The checksum.
    pub const fn value(self) -> u32 {
        !self.0
    }
}

impl Default for Crc32 {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Values of Python's zlib.crc32.
    #[test]
    fn known_values() {
        assert_eq!(Crc32::new().value(), 0);
        let words = [*b"1234", *b"5678"].map(u32::from_le_bytes);
        assert_eq!(Crc32::new().words(&words).value(), 0x9AE0_DAAF);
        assert_eq!(Crc32::new().word(0).value(), 0x2144_DF1C);
        assert_eq!(Crc32::new().word(u32::MAX).value(), 0xFFFF_FFFF);
    }
}
