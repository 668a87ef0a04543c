//! Work on the device: what the calls ask for, done at once or, with `CUDA_EMULATOR_STREAMS=late`, as late as a device
//! may do it, so that a program that does not wait where it must meets old values.

use super::errors::{INVALID_VALUE, Status};
use super::state::Driver;
use crate::exec::program::Program;
use crate::memory::region::Refusal;
use crate::report::{Kind, say};
use std::ffi::c_void;
use std::sync::Arc;
use std::time::Instant;

/// Bytes on the host that are to be copied.
pub enum Source {
    /// Page-locked, or read at once: the address.
    Place(usize),
    /// A pageable source of an asynchronous copy, which is read when the call is made.
    Staged(Vec<u8>),
}

/// One piece of work; the fields are the driver functions' arguments.
#[allow(missing_docs)]
pub enum Work {
    /// A kernel with its grid, block, dynamic shared memory and parameters.
    Launch { program: Arc<Program>, grid: [u32; 3], block: [u32; 3], dynamic: u64, parameters: Vec<u8> },
    /// Host to device.
    ToDevice { to: u64, from: Source, bytes: usize },
    /// Device to host.
    ToHost { to: usize, from: u64, bytes: usize },
    /// Device to device.
    OnDevice { to: u64, from: u64, bytes: usize },
    /// `count` elements of a value of 1, 2 or 4 bytes.
    Fill { to: u64, value: Vec<u8>, count: usize },
    /// The end of a buffer.
    Free { address: u64 },
    /// An event's record, by its number.
    Record { event: usize, number: u64 },
    /// A wait for an event's record in another stream.
    Wait { stream: usize, event: usize, number: u64 },
    /// A function of the host.
    Call { function: unsafe extern "C" fn(*mut c_void), data: usize },
}

/// Work with the name of the call that asked for it.
pub struct Task {
    /// The driver function.
    pub name: &'static str,
    /// What to do.
    pub work: Work,
}

/// The default stream, under each of its names.
#[must_use]
pub fn is_default(stream: usize) -> bool {
    stream <= 2
}

impl Driver {
    /// Work in a stream's order.
    ///
    /// # Errors
    /// That of the work, if it is done at once.
    pub fn submit(&mut self, device: usize, stream: usize, name: &'static str, work: Work) -> Status {
        let task = Task { name, work };
        if is_default(stream) {
            // The default stream waits for all streams but those that were made not to block, and they for it.
            self.drain_blocking(device)?;
            return self.execute(device, task);
        }
        if !self.config.late {
            return self.execute(device, task);
        }
        self.queues.entry(stream).or_default().push_back(task);
        Ok(())
    }

    /// Does all that waits in a stream.
    ///
    /// # Errors
    /// The first error of the work.
    pub fn drain(&mut self, device: usize, stream: usize) -> Status {
        if is_default(stream) {
            return self.drain_blocking(device);
        }
        while self.step(device, stream)? {}
        Ok(())
    }

    /// Does what comes next in a stream; false if there is nothing.
    ///
    /// # Errors
    /// That of the work.
    pub fn step(&mut self, device: usize, stream: usize) -> Result<bool, u32> {
        match self.queues.get_mut(&stream).and_then(std::collections::VecDeque::pop_front) {
            Some(task) => self.execute(device, task).map(|()| true).inspect_err(|&code| {
                // The call that asked for it has long returned: the error is the context's.
                self.devices[device].broken = Some(code);
            }),
            None => Ok(false),
        }
    }

    /// Does all that waits on a device.
    ///
    /// # Errors
    /// The first error of the work.
    pub fn drain_all(&mut self, device: usize) -> Status {
        self.drain_those(device, |_| true)
    }

    fn drain_blocking(&mut self, device: usize) -> Status {
        self.drain_those(device, |flags| flags & 1 == 0)
    }

    fn drain_those(&mut self, device: usize, wanted: impl Fn(u32) -> bool) -> Status {
        if self.queues.is_empty() {
            return Ok(());
        }
        let mut streams: Vec<usize> =
            self.streams.iter().filter(|(_, s)| s.device == device && wanted(s.flags)).map(|(&h, _)| h).collect();
        streams.sort_unstable();
        streams.into_iter().try_for_each(|stream| self.drain(device, stream))
    }

    /// Does a stream's work up to an event's record.
    ///
    /// # Errors
    /// The first error of the work.
    pub fn reach(&mut self, device: usize, stream: usize, event: usize, number: u64) -> Status {
        while self.events.get(&event).is_none_or(|e| e.done < number) && self.step(device, stream)? {}
        Ok(())
    }

    fn execute(&mut self, device: usize, task: Task) -> Status {
        if let Some(code) = self.devices[device].broken {
            return Err(code);
        }
        let name = task.name;
        match task.work {
            Work::Launch { program, grid, block, dynamic, parameters } => {
                self.launch(device, &program, grid, block, dynamic, parameters)
            }
            Work::ToDevice { to, from, bytes } => self.to_device(device, to, &from, bytes, name),
            Work::ToHost { to, from, bytes } => self.to_host(device, to, from, bytes, name),
            Work::OnDevice { to, from, bytes } => self.on_device(device, to, from, bytes, name),
            Work::Fill { to, value, count } => self.fill(device, to, &value, count, name),
            Work::Free { address } => self.free(device, address),
            Work::Record { event, number } => {
                if let Some(event) = self.events.get_mut(&event) {
                    event.done = number;
                    event.recorded = Some(Instant::now());
                }
                Ok(())
            }
            Work::Wait { stream, event, number } => self.reach(device, stream, event, number),
            Work::Call { function, data } => {
                // SAFETY: the program's function with its own argument; it may not call the driver.
                unsafe { function(data as *mut c_void) };
                Ok(())
            }
        }
    }

    /// Checks a range of device memory; the place of its first byte.
    fn range(&self, device: usize, address: u64, bytes: usize, reads: bool, name: &str) -> Result<*mut u8, u32> {
        let arena = &self.devices[device].arena;
        if let Some((at, refusal)) = arena.region.first_refused(address, bytes as u64, reads) {
            let what = match refusal {
                Refusal::Uninitialised => "which was never written",
                _ => "which is not accessible",
            };
            let text = format!("{name} of {bytes} bytes at {address:#x} touches {at:#x} ({}), {what}", arena.describe(at));
            say(Kind::Fault, &text);
            return Err(INVALID_VALUE);
        }
        // SAFETY: the range was found inside the arena.
        Ok(unsafe { arena.region.data.add((address - arena.region.start) as usize) })
    }

    fn to_device(&self, device: usize, to: u64, from: &Source, bytes: usize, name: &str) -> Status {
        if bytes == 0 {
            return Ok(());
        }
        let place = self.range(device, to, bytes, false, name)?;
        let from = match from {
            Source::Place(address) => *address as *const u8,
            Source::Staged(bytes) => bytes.as_ptr(),
        };
        if from.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller of the driver function answers for the source; the destination was checked.
        unsafe { std::ptr::copy_nonoverlapping(from, place, bytes) };
        self.devices[device].arena.region.initialise(to, bytes as u64);
        Ok(())
    }

    fn to_host(&self, device: usize, to: usize, from: u64, bytes: usize, name: &str) -> Status {
        if bytes == 0 {
            return Ok(());
        }
        let place = self.range(device, from, bytes, true, name)?;
        if to == 0 {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller of the driver function answers for the destination; the source was checked.
        unsafe { std::ptr::copy_nonoverlapping(place, to as *mut u8, bytes) };
        Ok(())
    }

    fn on_device(&self, device: usize, to: u64, from: u64, bytes: usize, name: &str) -> Status {
        if bytes == 0 {
            return Ok(());
        }
        let source = self.range(device, from, bytes, true, name)?;
        let place = self.range(device, to, bytes, false, name)?;
        // SAFETY: both were checked; they may overlap.
        unsafe { std::ptr::copy(source, place, bytes) };
        self.devices[device].arena.region.initialise(to, bytes as u64);
        Ok(())
    }

    /// Fills `count` elements; the address must be a multiple of their size.
    fn fill(&self, device: usize, to: u64, value: &[u8], count: usize, name: &str) -> Status {
        let bytes = count.checked_mul(value.len()).ok_or(INVALID_VALUE)?;
        if bytes == 0 {
            return Ok(());
        }
        if !to.is_multiple_of(value.len() as u64) {
            say(Kind::Fault, &format!("{name} at {to:#x}, which is not a multiple of {}", value.len()));
            return Err(INVALID_VALUE);
        }
        let place = self.range(device, to, bytes, false, name)?;
        // SAFETY: the range was checked.
        let all = unsafe { std::slice::from_raw_parts_mut(place, bytes) };
        all.chunks_exact_mut(value.len()).for_each(|chunk| chunk.copy_from_slice(value));
        self.devices[device].arena.region.initialise(to, bytes as u64);
        Ok(())
    }

    fn free(&self, device: usize, address: u64) -> Status {
        let arena = &self.devices[device].arena;
        if address == 0 || arena.free(address) {
            return Ok(());
        }
        say(Kind::Fault, &format!("free of {address:#x} ({}), where no live buffer starts", arena.describe(address)));
        Err(INVALID_VALUE)
    }

    /// Whether all these bytes of the host are page-locked.
    #[must_use]
    pub fn is_pinned(&self, at: usize, bytes: usize) -> bool {
        self.pinned.iter().any(|(&start, &(size, _))| at >= start && bytes <= size && at - start <= size - bytes)
    }
}
