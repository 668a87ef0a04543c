//! Streams and events. Work is done at once, in the order of the calls; so streams are always empty.

use super::errors::{INVALID_HANDLE, INVALID_VALUE, NOT_READY};
use super::state::{Event, Stream};
use super::{call_in, give};
use std::ffi::{c_int, c_void};
use std::time::Instant;

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreateWithPriority(stream: *mut usize, flags: u32, priority: c_int) -> u32 {
    call_in("cuStreamCreateWithPriority", |driver, device| {
        if flags > 1 {
            return Err(INVALID_VALUE);
        }
        let handle = driver.handle();
        driver.streams.insert(handle, Stream { device, flags, priority: priority.clamp(-5, 0) });
        // SAFETY: the caller's.
        unsafe { give(stream, handle) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamCreate(stream: *mut usize, flags: u32) -> u32 {
    // SAFETY: the caller's.
    unsafe { cuStreamCreateWithPriority(stream, flags, 0) }
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamDestroy_v2(stream: usize) -> u32 {
    call_in("cuStreamDestroy_v2", |driver, _| driver.streams.remove(&stream).map(|_| ()).ok_or(INVALID_HANDLE))
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamSynchronize(stream: usize) -> u32 {
    call_in("cuStreamSynchronize", |driver, device| driver.check_stream(stream, device))
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamQuery(stream: usize) -> u32 {
    call_in("cuStreamQuery", |driver, device| driver.check_stream(stream, device))
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamGetFlags(stream: usize, flags: *mut u32) -> u32 {
    call_in("cuStreamGetFlags", |driver, device| {
        driver.check_stream(stream, device)?;
        // SAFETY: the caller's.
        unsafe { give(flags, driver.streams.get(&stream).map_or(0, |s| s.flags)) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamGetPriority(stream: usize, priority: *mut c_int) -> u32 {
    call_in("cuStreamGetPriority", |driver, device| {
        driver.check_stream(stream, device)?;
        // SAFETY: the caller's.
        unsafe { give(priority, driver.streams.get(&stream).map_or(0, |s| s.priority)) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamWaitEvent(stream: usize, event: usize, flags: u32) -> u32 {
    call_in("cuStreamWaitEvent", |driver, device| {
        driver.check_stream(stream, device)?;
        match driver.events.contains_key(&event) {
            true if flags <= 1 => Ok(()),
            true => Err(INVALID_VALUE),
            false => Err(INVALID_HANDLE),
        }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchHostFunc(
    stream: usize,
    function: Option<unsafe extern "C" fn(*mut c_void)>,
    data: *mut c_void,
) -> u32 {
    let code = call_in("cuLaunchHostFunc", |driver, device| driver.check_stream(stream, device));
    match (code, function) {
        // SAFETY: the caller's function with its own argument; the driver's state is not locked.
        (0, Some(function)) => unsafe { function(data) },
        (0, None) => return INVALID_VALUE,
        _ => {}
    }
    code
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut usize, flags: u32) -> u32 {
    call_in("cuEventCreate", |driver, _| {
        let handle = driver.handle();
        driver.events.insert(handle, Event { flags, recorded: None });
        // SAFETY: the caller's.
        unsafe { give(event, handle) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventDestroy_v2(event: usize) -> u32 {
    call_in("cuEventDestroy_v2", |driver, _| driver.events.remove(&event).map(|_| ()).ok_or(INVALID_HANDLE))
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventRecord(event: usize, stream: usize) -> u32 {
    call_in("cuEventRecord", |driver, device| {
        driver.check_stream(stream, device)?;
        driver.events.get_mut(&event).ok_or(INVALID_HANDLE)?.recorded = Some(Instant::now());
        Ok(())
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventQuery(event: usize) -> u32 {
    call_in("cuEventQuery", |driver, _| driver.events.get(&event).map(|_| ()).ok_or(INVALID_HANDLE))
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventSynchronize(event: usize) -> u32 {
    call_in("cuEventSynchronize", |driver, _| driver.events.get(&event).map(|_| ()).ok_or(INVALID_HANDLE))
}

/// The host's time between two records: the emulator's speed, not a device's.
///
/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventElapsedTime(milliseconds: *mut f32, start: usize, end: usize) -> u32 {
    call_in("cuEventElapsedTime", |driver, _| {
        let time = |event: usize| {
            let event = driver.events.get(&event).ok_or(INVALID_HANDLE)?;
            // Bit 1 is CU_EVENT_DISABLE_TIMING.
            if event.flags & 2 != 0 { Err(INVALID_HANDLE) } else { event.recorded.ok_or(NOT_READY) }
        };
        let (start, end) = (time(start)?, time(end)?);
        let seconds = if end >= start { (end - start).as_secs_f32() } else { -(start - end).as_secs_f32() };
        // SAFETY: the caller's.
        unsafe { give(milliseconds, seconds * 1000.0) }
    })
}
