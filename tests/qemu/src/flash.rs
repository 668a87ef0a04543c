//! A NOR flash in memory that loses power in the middle of a chosen operation.

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

/// Bytes of the flash.
pub const CAPACITY: usize = 20_480;
const ERASE: usize = 1024;

/// Erased bytes are ones; writing only makes zeros.
pub struct Flash {
    bytes: [u8; CAPACITY],
    /// Writes and erasures until power goes; it is off from then on.
    pub left: Option<usize>,
}

/// Power is off, or the caller broke the flash's rules.
#[derive(Debug)]
pub struct Failure(NorFlashErrorKind);

impl NorFlashError for Failure {
    fn kind(&self) -> NorFlashErrorKind {
        self.0
    }
}

impl Flash {
    /// A flash that was never erased.
    pub const fn new() -> Self {
        Self { bytes: [0x5A; CAPACITY], left: None }
    }

    /// Counts an operation down. When power goes in it, only half of its bytes are changed.
    fn operate(&mut self, bytes: usize) -> Result<usize, Failure> {
        match &mut self.left {
            None => Ok(bytes),
            Some(0) => Err(Failure(NorFlashErrorKind::Other)),
            Some(left) => {
                *left -= 1;
                Ok(if *left == 0 { bytes / 2 } else { bytes })
            }
        }
    }

    fn on(&self) -> Result<(), Failure> {
        if self.left == Some(0) { Err(Failure(NorFlashErrorKind::Other)) } else { Ok(()) }
    }
}

impl ErrorType for Flash {
    type Error = Failure;
}

impl ReadNorFlash for Flash {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Failure> {
        self.on()?;
        check_read(self, offset, bytes.len()).map_err(Failure)?;
        let stored = self.bytes.iter().skip(offset as usize);
        bytes.iter_mut().zip(stored).for_each(|(to, from)| *to = *from);
        Ok(())
    }

    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl NorFlash for Flash {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Failure> {
        check_erase(self, from, to).map_err(Failure)?;
        let mut at = from as usize;
        while at < to as usize {
            let done = self.operate(ERASE)?;
            self.bytes.iter_mut().skip(at).take(done).for_each(|byte| *byte = 0xFF);
            self.on()?;
            at += ERASE;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Failure> {
        check_write(self, offset, bytes.len()).map_err(Failure)?;
        let done = self.operate(bytes.len())?;
        let stored = self.bytes.iter_mut().skip(offset as usize);
        stored.zip(bytes).take(done).for_each(|(to, from)| *to &= from);
        self.on()
    }
}
