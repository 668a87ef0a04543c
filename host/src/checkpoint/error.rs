//! What can be wrong with a checkpoint.

use super::atomic::WriteError;
use std::io;
use std::path::PathBuf;

/// A checkpoint that cannot be read, written or used, and why.
#[derive(Debug, thiserror::Error)]
#[error("checkpoint {}: {cause}", path.display())]
pub struct CheckpointError {
    /// The file, or `(in memory)` for a checkpoint that was never saved.
    pub path: PathBuf,
    /// What is wrong.
    #[source]
    pub cause: CheckpointCause,
}

/// The cause of a [`CheckpointError`].
#[derive(Debug, thiserror::Error)]
pub enum CheckpointCause {
    /// The file cannot be opened or read.
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    /// The file cannot be written; the old one is whole.
    #[error("not saved: {0}")]
    Write(#[source] WriteError),
    /// It is not a regular file.
    #[error("not a regular file")]
    NotAFile,
    /// The file ends before its header says so.
    #[error("truncated: {found} bytes, {expected} expected")]
    Truncated {
        /// Bytes that the header promises (8 where not even the header's length is there).
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// The file goes on after its last tensor.
    #[error("oversized: {found} bytes, {expected} expected")]
    Oversized {
        /// Bytes that the header promises.
        expected: u64,
        /// Bytes in the file.
        found: u64,
    },
    /// The bytes are not those that were saved.
    #[error("damaged: its checksum is {found}, {expected} expected")]
    Checksum {
        /// The checksum that the file names.
        expected: String,
        /// The checksum of its content.
        found: String,
    },
    /// The header is longer than the format allows.
    #[error(
        "header of {length} bytes is longer than the {limit} allowed; this is no safetensors file"
    )]
    HeaderTooLong {
        /// Its length in bytes.
        length: u64,
        /// The longest allowed.
        limit: u64,
    },
    /// The header is not what the format asks for.
    #[error("bad header: {0}")]
    Header(#[source] serde_json::Error),
    /// Shapes, element types and offsets in the header contradict each other.
    #[error("bad header: {0}")]
    Layout(#[source] safetensors::SafeTensorError),
    /// A tensor's elements are of a type that is not read here.
    #[error("tensor '{name}' has elements of type {dtype}, which are not supported")]
    UnsupportedType {
        /// The tensor.
        name: String,
        /// Its type in the format's words.
        dtype: String,
    },
    /// There is not enough memory for a tensor.
    #[error("tensor '{name}' of {bytes} bytes does not fit into memory")]
    OutOfMemory {
        /// The tensor.
        name: String,
        /// Its size in bytes.
        bytes: usize,
    },
    /// A tensor that was asked for is not there.
    #[error("tensor '{0}' is missing")]
    MissingTensor(String),
    /// A tensor has another element type than asked for.
    #[error("tensor '{name}' has elements of type {found}, {expected} expected")]
    WrongType {
        /// The tensor.
        name: String,
        /// The type asked for.
        expected: &'static str,
        /// The type found.
        found: &'static str,
    },
    /// A tensor has another shape than asked for.
    #[error("tensor '{name}' has shape {found:?}, {expected:?} expected")]
    WrongShape {
        /// The tensor.
        name: String,
        /// The shape asked for.
        expected: Vec<usize>,
        /// The shape found.
        found: Vec<usize>,
    },
    /// A shape and the number of elements given for it differ.
    #[error("tensor '{name}' of shape {shape:?} was given {elements} elements")]
    ElementCount {
        /// The tensor.
        name: String,
        /// Its shape.
        shape: Vec<usize>,
        /// The elements given.
        elements: usize,
    },
    /// The format keeps this name for its own use.
    #[error("a tensor cannot be called '{0}'")]
    ReservedName(String),
    /// A metadata entry that was asked for is not there.
    #[error("metadata entry '{0}' is missing")]
    MissingMetadata(String),
    /// A metadata entry is not the number it should be.
    #[error("metadata entry '{key}' is '{value}', not a {expected}")]
    BadMetadata {
        /// The entry.
        key: String,
        /// Its text.
        value: String,
        /// What was expected.
        expected: &'static str,
    },
}
