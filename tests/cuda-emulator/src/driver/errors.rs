//! Error codes with their names and texts.

use std::ffi::{CStr, c_char};

/// Result of a driver call; the error is a `CUresult`.
pub type Status = Result<(), u32>;

/// Codes that the emulator gives.
pub const INVALID_VALUE: u32 = 1;
#[allow(missing_docs)]
pub const OUT_OF_MEMORY: u32 = 2;
#[allow(missing_docs)]
pub const NOT_INITIALIZED: u32 = 3;
#[allow(missing_docs)]
pub const NO_DEVICE: u32 = 100;
#[allow(missing_docs)]
pub const INVALID_DEVICE: u32 = 101;
#[allow(missing_docs)]
pub const INVALID_CONTEXT: u32 = 201;
#[allow(missing_docs)]
pub const NO_BINARY_FOR_GPU: u32 = 209;
#[allow(missing_docs)]
pub const INVALID_PTX: u32 = 218;
#[allow(missing_docs)]
pub const INVALID_HANDLE: u32 = 400;
#[allow(missing_docs)]
pub const NOT_FOUND: u32 = 500;
#[allow(missing_docs)]
pub const NOT_READY: u32 = 600;
#[allow(missing_docs)]
pub const NOT_SUPPORTED: u32 = 801;

const TABLE: &[(u32, &CStr, &CStr)] = &[
    (0, c"CUDA_SUCCESS", c"no error"),
    (1, c"CUDA_ERROR_INVALID_VALUE", c"invalid argument"),
    (2, c"CUDA_ERROR_OUT_OF_MEMORY", c"out of memory"),
    (3, c"CUDA_ERROR_NOT_INITIALIZED", c"initialization error"),
    (4, c"CUDA_ERROR_DEINITIALIZED", c"driver shutting down"),
    (46, c"CUDA_ERROR_DEVICE_UNAVAILABLE", c"CUDA-capable device(s) is/are busy or unavailable"),
    (100, c"CUDA_ERROR_NO_DEVICE", c"no CUDA-capable device is detected"),
    (101, c"CUDA_ERROR_INVALID_DEVICE", c"invalid device ordinal"),
    (200, c"CUDA_ERROR_INVALID_IMAGE", c"device kernel image is invalid"),
    (201, c"CUDA_ERROR_INVALID_CONTEXT", c"invalid device context"),
    (209, c"CUDA_ERROR_NO_BINARY_FOR_GPU", c"no kernel image is available for execution on the device"),
    (214, c"CUDA_ERROR_ECC_UNCORRECTABLE", c"uncorrectable ECC error encountered"),
    (218, c"CUDA_ERROR_INVALID_PTX", c"a PTX JIT compilation failed"),
    (222, c"CUDA_ERROR_UNSUPPORTED_PTX_VERSION", c"the provided PTX was compiled with an unsupported toolchain."),
    (400, c"CUDA_ERROR_INVALID_HANDLE", c"invalid resource handle"),
    (500, c"CUDA_ERROR_NOT_FOUND", c"named symbol not found"),
    (600, c"CUDA_ERROR_NOT_READY", c"device not ready"),
    (700, c"CUDA_ERROR_ILLEGAL_ADDRESS", c"an illegal memory access was encountered"),
    (701, c"CUDA_ERROR_LAUNCH_OUT_OF_RESOURCES", c"too many resources requested for launch"),
    (702, c"CUDA_ERROR_LAUNCH_TIMEOUT", c"the launch timed out and was terminated"),
    (715, c"CUDA_ERROR_ILLEGAL_INSTRUCTION", c"an illegal instruction was encountered"),
    (716, c"CUDA_ERROR_MISALIGNED_ADDRESS", c"misaligned address"),
    (719, c"CUDA_ERROR_LAUNCH_FAILED", c"unspecified launch failure"),
    (801, c"CUDA_ERROR_NOT_SUPPORTED", c"operation not supported"),
    (999, c"CUDA_ERROR_UNKNOWN", c"unknown error"),
];

fn entry(code: u32) -> Option<&'static (u32, &'static CStr, &'static CStr)> {
    TABLE.iter().find(|e| e.0 == code)
}

/// Name of a code.
#[must_use]
pub fn name(code: u32) -> &'static str {
    entry(code).and_then(|e| e.1.to_str().ok()).unwrap_or("an error without a name")
}

/// # Safety
/// `to` is null or valid.
unsafe fn text(code: u32, to: *mut *const c_char, pick: fn(&(u32, &'static CStr, &'static CStr)) -> &'static CStr) -> u32 {
    let Some(found) = entry(code) else {
        if !to.is_null() {
            // SAFETY: the caller's.
            unsafe { to.write(std::ptr::null()) };
        }
        return INVALID_VALUE;
    };
    // SAFETY: the caller's.
    unsafe { super::give(to, pick(found).as_ptr()) }.err().unwrap_or_default()
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorName(code: u32, to: *mut *const c_char) -> u32 {
    // SAFETY: the caller's.
    unsafe { text(code, to, |e| e.1) }
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuGetErrorString(code: u32, to: *mut *const c_char) -> u32 {
    // SAFETY: the caller's.
    unsafe { text(code, to, |e| e.2) }
}
