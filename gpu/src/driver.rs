//! The CUDA driver, opened when the program runs.
//!
//! A program that is linked with `-lcuda` does not start where no driver is installed. So the driver's functions that
//! `cust` calls are defined here, under the driver's own names, and pass each call on to `libcuda.so.1` once
//! [`open`] has found it. Calls that fail are remembered by name, which `cust`'s errors do not tell.
//!
//! The linker takes these functions for `cust`'s, as [`open`] keeps them all; the `libcuda.a` that it finds for
//! `-lcuda` is empty.

use cust::sys::{
    CUcontext, CUdevice, CUdeviceptr, CUevent, CUfunction, CUhostFn, CUmodule, CUstream, CUuuid,
};
use libloading::Library;
use std::cell::Cell;
use std::ffi::{c_char, c_int, c_uchar, c_uint, c_void};
use std::sync::OnceLock;

/// The driver's library, as the driver's packages install it.
const LIBRARY: &str = "libcuda.so.1";

/// `CUDA_ERROR_NOT_INITIALIZED`: the driver was not opened.
const NOT_INITIALIZED: u32 = 3;

/// `CUDA_ERROR_NOT_FOUND`: the driver lacks the function.
const NOT_FOUND: u32 = 500;

/// `CUDA_ERROR_NOT_READY`: an answer of `cuEventQuery`, not a failure.
const NOT_READY: u32 = 600;

thread_local! {
    /// The last call of this thread that failed.
    static FAILED: Cell<&'static str> = const { Cell::new("no driver call") };
}

/// Name of the last driver call of this thread that failed.
pub(crate) fn failed_call() -> &'static str {
    FAILED.get()
}

/// The opened library and its functions, in the order of [`NAMES`].
struct Driver {
    functions: Vec<Option<unsafe extern "C" fn()>>,
    _library: Library,
}

static DRIVER: OnceLock<Result<Driver, String>> = OnceLock::new();

/// Opens the driver unless that was done before.
///
/// # Errors
/// What the system's loader says of `libcuda.so.1`.
pub(crate) fn open() -> Result<(), &'static str> {
    let driver = DRIVER.get_or_init(|| {
        // SAFETY: the driver's library initialises itself as any program that is linked with it expects.
        let library = unsafe { Library::new(LIBRARY) }.map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            cause.unwrap_or_else(|| error.to_string())
        })?;
        let find = |(name, _): &(&'static str, Kept)| {
            // SAFETY: only called through the type that the function has, in `forward`.
            unsafe { library.get::<unsafe extern "C" fn()>(*name) }.ok().map(|symbol| *symbol)
        };
        let functions = NAMES.iter().map(find).collect();
        Ok(Driver { functions, _library: library })
    });
    driver.as_ref().map(|_| ()).map_err(String::as_str)
}

/// What the driver says of an error.
pub(crate) fn describe(code: u32) -> String {
    let mut text = std::ptr::null();
    // SAFETY: a place to write to; what the driver writes there is a string of its own that stays.
    unsafe {
        if cuGetErrorString(code, &mut text) != 0 || text.is_null() {
            return "an error that it does not describe".into();
        }
        std::ffi::CStr::from_ptr(text).to_string_lossy().into_owned()
    }
}

/// What keeps a function in the program: its address.
#[derive(Clone, Copy)]
struct Kept(#[expect(dead_code, reason = "an address that is taken keeps its function")] *const c_void);

// SAFETY: an address that nobody reads.
unsafe impl Sync for Kept {}

/// Function number `index` of the driver, or the error to return.
fn function(index: usize, name: &'static str) -> Result<unsafe extern "C" fn(), u32> {
    #[cfg(feature = "faults")]
    if let Some(error) = faults::due(name) {
        FAILED.set(name);
        return Err(error);
    }
    match DRIVER.get() {
        Some(Ok(driver)) => driver.functions[index].ok_or(NOT_FOUND),
        _ => Err(NOT_INITIALIZED),
    }
    .inspect_err(|_| FAILED.set(name))
}

macro_rules! forward {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        /// The functions that are passed on, each with its address.
        static NAMES: &[(&str, Kept)] = &[$((stringify!($name), Kept($name as *const c_void)),)*];

        #[expect(non_camel_case_types, reason = "the driver's names")]
        enum Index { $($name),* }

        $(
            #[allow(non_snake_case, clippy::too_many_arguments, reason = "the driver's names and arguments")]
            #[unsafe(no_mangle)]
            pub(crate) unsafe extern "C" fn $name($($argument: $type),*) -> u32 {
                let function = match function(Index::$name as usize, stringify!($name)) {
                    Ok(function) => function,
                    Err(error) => return error,
                };
                // SAFETY: the driver's function of this name has this type; the caller keeps its promises to it.
                let result = unsafe {
                    let function: unsafe extern "C" fn($($type),*) -> u32 = std::mem::transmute(function);
                    function($($argument),*)
                };
                if result != 0 && result != NOT_READY && stringify!($name) != "cuGetErrorString" {
                    FAILED.set(stringify!($name));
                }
                result
            }
        )*
    };
}

forward! {
    cuInit(flags: c_uint);
    cuDriverGetVersion(version: *mut c_int);
    cuGetErrorString(error: c_uint, string: *mut *const c_char);
    cuDeviceGetCount(count: *mut c_int);
    cuDeviceGet(device: *mut CUdevice, ordinal: c_int);
    cuDeviceGetName(name: *mut c_char, len: c_int, device: CUdevice);
    cuDeviceGetUuid(uuid: *mut CUuuid, device: CUdevice);
    cuDeviceGetAttribute(value: *mut c_int, attribute: c_uint, device: CUdevice);
    cuDeviceTotalMem_v2(bytes: *mut usize, device: CUdevice);
    cuDevicePrimaryCtxRetain(context: *mut CUcontext, device: CUdevice);
    cuDevicePrimaryCtxRelease_v2(device: CUdevice);
    cuCtxGetCurrent(context: *mut CUcontext);
    cuCtxSetCurrent(context: CUcontext);
    cuCtxSynchronize();
    cuMemGetInfo_v2(free: *mut usize, total: *mut usize);
    cuMemAlloc_v2(pointer: *mut CUdeviceptr, bytes: usize);
    cuMemFree_v2(pointer: CUdeviceptr);
    cuMemAllocHost_v2(pointer: *mut *mut c_void, bytes: usize);
    cuMemFreeHost(pointer: *mut c_void);
    cuMemcpyHtoD_v2(to: CUdeviceptr, from: *const c_void, bytes: usize);
    cuMemcpyDtoH_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize);
    cuMemcpyDtoD_v2(to: CUdeviceptr, from: CUdeviceptr, bytes: usize);
    cuMemcpyHtoDAsync_v2(to: CUdeviceptr, from: *const c_void, bytes: usize, stream: CUstream);
    cuMemcpyDtoHAsync_v2(to: *mut c_void, from: CUdeviceptr, bytes: usize, stream: CUstream);
    cuMemcpyDtoDAsync_v2(to: CUdeviceptr, from: CUdeviceptr, bytes: usize, stream: CUstream);
    cuMemsetD8_v2(to: CUdeviceptr, value: c_uchar, count: usize);
    cuMemsetD8Async(to: CUdeviceptr, value: c_uchar, count: usize, stream: CUstream);
    cuMemsetD32Async(to: CUdeviceptr, value: c_uint, count: usize, stream: CUstream);
    cuModuleLoadDataEx(
        module: *mut CUmodule,
        image: *const c_void,
        count: c_uint,
        options: *mut c_uint,
        values: *mut *mut c_void
    );
    cuModuleGetFunction(function: *mut CUfunction, module: CUmodule, name: *const c_char);
    cuModuleUnload(module: CUmodule);
    cuFuncGetAttribute(value: *mut c_int, attribute: c_uint, function: CUfunction);
    cuFuncSetAttribute(function: CUfunction, attribute: c_uint, value: c_int);
    cuOccupancyMaxActiveBlocksPerMultiprocessor(
        blocks: *mut c_int,
        function: CUfunction,
        threads: c_int,
        shared: usize
    );
    cuLaunchKernel(
        function: CUfunction,
        grid_x: c_uint,
        grid_y: c_uint,
        grid_z: c_uint,
        block_x: c_uint,
        block_y: c_uint,
        block_z: c_uint,
        shared: c_uint,
        stream: CUstream,
        parameters: *mut *mut c_void,
        extra: *mut *mut c_void
    );
    cuLaunchHostFunc(stream: CUstream, function: CUhostFn, data: *mut c_void);
    cuStreamCreateWithPriority(stream: *mut CUstream, flags: c_uint, priority: c_int);
    cuStreamDestroy_v2(stream: CUstream);
    cuStreamSynchronize(stream: CUstream);
    cuStreamWaitEvent(stream: CUstream, event: CUevent, flags: c_uint);
    cuEventCreate(event: *mut CUevent, flags: c_uint);
    cuEventDestroy_v2(event: CUevent);
    cuEventRecord(event: CUevent, stream: CUstream);
    cuEventQuery(event: CUevent);
    cuEventSynchronize(event: CUevent);
    cuEventElapsedTime(milliseconds: *mut f32, start: CUevent, end: CUevent);
}

/// Driver calls that fail on purpose, for tests of what happens then.
#[cfg(feature = "faults")]
pub mod faults {
    use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

    static LEFT: AtomicU64 = AtomicU64::new(u64::MAX);
    static ERROR: AtomicU32 = AtomicU32::new(0);

    /// Lets the call after `calls` others of the whole program fail with the driver's error `error`, and every one
    /// after that succeed again.
    pub fn plant(calls: u64, error: u32) {
        ERROR.store(error, Ordering::SeqCst);
        LEFT.store(calls, Ordering::SeqCst);
    }

    /// Name of the last driver call of this thread that failed, on purpose or by itself.
    pub fn failed() -> &'static str {
        super::failed_call()
    }

    /// Takes back what was planted; returns whether it was still to come.
    pub fn clear() -> bool {
        LEFT.swap(u64::MAX, Ordering::SeqCst) != u64::MAX
    }

    /// The error of the present call, if it is to fail. Calls that describe an error or give something back always
    /// reach the driver.
    pub(super) fn due(name: &str) -> Option<u32> {
        let exempt = ["cuGetErrorString", "cuMemFree_v2", "cuMemFreeHost", "cuModuleUnload"];
        if exempt.contains(&name) || name.contains("Destroy") || name.contains("Release") {
            return None;
        }
        let count = |left: u64| if left == u64::MAX { None } else { Some(left.wrapping_sub(1)) };
        let before = LEFT.fetch_update(Ordering::SeqCst, Ordering::SeqCst, count).ok()?;
        (before == 0).then(|| ERROR.load(Ordering::SeqCst))
    }
}
