//! Streams and events.

use super::errors::{INVALID_HANDLE, INVALID_VALUE, NOT_READY};
use super::state::{Event, Stream};
use super::tasks::Work;
use super::{call_in, give};
use std::collections::VecDeque;
use std::ffi::{c_int, c_void};

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
    call_in("cuStreamDestroy_v2", |driver, device| {
        // The work in it is still done.
        driver.drain(device, stream)?;
        driver.queues.remove(&stream);
        driver.streams.remove(&stream).map(|_| ()).ok_or(INVALID_HANDLE)
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamSynchronize(stream: usize) -> u32 {
    call_in("cuStreamSynchronize", |driver, device| {
        driver.check_stream(stream, device)?;
        driver.drain(device, stream)
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuStreamQuery(stream: usize) -> u32 {
    call_in("cuStreamQuery", |driver, device| {
        driver.check_stream(stream, device)?;
        // Asking again and again must come to an end.
        driver.step(device, stream)?;
        if driver.queues.get(&stream).is_none_or(VecDeque::is_empty) { Ok(()) } else { Err(NOT_READY) }
    })
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
        let waited = driver.events.get(&event).ok_or(INVALID_HANDLE)?;
        if flags > 1 {
            return Err(INVALID_VALUE);
        }
        let work = Work::Wait { stream: waited.stream, event, number: waited.asked };
        driver.submit(device, stream, "cuStreamWaitEvent", work)
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
    call_in("cuLaunchHostFunc", |driver, device| {
        driver.check_stream(stream, device)?;
        let function = function.ok_or(INVALID_VALUE)?;
        driver.submit(device, stream, "cuLaunchHostFunc", Work::Call { function, data: data as usize })
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventCreate(event: *mut usize, flags: u32) -> u32 {
    call_in("cuEventCreate", |driver, _| {
        let handle = driver.handle();
        driver.events.insert(handle, Event { flags, recorded: None, stream: 0, asked: 0, done: 0 });
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
        let recorded = driver.events.get_mut(&event).ok_or(INVALID_HANDLE)?;
        recorded.asked += 1;
        recorded.stream = stream;
        let number = recorded.asked;
        driver.submit(device, stream, "cuEventRecord", Work::Record { event, number })
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventQuery(event: usize) -> u32 {
    call_in("cuEventQuery", |driver, device| {
        let asked = driver.events.get(&event).ok_or(INVALID_HANDLE)?;
        let (stream, number) = (asked.stream, asked.asked);
        if asked.done < number {
            driver.step(device, stream)?;
        }
        if driver.events.get(&event).is_some_and(|e| e.done >= number) { Ok(()) } else { Err(NOT_READY) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuEventSynchronize(event: usize) -> u32 {
    call_in("cuEventSynchronize", |driver, device| {
        let asked = driver.events.get(&event).ok_or(INVALID_HANDLE)?;
        let (stream, number) = (asked.stream, asked.asked);
        driver.reach(device, stream, event, number)
    })
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
            if event.flags & 2 != 0 {
                return Err(INVALID_HANDLE);
            }
            if event.done < event.asked { Err(NOT_READY) } else { event.recorded.ok_or(INVALID_HANDLE) }
        };
        let (start, end) = (time(start)?, time(end)?);
        let seconds = if end >= start { (end - start).as_secs_f32() } else { -(start - end).as_secs_f32() };
        // SAFETY: the caller's.
        unsafe { give(milliseconds, seconds * 1000.0) }
    })
}
