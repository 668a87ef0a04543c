//! A run's folder: what a training run leaves behind, and what it is resumed from.
//!
//! | file | content |
//! |---|---|
//! | `config.toml` | the resolved configuration |
//! | `metrics.csv` | one row an epoch: [`metrics`] |
//! | `events.out.tfevents.*` | the same for TensorBoard: [`events`] |
//! | `learning_curves.svg`, `.png` | loss and accuracy by epoch |
//! | `last.safetensors`, `best.safetensors` | checkpoints |
//! | `epoch-NNNNN.safetensors` | checkpoints of single epochs, with `--keep-every` |
//! | `pilot/` | the run that decided the strength, with `--strength auto` |
//! | `.lock` | held while a process works in the folder |

mod error;
pub mod events;
pub mod metrics;
#[cfg(test)]
mod tests;

pub use error::RunError;
pub use events::EventWriter;
pub use metrics::{MetricsLog, MetricsRow, read_metrics};

use crate::checkpoint::Checkpoint;
use crate::checkpoint::atomic::{is_temporary, write_atomically};
use crate::plot::{Picture, PlotError, learning_curves};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const CONFIG: &str = "config.toml";
const LOCK: &str = ".lock";

/// The largest configuration that is read, in bytes.
const CONFIG_LIMIT: u64 = 1 << 20;

/// A run's folder, locked against other processes until this value is dropped or the process ends.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    _lock: File,
}

impl RunFolder {
    /// Opens a run's folder.
    ///
    /// A new run (`resume` false) makes the folder with those above it, or takes an empty one. With `resume` the folder
    /// must be there with the run's `config.toml`, or be empty, as a run killed at its very beginning leaves it; it may
    /// still have no checkpoint, in which case [`RunFolder::load_last`] says so and the run starts at the beginning.
    /// Temporary files that a killed process left behind are removed.
    ///
    /// # Errors
    /// [`RunError::NotAFolder`], [`RunError::NotEmpty`], [`RunError::InUse`], [`RunError::NothingToResume`],
    /// [`RunError::NotARun`], or [`RunError::Io`] where the folder cannot be made or written to.
    pub fn open(path: &Path, resume: bool) -> Result<Self, RunError> {
        match fs::metadata(path) {
            Ok(found) if !found.is_dir() => return Err(RunError::NotAFolder(path.into())),
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound && resume => {
                return Err(RunError::NothingToResume(path.into()));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                fs::create_dir_all(path).map_err(io_error(path, "make the folder"))?;
            }
            Err(e) => return Err(io_error(path, "open the folder")(e)),
        }
        // A folder that was never a run's is left without even a lock file.
        if !path.join(LOCK).exists() {
            check_content(path, resume)?;
        }
        let lock = lock(path)?;
        check_content(path, resume)?;
        for name in names(path)? {
            if is_temporary(&name) {
                let leftover = path.join(name);
                fs::remove_file(&leftover).map_err(io_error(&leftover, "remove"))?;
            }
        }
        Ok(RunFolder {
            path: path.into(),
            _lock: lock,
        })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The file of a checkpoint of the last step saved.
    pub fn last(&self) -> PathBuf {
        self.path.join("last.safetensors")
    }

    /// The file of the checkpoint with the best validation result.
    pub fn best(&self) -> PathBuf {
        self.path.join("best.safetensors")
    }

    /// Writes `config.toml`.
    ///
    /// # Errors
    /// [`RunError::ConfigValue`] or [`RunError::Write`].
    pub fn write_config<T: Serialize>(&self, config: &T) -> Result<(), RunError> {
        let path = self.path.join(CONFIG);
        let text = toml::to_string_pretty(config).map_err(|source| RunError::ConfigValue {
            path: path.clone(),
            source,
        })?;
        self.write(CONFIG, text.as_bytes())
    }

    /// Whether `config.toml` is there: a run killed at its very beginning has none.
    pub fn has_config(&self) -> bool {
        self.path.join(CONFIG).exists()
    }

    /// Reads `config.toml`.
    ///
    /// # Errors
    /// As [`read_config`].
    pub fn read_config<T: DeserializeOwned>(&self) -> Result<T, RunError> {
        read_config(&self.path.join(CONFIG))
    }

    /// Opens `metrics.csv` with its first `keep` rows: those that the checkpoint counts; 0 for a new run.
    ///
    /// # Errors
    /// As [`MetricsLog::open`].
    pub fn metrics(&self, keep: u64) -> Result<MetricsLog, RunError> {
        MetricsLog::open(&self.path.join("metrics.csv"), keep)
    }

    /// Starts a TensorBoard event file; see [`EventWriter::create`].
    ///
    /// # Errors
    /// As [`EventWriter::create`].
    pub fn events(&self, from_step: Option<u64>) -> Result<EventWriter, RunError> {
        EventWriter::create(&self.path, from_step)
    }

    /// Saves `last.safetensors`.
    ///
    /// # Errors
    /// [`RunError::Checkpoint`]; the old one is then whole.
    pub fn save_last(&self, checkpoint: &Checkpoint) -> Result<(), RunError> {
        Ok(checkpoint.save(&self.last())?)
    }

    /// Saves `best.safetensors`.
    ///
    /// # Errors
    /// [`RunError::Checkpoint`]; the old one is then whole.
    pub fn save_best(&self, checkpoint: &Checkpoint) -> Result<(), RunError> {
        Ok(checkpoint.save(&self.best())?)
    }

    /// Saves `epoch-NNNNN.safetensors`.
    ///
    /// # Errors
    /// [`RunError::Checkpoint`]; an old one is then whole.
    pub fn save_epoch(&self, epoch: u32, checkpoint: &Checkpoint) -> Result<(), RunError> {
        Ok(checkpoint.save(&self.path.join(format!("epoch-{epoch:05}.safetensors")))?)
    }

    /// Loads `last.safetensors`, or nothing if no checkpoint was saved yet.
    ///
    /// # Errors
    /// [`RunError::Checkpoint`] for a file that is there but cannot be used.
    pub fn load_last(&self) -> Result<Option<Checkpoint>, RunError> {
        let path = self.last();
        match fs::symlink_metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            _ => Ok(Some(Checkpoint::load(&path)?)),
        }
    }

    /// Writes a picture as `NAME.svg` and `NAME.png`.
    ///
    /// # Errors
    /// [`RunError::Write`].
    pub fn write_picture(&self, name: &str, picture: &Picture) -> Result<(), RunError> {
        self.write(&format!("{name}.svg"), picture.svg.as_bytes())?;
        self.write(&format!("{name}.png"), &picture.png)
    }

    /// Draws loss and accuracy by epoch and writes `learning_curves.svg` and `.png`; nothing if no row has both.
    ///
    /// # Errors
    /// [`RunError::Plot`] or [`RunError::Write`].
    pub fn write_learning_curves(&self, rows: &[MetricsRow]) -> Result<(), RunError> {
        match learning_curves(rows) {
            Ok(picture) => self.write_picture("learning_curves", &picture),
            Err(PlotError::NoPoints(_)) => Ok(()),
            Err(e) => Err(e.into()),
        }
    }

    /// Writes a small file of the folder atomically.
    ///
    /// # Errors
    /// [`RunError::Write`]; the old file is then whole.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        Ok(write_atomically(&self.path.join(name), |w| {
            w.write_all(bytes)
        })?)
    }
}

/// The checkpoints of single epochs in a run's folder, the first epoch first.
///
/// # Errors
/// [`RunError::Io`].
pub fn epoch_checkpoints(folder: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut names = names(folder)?;
    names.retain(|name| name.starts_with("epoch-") && name.ends_with(".safetensors"));
    names.sort();
    Ok(names.into_iter().map(|name| folder.join(name)).collect())
}

/// Reads a configuration file in TOML.
///
/// # Errors
/// [`RunError::Io`], [`RunError::TooLarge`], or [`RunError::Config`] with the line at fault.
pub fn read_config<T: DeserializeOwned>(path: &Path) -> Result<T, RunError> {
    let mut file = File::open(path).map_err(io_error(path, "read"))?;
    let bytes = file.metadata().map_err(io_error(path, "read"))?.len();
    check_size(path, bytes, CONFIG_LIMIT)?;
    let mut text = String::new();
    file.read_to_string(&mut text)
        .map_err(io_error(path, "read"))?;
    toml::from_str(&text).map_err(|e| RunError::Config {
        path: path.into(),
        line: e.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1),
        message: with_nearest(&e.message().replace('\n', " ")),
    })
}

/// A message about an unknown name among known ones, all in backticks, with the nearest of them in their place.
fn with_nearest(message: &str) -> String {
    let mut quoted = message.split('`').skip(1).step_by(2);
    let unknown = quoted.next().filter(|_| message.starts_with("unknown "));
    let likeness = |name: &str| strsim::jaro_winkler(unknown.unwrap_or_default(), name);
    match (unknown, quoted.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))) {
        (Some(_), Some(nearest)) => {
            let fault = message.split_once(", expected").map_or(message, |(fault, _)| fault);
            format!("{fault}; did you mean `{nearest}`?")
        }
        _ => message.into(),
    }
}

/// Refuses a folder whose content does not fit a new run, or a resumed one.
fn check_content(path: &Path, resume: bool) -> Result<(), RunError> {
    let names = names(path)?;
    let empty = names.iter().all(|n| n == LOCK || is_temporary(n));
    match (empty, resume) {
        (true, _) => Ok(()),
        (false, false) => Err(RunError::NotEmpty(path.into())),
        (false, true) if names.iter().any(|n| n == CONFIG) => Ok(()),
        (false, true) => Err(RunError::NotARun(path.into())),
    }
}

fn names(folder: &Path) -> Result<Vec<String>, RunError> {
    fs::read_dir(folder)
        .and_then(|entries| {
            entries
                .map(|e| Ok(e?.file_name().to_string_lossy().into_owned()))
                .collect()
        })
        .map_err(io_error(folder, "list the folder"))
}

/// Takes the lock, which the system gives back when the process ends, however it ends.
fn lock(folder: &Path) -> Result<File, RunError> {
    let path = folder.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(io_error(folder, "write into the folder"))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut holder = String::new();
            let process = file
                .take(32)
                .read_to_string(&mut holder)
                .ok()
                .and_then(|_| holder.trim().parse().ok());
            return Err(RunError::InUse {
                path: folder.into(),
                process,
            });
        }
        Err(TryLockError::Error(e)) => return Err(io_error(&path, "lock")(e)),
    }
    file.set_len(0)
        .and_then(|()| writeln!(file, "{}", std::process::id()))
        .map_err(io_error(&path, "write"))?;
    Ok(file)
}

fn check_size(path: &Path, bytes: u64, limit: u64) -> Result<(), RunError> {
    if bytes > limit {
        return Err(RunError::TooLarge {
            path: path.into(),
            bytes,
            limit,
        });
    }
    Ok(())
}

/// What was tried with a file, for `map_err`.
fn io_error(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> RunError + use<> {
    let path = path.to_path_buf();
    move |source| RunError::Io {
        path,
        action,
        source,
    }
}
