//! Folders of runs that are not named.

use crate::options::Config;
use crate::run::{RunError, RunFolder};
use crate::train::TrainError;
use std::path::Path;

/// The first of runs/NET-DATA-METHOD-1, -2, … that is free.
pub(super) fn free(config: &Config) -> Result<RunFolder, TrainError> {
    let name = |v: &dyn std::fmt::Debug| format!("{v:?}").to_lowercase();
    let data = Path::new(&config.data).file_name().map_or("data".into(), |n| n.to_string_lossy());
    let stem = format!("{}-{data}-{}", name(&config.net), name(&config.method));
    let mut number = 1;
    loop {
        match RunFolder::open(&Path::new("runs").join(format!("{stem}-{number}")), false) {
            Err(RunError::NotEmpty(_) | RunError::InUse { .. } | RunError::NotAFolder(_)) => number += 1,
            opened => return Ok(opened?),
        }
    }
}
