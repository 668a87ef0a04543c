//! What `size` is measured against: a firmware that prints the same lines and trains nothing.
//!
//! Not on host boards: a firmware alone. Also on lean boards.
#![no_std]
#![no_main]

use smoothout_qemu::output::cost;
use smoothout_qemu::{Hex, entry, finish, memory, say};

smoothout_qemu::panics_do_not_link!();

#[entry]
fn main() -> ! {
    // What `run` checks: a panic that can be reached is an error of the linker.
    #[cfg(feature = "planted-panic")]
    assert_ne!(core::hint::black_box(0), 1);
    // Functions of the compiler's that copy and clear memory, which every firmware has.
    let mut words = core::hint::black_box([0u32; 64]);
    words.fill(core::hint::black_box(0));
    core::hint::black_box(words);
    say!("loss of no first step: ", Hex(core::hint::black_box(0)));
    cost(&["flash"], memory::flash());
    finish(Ok(()))
}
