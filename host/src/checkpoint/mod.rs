//! Checkpoints: named tensors and text entries in a safetensors file.
//!
//! The files follow the safetensors format (<https://github.com/huggingface/safetensors>), so that
//! `safetensors.torch.load_file` reads them and files saved from PyTorch are read here. Callers use PyTorch's names and
//! shapes (`layer1.0.conv1.weight`, `bn1.running_mean`, ...). Equal checkpoints are equal files, byte for byte.

pub mod atomic;
mod error;
mod format;
#[cfg(test)]
mod tests;

pub use error::{CheckpointCause, CheckpointError};

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The elements of a tensor, row-major.
#[derive(Debug, Clone, PartialEq)]
pub enum Elements {
    /// 32-bit floating point.
    F32(Vec<f32>),
    /// 64-bit floating point.
    F64(Vec<f64>),
    /// 32-bit signed integers.
    I32(Vec<i32>),
    /// 64-bit signed integers.
    I64(Vec<i64>),
    /// 64-bit unsigned integers.
    U64(Vec<u64>),
    /// Bytes.
    U8(Vec<u8>),
}

impl Elements {
    /// The number of elements.
    pub fn len(&self) -> usize {
        match self {
            Elements::F32(v) => v.len(),
            Elements::F64(v) => v.len(),
            Elements::I32(v) => v.len(),
            Elements::I64(v) => v.len(),
            Elements::U64(v) => v.len(),
            Elements::U8(v) => v.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element type in the format's words.
    pub fn type_name(&self) -> &'static str {
        match self {
            Elements::F32(_) => "F32",
            Elements::F64(_) => "F64",
            Elements::I32(_) => "I32",
            Elements::I64(_) => "I64",
            Elements::U64(_) => "U64",
            Elements::U8(_) => "U8",
        }
    }
}

/// Elements and the shape they have; the product of the shape is the number of elements.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    shape: Vec<usize>,
    elements: Elements,
}

impl Tensor {
    /// The dimensions, outermost first; none for a scalar.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The elements, row-major.
    pub fn elements(&self) -> &Elements {
        &self.elements
    }
}

/// Named tensors and text entries.
#[derive(Debug, Clone, Default)]
pub struct Checkpoint {
    tensors: BTreeMap<String, Tensor>,
    metadata: BTreeMap<String, String>,
    /// Where it was loaded from, for error messages.
    path: Option<PathBuf>,
}

/// Equal contents; the file that they came from does not count. NaN differs from NaN, as in IEEE 754.
impl PartialEq for Checkpoint {
    fn eq(&self, other: &Self) -> bool {
        self.tensors == other.tensors && self.metadata == other.metadata
    }
}

impl Checkpoint {
    /// An empty checkpoint.
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads a file and checks all of it before memory is taken for its tensors.
    ///
    /// # Errors
    /// [`CheckpointError`] for a file that cannot be read, is truncated or oversized, has a header that is too long, no
    /// JSON, repeats a name, contradicts itself, or names an element type that [`Elements`] does not have.
    pub fn load(path: &Path) -> Result<Self, CheckpointError> {
        format::load(path).map_err(|cause| CheckpointError {
            path: path.to_path_buf(),
            cause,
        })
    }

    /// Writes the file atomically: see [`atomic`].
    ///
    /// # Errors
    /// [`CheckpointCause::Write`]; the old file is then whole. [`CheckpointCause::HeaderTooLong`] for names that
    /// exceed the format's limit.
    pub fn save(&self, path: &Path) -> Result<(), CheckpointError> {
        self.save_on(&atomic::RealDisk, path)
    }

    /// [`Checkpoint::save`] on any [`atomic::Disk`].
    ///
    /// # Errors
    /// As [`Checkpoint::save`].
    pub fn save_on<D: atomic::Disk>(&self, disk: &D, path: &Path) -> Result<(), CheckpointError> {
        format::save(disk, path, self).map_err(|cause| CheckpointError {
            path: path.to_path_buf(),
            cause,
        })
    }

    /// Adds a tensor; one of the same name is replaced.
    ///
    /// # Errors
    /// [`CheckpointCause::ElementCount`] where the shape does not have that many elements;
    /// [`CheckpointCause::ReservedName`] for the name that the format keeps for metadata.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        elements: Elements,
    ) -> Result<(), CheckpointError> {
        let name = name.into();
        if name == format::METADATA {
            return Err(self.error(CheckpointCause::ReservedName(name)));
        }
        let count = shape
            .iter()
            .try_fold(1usize, |product, &d| product.checked_mul(d));
        if count != Some(elements.len()) {
            return Err(self.error(CheckpointCause::ElementCount {
                name,
                shape: shape.to_vec(),
                elements: elements.len(),
            }));
        }
        let shape = shape.to_vec();
        self.tensors.insert(name, Tensor { shape, elements });
        Ok(())
    }

    /// Adds an f32 tensor; one of the same name is replaced.
    ///
    /// # Errors
    /// As [`Checkpoint::insert`].
    pub fn insert_f32(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        values: &[f32],
    ) -> Result<(), CheckpointError> {
        self.insert(name, shape, Elements::F32(values.to_vec()))
    }

    /// All tensors by name.
    pub fn tensors(&self) -> &BTreeMap<String, Tensor> {
        &self.tensors
    }

    /// A tensor, if it is there.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The elements of an f32 tensor of this shape.
    ///
    /// # Errors
    /// [`CheckpointCause::MissingTensor`], [`CheckpointCause::WrongType`] or [`CheckpointCause::WrongShape`].
    pub fn f32(&self, name: &str, shape: &[usize]) -> Result<&[f32], CheckpointError> {
        match self.shaped(name, shape)? {
            Elements::F32(values) => Ok(values),
            other => Err(self.wrong_type(name, "F32", other)),
        }
    }

    /// The elements of an i64 tensor of this shape.
    ///
    /// # Errors
    /// As [`Checkpoint::f32`].
    pub fn i64(&self, name: &str, shape: &[usize]) -> Result<&[i64], CheckpointError> {
        match self.shaped(name, shape)? {
            Elements::I64(values) => Ok(values),
            other => Err(self.wrong_type(name, "I64", other)),
        }
    }

    /// All text entries by key.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// Sets a text entry.
    pub fn set_text(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.metadata.insert(key.into(), value.into());
    }

    /// Sets an integer entry, exact over the whole range.
    pub fn set_u64(&mut self, key: impl Into<String>, value: u64) {
        self.set_text(key, value.to_string());
    }

    /// Sets a number that [`Checkpoint::number_f64`] gives back to the bit (of a NaN only that it is one).
    pub fn set_f64(&mut self, key: impl Into<String>, value: f64) {
        // Debug prints the shortest decimal that reads back as the same number.
        self.set_text(key, format!("{value:?}"));
    }

    /// A text entry.
    ///
    /// # Errors
    /// [`CheckpointCause::MissingMetadata`].
    pub fn text(&self, key: &str) -> Result<&str, CheckpointError> {
        self.metadata
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| self.error(CheckpointCause::MissingMetadata(key.into())))
    }

    /// An integer entry.
    ///
    /// # Errors
    /// [`CheckpointCause::MissingMetadata`] or [`CheckpointCause::BadMetadata`].
    pub fn number_u64(&self, key: &str) -> Result<u64, CheckpointError> {
        self.parsed(key, "whole number from 0 to 2^64-1")
    }

    /// A number entry.
    ///
    /// # Errors
    /// [`CheckpointCause::MissingMetadata`] or [`CheckpointCause::BadMetadata`].
    pub fn number_f64(&self, key: &str) -> Result<f64, CheckpointError> {
        self.parsed(key, "number")
    }

    fn parsed<T: std::str::FromStr>(
        &self,
        key: &str,
        expected: &'static str,
    ) -> Result<T, CheckpointError> {
        let value = self.text(key)?;
        value.parse().map_err(|_| {
            self.error(CheckpointCause::BadMetadata {
                key: key.into(),
                value: value.into(),
                expected,
            })
        })
    }

    fn shaped(&self, name: &str, shape: &[usize]) -> Result<&Elements, CheckpointError> {
        let tensor = self
            .get(name)
            .ok_or_else(|| self.error(CheckpointCause::MissingTensor(name.into())))?;
        if tensor.shape() != shape {
            return Err(self.error(CheckpointCause::WrongShape {
                name: name.into(),
                expected: shape.to_vec(),
                found: tensor.shape().to_vec(),
            }));
        }
        Ok(tensor.elements())
    }

    fn wrong_type(&self, name: &str, expected: &'static str, found: &Elements) -> CheckpointError {
        self.error(CheckpointCause::WrongType {
            name: name.into(),
            expected,
            found: found.type_name(),
        })
    }

    /// An error about this checkpoint, naming its file.
    fn error(&self, cause: CheckpointCause) -> CheckpointError {
        CheckpointError {
            path: self.path.clone().unwrap_or_else(|| "(in memory)".into()),
            cause,
        }
    }
}
