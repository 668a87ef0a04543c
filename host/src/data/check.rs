//! Verifies a set that is there: digests against the official files, images of each class, channel statistics.

use super::error::Error;
use super::folder::ClassFolder;
use super::known::{Known, KnownFile};
use super::memory::Images;
use super::normalize::{Statistics, statistics};
use super::open::{Format, Located, load, locate};
use super::{digest, digits, file};
use std::fmt;
use std::path::{Path, PathBuf};

/// One file of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// Its path.
    pub path: PathBuf,
    /// Size in bytes, unpacked.
    pub bytes: u64,
    /// SHA-256 of the (unpacked) content.
    pub sha256: String,
    /// Whether that is the official file's.
    pub official: bool,
}

/// One part of the set.
#[derive(Debug, Clone, PartialEq)]
pub struct PartReport {
    /// `train` or `test`.
    pub part: &'static str,
    /// Images of each class.
    pub class_counts: Vec<usize>,
    /// Channel means and standard deviations, pixels scaled to 0..1; not for class folders, whose pictures are
    /// not all decoded.
    pub statistics: Option<Statistics>,
}

/// What is there.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// The name or folder asked for.
    pub name: String,
    /// Where the files are.
    pub folder: PathBuf,
    /// The files of a known set.
    pub files: Vec<FileReport>,
    /// Training and test part.
    pub parts: Vec<PartReport>,
    /// Everything that is not as it should be. Empty: all well.
    pub problems: Vec<String>,
}

/// Checks the set that `spec` names, a known name below `root` or a folder, as `Data::open` takes it. A folder
/// has no official digests.
///
/// # Errors
/// [`Error`] for files that are missing or cannot be parsed; files that parse but are not the official ones are
/// listed in [`Report::problems`].
pub fn check(spec: &str, root: &Path) -> Result<Report, Error> {
    let Located {
        name,
        folder,
        format,
    } = locate(spec, root)?;
    let known = name.and_then(Known::of);
    let mut report = Report {
        name: spec.to_owned(),
        folder: folder.clone(),
        files: Vec::new(),
        parts: Vec::new(),
        problems: Vec::new(),
    };
    for known_file in known.into_iter().flat_map(|known| known.files) {
        let found = report_file(known_file, &folder)?;
        if !found.official {
            report.problems.push(format!(
                "{}: SHA-256 is {}, the official file's is {}",
                found.path.display(),
                found.sha256,
                known_file.sha256
            ));
        }
        report.files.push(found);
    }
    if format == Format::ClassFolders {
        report.parts = class_folder_parts(&folder)?;
        return Ok(report);
    }
    let [train, test] = load(&folder, format, name.is_some())?;
    let max = if format == Format::Digits {
        digits::MAX_PIXEL
    } else {
        255
    };
    for (part, images) in [("train", &train), ("test", &test)] {
        report.parts.push(PartReport {
            part,
            class_counts: class_counts(images, format.classes()),
            statistics: Some(statistics(images, max)),
        });
    }
    report
        .problems
        .extend(known.map_or_else(Vec::new, |known| content_problems(known, &train, &test)));
    Ok(report)
}

fn report_file(known: &KnownFile, folder: &Path) -> Result<FileReport, Error> {
    let path = folder.join(known.name);
    let path = file::plain_or_gz(&path).ok_or(Error::Missing {
        path,
        expected: "a file of the set, plain or .gz".into(),
    })?;
    let bytes = file::read(&path)?;
    let sha256 = digest::of_bytes(&bytes);
    Ok(FileReport {
        path,
        bytes: bytes.len() as u64,
        official: sha256 == known.sha256,
        sha256,
    })
}

/// Whether all files of a known set are in `folder` itself and official.
pub(crate) fn is_official(known: &Known, folder: &Path) -> bool {
    known
        .files
        .iter()
        .all(|file| report_file(file, folder).is_ok_and(|report| report.official))
}

fn class_counts(images: &Images, classes: usize) -> Vec<usize> {
    let mut counts = vec![0; classes];
    images
        .labels
        .iter()
        .for_each(|&label| counts[usize::from(label)] += 1);
    counts
}

/// What differs from the known class counts and channel means.
pub(crate) fn content_problems(known: &Known, train: &Images, test: &Images) -> Vec<String> {
    let mut problems = Vec::new();
    for (part, images, which) in [("train", train, 0), ("test", test, 1)] {
        let Some(expected) = known.per_class.map(|counts| counts[which]) else {
            continue;
        };
        let classes = images
            .labels
            .iter()
            .max()
            .map_or(0, |&label| usize::from(label) + 1);
        for (class, found) in class_counts(images, classes)
            .into_iter()
            .enumerate()
            .filter(|&(_, found)| found != expected)
        {
            problems.push(format!(
                "{part}: {found} images of class {class}, expected {expected}"
            ));
        }
    }
    let found = statistics(train, 255).mean;
    if found.len() != known.means.len()
        || found
            .iter()
            .zip(known.means)
            .any(|(a, b)| (a - b).abs() > 6e-5)
    {
        problems.push(format!(
            "train: channel means are {found:.4?}, expected {:.4?}",
            known.means
        ));
    }
    problems
}

fn class_folder_parts(folder: &Path) -> Result<Vec<PartReport>, Error> {
    let (train, test) = ClassFolder::scan_parts(folder)?;
    let classes = train.classes.len();
    let part = |part, set: &ClassFolder| {
        let mut class_counts = vec![0; classes];
        (0..set.len() as u32).for_each(|index| class_counts[set.label(index) as usize] += 1);
        PartReport {
            part,
            class_counts,
            statistics: None,
        }
    };
    Ok(vec![part("train", &train), part("test", &test)])
}

impl Report {
    /// Whether everything is as it should be.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.problems.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} in {}", self.name, self.folder.display())?;
        for file in &self.files {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            let verdict = if file.official { "official" } else { "DIFFERS" };
            writeln!(
                f,
                "  {name:<28} {:>11} bytes  sha256 {}  {verdict}",
                file.bytes, file.sha256
            )?;
        }
        for part in &self.parts {
            let (counts, classes) = (&part.class_counts, part.class_counts.len());
            write!(
                f,
                "  {:<5} {} images, {classes} classes, ",
                part.part,
                counts.iter().sum::<usize>()
            )?;
            match (counts.iter().min(), counts.iter().max()) {
                (Some(least), Some(most)) if least == most => write!(f, "{least} of each")?,
                (Some(least), Some(most)) if classes > 20 => {
                    write!(f, "{least} to {most} of each")?
                }
                _ => write!(f, "of each {counts:?}")?,
            }
            if let Some(Statistics { mean, sd }) = &part.statistics {
                write!(
                    f,
                    "; channel means {mean:.4?}, standard deviations {sd:.4?}"
                )?;
            }
            writeln!(f)?;
        }
        for problem in &self.problems {
            writeln!(f, "  PROBLEM {problem}")?;
        }
        write!(
            f,
            "  {}",
            if self.is_ok() {
                "all well"
            } else {
                "not as it should be"
            }
        )
    }
}
