//! Memory on the device.

use crate::device::Gpu;
use crate::error::{GpuError, Result};
use cust::memory::{AsyncCopyDestination, DeviceBuffer, DeviceCopy};

/// Where something starts on the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pointer(u64);

impl Pointer {
    /// Nothing: kernels take it for what is left out.
    pub const NULL: Self = Self(0);

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

/// Values in the device's memory, for as long as this lives; it must not outlive its device.
#[derive(Debug)]
pub struct Buffer<T: DeviceCopy>(DeviceBuffer<T>);

impl<T: DeviceCopy + Default> Buffer<T> {
    /// `len` values, all bytes 0.
    ///
    /// # Errors
    /// The driver's.
    pub fn zeroed(gpu: &Gpu, len: usize) -> Result<Self> {
        gpu.enter()?;
        // SAFETY: every byte is set before anybody reads, as all work is in the stream's order.
        let buffer = Self(unsafe { DeviceBuffer::uninitialized(len)? });
        buffer.clear(gpu)?;
        Ok(buffer)
    }

    /// These values.
    ///
    /// # Errors
    /// The driver's.
    pub fn from_slice(gpu: &Gpu, values: &[T]) -> Result<Self> {
        gpu.enter()?;
        // SAFETY: as above.
        let mut buffer = Self(unsafe { DeviceBuffer::uninitialized(values.len())? });
        buffer.write(gpu, 0, values)?;
        Ok(buffer)
    }

    /// Sets all bytes to 0, in the stream's order.
    ///
    /// # Errors
    /// The driver's.
    pub fn clear(&self, gpu: &Gpu) -> Result<()> {
        gpu.fill_zero(self.pointer(), self.len() * size_of::<T>())
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where they start.
    pub fn pointer(&self) -> Pointer {
        Pointer(self.0.as_device_ptr().as_raw())
    }

    /// Writes values from number `start` on and waits for it.
    ///
    /// # Errors
    /// Too many values, or the driver's.
    pub fn write(&mut self, gpu: &Gpu, start: usize, values: &[T]) -> Result<()> {
        gpu.enter()?;
        let len = self.len();
        let fits = start.checked_add(values.len()).is_some_and(|end| end <= len);
        if !fits {
            return Err(GpuError::Length { what: "a write", needed: len.saturating_sub(start), given: values.len() });
        }
        if !values.is_empty() {
            // SAFETY: the values live until the wait below.
            unsafe { self.0.index(start..start + values.len()).async_copy_from(values, &gpu.stream)? };
            gpu.synchronize()?;
        }
        Ok(())
    }

    /// Copies values from number `start` on, after everything that the stream was given before.
    ///
    /// # Errors
    /// Too many values, or the driver's.
    pub fn read(&self, gpu: &Gpu, start: usize, values: &mut [T]) -> Result<()> {
        gpu.enter()?;
        let fits = start.checked_add(values.len()).is_some_and(|end| end <= self.len());
        if !fits {
            let needed = self.len().saturating_sub(start);
            return Err(GpuError::Length { what: "a read", needed, given: values.len() });
        }
        if !values.is_empty() {
            // SAFETY: the values live until the wait below.
            unsafe { self.0.index(start..start + values.len()).async_copy_to(values, &gpu.stream)? };
            gpu.synchronize()?;
        }
        Ok(())
    }

    /// All values.
    ///
    /// # Errors
    /// The driver's.
    pub fn to_vec(&self, gpu: &Gpu) -> Result<Vec<T>> {
        let mut values = vec![T::default(); self.len()];
        self.read(gpu, 0, &mut values)?;
        Ok(values)
    }
}
