use core::fmt;

/// Why a state could not be saved or loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum StorageError<E> {
    /// The flash driver's own error.
    Flash(E),
    /// The flash works in units that this module cannot serve.
    Geometry {
        /// Which number.
        what: &'static str,
        /// The number in bytes.
        value: usize,
    },
    /// The region reaches beyond the flash, or is no two erase units long.
    Region {
        /// Its first byte.
        start: u32,
        /// The byte after its last one.
        end: u32,
        /// Bytes of the flash.
        capacity: usize,
    },
    /// A slot is too short for the state.
    TooLarge {
        /// Values of the state.
        values: usize,
        /// Values that a slot has room for.
        room: usize,
    },
    /// The stored state has another length.
    Length {
        /// Values asked for.
        needed: usize,
        /// Values stored.
        stored: usize,
    },
    /// The stored state belongs to another model.
    Identity {
        /// Identity asked for.
        needed: u32,
        /// Identity stored.
        stored: u32,
    },
    /// What was written does not read back: the flash is worn out, or the driver is at fault. The state saved before
    /// is whole.
    Verify {
        /// First byte of the slot.
        slot: u32,
    },
}

impl<E: fmt::Debug> fmt::Display for StorageError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StorageError::Flash(error) => write!(f, "the flash failed: {error:?}"),
            StorageError::Geometry { what, value } => {
                write!(f, "{what} of {value} bytes cannot be served")
            }
            StorageError::Region { start, end, capacity } => write!(
                f,
                "the region {start}..{end} is no run of two or more erase units in a flash of {capacity} bytes"
            ),
            StorageError::TooLarge { values, room } => {
                write!(f, "the state has {values} values, a slot has room for {room}")
            }
            StorageError::Length { needed, stored } => {
                write!(f, "the stored state has {stored} values, {needed} are needed")
            }
            StorageError::Identity { needed, stored } => {
                write!(f, "the stored state belongs to model {stored:#010x}, not {needed:#010x}")
            }
            StorageError::Verify { slot } => {
                write!(f, "what was written to the slot at {slot} does not read back")
            }
        }
    }
}

impl<E: fmt::Debug> core::error::Error for StorageError<E> {}
