//! A panic that can be reached is an error of the linker.
//!
//! The handler calls a function that does not exist. Where the optimizer proves that nothing panics, the handler is
//! dropped with everything that nobody calls and the image links; otherwise the linker names the missing function.

/// Makes a reachable panic an error of the linker: what every image says that runs only code for microcontrollers.
#[macro_export]
macro_rules! panics_do_not_link {
    () => {
        #[cfg(target_os = "none")]
        #[panic_handler]
        fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
            unsafe extern "C" {
                fn a_panic_can_be_reached() -> !;
            }
            // SAFETY: never called, as an image in which it could be called does not link.
            unsafe { a_panic_can_be_reached() }
        }
    };
}

/// Makes a panic a failure of the run: for images that also run the portable kernels, which index.
#[macro_export]
macro_rules! panics_fail {
    () => {
        #[cfg(target_os = "none")]
        #[panic_handler]
        fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
            let (file, line) = info.location().map_or(("", 0), |l| (l.file(), l.line()));
            $crate::say!("panic in ", file, " line ", line);
            $crate::finish(Err("a panic"))
        }
    };
}
