//! Memory on the device.

use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::pointer::Pointer;
use cust::context::{Context, CurrentContext};
use cust::event::{Event, EventFlags};
use cust::memory::{AsyncCopyDestination, DeviceBuffer, DeviceCopy, LockedBuffer};
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// Values in the device's memory, for as long as this lives.
#[derive(Debug)]
pub struct Buffer<T: DeviceCopy> {
    values: ManuallyDrop<DeviceBuffer<T>>,
    /// The memory is its.
    context: Arc<Context>,
}

impl<T: DeviceCopy> Drop for Buffer<T> {
    fn drop(&mut self) {
        // A thread that has had another device since must have this one to give its memory back. What fails here has no
        // one to be told.
        let _ = CurrentContext::set_current(&*self.context);
        // SAFETY: nobody sees the values after this.
        unsafe { ManuallyDrop::drop(&mut self.values) };
    }
}

impl<T: DeviceCopy + Default> Buffer<T> {
    fn uninitialized(gpu: &Gpu, len: usize) -> Result<Self> {
        gpu.enter()?;
        // SAFETY: every byte is set before anybody reads, as all work is in the stream's order.
        let values = ManuallyDrop::new(unsafe { DeviceBuffer::uninitialized(len)? });
        Ok(Self { values, context: gpu.context.clone() })
    }

    /// `len` values, all bytes 0.
    ///
    /// # Errors
    /// The driver's.
    pub fn zeroed(gpu: &Gpu, len: usize) -> Result<Self> {
        let buffer = Self::uninitialized(gpu, len)?;
        buffer.clear(gpu)?;
        Ok(buffer)
    }

    /// These values.
    ///
    /// # Errors
    /// The driver's.
    pub fn from_slice(gpu: &Gpu, values: &[T]) -> Result<Self> {
        let mut buffer = Self::uninitialized(gpu, values.len())?;
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
        self.values.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Where they start.
    pub fn pointer(&self) -> Pointer {
        Pointer::new(self.values.as_device_ptr().as_raw())
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
            unsafe { self.values.index(start..start + values.len()).async_copy_from(values, &gpu.stream)? };
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
            unsafe { self.values.index(start..start + values.len()).async_copy_to(values, &gpu.stream)? };
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

/// Host memory that the device copies from while the host goes on: two places in turn, each of which is written again when
/// its last copy is done.
#[derive(Debug)]
pub(crate) struct Upload<T: DeviceCopy> {
    places: [Place<T>; 2],
    next: usize,
}

#[derive(Debug)]
struct Place<T: DeviceCopy> {
    values: LockedBuffer<T>,
    copied: Event,
}

impl<T: DeviceCopy + Default> Upload<T> {
    /// For at most so many values at once.
    ///
    /// # Errors
    /// The driver's.
    pub(crate) fn new(gpu: &Gpu, most: usize) -> Result<Self> {
        gpu.enter()?;
        let place = || {
            let values = LockedBuffer::new(&T::default(), most)?;
            Ok::<_, GpuError>(Place { values, copied: Event::new(EventFlags::DISABLE_TIMING)? })
        };
        Ok(Self { places: [place()?, place()?], next: 0 })
    }

    /// Sends values to the beginning of a buffer, in the stream's order.
    ///
    /// # Errors
    /// The buffer is shorter, there are more values than there is room for, or the driver's.
    pub(crate) fn send(
        &mut self,
        gpu: &Gpu,
        values: impl ExactSizeIterator<Item = T>,
        to: &mut Buffer<T>,
    ) -> Result<()> {
        let count = values.len();
        let room = to.len().min(self.places[0].values.len());
        if count > room {
            return Err(GpuError::Length { what: "an upload", needed: room, given: count });
        }
        if count == 0 {
            return Ok(());
        }
        let place = &mut self.places[self.next];
        self.next = 1 - self.next;
        place.copied.synchronize()?;
        let pinned = &mut place.values;
        pinned.iter_mut().zip(values).for_each(|(to, value)| *to = value);
        // SAFETY: the values stay as they are until the event that is recorded behind the copy.
        unsafe { to.values.index(..count).async_copy_from(&pinned[..count], &gpu.stream)? };
        Ok(place.copied.record(&gpu.stream)?)
    }
}
