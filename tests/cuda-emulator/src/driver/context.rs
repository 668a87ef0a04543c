//! Primary contexts, and which one is current.

use super::errors::{INVALID_CONTEXT, INVALID_VALUE};
use super::state::{Driver, pop_current, push_current, set_current, top};
use super::{call, call_in, give};
use crate::report::{Kind, say};
use std::ffi::c_int;

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRetain(context: *mut usize, device: c_int) -> u32 {
    call("cuDevicePrimaryCtxRetain", |driver| {
        let number = driver.device_number(device)?;
        driver.devices[number].retained += 1;
        // SAFETY: the caller's.
        unsafe { give(context, Driver::context(Some(number))) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxRelease_v2(device: c_int) -> u32 {
    call("cuDevicePrimaryCtxRelease_v2", |driver| {
        let number = driver.device_number(device)?;
        if driver.devices[number].retained == 0 {
            return Err(INVALID_CONTEXT);
        }
        driver.devices[number].retained -= 1;
        if driver.devices[number].retained == 0 {
            driver.end_context(number);
        }
        Ok(())
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxReset_v2(device: c_int) -> u32 {
    call("cuDevicePrimaryCtxReset_v2", |driver| {
        let number = driver.device_number(device)?;
        driver.end_context(number);
        Ok(())
    })
}

impl Driver {
    /// Frees all that belongs to a context, and tells what the program should have freed.
    fn end_context(&mut self, device: usize) {
        // What still waits is done first; its errors are in the log.
        let _ = self.drain_all(device);
        let (queues, streams) = (&mut self.queues, &self.streams);
        queues.retain(|stream, _| streams.get(stream).is_some_and(|s| s.device != device));
        if self.devices[device].broken.take().is_none() {
            self.report_leaks(device);
        }
        self.devices[device].arena.clear();
        let modules = &mut self.modules;
        modules.retain(|_, m| m.device != device);
        self.kernels.retain(|_, k| modules.contains_key(&k.module));
        self.streams.retain(|_, s| s.device != device);
        if device == 0 {
            self.events.clear();
        }
        let left: Vec<usize> = self.pinned.iter().filter(|(_, p)| p.1 == device).map(|(&at, _)| at).collect();
        left.into_iter().for_each(|at| {
            self.free_pinned(at);
        });
    }
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxSetFlags_v2(device: c_int, flags: u32) -> u32 {
    call("cuDevicePrimaryCtxSetFlags_v2", |driver| {
        let number = driver.device_number(device)?;
        driver.devices[number].flags = flags;
        Ok(())
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuDevicePrimaryCtxGetState(device: c_int, flags: *mut u32, active: *mut c_int) -> u32 {
    call("cuDevicePrimaryCtxGetState", |driver| {
        let number = driver.device_number(device)?;
        let state = &driver.devices[number];
        // SAFETY: the caller's.
        unsafe {
            give(flags, state.flags)?;
            give(active, c_int::from(state.retained > 0))
        }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSetCurrent(context: usize) -> u32 {
    call("cuCtxSetCurrent", |driver| {
        set_current(driver.context_device(context)?);
        Ok(())
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetCurrent(context: *mut usize) -> u32 {
    // SAFETY: the caller's.
    call("cuCtxGetCurrent", |_| unsafe { give(context, Driver::context(top())) })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxPushCurrent_v2(context: usize) -> u32 {
    call("cuCtxPushCurrent_v2", |driver| {
        push_current(driver.context_device(context)?);
        Ok(())
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxPopCurrent_v2(context: *mut usize) -> u32 {
    call("cuCtxPopCurrent_v2", |_| {
        let device = pop_current();
        if !context.is_null() {
            // SAFETY: the caller's.
            unsafe { context.write(Driver::context(device)) };
        }
        if device.is_some() { Ok(()) } else { Err(INVALID_CONTEXT) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetDevice(device: *mut c_int) -> u32 {
    // SAFETY: the caller's.
    call_in("cuCtxGetDevice", |_, number| unsafe { give(device, number as c_int) })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetFlags(flags: *mut u32) -> u32 {
    // SAFETY: the caller's.
    call_in("cuCtxGetFlags", |driver, number| unsafe { give(flags, driver.devices[number].flags) })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetApiVersion(context: usize, version: *mut u32) -> u32 {
    call("cuCtxGetApiVersion", |driver| {
        driver.context_device(context)?;
        // SAFETY: the caller's.
        unsafe { give(version, 3020) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSynchronize() -> u32 {
    call_in("cuCtxSynchronize", |driver, device| driver.drain_all(device))
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxGetStreamPriorityRange(least: *mut c_int, greatest: *mut c_int) -> u32 {
    call_in("cuCtxGetStreamPriorityRange", |_, _| {
        for (to, value) in [(least, 0), (greatest, -5)] {
            if !to.is_null() {
                // SAFETY: the caller's.
                unsafe { to.write(value) };
            }
        }
        Ok(())
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSetCacheConfig(config: u32) -> u32 {
    call_in("cuCtxSetCacheConfig", |_, _| if config <= 3 { Ok(()) } else { Err(INVALID_VALUE) })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSetSharedMemConfig(config: u32) -> u32 {
    call_in("cuCtxSetSharedMemConfig", |_, _| if config <= 2 { Ok(()) } else { Err(INVALID_VALUE) })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuCtxSetLimit(limit: u32, value: usize) -> u32 {
    call_in("cuCtxSetLimit", |_, _| {
        say(Kind::Unknown, &format!("cuCtxSetLimit({limit}, {value}) has no effect"));
        Ok(())
    })
}
