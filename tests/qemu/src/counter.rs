//! Exact counts of instructions, by QEMU's `-icount`: each instruction takes a fixed virtual time.

/// Instructions that `work` takes, with the few of the two readings; on Arm to within one tick of the clock, which
/// is 16 instructions at most. Up to 2^24 ticks, which are over 100 million instructions.
pub fn instructions<R>(work: impl FnOnce() -> R) -> (u64, R) {
    let start = clock::now();
    let result = work();
    let end = clock::now();
    (clock::instructions(start, end), result)
}

/// SysTick, at the core's clock; with `-icount shift=2` an instruction takes 4 ns.
#[cfg(target_arch = "arm")]
mod clock {
    const CONTROL: *mut u32 = 0xE000_E010 as *mut u32;
    const RELOAD: *mut u32 = 0xE000_E014 as *mut u32;
    const CURRENT: *mut u32 = 0xE000_E018 as *mut u32;
    const TOP: u32 = 0x00FF_FFFF;
    /// The core's clock as QEMU has it.
    const MEGAHERTZ: u64 = if cfg!(feature = "microbit") {
        16
    } else if cfg!(feature = "an505") {
        20
    } else if cfg!(feature = "an547") {
        32
    } else {
        25
    };

    pub fn now() -> u32 {
        // SAFETY: the three registers of SysTick exist on every core here, nobody else uses them, and neither
        // writing nor reading them touches memory.
        unsafe {
            if CONTROL.read_volatile() & 1 == 0 {
                RELOAD.write_volatile(TOP);
                CURRENT.write_volatile(0);
                CONTROL.write_volatile(5);
            }
            CURRENT.read_volatile()
        }
    }

    pub fn instructions(start: u32, end: u32) -> u64 {
        // It counts down.
        u64::from(start.wrapping_sub(end) & TOP) * 250 / MEGAHERTZ
    }
}

/// `minstret`, which counts instructions itself; with `-icount shift=0` exactly.
#[cfg(target_arch = "riscv32")]
mod clock {
    pub fn now() -> u64 {
        loop {
            let (low, high, again): (u32, u32, u32);
            // SAFETY: reads two counters and touches nothing.
            unsafe {
                core::arch::asm!("csrr {0}, minstreth", "csrr {1}, minstret", "csrr {2}, minstreth",
                    out(reg) high, out(reg) low, out(reg) again, options(nomem, nostack));
            }
            if high == again {
                return u64::from(high) << 32 | u64::from(low);
            }
        }
    }

    pub fn instructions(start: u64, end: u64) -> u64 {
        end.wrapping_sub(start)
    }
}
