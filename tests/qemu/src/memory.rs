//! How deep the stack goes, by painting it, and how large the image is in flash.

use core::ptr::addr_of;

unsafe extern "C" {
    static __stext: u8;
    static __etext: u8;
    static __srodata: u8;
    static __erodata: u8;
    static __sdata: u8;
    static __edata: u8;
    /// Where static memory ends and the stack may grow to.
    #[link_name = "__sheap"]
    static STACK_END: u32;
}

/// What a word of the stack holds that was never used.
const PAINT: u32 = 0xC5C5_5C5C;

/// Bytes of code and constants, with the first values of static memory.
pub fn flash() -> usize {
    let size = |start: *const u8, end: *const u8| end as usize - start as usize;
    // The linker's symbols have addresses and no values.
    size(addr_of!(__stext), addr_of!(__etext))
        + size(addr_of!(__srodata), addr_of!(__erodata))
        + size(addr_of!(__sdata), addr_of!(__edata))
}

/// Bytes of stack that `work` uses at most.
#[inline(never)]
pub fn stack<R>(work: impl FnOnce() -> R) -> (usize, R) {
    let top = stack_pointer();
    let bottom = addr_of!(STACK_END).cast_mut();
    let words = (top as usize - bottom as usize) / 4;
    for i in 0..words {
        // SAFETY: from the end of static memory to the stack pointer the memory belongs to nobody: no interrupt is
        // on, and nothing is kept below the stack pointer on these machines. Volatile, so that no call is made of it.
        unsafe { bottom.add(i).write_volatile(PAINT) }
    }
    let result = apart(work);
    // SAFETY: as above; `apart` has returned.
    let untouched = (0..words).take_while(|i| unsafe { bottom.add(*i).read_volatile() } == PAINT);
    (4 * (words - untouched.count()), result)
}

/// A call, so that the frame of `work` lies below the stack pointer that was read.
#[inline(never)]
fn apart<R>(work: impl FnOnce() -> R) -> R {
    work()
}

fn stack_pointer() -> *mut u32 {
    let pointer;
    // SAFETY: reads a register.
    unsafe {
        #[cfg(target_arch = "arm")]
        core::arch::asm!("mov {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
        #[cfg(target_arch = "riscv32")]
        core::arch::asm!("mv {}, sp", out(reg) pointer, options(nomem, nostack, preserves_flags));
    }
    pointer
}
