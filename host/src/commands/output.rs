//! The folder that results go into, made and tried before the work whose results would be lost without it.

use super::CommandError;
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A folder that files can be made in. What was made for it and is still empty in the end is removed again.
#[derive(Debug)]
pub(super) struct OutputFolder {
    path: PathBuf,
    /// The folders that were made, the innermost first.
    made: Vec<PathBuf>,
}

impl OutputFolder {
    /// Makes the folder, unless it is there, and a file in it, which is removed.
    ///
    /// # Errors
    /// One of them cannot be made.
    pub(super) fn open(path: &Path) -> Result<Self, CommandError> {
        let missing = path.ancestors().take_while(|p| !p.as_os_str().is_empty() && !p.exists());
        let folder = Self { path: path.into(), made: missing.map(Path::to_owned).collect() };
        let cannot = |what: &str, error: io::Error| {
            CommandError::Failed(format!("{}: cannot {what}: {error}", path.display()))
        };
        fs::create_dir_all(path).map_err(|e| cannot("make the folder", e))?;
        let probe = path.join(format!(".smoothout-{}", std::process::id()));
        let tried = OpenOptions::new().write(true).create_new(true).open(&probe).and_then(|_| fs::remove_file(&probe));
        tried.map_err(|e| cannot("write into the folder", e))?;
        Ok(folder)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for OutputFolder {
    fn drop(&mut self) {
        for folder in &self.made {
            // One with something in it stays, as do those around it.
            if fs::remove_dir(folder).is_err() {
                break;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_folder_is_made_at_once_and_stays_only_with_something_in_it() {
        let top = tempfile::tempdir().unwrap();
        let inner = top.path().join("a/b");
        let folder = OutputFolder::open(&inner).unwrap();
        assert!(inner.is_dir() && folder.path() == inner);
        drop(folder);
        assert!(!top.path().join("a").exists());

        let folder = OutputFolder::open(&inner).unwrap();
        fs::write(top.path().join("a/file"), "").unwrap();
        drop(folder);
        assert!(!inner.exists() && top.path().join("a").exists(), "what is not empty stays");
        // A folder that was there before stays, also empty.
        fs::create_dir(&inner).unwrap();
        drop(OutputFolder::open(&inner).unwrap());
        assert_eq!(fs::read_dir(&inner).unwrap().count(), 0);

        let below = top.path().join("a/file/c");
        let error = OutputFolder::open(&below).unwrap_err().to_string();
        assert!(error.contains("a/file/c: cannot make the folder"), "{error}");
    }
}
