//! A NOR flash that keeps the real one's rules and can lose power in the middle of a write or an erase.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use std::vec;
use std::vec::Vec;

/// How far the operation gets that is under way when power goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Torn {
    /// Nothing happened yet.
    Not,
    /// Each bit for itself changed or did not, as this seed says.
    Bits(u32),
    /// It was just done.
    Whole,
}

/// `WRITE` bytes are programmed at once and only once between two erasures, 1 to 0; erasing `ERASE` bytes makes ones.
#[derive(Clone, Debug)]
pub struct Flash<const WRITE: usize, const ERASE: usize> {
    pub bytes: Vec<u8>,
    programmed: Vec<bool>,
    /// Programmed and erased units so far.
    pub events: usize,
    /// Power goes in this event.
    pub cut: Option<(usize, Torn)>,
    dead: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    Power,
    Rule(NorFlashErrorKind),
    ProgrammedTwice,
}

impl NorFlashError for Failure {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Failure::Rule(kind) => *kind,
            _ => NorFlashErrorKind::Other,
        }
    }
}

impl<const WRITE: usize, const ERASE: usize> Flash<WRITE, ERASE> {
    pub fn new(len: usize) -> Self {
        let programmed = vec![false; len / WRITE];
        // Nobody erased it yet.
        Self { bytes: vec![0x5A; len], programmed, events: 0, cut: None, dead: false }
    }

    /// Power comes back.
    pub fn restart(mut self) -> Self {
        (self.events, self.cut, self.dead) = (0, None, false);
        self
    }

    /// Changes bytes from `at` to `to`, or as many of their bits as the loss of power leaves time for.
    fn change(&mut self, at: usize, to: &[u8]) -> Result<(), Failure> {
        let event = self.events;
        self.events += 1;
        let torn = match self.cut {
            Some((cut, torn)) if cut == event => torn,
            _ => {
                self.bytes[at..at + to.len()].copy_from_slice(to);
                return Ok(());
            }
        };
        self.dead = true;
        let mut state = if let Torn::Bits(seed) = torn { seed } else { 0 };
        for (byte, to) in self.bytes[at..].iter_mut().zip(to) {
            let mask = match torn {
                Torn::Not => 0,
                Torn::Whole => 0xFF,
                Torn::Bits(_) => {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                }
            };
            *byte = (*byte & !mask) | (to & mask);
        }
        Err(Failure::Power)
    }

    fn alive(&self) -> Result<(), Failure> {
        if self.dead { Err(Failure::Power) } else { Ok(()) }
    }
}

impl<const WRITE: usize, const ERASE: usize> ErrorType for Flash<WRITE, ERASE> {
    type Error = Failure;
}

impl<const WRITE: usize, const ERASE: usize> ReadNorFlash for Flash<WRITE, ERASE> {
    const READ_SIZE: usize = 4;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Failure> {
        self.alive()?;
        check_read(self, offset, bytes.len()).map_err(Failure::Rule)?;
        bytes.copy_from_slice(&self.bytes[offset as usize..][..bytes.len()]);
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const WRITE: usize, const ERASE: usize> NorFlash for Flash<WRITE, ERASE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failure> {
        self.alive()?;
        check_erase(self, from, to).map_err(Failure::Rule)?;
        for at in (from as usize..to as usize).step_by(ERASE) {
            self.programmed[at / WRITE..][..ERASE / WRITE].fill(false);
            self.change(at, &[0xFF; ERASE])?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Failure> {
        self.alive()?;
        check_write(self, offset, bytes.len()).map_err(Failure::Rule)?;
        for (i, unit) in bytes.chunks(WRITE).enumerate() {
            let at = offset as usize + i * WRITE;
            if core::mem::replace(&mut self.programmed[at / WRITE], true) {
                return Err(Failure::ProgrammedTwice);
            }
            // Ones in `unit` leave a bit as it is.
            let mut result = [0; WRITE];
            result.iter_mut().zip(unit).zip(&self.bytes[at..]).for_each(|((to, new), old)| *to = new & old);
            self.change(at, &result)?;
        }
        Ok(())
    }
}
