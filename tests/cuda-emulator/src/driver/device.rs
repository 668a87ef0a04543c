//! Initialisation, and what a device is.

use super::errors::{INVALID_DEVICE, INVALID_VALUE, NO_DEVICE};
use super::state::Driver;
use super::{DRIVER, call, give};
use crate::config::Config;
use crate::report::{Kind, say};
use std::ffi::{c_char, c_int};
use std::sync::PoisonError;

/// The version that `cuDriverGetVersion` tells: CUDA 13.0.
const VERSION: c_int = 13_000;

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuInit(flags: u32) -> u32 {
    let mut driver = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    if driver.is_none() {
        match Config::from_environment() {
            Ok(config) => *driver = Some(Driver::new(config)),
            Err(text) => {
                say(Kind::Unknown, &text);
                return INVALID_VALUE;
            }
        }
        // SAFETY: the function is one of this library, which is never unloaded before the process ends.
        unsafe { libc::atexit(at_exit) };
    }
    drop(driver);
    call("cuInit", |driver| match (flags, driver.devices.len()) {
        (0, 0) => Err(NO_DEVICE),
        (0, _) => Ok(()),
        _ => Err(INVALID_VALUE),
    })
}

/// What is left at the end of the process was never freed.
extern "C" fn at_exit() {
    if let Ok(driver) = DRIVER.try_lock()
        && let Some(driver) = driver.as_ref() {
            for (number, device) in driver.devices.iter().enumerate() {
                if device.retained > 0 && device.broken.is_none() {
                    driver.report_leaks(number);
                    say(Kind::Leak, &format!("device {number}: the primary context, retained {} time(s)", device.retained));
                }
            }
        }
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDriverGetVersion(version: *mut c_int) -> u32 {
    // SAFETY: the caller's.
    unsafe { give(version, VERSION) }.err().unwrap_or_default()
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetCount(count: *mut c_int) -> u32 {
    // SAFETY: the caller's.
    call("cuDeviceGetCount", |driver| unsafe { give(count, driver.devices.len() as c_int) })
}

impl Driver {
    pub(super) fn device_number(&self, device: c_int) -> Result<usize, u32> {
        usize::try_from(device).ok().filter(|&d| d < self.devices.len()).ok_or(INVALID_DEVICE)
    }
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGet(device: *mut c_int, ordinal: c_int) -> u32 {
    call("cuDeviceGet", |driver| {
        driver.device_number(ordinal)?;
        // SAFETY: the caller's.
        unsafe { give(device, ordinal) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetName(name: *mut c_char, length: c_int, device: c_int) -> u32 {
    call("cuDeviceGetName", |driver| {
        let number = driver.device_number(device)?;
        let capability = driver.config.capability;
        let text = format!("CUDA emulator {number} (sm_{capability}, no GPU)");
        if name.is_null() || length < 1 {
            return Err(INVALID_VALUE);
        }
        let count = text.len().min(length as usize - 1);
        // SAFETY: the caller's buffer has `length` bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), name.cast(), count);
            name.add(count).write(0);
        }
        Ok(())
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid(uuid: *mut [u8; 16], device: c_int) -> u32 {
    call("cuDeviceGetUuid", |driver| {
        let number = driver.device_number(device)?;
        let mut bytes = *b"cuda-emulator\0\0\0";
        bytes[15] = number as u8;
        // SAFETY: the caller's.
        unsafe { give(uuid, bytes) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetUuid_v2(uuid: *mut [u8; 16], device: c_int) -> u32 {
    // SAFETY: the caller's.
    unsafe { cuDeviceGetUuid(uuid, device) }
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceTotalMem_v2(bytes: *mut usize, device: c_int) -> u32 {
    call("cuDeviceTotalMem_v2", |driver| {
        driver.device_number(device)?;
        // SAFETY: the caller's.
        unsafe { give(bytes, driver.config.memory as usize) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDeviceGetAttribute(value: *mut c_int, attribute: c_int, device: c_int) -> u32 {
    call("cuDeviceGetAttribute", |driver| {
        let number = driver.device_number(device)?;
        let Some(found) = attribute_of(attribute, driver.config.capability, number) else {
            say(Kind::Unknown, &format!("device attribute {attribute}"));
            return Err(INVALID_VALUE);
        };
        // SAFETY: the caller's.
        unsafe { give(value, found) }
    })
}

/// Limits of a compute capability, from the programming guide's table of technical specifications.
pub struct Limits {
    /// Most shared memory of a block, once asked for.
    pub shared_block: u64,
    /// Shared memory of a multiprocessor.
    pub shared_total: u64,
    /// Threads of a multiprocessor.
    pub threads: u32,
    /// Blocks of a multiprocessor.
    pub blocks: u32,
}

/// Registers of a multiprocessor, and of a block.
pub const REGISTERS: u32 = 65536;
/// Most threads of a block.
pub const THREADS: u32 = 1024;
/// Most shared memory of a block that has not asked for more.
pub const SHARED: u64 = 48 << 10;

/// The limits of a capability.
#[must_use]
pub fn limits(capability: u32) -> Limits {
    let (block, total, threads, blocks) = match capability {
        75 => (64, 64, 1024, 16),
        80 | 87 => (163, 164, if capability == 80 { 2048 } else { 1536 }, if capability == 80 { 32 } else { 16 }),
        86 => (99, 100, 1536, 16),
        89 => (99, 100, 1536, 24),
        90 | 100 => (227, 228, 2048, 32),
        _ => (99, 100, 1536, 24),
    };
    Limits { shared_block: block << 10, shared_total: total << 10, threads, blocks }
}

fn attribute_of(attribute: c_int, capability: u32, number: usize) -> Option<c_int> {
    let limits = limits(capability);
    Some(match attribute {
        1 => THREADS as c_int,
        2 | 3 => 1024,
        4 => 64,
        5 => c_int::MAX,
        6 | 7 => 65535,
        8 => SHARED as c_int,
        9 => 65536,
        10 => 32,
        11 => c_int::MAX,
        12 | 82 => REGISTERS as c_int,
        13 => 1_000_000,
        14 => 512,
        15 | 19 | 31 | 41 => 1,
        // As an A100 has them: grids are sized by it.
        16 => 108,
        17 | 18 | 20 | 32 | 83 | 95 | 115 => 0,
        33 => 1 + number as c_int,
        34 | 50 => 0,
        36 => 1_215_000,
        37 => 5120,
        38 => 40 << 20,
        39 => limits.threads as c_int,
        40 => 2,
        75 => (capability / 10) as c_int,
        76 => (capability % 10) as c_int,
        81 => limits.shared_total as c_int,
        97 => limits.shared_block as c_int,
        106 => limits.blocks as c_int,
        111 => if capability >= 80 { 1024 } else { 0 },
        _ => return None,
    })
}
