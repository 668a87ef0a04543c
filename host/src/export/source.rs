//! A model as Rust source.

use super::ExportError;
use crate::net::NetPlan;
use smoothout::micro::ModelFile;
use smoothout::plan::Purpose;
use std::fmt::Write;

/// A Rust module that holds the file's bytes, aligned, and what a firmware has to know when it is compiled.
///
/// # Errors
/// The bytes are no model.
pub fn rust_source(bytes: &[u8]) -> Result<String, ExportError> {
    let file = ModelFile::new(bytes)?;
    let plan: Box<NetPlan> = Box::new(file.plan(1, Purpose::Inference)?);
    let (input, layers, len) = (file.input(), file.layers(), bytes.len());
    let (image, classes) = (input.len(), plan.classes());
    let mut source = format!(
        "// Written by `smoothout export`. The model for `smoothout::micro::ModelFile::new`.

/// Layers of the network: the capacity of its plan.
pub const LAYERS: usize = {layers};
/// Values of an image of {input}.
pub const IMAGE: usize = {image};
/// Classes.
pub const CLASSES: usize = {classes};
/// The file.
pub static MODEL: &[u8] = &WORDS.0;

/// At a multiple of four bytes, where words are read fastest.
#[repr(C, align(4))]
struct Words([u8; {len}]);

#[rustfmt::skip]
static WORDS: Words = Words([
"
    );
    for line in bytes.chunks(24) {
        let line: Vec<String> = line.iter().map(|byte| format!("{byte}")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(source, "    {},", line.join(", "));
    }
    source += "]);\n";
    Ok(source)
}
