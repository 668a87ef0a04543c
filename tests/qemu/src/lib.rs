//! What the firmware images share: output, exact instruction counts, memory use, and what happens on a panic.
#![no_std]

pub mod counter;
pub mod hash;
pub mod memory;
pub mod output;
mod panics;

#[cfg(target_arch = "arm")]
pub use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
pub use riscv_rt::entry;
pub use output::{finish, Hex};

/// An exception is a failure; without this the image would hang until its time is up.
#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(_frame: &cortex_m_rt::ExceptionFrame) -> ! {
    finish(Err("a fault of the processor"))
}

/// An exception is a failure; without this the image would hang until its time is up.
#[cfg(target_arch = "riscv32")]
#[unsafe(export_name = "ExceptionHandler")]
extern "C" fn exception() -> ! {
    finish(Err("a fault of the processor"))
}
