//! What can be wrong with a data set.

use std::io;
use std::path::{Path, PathBuf};

/// What is wrong inside a file, found by the parsers, which know no paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatError {
    /// The first bytes are not those of the format.
    #[error("the magic number is {found:#010x}, expected {expected:#010x} ({format})")]
    Magic {
        /// The format that was expected.
        format: &'static str,
        /// Its magic number.
        expected: u32,
        /// The number in the file.
        found: u32,
    },
    /// Too short even for the header.
    #[error("truncated: {found} bytes, the header alone has {expected}")]
    Header {
        /// Bytes of the header.
        expected: usize,
        /// Bytes in the file.
        found: usize,
    },
    /// The size is not what the header says.
    #[error("{}: {found} bytes, expected {expected} ({why})", if found < expected { "truncated" } else { "too long" })]
    Size {
        /// Bytes expected.
        expected: u64,
        /// Bytes found (for a stream that is too long: the bytes read until that was seen).
        found: u64,
        /// Where the expectation comes from.
        why: &'static str,
    },
    /// The size is no whole number of records.
    #[error(
        "{found} bytes are no whole number of records of {record} bytes: truncated or too long"
    )]
    Records {
        /// Bytes of one record.
        record: usize,
        /// Bytes found.
        found: usize,
    },
    /// Not the number of images of the official file.
    #[error("{found} images, expected {expected}")]
    Images {
        /// Images of the official file.
        expected: usize,
        /// Images found.
        found: usize,
    },
    /// Images and labels do not pair up.
    #[error("{labels} labels for {images} images")]
    Count {
        /// Number of images.
        images: usize,
        /// Number of labels.
        labels: usize,
    },
    /// A label that names no class.
    #[error("image {index} has the label {value}, expected 0 to {}", classes - 1)]
    Label {
        /// Index of the image in its file, from 0.
        index: usize,
        /// The label.
        value: u32,
        /// Number of classes.
        classes: u32,
    },
    /// A pixel outside the range of the format.
    #[error("image {index} has a pixel of {value}, expected 0 to {max}")]
    Pixel {
        /// Index of the image in its file, from 0.
        index: usize,
        /// The pixel.
        value: u8,
        /// Largest value allowed.
        max: u8,
    },
    /// Image sides that this program does not take.
    #[error("images of {height}x{width} pixels, expected {expected}")]
    Dimensions {
        /// Rows.
        height: u64,
        /// Columns.
        width: u64,
        /// What would be right, in words.
        expected: &'static str,
    },
    /// No image at all.
    #[error("holds no images")]
    Empty,
    /// A larger file than any data set that this program reads.
    #[error("larger than the {limit} bytes that a file of this format may have")]
    TooLarge {
        /// Limit in bytes.
        limit: u64,
    },
    /// A gzip stream that cannot be unpacked.
    #[error("broken gzip stream: {0}")]
    Gzip(String),
    /// A picture (JPEG, PNG) that cannot be decoded.
    #[error("cannot decode the picture: {0}")]
    Picture(String),
    /// A JSON file that is no list of labels.
    #[error("not a list of labels: {0}")]
    Json(String),
}

impl FormatError {
    /// The error of the file at `path`.
    #[must_use]
    pub fn at(self, path: &Path) -> Error {
        Error::Format {
            path: path.to_owned(),
            source: self,
        }
    }
}

/// Any failure of the data part: each names the file or the option at fault.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file's content is wrong.
    #[error("{}: {source}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong in it.
        source: FormatError,
    },
    /// The operating system refused.
    #[error("{}: cannot {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// A file or folder of the set is missing.
    #[error("{}: missing; expected {expected}", path.display())]
    Missing {
        /// What was looked for.
        path: PathBuf,
        /// What belongs there.
        expected: String,
    },
    /// A named set whose folder does not exist.
    #[error("{}: no data set there; `smoothout data get {name}` fetches it", path.display())]
    NotFetched {
        /// Name of the set.
        name: &'static str,
        /// Where it should be.
        path: PathBuf,
    },
    /// A folder in which no known format is found.
    #[error("{}: no known data set in this folder; expected idx files (train-images-idx3-ubyte ...), CIFAR binary files (data_batch_1.bin ... or train.bin) \
             or class folders (train/CLASS/*.jpg, val/CLASS/*.jpg); found {found}", path.display())]
    UnknownFormat {
        /// The folder.
        path: PathBuf,
        /// Some of what is in it.
        found: String,
    },
    /// Neither a known name nor a folder.
    #[error(
        "no data set named {name:?} and no folder of that name; did you mean {nearest:?}? (known: {known})"
    )]
    UnknownName {
        /// What was asked for.
        name: String,
        /// The most similar known name.
        nearest: &'static str,
        /// All known names.
        known: String,
    },
    /// Something that is no class folder, where only class folders belong.
    #[error("{}: {problem}, where only class folders belong", path.display())]
    NoClass {
        /// The file or folder.
        path: PathBuf,
        /// Why it is no class folder.
        problem: &'static str,
    },
    /// A class folder that the training set does not have.
    #[error("{}: class {class:?} is not among the {classes} classes of the training set", path.display())]
    UnknownClass {
        /// The folder.
        path: PathBuf,
        /// The class.
        class: String,
        /// Classes of the training set.
        classes: usize,
    },
    /// Training and test images differ in size.
    #[error("{}: test images have the shape {test:?}, training images {train:?} (channels, rows, columns)", path.display())]
    Shapes {
        /// The folder.
        path: PathBuf,
        /// Shape of the training images.
        train: [usize; 3],
        /// Shape of the test images.
        test: [usize; 3],
    },
    /// A validation split that leaves nothing to train on, or is no fraction.
    #[error("a validation split of {asked} cannot be held out of {images} training images")]
    Validation {
        /// What was asked for.
        asked: String,
        /// Training images.
        images: usize,
    },
    /// A normalisation, augmentation or picture option that does not fit.
    #[error("{option}: {problem}")]
    Option {
        /// The option.
        option: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// A position past the end of a split.
    #[error("position {position} is outside the split of {len} images")]
    Position {
        /// The position.
        position: u32,
        /// Images of the split.
        len: usize,
    },
    /// A buffer of the wrong size.
    #[error("the buffer for {what} has {found} elements, expected {expected}")]
    Buffer {
        /// Images or labels.
        what: &'static str,
        /// Elements needed.
        expected: usize,
        /// Elements given.
        found: usize,
    },
    /// A background thread that ended without a word.
    #[error("a thread that reads batches ended unexpectedly before batch {batch}")]
    Worker {
        /// The batch that was awaited.
        batch: usize,
    },
    /// A file that is not the one it should be.
    #[error("{}: SHA-256 is {found}, expected {expected}", path.display())]
    Digest {
        /// The file.
        path: PathBuf,
        /// Digest of the right file.
        expected: String,
        /// Digest of this one.
        found: String,
    },
    /// A download that failed.
    #[error("{url}: {problem}")]
    Download {
        /// The address.
        url: String,
        /// What happened.
        problem: String,
    },
    /// A package client that is missing or failed.
    #[error("`{command}`: {problem}")]
    Client {
        /// The command line.
        command: String,
        /// What happened.
        problem: String,
    },
    /// No way to fetch the set.
    #[error("cannot fetch {name}: {reasons}")]
    Unavailable {
        /// The set.
        name: &'static str,
        /// What was tried and how each try ended.
        reasons: String,
    },
    /// A converted set that is not what is known of it.
    #[error("{name}: {problem}")]
    Content {
        /// The set.
        name: &'static str,
        /// What differs.
        problem: String,
    },
}

impl Error {
    /// Wraps an error of the operating system: `action` as in "cannot `action`".
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }
}
