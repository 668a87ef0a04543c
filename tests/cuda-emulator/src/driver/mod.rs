//! The driver API: its functions by subject, and the state behind them.

pub mod context;
pub mod device;
pub mod errors;
pub mod events;
pub mod launch;
pub mod memory;
pub mod modules;
pub mod state;
pub mod tasks;
pub mod unsupported;

use errors::{NOT_INITIALIZED, Status};
use state::Driver;
use std::sync::{Mutex, PoisonError};

/// The driver's state; `None` until `cuInit`.
static DRIVER: Mutex<Option<Driver>> = Mutex::new(None);

/// Carries out a driver call: counts it, lets it fail if that was asked for, and reports what it returns.
fn call(name: &'static str, body: impl FnOnce(&mut Driver) -> Status) -> u32 {
    let mut guard = DRIVER.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(driver) = guard.as_mut() else { return NOT_INITIALIZED };
    let result = match driver.planned_failure(name) {
        Some(code) => Err(code),
        None => body(driver),
    };
    let code = result.err().unwrap_or_default();
    if code != 0 {
        let text = format!("{name} (call {}) returned {} ({code})", driver.calls, errors::name(code));
        crate::report::say(crate::report::Kind::Error, &text);
    }
    code
}

/// Like `call`, for what needs a healthy current context, given by its device's number.
fn call_in(name: &'static str, body: impl FnOnce(&mut Driver, usize) -> Status) -> u32 {
    call(name, |driver| {
        let device = driver.current()?;
        match driver.devices[device].broken {
            Some(code) => Err(code),
            None => body(driver, device),
        }
    })
}

/// Writes a result where the caller wants it.
///
/// # Safety
/// `to` is null or valid.
unsafe fn give<T>(to: *mut T, value: T) -> Status {
    if to.is_null() {
        return Err(errors::INVALID_VALUE);
    }
    // SAFETY: the caller's.
    unsafe { to.write(value) };
    Ok(())
}
