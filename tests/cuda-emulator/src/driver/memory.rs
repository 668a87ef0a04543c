//! Allocations, copies and fills.

use super::errors::{INVALID_VALUE, OUT_OF_MEMORY};
use super::state::Driver;
use super::tasks::{Source, Work};
use super::{call_in, give};
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
    call_in("cuMemFree_v2", |driver, device| {
        // As on a device: it waits for everything.
        driver.drain_all(device)?;
        driver.submit(device, 0, "cuMemFree_v2", Work::Free { address })
    })
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
        driver.submit(device, stream, "cuMemFreeAsync", Work::Free { address })
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
    call_in("cuMemFreeHost", |driver, device| {
        driver.drain_all(device)?;
        if driver.free_pinned(at as usize) { Ok(()) } else { Err(INVALID_VALUE) }
    })
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
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoD_v2(to: u64, from: *const c_void, bytes: usize) -> u32 {
    call_in("cuMemcpyHtoD_v2", |driver, device| {
        let from = Source::Place(from as usize);
        driver.submit(device, 0, "cuMemcpyHtoD_v2", Work::ToDevice { to, from, bytes })
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyHtoDAsync_v2(to: u64, from: *const c_void, bytes: usize, stream: usize) -> u32 {
    call_in("cuMemcpyHtoDAsync_v2", |driver, device| {
        driver.check_stream(stream, device)?;
        let from = if driver.config.late && bytes > 0 && !from.is_null() && !driver.is_pinned(from as usize, bytes) {
            // SAFETY: the caller's: `bytes` bytes.
            Source::Staged(unsafe { std::slice::from_raw_parts(from.cast::<u8>(), bytes) }.to_vec())
        } else {
            Source::Place(from as usize)
        };
        driver.submit(device, stream, "cuMemcpyHtoDAsync_v2", Work::ToDevice { to, from, bytes })
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoH_v2(to: *mut c_void, from: u64, bytes: usize) -> u32 {
    call_in("cuMemcpyDtoH_v2", |driver, device| {
        driver.submit(device, 0, "cuMemcpyDtoH_v2", Work::ToHost { to: to as usize, from, bytes })
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoHAsync_v2(to: *mut c_void, from: u64, bytes: usize, stream: usize) -> u32 {
    call_in("cuMemcpyDtoHAsync_v2", |driver, device| {
        driver.check_stream(stream, device)?;
        driver.submit(device, stream, "cuMemcpyDtoHAsync_v2", Work::ToHost { to: to as usize, from, bytes })?;
        // To pageable memory the copy is over when the call returns.
        if driver.is_pinned(to as usize, bytes) { Ok(()) } else { driver.drain(device, stream) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoD_v2(to: u64, from: u64, bytes: usize) -> u32 {
    call_in("cuMemcpyDtoD_v2", |driver, device| {
        driver.submit(device, 0, "cuMemcpyDtoD_v2", Work::OnDevice { to, from, bytes })
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuMemcpyDtoDAsync_v2(to: u64, from: u64, bytes: usize, stream: usize) -> u32 {
    call_in("cuMemcpyDtoDAsync_v2", |driver, device| {
        driver.check_stream(stream, device)?;
        driver.submit(device, stream, "cuMemcpyDtoDAsync_v2", Work::OnDevice { to, from, bytes })
    })
}

macro_rules! fills {
    ($name:ident, $later:ident, $t:ty) => {
        /// # Safety
        /// As the driver API says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $name(to: u64, value: $t, count: usize) -> u32 {
            call_in(stringify!($name), |driver, device| {
                let value = value.to_le_bytes().to_vec();
                driver.submit(device, 0, stringify!($name), Work::Fill { to, value, count })
            })
        }

        /// # Safety
        /// As the driver API says.
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn $later(to: u64, value: $t, count: usize, stream: usize) -> u32 {
            call_in(stringify!($later), |driver, device| {
                driver.check_stream(stream, device)?;
                let value = value.to_le_bytes().to_vec();
                driver.submit(device, stream, stringify!($later), Work::Fill { to, value, count })
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
