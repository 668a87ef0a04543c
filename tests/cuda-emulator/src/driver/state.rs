//! The driver's state.

use super::errors::{INVALID_CONTEXT, INVALID_HANDLE};
use super::tasks::Task;
use crate::config::Config;
use crate::exec::program::Program;
use crate::memory::arena::Arena;
use crate::report::{Kind, say};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// One device with its primary context.
pub struct Device {
    /// Its memory.
    pub arena: Arena,
    /// How often the primary context is retained.
    pub retained: u32,
    /// Flags of the primary context.
    pub flags: u32,
    /// The error that has broken the context: every later call returns it.
    pub broken: Option<u32>,
    /// Launches so far.
    pub launches: u32,
}

/// A loaded module.
pub struct LoadedModule {
    /// Its device.
    pub device: usize,
    /// Its kernels, by name.
    pub programs: HashMap<String, Arc<Program>>,
    /// Its variables: address and size.
    pub variables: HashMap<String, (u64, u64)>,
    /// `.version` and `.target`.
    pub version: (u32, u32),
}

/// A kernel's handle.
pub struct KernelHandle {
    /// Its module.
    pub module: usize,
    /// The kernel.
    pub program: Arc<Program>,
    /// Most dynamic shared memory, if raised.
    pub dynamic_limit: Option<u64>,
}

/// A stream.
pub struct Stream {
    /// Its device.
    pub device: usize,
    /// Flags at creation.
    pub flags: u32,
    /// Priority at creation.
    pub priority: i32,
}

/// An event.
pub struct Event {
    /// Flags at creation.
    pub flags: u32,
    /// When it was recorded.
    pub recorded: Option<Instant>,
    /// Stream of the last record asked for.
    pub stream: usize,
    /// Records asked for, and the last one done.
    pub asked: u64,
    /// See `asked`.
    pub done: u64,
}

/// `.version` and `.target` of a text, and its kernels.
pub type Decoded = ((u32, u32), HashMap<String, Arc<Program>>);

/// What lies behind the handles.
pub struct Driver {
    /// Settings.
    pub config: Config,
    /// Devices.
    pub devices: Vec<Device>,
    /// Modules by handle.
    pub modules: HashMap<usize, LoadedModule>,
    /// Kernels by handle.
    pub kernels: HashMap<usize, KernelHandle>,
    /// Streams by handle.
    pub streams: HashMap<usize, Stream>,
    /// What waits in each stream.
    pub queues: HashMap<usize, VecDeque<Task>>,
    /// Events by handle.
    pub events: HashMap<usize, Event>,
    /// Page-locked host memory: address to size and device.
    pub pinned: HashMap<usize, (usize, usize)>,
    /// Kernels of texts that were loaded before, if they have no variables whose addresses could differ.
    pub decoded: HashMap<Arc<str>, Decoded>,
    /// Driver calls so far.
    pub calls: u64,
    calls_by_name: HashMap<&'static str, u64>,
    next_handle: usize,
}

thread_local! {
    /// Each host thread's stack of current contexts, as device numbers.
    static CURRENT: RefCell<Vec<Option<usize>>> = const { RefCell::new(Vec::new()) };
}

/// Handles of contexts, so that no other handle is taken for one.
const CONTEXT: usize = 0x0c0d_e000;

impl Driver {
    /// A driver before its first call.
    #[must_use]
    pub fn new(config: Config) -> Self {
        crate::isa::float::set_worst(config.worst);
        let device = |number| Device {
            arena: Arena::new(number, config.memory),
            retained: 0,
            flags: 0,
            broken: None,
            launches: 0,
        };
        Driver {
            devices: (0..config.devices).map(device).collect(),
            config,
            modules: HashMap::new(),
            kernels: HashMap::new(),
            streams: HashMap::new(),
            queues: HashMap::new(),
            events: HashMap::new(),
            pinned: HashMap::new(),
            decoded: HashMap::new(),
            calls: 0,
            calls_by_name: HashMap::new(),
            next_handle: 0x1000,
        }
    }

    /// Counts a call; the error it must return, if this is the one that is to fail.
    pub fn planned_failure(&mut self, name: &'static str) -> Option<u32> {
        self.calls += 1;
        let of_name = self.calls_by_name.entry(name).or_default();
        *of_name += 1;
        let plan = self.config.fail.as_ref()?;
        let number = match &plan.name {
            Some(wanted) if wanted == name => *of_name,
            Some(_) => return None,
            None => self.calls,
        };
        (number == plan.number).then_some(plan.code)
    }

    /// A handle that was never used.
    pub fn handle(&mut self) -> usize {
        self.next_handle += 0x10;
        self.next_handle
    }

    /// Number of the device whose context is current.
    ///
    /// # Errors
    /// There is none, or it was released.
    pub fn current(&self) -> Result<usize, u32> {
        let device = CURRENT.with_borrow(|stack| stack.last().copied().flatten()).ok_or(INVALID_CONTEXT)?;
        if self.devices[device].retained == 0 { Err(INVALID_CONTEXT) } else { Ok(device) }
    }

    /// The device of a context's handle; null is no device.
    ///
    /// # Errors
    /// Not a context.
    pub fn context_device(&self, context: usize) -> Result<Option<usize>, u32> {
        if context == 0 {
            return Ok(None);
        }
        let device = context.wrapping_sub(CONTEXT) / 16;
        if device < self.devices.len() { Ok(Some(device)) } else { Err(INVALID_CONTEXT) }
    }

    /// The handle of a device's context.
    #[must_use]
    pub fn context(device: Option<usize>) -> usize {
        device.map_or(0, |device| CONTEXT + device * 16)
    }

    /// The stream's place: null and the two default streams are always there.
    ///
    /// # Errors
    /// Not a stream of this device.
    pub fn check_stream(&self, stream: usize, device: usize) -> Result<(), u32> {
        match self.streams.get(&stream) {
            Some(s) if s.device == device => Ok(()),
            None if stream <= 2 => Ok(()),
            _ => Err(INVALID_HANDLE),
        }
    }

    /// Names what the program has not freed on a device.
    pub fn report_leaks(&self, device: usize) {
        for buffer in self.devices[device].arena.leaks() {
            let text = format!("device {device}: buffer {} of {} bytes at {:#x}", buffer.serial, buffer.bytes, buffer.address);
            say(Kind::Leak, &text);
        }
        for (_, (bytes, _)) in self.pinned.iter().filter(|(_, p)| p.1 == device) {
            say(Kind::Leak, &format!("device {device}: {bytes} bytes of page-locked host memory"));
        }
        let modules = self.modules.values().filter(|m| m.device == device).count();
        let streams = self.streams.values().filter(|s| s.device == device).count();
        let events = if device == 0 { self.events.len() } else { 0 };
        for (count, what) in [(modules, "module"), (streams, "stream"), (events, "event")] {
            if count > 0 {
                say(Kind::Leak, &format!("device {device}: {count} {what}(s)"));
            }
        }
    }
}

/// Makes a context current on this thread, in the place of the one that is.
pub fn set_current(device: Option<usize>) {
    CURRENT.with_borrow_mut(|stack| {
        stack.pop();
        stack.push(device);
    });
}

/// Puts a context on top of this thread's stack.
pub fn push_current(device: Option<usize>) {
    CURRENT.with_borrow_mut(|stack| stack.push(device));
}

/// Takes the context from the top of this thread's stack.
pub fn pop_current() -> Option<usize> {
    CURRENT.with_borrow_mut(Vec::pop).flatten()
}

/// The context on top of this thread's stack.
#[must_use]
pub fn top() -> Option<usize> {
    CURRENT.with_borrow(|stack| stack.last().copied().flatten())
}
