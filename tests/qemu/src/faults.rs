//! An exception is a failure; without this an image would hang until its time is up.

use crate::output::finish;

#[cfg(target_arch = "arm")]
#[cortex_m_rt::exception]
unsafe fn HardFault(_frame: &cortex_m_rt::ExceptionFrame) -> ! {
    finish(Err("a fault of the processor"))
}

#[cfg(target_arch = "riscv32")]
#[unsafe(export_name = "ExceptionHandler")]
extern "C" fn exception() -> ! {
    finish(Err("a fault of the processor"))
}
