//! Data sets: finding and checking their files, holding out a validation split, normalising, augmenting and
//! reading batches ahead.
//!
//! [`Data::open`] takes a known name or a folder; [`Split::read`] reads any images, [`Batches`] reads an epoch
//! in the background. Everything random is a pure function of seed, epoch and image, so a run resumes at any
//! batch with the same bits. [`get()`] fetches the known sets, [`check()`] verifies what is there.

mod augment;
mod batches;
mod check;
pub mod cifar;
pub(crate) mod digest;
pub mod digits;
mod error;
pub mod file;
mod folder;
pub mod get;
pub mod idx;
mod known;
mod memory;
mod name;
mod normalize;
mod open;
mod picture;
mod random;
mod split;
#[cfg(test)]
mod tests;

pub use augment::{Augmentation, AugmentationSwitches};
pub use batches::{Batch, BatchOptions, Batches, Order};
pub use check::{FileReport, PartReport, Report, check};
pub use error::{Error, FormatError};
pub use folder::ClassFolder;
pub use get::{Outcome, Progress, get};
pub use memory::Images;
pub use name::Name;
pub use normalize::{Normalization, Statistics, statistics};
pub use picture::{PictureOptions, TrainCrop, decode_picture};
pub use split::{Bytes, Pass, Split, Validation};

use std::path::PathBuf;

/// How a data set is opened.
#[derive(Debug, Clone, PartialEq)]
pub struct Options {
    /// Folder below which the known sets lie, each in a folder of its name.
    pub root: PathBuf,
    /// Normalisation; `None` is the set's default: `Half` for one channel, `ImageNet` for colour.
    pub normalization: Option<Normalization>,
    /// Parts of the augmentation to switch on or off.
    pub augmentation: AugmentationSwitches,
    /// Transformation of the pictures of class folders.
    pub pictures: PictureOptions,
    /// How much of the training set to hold out.
    pub validation: Validation,
    /// Seed of the choice of the validation images.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            root: default_root(),
            normalization: None,
            augmentation: AugmentationSwitches::default(),
            pictures: PictureOptions::default(),
            validation: Validation::None,
            seed: 0,
        }
    }
}

/// The data root: the environment variable `SMOOTHOUT_DATA`, else `data` in the working folder.
#[must_use]
pub fn default_root() -> PathBuf {
    std::env::var_os("SMOOTHOUT_DATA")
        .filter(|root| !root.is_empty())
        .map_or_else(|| "data".into(), PathBuf::from)
}

/// An opened data set. Models are chosen on `validation`; `test` is only for reporting.
#[derive(Debug, Clone)]
pub struct Data {
    /// The known name, or the folder as given.
    pub name: String,
    /// Number of classes; every label is below it.
    pub classes: usize,
    /// Channels, rows, columns of every image.
    pub shape: [usize; 3],
    /// Training images without the validation images.
    pub train: Split,
    /// Validation images, held out of the training set; empty unless asked for.
    pub validation: Split,
    /// Test images: the official test set; for class folders `val/`, or else `test/`.
    pub test: Split,
}
