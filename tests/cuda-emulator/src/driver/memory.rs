//! Allocations, copies and fills.

use super::errors::{INVALID_VALUE, OUT_OF_MEMORY, Status};
use super::state::Driver;
use super::{call_in, give};
use crate::memory::region::Refusal;
use crate::report::{Kind, say};
use std::alloc::Layout;
use std::ffi::{c_int, c_void};

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAlloc_v2(address: *mut u64, bytes: usize) -> u32 {
    call_in("cuMemAlloc_v2", |driver, device| {
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        let found = driver.devices[device].arena.allocate(bytes as u64, true).ok_or(OUT_OF_MEMORY)?;
        // SAFETY: the caller's.
        unsafe { give(address, found) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFree_v2(address: u64) -> u32 {
    call_in("cuMemFree_v2", |driver, device| free(driver, device, address))
}

fn free(driver: &mut Driver, device: usize, address: u64) -> Status {
    let arena = &driver.devices[device].arena;
    if address == 0 || arena.free(address) {
        return Ok(());
    }
    say(Kind::Fault, &format!("free of {address:#x} ({}), where no live buffer starts", arena.describe(address)));
    Err(INVALID_VALUE)
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocAsync(address: *mut u64, bytes: usize, stream: usize) -> u32 {
    call_in("cuMemAllocAsync", |driver, device| {
        driver.check_stream(stream, device)?;
        if bytes == 0 {
            return Err(INVALID_VALUE);
        }
        let found = driver.devices[device].arena.allocate(bytes as u64, true).ok_or(OUT_OF_MEMORY)?;
        // SAFETY: the caller's.
        unsafe { give(address, found) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFreeAsync(address: u64, stream: usize) -> u32 {
    call_in("cuMemFreeAsync", |driver, device| {
        driver.check_stream(stream, device)?;
        free(driver, device, address)
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetInfo_v2(free: *mut usize, total: *mut usize) -> u32 {
    call_in("cuMemGetInfo_v2", |driver, device| {
        let (f, t) = driver.devices[device].arena.info();
        // SAFETY: the caller's.
        unsafe {
            give(free, f as usize)?;
            give(total, t as usize)
        }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemGetAddressRange_v2(base: *mut u64, size: *mut usize, address: u64) -> u32 {
    call_in("cuMemGetAddressRange_v2", |driver, device| {
        let buffer = driver.devices[device].arena.buffer(address).ok_or(super::errors::NOT_FOUND)?;
        // SAFETY: the caller's.
        unsafe {
            give(base, buffer.address)?;
            give(size, buffer.bytes as usize)
        }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemAllocHost_v2(to: *mut *mut c_void, bytes: usize) -> u32 {
    call_in("cuMemAllocHost_v2", |driver, device| {
        let Ok(layout) = Layout::from_size_align(bytes.max(1), 64) else { return Err(INVALID_VALUE) };
        // SAFETY: the layout has a size.
        let at = unsafe { std::alloc::alloc(layout) };
        if at.is_null() {
            return Err(OUT_OF_MEMORY);
        }
        driver.pinned.insert(at as usize, (layout.size(), device));
        // SAFETY: the caller's.
        unsafe { give(to, at.cast()) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemHostAlloc(to: *mut *mut c_void, bytes: usize, _flags: u32) -> u32 {
    // SAFETY: the caller's.
    unsafe { cuMemAllocHost_v2(to, bytes) }
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemFreeHost(at: *mut c_void) -> u32 {
    call_in("cuMemFreeHost", |driver, _| if driver.free_pinned(at as usize) { Ok(()) } else { Err(INVALID_VALUE) })
}

impl Driver {
    /// Frees page-locked memory; false if there is none at this address.
    pub(super) fn free_pinned(&mut self, at: usize) -> bool {
        let Some((bytes, _)) = self.pinned.remove(&at) else { return false };
        if let Ok(layout) = Layout::from_size_align(bytes, 64) {
            // SAFETY: allocated with this layout by `cuMemAllocHost_v2`, and just taken from the list.
            unsafe { std::alloc::dealloc(at as *mut u8, layout) };
        }
        true
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
}

/// # Safety
/// `from` has `bytes` bytes.
unsafe fn to_device(driver: &mut Driver, device: usize, to: u64, from: *const c_void, bytes: usize, name: &str) -> Status {
    if bytes == 0 {
        return Ok(());
    }
    let place = driver.range(device, to, bytes, false, name)?;
    if from.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's source; the destination was checked.
    unsafe { std::ptr::copy_nonoverlapping(from.cast(), place, bytes) };
    driver.devices[device].arena.region.initialise(to, bytes as u64);
    Ok(())
}

/// # Safety
/// `to` has `bytes` bytes.
unsafe fn to_host(driver: &mut Driver, device: usize, to: *mut c_void, from: u64, bytes: usize, name: &str) -> Status {
    if bytes == 0 {
        return Ok(());
    }
    let place = driver.range(device, from, bytes, true, name)?;
    if to.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's destination; the source was checked.
    unsafe { std::ptr::copy_nonoverlapping(place, to.cast(), bytes) };
    Ok(())
}

fn on_device(driver: &mut Driver, device: usize, to: u64, from: u64, bytes: usize, name: &str) -> Status {
    if bytes == 0 {
        return Ok(());
    }
    let source = driver.range(device, from, bytes, true, name)?;
    let place = driver.range(device, to, bytes, false, name)?;
    // SAFETY: both were checked; they may overlap.
    unsafe { std::ptr::copy(source, place, bytes) };
    driver.devices[device].arena.region.initialise(to, bytes as u64);
    Ok(())
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) -> u32 {
    // SAFETY: the caller's.
    call_in("cuMemcpyHtoD_v2", |driver, device| unsafe { to_device(driver, device, to, from, bytes, "cuMemcpyHtoD_v2") })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: usize) -> u32 {
    call_in("cuMemcpyHtoDAsync_v2", |driver, device| {
        driver.check_stream(stream, device)?;
        // SAFETY: the caller's.
        unsafe { to_device(driver, device, to, from, bytes, "cuMemcpyHtoDAsync_v2") }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) -> u32 {
    // SAFETY: the caller's.
    call_in("cuMemcpyDtoH_v2", |driver, device| unsafe { to_host(driver, device, to, from, bytes, "cuMemcpyDtoH_v2") })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: usize) -> u32 {
    call_in("cuMemcpyDtoHAsync_v2", |driver, device| {
        driver.check_stream(stream, device)?;
        // SAFETY: the caller's.
        unsafe { to_host(driver, device, to, from, bytes, "cuMemcpyDtoHAsync_v2") }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> u32 {
    call_in("cuMemcpyDtoD_v2", |driver, device| on_device(driver, device, to, from, bytes, "cuMemcpyDtoD_v2"))
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize) -> u32 {
    call_in("cuMemcpyDtoDAsync_v2", |driver, device| {
        driver.check_stream(stream, device)?;
        on_device(driver, device, to, from, bytes, "cuMemcpyDtoDAsync_v2")
    })
}

/// Fills `count` elements; the address must be a multiple of their size.
fn fill(driver: &mut Driver, device: usize, to: u64, value: &[u8], count: usize, name: &str) -> Status {
    let bytes = count.checked_mul(value.len()).ok_or(INVALID_VALUE)?;
    if bytes == 0 {
        return Ok(());
    }
    if !to.is_multiple_of(value.len() as u64) {
        say(Kind::Fault, &format!("{name} at {to:#x}, which is not a multiple of {}", value.len()));
        return Err(INVALID_VALUE);
    }
    let place = driver.range(device, to, bytes, false, name)?;
    // SAFETY: the range was checked.
    let all = unsafe { std::slice::from_raw_parts_mut(place, bytes) };
    all.chunks_exact_mut(value.len()).for_each(|chunk| chunk.copy_from_slice(value));
    driver.devices[device].arena.region.initialise(to, bytes as u64);
    Ok(())
}

macro_rules! fills {
    ($name:ident, $later:ident, $t:ty) => {
        /// # Safety
        /// As the driver API says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(to: u64, value: $t, count: usize) -> u32 {
            call_in(stringify!($name), |driver, device| {
                fill(driver, device, to, &value.to_le_bytes(), count, stringify!($name))
            })
        }

        /// # Safety
        /// As the driver API says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $later(to: u64, value: $t, count: usize, stream: usize) -> u32 {
            call_in(stringify!($later), |driver, device| {
                driver.check_stream(stream, device)?;
                fill(driver, device, to, &value.to_le_bytes(), count, stringify!($later))
            })
        }
    };
}

fills!(cuMemsetD8_v2, cuMemsetD8Async, u8);
fills!(cuMemsetD16_v2, cuMemsetD16Async, u16);
fills!(cuMemsetD32_v2, cuMemsetD32Async, u32);

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuPointerGetAttribute(_data: *mut c_void, attribute: c_int, _address: u64) -> u32 {
    call_in("cuPointerGetAttribute", |_, _| {
        say(Kind::Unknown, &format!("pointer attribute {attribute}"));
        Err(super::errors::NOT_SUPPORTED)
    })
}
