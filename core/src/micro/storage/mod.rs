//! States of a training in NOR flash that survive a loss of power at any moment.
//!
//! A region of flash is cut into two slots. [`Storage::save`] writes to the slot that does not hold the newest whole
//! state: it erases it, writes the values, reads them back, and then writes the header, which alone makes the slot
//! count. So after power is lost at any write or erase, one state is whole, the one before or the new one, and
//! [`Storage::open`] finds it: sequence numbers tell the newer one, checksums tell what is whole.
//!
//! | bytes of a slot | content, little-endian |
//! |---|---|
//! | 0..4 | `SMS1` |
//! | 4..8 | sequence number |
//! | 8..12 | identity of the model |
//! | 12..16 | number of values |
//! | 16..32 | batches and updates so far, the session's counters |
//! | 32..36 | CRC-32 of the values |
//! | 36..40 | CRC-32 of bytes 0..36 |
//! | 64.. | the values, f32 |
//!
//! Nothing is copied but 64 bytes at a time on the stack. A save erases each unit of one slot once, so the flash lasts
//! twice as many saves as its erase units last erasures.
//!
//! ```
//! use embedded_storage::nor_flash::NorFlash;
//! use smoothout::micro::{Session, storage::{Storage, StorageError}};
//!
//! /// Goes on from the last save, if there is one.
//! fn resume<F: NorFlash, const N: usize>(
//!     storage: &mut Storage<F>,
//!     session: &mut Session<'_, '_, N>,
//! ) -> Result<(), StorageError<F::Error>> {
//!     if let Some(counters) = storage.load(&mut [session.state_mut()])? {
//!         session.set_counters(counters);
//!     }
//!     Ok(())
//! }
//!
//! fn save<F: NorFlash, const N: usize>(
//!     storage: &mut Storage<F>,
//!     session: &Session<'_, '_, N>,
//! ) -> Result<(), StorageError<F::Error>> {
//!     storage.save(session.counters(), &[session.state()])
//! }
//! ```

mod error;
#[cfg(test)]
mod tests;

pub use error::StorageError;

use super::Counters;
use super::crc::Crc32;
use core::ops::Range;
use embedded_storage::nor_flash::NorFlash;

/// Bytes that are read and written at once; a multiple of the flash's own units.
const CHUNK: u32 = 64;
const WORDS: usize = CHUNK as usize / 4;
const MAGIC: u32 = u32::from_le_bytes(*b"SMS1");
/// Words of a header.
const HEADER: usize = 10;

/// A whole state, as its header describes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Stored {
    /// How far the training had come.
    pub counters: Counters,
    /// Number of f32 values.
    pub values: usize,
    /// Identity of the model that it belongs to.
    pub identity: u32,
    /// Number of the save, from 0; starts again after 2³².
    pub sequence: u32,
}

/// Two slots in a flash.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Storage<F> {
    flash: F,
    start: u32,
    slot: u32,
    identity: u32,
    newest: Option<(Stored, Range<u32>)>,
}

type Result<T, F> = core::result::Result<T, StorageError<<F as embedded_storage::nor_flash::ErrorType>::Error>>;

impl<F: NorFlash> Storage<F> {
    /// Bytes of flash that states of this many values need, both slots together; `None` when that does not fit a u32.
    pub const fn bytes(values: usize) -> Option<u32> {
        if values > (u32::MAX / 8) as usize || F::ERASE_SIZE == 0 || F::ERASE_SIZE > u32::MAX as usize {
            return None;
        }
        let one = CHUNK + 4 * values as u32;
        match one.div_ceil(F::ERASE_SIZE as u32).checked_mul(F::ERASE_SIZE as u32) {
            Some(slot) => slot.checked_mul(2),
            None => None,
        }
    }

    /// Opens `region` of the flash, in bytes, and looks for the newest whole state: reads all of it, writes nothing.
    /// `identity` tells models apart, for example by [`ModelFile::checksum`](super::ModelFile::checksum).
    ///
    /// # Errors
    /// A region or a flash that cannot be used, or an error of the flash. Slots that are empty or damaged are no error.
    pub fn open(flash: F, region: Range<u32>, identity: u32) -> Result<Self, F> {
        let erase = unit("an erase unit", F::ERASE_SIZE, F::ERASE_SIZE.is_multiple_of(F::READ_SIZE.max(1)))?;
        unit("a write unit", F::WRITE_SIZE, (CHUNK as usize).is_multiple_of(F::WRITE_SIZE))?;
        unit("a read unit", F::READ_SIZE, (CHUNK as usize).is_multiple_of(F::READ_SIZE))?;
        let Range { start, end } = region;
        let slot = end.saturating_sub(start) / 2 / erase * erase;
        let capacity = flash.capacity();
        if slot <= CHUNK || !start.is_multiple_of(erase) || end as usize > capacity {
            return Err(StorageError::Region { start, end, capacity });
        }
        let mut storage = Self { flash, start, slot, identity, newest: None };
        for index in 0..2 {
            storage.look(start + index * slot)?;
        }
        Ok(storage)
    }

    /// Takes the state in the slot at `at` for the newest when it is whole and newer.
    fn look(&mut self, at: u32) -> Result<(), F> {
        let chunk = self.read(at)?;
        let Some((header, _)) = chunk.split_first_chunk::<HEADER>() else { return Ok(()) };
        let [magic, sequence, identity, values, ref counters @ .., crc, _] = *header;
        let room = self.room();
        if magic != MAGIC || *header != sealed(*header) || values as usize > room {
            return Ok(());
        }
        let payload = at + CHUNK..at + CHUNK + 4 * values;
        if self.checksum(payload.clone())? != crc {
            return Ok(());
        }
        let newer = |newest: &Stored| (sequence.wrapping_sub(newest.sequence) as i32) > 0;
        if self.newest.as_ref().is_none_or(|(newest, _)| newer(newest)) {
            let [a, b, c, d] = counters.map(u64::from);
            let counters = Counters { batches: a | b << 32, updates: c | d << 32 };
            let stored = Stored { counters, values: values as usize, identity, sequence };
            self.newest = Some((stored, payload));
        }
        Ok(())
    }

    /// Number of f32 values that a state can have.
    pub const fn room(&self) -> usize {
        ((self.slot - CHUNK) / 4) as usize
    }

    /// The newest whole state, of whatever model.
    pub fn stored(&self) -> Option<Stored> {
        self.newest.as_ref().map(|(stored, _)| *stored)
    }

    /// Reads the newest whole state into `parts`, which are filled one after the other as they were given to
    /// [`save`](Self::save), and returns its counters; `None` when there is no state.
    ///
    /// # Errors
    /// The state belongs to another model or has another length: nothing was written to `parts` then. An error of the
    /// flash: some values may have been written.
    pub fn load(&mut self, parts: &mut [&mut [f32]]) -> Result<Option<Counters>, F> {
        let Some((stored, payload)) = self.newest.clone() else { return Ok(None) };
        if stored.identity != self.identity {
            let (needed, stored) = (self.identity, stored.identity);
            return Err(StorageError::Identity { needed, stored });
        }
        let needed = parts.iter().map(|part| part.len()).sum();
        if needed != stored.values {
            return Err(StorageError::Length { needed, stored: stored.values });
        }
        let mut values = parts.iter_mut().flat_map(|part| part.iter_mut());
        for at in payload.step_by(CHUNK as usize) {
            for (word, value) in self.read(at)?.into_iter().zip(&mut values) {
                *value = f32::from_bits(word);
            }
        }
        Ok(Some(stored.counters))
    }

    /// Saves a state: `parts` one after the other, and how far the training has come.
    ///
    /// # Errors
    /// Too many values, an error of the flash, or values that do not read back. The state saved before is whole then.
    pub fn save(&mut self, counters: Counters, parts: &[&[f32]]) -> Result<(), F> {
        let values: usize = parts.iter().map(|part| part.len()).sum();
        let room = self.room();
        if values > room {
            return Err(StorageError::TooLarge { values, room });
        }
        let first = self.start..self.start + self.slot;
        let (slot, sequence) = match &self.newest {
            Some((stored, payload)) if first.contains(&payload.start) => (first.end, stored.sequence.wrapping_add(1)),
            Some((stored, _)) => (first.start, stored.sequence.wrapping_add(1)),
            None => (first.start, 0),
        };
        let payload = slot + CHUNK..slot + CHUNK + 4 * values as u32;
        let erase = F::ERASE_SIZE as u32;
        let end = slot + (payload.end - slot).div_ceil(erase) * erase;
        self.flash.erase(slot, end).map_err(StorageError::Flash)?;
        let mut all = parts.iter().flat_map(|part| part.iter());
        let mut crc = Crc32::new();
        for at in payload.clone().step_by(CHUNK as usize) {
            let mut words = [u32::MAX; WORDS];
            let mut count = 0;
            for (word, value) in words.iter_mut().zip(&mut all) {
                *word = value.to_bits();
                crc = crc.word(*word);
                count += 1;
            }
            self.write(at, &words, count)?;
        }
        if self.checksum(payload.clone())? != crc.value() {
            return Err(StorageError::Verify { slot });
        }
        let Counters { batches, updates } = counters;
        let halves = [batches, batches >> 32, updates, updates >> 32].map(|half| half as u32);
        let [a, b, c, d] = halves;
        let header = sealed([MAGIC, sequence, self.identity, values as u32, a, b, c, d, crc.value(), 0]);
        let mut words = [u32::MAX; WORDS];
        words.iter_mut().zip(header).for_each(|(to, word)| *to = word);
        self.write(slot, &words, HEADER)?;
        if self.read(slot)?.first_chunk() != Some(&header) {
            return Err(StorageError::Verify { slot });
        }
        self.newest = Some((Stored { counters, values, identity: self.identity, sequence }, payload));
        Ok(())
    }

    /// Gives the flash back.
    pub fn into_flash(self) -> F {
        self.flash
    }

    /// The checksum of the values in these bytes.
    fn checksum(&mut self, bytes: Range<u32>) -> Result<u32, F> {
        let mut left = bytes.len() / 4;
        let mut crc = Crc32::new();
        for at in bytes.step_by(CHUNK as usize) {
            let words = self.read(at)?;
            crc = words.iter().take(left).fold(crc, |crc, word| crc.word(*word));
            left = left.saturating_sub(WORDS);
        }
        Ok(crc.value())
    }

    /// The words of one chunk; those beyond the end of the slot are not read and are 0.
    fn read(&mut self, at: u32) -> Result<[u32; WORDS], F> {
        let mut bytes = [0; CHUNK as usize];
        let slot_end = self.start + if at < self.start + self.slot { self.slot } else { 2 * self.slot };
        let len = CHUNK.min(slot_end - at) as usize;
        let (wanted, _) = bytes.split_at_mut_checked(len).unwrap_or_default();
        self.flash.read(at, wanted).map_err(StorageError::Flash)?;
        let mut words = [0; WORDS];
        let (fours, _) = bytes.as_chunks();
        words.iter_mut().zip(fours).for_each(|(word, four)| *word = u32::from_le_bytes(*four));
        Ok(words)
    }

    /// Writes the first `count` words, and erased ones up to the end of the write unit.
    fn write(&mut self, at: u32, words: &[u32; WORDS], count: usize) -> Result<(), F> {
        let mut bytes = [0; CHUNK as usize];
        let (fours, _) = bytes.as_chunks_mut();
        words.iter().zip(fours).for_each(|(word, four)| *four = word.to_le_bytes());
        let len = (4 * count).next_multiple_of(F::WRITE_SIZE);
        let (wanted, _) = bytes.split_at_checked(len).unwrap_or_default();
        self.flash.write(at, wanted).map_err(StorageError::Flash)
    }
}

/// The header with its own checksum in the last word.
fn sealed(header: [u32; HEADER]) -> [u32; HEADER] {
    let mut sealed = header;
    if let Some((last, body)) = sealed.split_last_mut() {
        *last = Crc32::new().words(body).value();
    }
    sealed
}

fn unit<E>(what: &'static str, value: usize, served: bool) -> core::result::Result<u32, StorageError<E>> {
    match u32::try_from(value) {
        Ok(bytes) if bytes > 0 && served => Ok(bytes),
        _ => Err(StorageError::Geometry { what, value }),
    }
}
