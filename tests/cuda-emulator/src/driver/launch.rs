//! Launches: limits, arguments, and what becomes of a fault.

use super::call_in;
use super::device::{SHARED, THREADS};
use super::errors::{INVALID_HANDLE, INVALID_VALUE, Status};
use super::state::Driver;
use super::tasks::Work;
use crate::exec::launch::{Launch, Races};
use crate::exec::program::Program;
use crate::memory::races::LAUNCHES;
use crate::report::{Kind, counts, say};
use std::ffi::c_void;

/// # Safety
/// As the driver API says.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cuLaunchKernel(
    kernel: usize,
    grid_x: u32,
    grid_y: u32,
    grid_z: u32,
    block_x: u32,
    block_y: u32,
    block_z: u32,
    dynamic: u32,
    stream: usize,
    arguments: *mut *mut c_void,
    extra: *mut *mut c_void,
) -> u32 {
    call_in("cuLaunchKernel", |driver, device| {
        driver.check_stream(stream, device)?;
        if !extra.is_null() {
            say(Kind::Unknown, "cuLaunchKernel with `extra`");
            return Err(super::errors::NOT_SUPPORTED);
        }
        let (grid, block) = ([grid_x, grid_y, grid_z], [block_x, block_y, block_z]);
        let k = driver.kernels.get(&kernel).ok_or(INVALID_HANDLE)?;
        if driver.modules.get(&k.module).is_none_or(|m| m.device != device) {
            return Err(INVALID_HANDLE);
        }
        let program = k.program.clone();
        let dynamic_limit = k.dynamic_limit.unwrap_or(SHARED.saturating_sub(program.shared_bytes));
        check_limits(&program, grid, block, u64::from(dynamic), dynamic_limit)?;
        let mut bytes = vec![0u8; program.parameter_bytes as usize];
        for (index, &(at, size)) in program.parameters.iter().enumerate() {
            if arguments.is_null() {
                return Err(INVALID_VALUE);
            }
            // SAFETY: the caller gives a pointer for each parameter, to as many bytes as the kernel declares.
            unsafe {
                let from = *arguments.add(index);
                if from.is_null() {
                    return Err(INVALID_VALUE);
                }
                std::ptr::copy_nonoverlapping(from.cast(), bytes[at as usize..].as_mut_ptr(), size as usize);
            }
        }
        let (dynamic, parameters) = (u64::from(dynamic), bytes);
        driver.submit(device, stream, "cuLaunchKernel", Work::Launch { program, grid, block, dynamic, parameters })
    })
}

fn check_limits(program: &Program, grid: [u32; 3], block: [u32; 3], dynamic: u64, dynamic_limit: u64) -> Status {
    let refuse = |what: String, code: u32| {
        say(Kind::Fault, &format!("launch of {}: {what}", program.name));
        Err(code)
    };
    let threads: u64 = block.iter().map(|&n| u64::from(n)).product();
    if grid.contains(&0) || block.contains(&0) {
        return refuse(format!("grid {grid:?} of blocks {block:?} is empty"), INVALID_VALUE);
    }
    if grid[0] > i32::MAX as u32 || grid[1] > 65535 || grid[2] > 65535 {
        return refuse(format!("grid {grid:?} is larger than (2^31 - 1, 65535, 65535)"), INVALID_VALUE);
    }
    if block[0] > 1024 || block[1] > 1024 || block[2] > 64 || threads > u64::from(THREADS) {
        return refuse(format!("block {block:?} is larger than 1024 threads or (1024, 1024, 64)"), INVALID_VALUE);
    }
    if dynamic > dynamic_limit {
        return refuse(format!("{dynamic} bytes of dynamic shared memory, {dynamic_limit} are allowed"), INVALID_VALUE);
    }
    if let Some(most) = program.max_threads {
        let product: u32 = most.iter().product();
        if program.exact_threads && block != most || threads > u64::from(product) {
            return refuse(format!("block {block:?}, but the kernel is compiled for {most:?}"), INVALID_VALUE);
        }
    }
    Ok(())
}

impl Driver {
    /// Runs a kernel, and breaks the context if it fails.
    pub(super) fn launch(
        &mut self,
        device: usize,
        program: &Program,
        grid: [u32; 3],
        block: [u32; 3],
        dynamic: u64,
        parameters: Vec<u8>,
    ) -> Status {
        let blocks: u64 = grid.iter().map(|&n| u64::from(n)).product();
        if blocks > u64::from(u32::MAX) {
            say(Kind::Unknown, &format!("grid {grid:?} has more than 2^32 blocks"));
            return Err(super::errors::NOT_SUPPORTED);
        }
        let state = &mut self.devices[device];
        if state.launches == LAUNCHES {
            state.launches = 0;
            state.arena.forget_races();
        }
        state.launches += 1;
        let mut launch = Launch::new(program, &state.arena, grid, block, dynamic);
        launch.parameters = parameters;
        launch.number = state.launches;
        launch.races = if launch.can_check_races() { self.config.races } else { Races::Off };
        match launch.run(program, self.config.threads) {
            Ok(total) => {
                counts(|| total.json(program, grid, block, program.shared_bytes + dynamic));
                Ok(())
            }
            Err(fault) => {
                say(Kind::Fault, &fault.to_string());
                let code = fault.kind.code();
                // As on a device: the context is lost.
                self.devices[device].broken = Some(code);
                Err(code)
            }
        }
    }
}
