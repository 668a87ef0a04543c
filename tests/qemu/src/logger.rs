//! The logger of the image `messages`: defmt's frames on the host's standard output, by semihosting.
//!
//! Not defmt-semihosting, whose checks are panics that can be reached as far as the linker knows: with this one an image
//! with messages shows that they add no panic.

use crate::output::write;
use core::cell::UnsafeCell;
use defmt::Encoder;

#[defmt::global_logger]
struct Logger;

struct Shared(UnsafeCell<Encoder>);

// SAFETY: the images have one core and no interrupts, so that nobody shares it.
unsafe impl Sync for Shared {}

static ENCODER: Shared = Shared(UnsafeCell::new(Encoder::new()));

fn with(work: impl FnOnce(&mut Encoder)) {
    // SAFETY: nobody else is here: see above, and `work` logs nothing.
    work(unsafe { &mut *ENCODER.0.get() });
}

// SAFETY: nothing comes between a frame's beginning and its end, as there are no interrupts.
unsafe impl defmt::Logger for Logger {
    fn acquire() {
        with(|encoder| encoder.start_frame(write));
    }

    unsafe fn flush() {}

    unsafe fn release() {
        with(|encoder| encoder.end_frame(write));
    }

    unsafe fn write(bytes: &[u8]) {
        with(|encoder| encoder.write(bytes, write));
    }
}
