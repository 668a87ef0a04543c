//! What can go wrong with a run's folder.

use crate::checkpoint::CheckpointError;
use crate::checkpoint::atomic::WriteError;
use std::io;
use std::path::PathBuf;

/// A run's folder, or a file in it, that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Something else is in the folder's place.
    #[error("{}: a file is in the place of the run's folder", .0.display())]
    NotAFolder(PathBuf),
    /// The folder has content and the run is a new one.
    #[error(
        "{}: the folder is not empty; go on with its run with --resume, or choose another folder",
        .0.display()
    )]
    NotEmpty(PathBuf),
    /// Another process works in the folder.
    #[error("{}: the folder is in use by {}", path.display(), holder(process))]
    InUse {
        /// The folder.
        path: PathBuf,
        /// The number of the process, where it is known.
        process: Option<u32>,
    },
    /// There is no run to go on with.
    #[error("{}: no such folder, so there is no run to resume", .0.display())]
    NothingToResume(PathBuf),
    /// The folder belongs to something else.
    #[error("{}: not the folder of a run (it has no config.toml), so there is nothing to resume", .0.display())]
    NotARun(PathBuf),
    /// A file or folder cannot be used.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A file cannot be written; the old one is whole.
    #[error(transparent)]
    Write(#[from] WriteError),
    /// A checkpoint cannot be read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A configuration cannot be read.
    #[error("{}: line {line}: {message}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// A configuration cannot be written as TOML.
    #[error("{}: the configuration cannot be written: {source}", path.display())]
    ConfigValue {
        /// The file.
        path: PathBuf,
        /// What cannot be expressed.
        source: toml::ser::Error,
    },
    /// A file is larger than any of its kind.
    #[error("{}: {bytes} bytes, more than the {limit} that such a file can have", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        bytes: u64,
        /// The largest allowed.
        limit: u64,
    },
    /// A table of metrics does not have the columns of this program.
    #[error("{}: the first line does not name the columns of a metrics file", .0.display())]
    MetricsHeader(PathBuf),
    /// A row of metrics is not what it should be.
    #[error("{}: line {line}: {message}", path.display())]
    MetricsRow {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What is wrong.
        message: String,
    },
    /// The table of metrics is shorter than the checkpoint says.
    #[error("{}: {found} rows, but the checkpoint was saved after {expected}", path.display())]
    MetricsShort {
        /// The file.
        path: PathBuf,
        /// Rows according to the checkpoint.
        expected: u64,
        /// Whole rows found.
        found: u64,
    },
    /// A picture cannot be drawn.
    #[error(transparent)]
    Plot(#[from] crate::plot::PlotError),
}

fn holder(process: &Option<u32>) -> String {
    match process {
        Some(id) => format!("process {id}"),
        None => "another process".into(),
    }
}
