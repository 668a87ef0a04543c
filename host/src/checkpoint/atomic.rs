//! Writing a file so that a reader sees either the whole old file or the whole new one.
//!
//! The bytes go to a temporary file in the same folder, which is synchronised, renamed over the old file, and made
//! durable by synchronising the folder. Until the rename the old file is untouched; on every failure before it the
//! temporary file is removed.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes gathered before a write reaches the system.
const BUFFER: usize = 1 << 20;

/// A step of an atomic write, named in [`WriteError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteStep {
    /// Creating the temporary file.
    Create,
    /// Writing the content.
    Write,
    /// Making the content durable.
    Sync,
    /// Renaming the temporary file over the old one.
    Rename,
    /// Making the rename durable; the new file is already in place.
    SyncFolder,
}

impl std::fmt::Display for WriteStep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            WriteStep::Create => "cannot create a temporary file beside it",
            WriteStep::Write => "cannot write",
            WriteStep::Sync => "cannot synchronise with the disk",
            WriteStep::Rename => "cannot put the new file in place",
            WriteStep::SyncFolder => {
                "the new file is in place, but its folder cannot be synchronised"
            }
        })
    }
}

/// A file that could not be written. The old file, if any, is whole.
#[derive(Debug, thiserror::Error)]
#[error("{}: {step}: {source}", path.display())]
pub struct WriteError {
    /// The file that was to be written.
    pub path: PathBuf,
    /// The step that failed.
    pub step: WriteStep,
    /// What the system said.
    pub source: io::Error,
}

/// The file operations of an atomic write; a seam for tests that make each of them fail.
pub trait Disk {
    /// An open file.
    type File: Write;

    /// Creates a file that must not exist yet.
    ///
    /// # Errors
    /// `AlreadyExists` if there is such a file, or what the system says.
    fn create(&self, path: &Path) -> io::Result<Self::File>;

    /// Makes a file's content durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync(&self, file: &Self::File) -> io::Result<()>;

    /// Renames a file, replacing `to`.
    ///
    /// # Errors
    /// What the system says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// What the system says.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// What the system says.
    fn remove(&self, path: &Path) -> io::Result<()>;
}

/// The machine's own file system.
#[derive(Debug, Clone, Copy)]
pub struct RealDisk;

impl Disk for RealDisk {
    type File = File;

    fn create(&self, path: &Path) -> io::Result<File> {
        OpenOptions::new().write(true).create_new(true).open(path)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    #[cfg(unix)]
    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        match File::open(folder)?.sync_all() {
            // Some network file systems know no synchronisation of folders; they have nothing to wait for.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported
                ) =>
            {
                Ok(())
            }
            result => result,
        }
    }

    #[cfg(not(unix))]
    fn sync_folder(&self, _folder: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }
}

/// Writes `path` atomically with what `body` writes into its argument.
///
/// # Errors
/// [`WriteError`] naming the step that failed; the old file is then whole (after [`WriteStep::SyncFolder`] the new
/// one is in its place, also whole).
pub fn write_atomically(
    path: &Path,
    body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), WriteError> {
    write_atomically_on(&RealDisk, path, body)
}

/// [`write_atomically`] on any [`Disk`].
///
/// # Errors
/// As [`write_atomically`].
pub fn write_atomically_on<D: Disk>(
    disk: &D,
    path: &Path,
    body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), WriteError> {
    let fail = |step| {
        move |source| WriteError {
            path: path.to_path_buf(),
            step,
            source,
        }
    };
    let (temporary, file) = create_temporary(disk, path).map_err(fail(WriteStep::Create))?;
    let written = fill(disk, file, body).and_then(|()| {
        disk.rename(&temporary, path)
            .map_err(|e| (WriteStep::Rename, e))
    });
    if let Err((step, source)) = written {
        // The first failure is the one to report; a temporary file that stays is removed with the folder's next use.
        let _ = disk.remove(&temporary);
        return Err(fail(step)(source));
    }
    disk.sync_folder(folder_of(path))
        .map_err(fail(WriteStep::SyncFolder))
}

fn fill<D: Disk>(
    disk: &D,
    file: D::File,
    body: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), (WriteStep, io::Error)> {
    let mut writer = BufWriter::with_capacity(BUFFER, file);
    let written = body(&mut writer).and_then(|()| writer.flush());
    // Taken apart, so that dropping the buffer after a failure does not try to write once more.
    let (file, _) = writer.into_parts();
    written.map_err(|e| (WriteStep::Write, e))?;
    disk.sync(&file).map_err(|e| (WriteStep::Sync, e))
}

/// Whether `name` is that of a temporary file of an atomic write (one that a killed process left behind).
pub(crate) fn is_temporary(name: &str) -> bool {
    name.starts_with('.') && name.ends_with(".tmp")
}

fn create_temporary<D: Disk>(disk: &D, path: &Path) -> io::Result<(PathBuf, D::File)> {
    static COUNTER: AtomicU32 = AtomicU32::new(0);
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not the name of a file"))?
        .to_string_lossy();
    // A process killed earlier may have had our number: a few names are tried.
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for _ in 0..16 {
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let temporary =
            folder_of(path).join(format!(".{name}.{}.{number}.tmp", std::process::id()));
        match disk.create(&temporary) {
            Ok(file) => return Ok((temporary, file)),
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => last = e,
            Err(e) => return Err(e),
        }
    }
    Err(last)
}

/// The folder that holds `path`; the current one for a bare name.
fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
