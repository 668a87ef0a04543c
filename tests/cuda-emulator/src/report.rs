//! Where findings go: stderr, and the file that `CUDA_EMULATOR_LOG` names. Counts go to the file that
//! `CUDA_EMULATOR_COUNTS` names. Both are appended to, one line at a time.

use std::io::Write;

/// Kinds of lines, the first word of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A kernel or copy did something wrong.
    Fault,
    /// Something was not freed.
    Leak,
    /// A PTX text or a driver function that the emulator does not know.
    Unknown,
    /// A driver call returned an error.
    Error,
}

/// Writes a finding.
pub fn say(kind: Kind, text: &str) {
    let name = match kind {
        Kind::Fault => "fault",
        Kind::Leak => "leak",
        Kind::Unknown => "unknown",
        Kind::Error => "error",
    };
    let line = format!("{name}: {}", text.replace('\n', " "));
    if kind != Kind::Error {
        eprintln!("cuda-emulator: {line}");
    }
    append("CUDA_EMULATOR_LOG", &line);
}

/// Writes a launch's counts, if they are wanted.
pub fn counts(line: impl FnOnce() -> String) {
    if std::env::var_os("CUDA_EMULATOR_COUNTS").is_some() {
        append("CUDA_EMULATOR_COUNTS", &line());
    }
}

fn append(variable: &str, line: &str) {
    let Some(path) = std::env::var_os(variable) else { return };
    let file = std::fs::OpenOptions::new().create(true).append(true).open(&path);
    if let Err(error) = file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())) {
        eprintln!("cuda-emulator: cannot write {}: {error}", path.display());
    }
}
