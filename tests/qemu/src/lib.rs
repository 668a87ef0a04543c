//! What the firmware images share: output, exact instruction counts, memory use, and what happens on a panic.
//!
//! An image is a program for the host as well, where it prints the same lines: what a chip computes is what a PC computes.
#![cfg_attr(target_os = "none", no_std)]

#[cfg(target_os = "none")]
pub mod counter;
pub mod digits;
#[cfg(target_os = "none")]
mod faults;
pub mod flash;
pub mod hash;
#[cfg(feature = "messages")]
mod logger;
#[cfg(target_os = "none")]
pub mod memory;
#[cfg(not(target_os = "none"))]
#[path = "host.rs"]
pub mod memory;
pub mod output;
mod panics;
pub mod workloads;

#[cfg(not(target_os = "none"))]
pub use memory as counter;
#[cfg(target_arch = "arm")]
pub use cortex_m_rt::entry;
#[cfg(target_arch = "riscv32")]
pub use riscv_rt::entry;
pub use output::{Hex, finish};

/// Whether the machine has 16 KB of memory.
pub const SMALL: bool = cfg!(feature = "microbit");

/// Whether the machine has no floating-point unit, and is not to take its time.
pub const SLOW: bool = cfg!(all(soft_float, not(feature = "long")));

/// Makes a function that returns `Result<(), &str>` the program.
#[macro_export]
macro_rules! image {
    ($run:path) => {
        #[cfg(target_os = "none")]
        #[$crate::entry]
        fn main() -> ! {
            $crate::finish($run())
        }

        #[cfg(not(target_os = "none"))]
        fn main() {
            $crate::finish($run())
        }
    };
}
