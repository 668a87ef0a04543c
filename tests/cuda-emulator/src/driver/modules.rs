//! Modules, their kernels and variables.

use super::device::{REGISTERS, SHARED, THREADS, limits};
use super::errors::{INVALID_HANDLE, INVALID_PTX, INVALID_VALUE, NO_BINARY_FOR_GPU, NOT_FOUND, OUT_OF_MEMORY, Status};
use super::state::{Driver, KernelHandle, LoadedModule};
use super::{call_in, give};
use crate::decode::kernel::decode;
use crate::exec::program::Program;
use crate::ptx::module::{Module, Space};
use crate::ptx::parser::parse;
use crate::report::{Kind, say};
use std::collections::HashMap;
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::Arc;

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadDataEx(
    module: *mut usize,
    image: *const c_void,
    _count: u32,
    _options: *mut c_int,
    _values: *mut *mut c_void,
) -> u32 {
    // SAFETY: the caller's.
    unsafe { load("cuModuleLoadDataEx", module, image) }
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleLoadData(module: *mut usize, image: *const c_void) -> u32 {
    // SAFETY: the caller's.
    unsafe { load("cuModuleLoadData", module, image) }
}

/// # Safety
/// `image` is null or a text that ends with a zero byte.
unsafe fn load(name: &'static str, module: *mut usize, image: *const c_void) -> u32 {
    call_in(name, |driver, device| {
        if image.is_null() {
            return Err(INVALID_VALUE);
        }
        // SAFETY: the caller's.
        let bytes = unsafe { CStr::from_ptr(image.cast::<c_char>()) };
        let Ok(text) = bytes.to_str() else {
            say(Kind::Unknown, "a module that is not PTX text");
            return Err(super::errors::NOT_SUPPORTED);
        };
        let handle = driver.load_module(device, text)?;
        // SAFETY: the caller's.
        unsafe { give(module, handle) }
    })
}

impl Driver {
    fn load_module(&mut self, device: usize, text: &str) -> Result<usize, u32> {
        let loaded = match self.decoded.get(text) {
            Some((version, programs)) => {
                let (version, programs) = (*version, programs.clone());
                LoadedModule { device, programs, variables: HashMap::new(), version }
            }
            None => self.decode_module(device, text)?,
        };
        let handle = self.handle();
        self.modules.insert(handle, loaded);
        Ok(handle)
    }

    fn decode_module(&mut self, device: usize, text: &str) -> Result<LoadedModule, u32> {
        let bad = |error: crate::ptx::PtxError| {
            let source = text.lines().nth(error.line.saturating_sub(1) as usize).unwrap_or_default();
            say(Kind::Unknown, &format!("{error}: {}", source.trim()));
            INVALID_PTX
        };
        let module = parse(text).map_err(bad)?;
        if module.target > self.config.capability {
            say(Kind::Unknown, &format!("PTX for sm_{} on a device of sm_{}", module.target, self.config.capability));
            return Err(NO_BINARY_FOR_GPU);
        }
        let variables = self.place_variables(device, &module)?;
        let addresses = variables.iter().map(|(name, v)| (name.clone(), v.0)).collect();
        let shared: Arc<str> = text.into();
        let mut programs = HashMap::new();
        let mut names: Vec<&String> = module.functions.values().filter(|f| f.is_kernel).map(|f| &f.name).collect();
        names.sort();
        for name in names {
            let program = decode(&module, name, &addresses, &shared).map_err(bad)?;
            self.check_program(&program)?;
            programs.insert(name.clone(), Arc::new(program));
        }
        let version = (module.version, module.target);
        if variables.is_empty() {
            self.decoded.insert(shared, (version, programs.clone()));
        }
        Ok(LoadedModule { device, programs, variables, version })
    }

    fn check_program(&self, program: &Program) -> Status {
        if program.shared_bytes > SHARED {
            say(Kind::Unknown, &format!("kernel {} has {} bytes of static shared memory", program.name, program.shared_bytes));
            return Err(INVALID_PTX);
        }
        if program.parameter_bytes > 4096 {
            say(Kind::Unknown, &format!("kernel {} has {} bytes of parameters", program.name, program.parameter_bytes));
            return Err(INVALID_PTX);
        }
        Ok(())
    }

    fn place_variables(&mut self, device: usize, module: &Module) -> Result<HashMap<String, (u64, u64)>, u32> {
        let arena = &self.devices[device].arena;
        let mut out = HashMap::new();
        for variable in module.variables.iter().filter(|v| v.space != Space::Shared) {
            let address = arena.allocate(variable.bytes.max(1), false).ok_or(OUT_OF_MEMORY)?;
            // SAFETY: a fresh buffer of at least this size, zeroed as PTX says.
            unsafe {
                let place = arena.region.data.add((address - arena.region.start) as usize);
                place.write_bytes(0, variable.bytes as usize);
                std::ptr::copy_nonoverlapping(variable.value.as_ptr(), place, variable.value.len());
            }
            arena.region.initialise(address, variable.bytes);
            out.insert(variable.name.clone(), (address, variable.bytes));
        }
        Ok(out)
    }
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleUnload(module: usize) -> u32 {
    call_in("cuModuleUnload", |driver, device| {
        driver.drain_all(device)?;
        let old = driver.modules.remove(&module).ok_or(INVALID_HANDLE)?;
        for (address, _) in old.variables.values() {
            driver.devices[device].arena.free(*address);
        }
        driver.kernels.retain(|_, k| k.module != module);
        Ok(())
    })
}

/// # Safety
/// `name` is null or a text that ends with a zero byte.
unsafe fn text<'a>(name: *const c_char) -> Result<&'a str, u32> {
    if name.is_null() {
        return Err(INVALID_VALUE);
    }
    // SAFETY: the caller's.
    unsafe { CStr::from_ptr(name) }.to_str().map_err(|_| INVALID_VALUE)
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetFunction(kernel: *mut usize, module: usize, name: *const c_char) -> u32 {
    call_in("cuModuleGetFunction", |driver, _| {
        // SAFETY: the caller's.
        let name = unsafe { text(name)? };
        let program = driver.modules.get(&module).ok_or(INVALID_HANDLE)?.programs.get(name).ok_or(NOT_FOUND)?.clone();
        let known = driver.kernels.iter().find(|(_, k)| k.module == module && k.program.name == name).map(|(&h, _)| h);
        let handle = known.unwrap_or_else(|| {
            let handle = driver.handle();
            driver.kernels.insert(handle, KernelHandle { module, program, dynamic_limit: None });
            handle
        });
        // SAFETY: the caller's.
        unsafe { give(kernel, handle) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuModuleGetGlobal_v2(address: *mut u64, bytes: *mut usize, module: usize, name: *const c_char) -> u32 {
    call_in("cuModuleGetGlobal_v2", |driver, _| {
        // SAFETY: the caller's.
        let name = unsafe { text(name)? };
        let found = *driver.modules.get(&module).ok_or(INVALID_HANDLE)?.variables.get(name).ok_or(NOT_FOUND)?;
        // SAFETY: the caller's; either may be null.
        unsafe {
            if !address.is_null() {
                address.write(found.0);
            }
            if !bytes.is_null() {
                bytes.write(found.1 as usize);
            }
        }
        Ok(())
    })
}

/// Registers that a thread of the kernel takes: those live at once, in the granules of eight that hardware gives, at
/// least 16. An estimate; only ptxas knows.
#[must_use]
pub fn registers(program: &Program) -> u32 {
    (program.live_registers as u32).clamp(16, 255).next_multiple_of(8).min(255)
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncGetAttribute(value: *mut c_int, attribute: c_int, kernel: usize) -> u32 {
    call_in("cuFuncGetAttribute", |driver, _| {
        let k = driver.kernels.get(&kernel).ok_or(INVALID_HANDLE)?;
        let version = driver.modules.get(&k.module).ok_or(INVALID_HANDLE)?.version;
        let found = match attribute {
            0 => k.program.max_threads.map_or(THREADS, |t| t.iter().product()) as c_int,
            1 => k.program.shared_bytes as c_int,
            2 => 0,
            3 => k.program.local_bytes as c_int,
            4 => registers(&k.program) as c_int,
            5 => version.0 as c_int,
            6 => driver.config.capability as c_int,
            7 => 0,
            8 => k.dynamic_limit.unwrap_or(SHARED - k.program.shared_bytes) as c_int,
            9 => -1,
            _ => return Err(INVALID_VALUE),
        };
        // SAFETY: the caller's.
        unsafe { give(value, found) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncSetAttribute(kernel: usize, attribute: c_int, value: c_int) -> u32 {
    call_in("cuFuncSetAttribute", |driver, _| {
        let most = limits(driver.config.capability).shared_block;
        let k = driver.kernels.get_mut(&kernel).ok_or(INVALID_HANDLE)?;
        match attribute {
            8 => {
                let bytes = u64::try_from(value).map_err(|_| INVALID_VALUE)?;
                if bytes + k.program.shared_bytes > most {
                    return Err(INVALID_VALUE);
                }
                k.dynamic_limit = Some(bytes);
                Ok(())
            }
            9 if (-1..=100).contains(&value) => Ok(()),
            _ => Err(INVALID_VALUE),
        }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncSetCacheConfig(kernel: usize, config: u32) -> u32 {
    call_in("cuFuncSetCacheConfig", |driver, _| match driver.kernels.contains_key(&kernel) {
        true if config <= 3 => Ok(()),
        true => Err(INVALID_VALUE),
        false => Err(INVALID_HANDLE),
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuFuncSetSharedMemConfig(kernel: usize, config: u32) -> u32 {
    // SAFETY: the caller's.
    unsafe { cuFuncSetCacheConfig(kernel, config) }
}

impl Driver {
    /// Blocks of `threads` threads and `dynamic` bytes that a multiprocessor holds at once.
    fn blocks_at_once(&self, kernel: usize, threads: u32, dynamic: u64) -> Result<u32, u32> {
        let program = &self.kernels.get(&kernel).ok_or(INVALID_HANDLE)?.program;
        if threads == 0 || threads > THREADS {
            return Err(INVALID_VALUE);
        }
        let limits = limits(self.config.capability);
        let warps = threads.div_ceil(32);
        let by_registers = REGISTERS / (registers(program) * 32 * warps);
        let shared = program.shared_bytes + dynamic + if self.config.capability >= 80 { 1024 } else { 0 };
        let by_shared = limits.shared_total.checked_div(shared).map_or(u32::MAX, |blocks| blocks as u32);
        Ok((limits.threads / (warps * 32)).min(limits.blocks).min(by_registers).min(by_shared))
    }
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuOccupancyMaxActiveBlocksPerMultiprocessor(
    blocks: *mut c_int,
    kernel: usize,
    threads: c_int,
    dynamic: usize,
) -> u32 {
    call_in("cuOccupancyMaxActiveBlocksPerMultiprocessor", |driver, _| {
        let found = driver.blocks_at_once(kernel, u32::try_from(threads).unwrap_or(0), dynamic as u64)?;
        // SAFETY: the caller's.
        unsafe { give(blocks, found as c_int) }
    })
}

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuOccupancyMaxPotentialBlockSize(
    grid: *mut c_int,
    block: *mut c_int,
    kernel: usize,
    dynamic_of: Option<unsafe extern "C" fn(c_int) -> usize>,
    dynamic: usize,
    limit: c_int,
) -> u32 {
    call_in("cuOccupancyMaxPotentialBlockSize", |driver, _| {
        let limit = if limit <= 0 { THREADS } else { (limit as u32).min(THREADS) };
        let mut best = (0, 0, 0);
        for threads in (1..=limit / 32).rev().map(|warps| warps * 32) {
            // SAFETY: the caller's function.
            let bytes = dynamic_of.map_or(dynamic, |f| unsafe { f(threads as c_int) });
            let blocks = driver.blocks_at_once(kernel, threads, bytes as u64)?;
            if blocks * threads > best.0 {
                best = (blocks * threads, blocks, threads);
            }
        }
        // SAFETY: the caller's.
        unsafe {
            give(grid, (best.1 * 108) as c_int)?;
            give(block, best.2 as c_int)
        }
    })
}
