//! Lines on the host's standard output, by semihosting. Not by `core::fmt`, whose code could panic as far as the
//! linker knows, and would count into the size of the image.

#[cfg(target_os = "none")]
use semihosting::{
    io::{Write, stdout},
    process::exit,
};
#[cfg(not(target_os = "none"))]
use std::{
    io::{Write, stdout},
    process::exit,
};

/// Longest line in bytes; what is longer is cut.
const WIDTH: usize = 160;

/// A line under construction.
pub struct Line {
    bytes: [u8; WIDTH],
    len: usize,
}

impl Default for Line {
    fn default() -> Self {
        Self { bytes: [0; WIDTH], len: 0 }
    }
}

impl Line {
    /// Adds one character.
    pub fn push(&mut self, byte: u8) {
        if let Some(place) = self.bytes.get_mut(self.len) {
            *place = byte;
            self.len += 1;
        }
    }

    /// Writes the line.
    pub fn write(&mut self) {
        self.push(b'\n');
        if let Some(line) = self.bytes.get(..self.len) {
            write(line);
        }
    }
}

/// Writes bytes.
pub fn write(bytes: &[u8]) {
    #[cfg(target_os = "none")]
    let Ok(mut out) = stdout() else { return };
    #[cfg(not(target_os = "none"))]
    let mut out = stdout();
    let _ = out.write(bytes);
}

/// What a line can hold.
pub trait Show {
    /// Adds it to the line.
    fn show(&self, line: &mut Line);
}

impl Show for &str {
    fn show(&self, line: &mut Line) {
        self.bytes().for_each(|byte| line.push(byte));
    }
}

impl Show for u32 {
    fn show(&self, line: &mut Line) {
        let (mut rest, mut digits) = (*self, [0u8; 10]);
        let mut used = 0;
        for digit in digits.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
            used += 1;
            if rest == 0 {
                break;
            }
        }
        digits.iter().skip(10 - used).for_each(|digit| line.push(*digit));
    }
}

impl Show for usize {
    fn show(&self, line: &mut Line) {
        (*self as u32).show(line);
    }
}

/// Eight hexadecimal digits: hashes, and the bits of an f32.
pub struct Hex(pub u32);

impl Show for Hex {
    fn show(&self, line: &mut Line) {
        for digit in (0..8).rev() {
            let value = (self.0 >> (4 * digit)) as u8 & 15;
            line.push(if value < 10 { b'0' + value } else { b'a' + value - 10 });
        }
    }
}

/// Writes a line of strings, integers and [`Hex`], one after the other.
#[macro_export]
macro_rules! say {
    ($($part:expr),* $(,)?) => {{
        let mut line = $crate::output::Line::default();
        $($crate::output::Show::show(&$part, &mut line);)*
        line.write();
    }};
}

/// A figure that is compared with the committed one; see `run`. The host has none.
pub fn cost(what: &[&str], figure: usize) {
    if cfg!(target_os = "none") {
        let mut line = Line::default();
        "cost ".show(&mut line);
        what.iter().for_each(|part| part.show(&mut line));
        " ".show(&mut line);
        figure.show(&mut line);
        line.write();
    }
}

/// Ends the program, with exit code 0 or, after a line that says why, 1.
pub fn finish(result: Result<(), &str>) -> ! {
    match result {
        Ok(()) => exit(0),
        Err(why) => {
            say!("failed: ", why);
            exit(1)
        }
    }
}
