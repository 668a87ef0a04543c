//! A part of a data set (training, validation, test): reads any images of it, in any order, from any thread.

use super::augment::{Augmentation, Placement};
use super::error::Error;
use super::folder::ClassFolder;
use super::memory::{Images, Table};
use super::picture::{self, PictureOptions};
use super::random::{Purpose, base, generator, permutation};
use std::sync::Arc;

/// Where the images of a split are, and how they become network inputs.
#[derive(Debug)]
pub(crate) enum Source {
    Memory {
        images: Images,
        tables: Vec<Table>,
        augmentation: Augmentation,
    },
    Pictures {
        folder: ClassFolder,
        tables: Vec<Table>,
        options: PictureOptions,
        crop: bool,
        flip: bool,
    },
}

impl Source {
    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Memory { images, .. } => images.len(),
            Self::Pictures { folder, .. } => folder.len(),
        }
    }

    fn shape(&self) -> [usize; 3] {
        match self {
            Self::Memory { images, .. } => images.shape,
            Self::Pictures { options, .. } => [3, options.crop as usize, options.crop as usize],
        }
    }
}

/// How images are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// As they are: no augmentation; pictures: centre crop.
    Evaluate,
    /// Augmented as the set's options say. The augmentation of an image is a pure function of the seed, the
    /// epoch and the image.
    Train {
        /// Seed of the run.
        seed: u64,
        /// Epoch, from 0.
        epoch: u64,
    },
}

/// Images that lie in memory.
#[derive(Debug, Clone, Copy)]
pub struct Bytes<'a> {
    /// Images and labels of the whole set, by index.
    pub images: &'a Images,
    /// The value of every byte, 256 a channel.
    pub table: &'a [f32],
    /// How they are augmented in training.
    pub augmentation: Augmentation,
}

/// A part of a data set. Cloning is cheap: the images are shared.
#[derive(Debug, Clone)]
pub struct Split {
    source: Arc<Source>,
    /// Indices into the source.
    indices: Arc<[u32]>,
}

impl Split {
    /// The images of `source` at `indices`, which must be inside it.
    pub(crate) fn new(source: Arc<Source>, indices: Arc<[u32]>) -> Self {
        Self { source, indices }
    }

    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Whether there are none (a validation split that was not asked for).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }

    /// This many images of it, or all if there are no more: a uniform choice by seed, in the split's own order.
    #[must_use]
    pub fn sample(&self, images: usize, seed: u64) -> Self {
        let mut positions = permutation(&mut generator(seed, Purpose::Sample, 0, 0), self.len() as u32);
        positions.truncate(images);
        positions.sort_unstable();
        let indices = positions.iter().map(|p| self.indices[*p as usize]).collect();
        Self { source: self.source.clone(), indices }
    }

    /// Channels, rows, columns of every image.
    #[must_use]
    pub fn shape(&self) -> [usize; 3] {
        self.source.shape()
    }

    /// Number of f32 values of an image.
    #[must_use]
    pub fn image_len(&self) -> usize {
        self.shape().iter().product()
    }

    /// Index of the image at `position` in the order of the set's files (before a validation split was held out).
    #[must_use]
    pub fn index(&self, position: usize) -> Option<u32> {
        self.indices.get(position).copied()
    }

    /// Label of the image at `position`.
    #[must_use]
    pub fn label(&self, position: usize) -> Option<u32> {
        let index = self.index(position)?;
        Some(match &*self.source {
            Source::Memory { images, .. } => images.labels[index as usize].into(),
            Source::Pictures { folder, .. } => folder.label(index),
        })
    }

    /// The images as they lie in memory, for a device that takes them whole; `None` for pictures, which are decoded one by
    /// one.
    #[must_use]
    pub fn bytes(&self) -> Option<Bytes<'_>> {
        let Source::Memory { images, tables, augmentation } = &*self.source else { return None };
        Some(Bytes { images, table: tables.as_flattened(), augmentation: *augmentation })
    }

    /// Indices of the images of an epoch of training, in the order in which they are read, and the address of their
    /// augmentation: an image's is that of the generator seeded with the first output of SplitMix64 seeded with it and the
    /// image's index, one xor the other.
    #[must_use]
    pub fn epoch(&self, seed: u64, epoch: u64) -> (Vec<u32>, u64) {
        let positions = self.epoch_order(seed, epoch);
        let indices = positions.iter().map(|position| self.indices[*position as usize]).collect();
        (indices, base(seed, Purpose::Augmentation, epoch))
    }

    /// Threads that reading in the background is worth: one for images in memory; for pictures, which are decoded,
    /// one a core but at most 8, as each holds a few batches.
    #[must_use]
    pub fn readers(&self) -> usize {
        match &*self.source {
            Source::Memory { .. } => 1,
            Source::Pictures { .. } => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(8)),
        }
    }

    /// Number of images of each of `classes` classes.
    #[must_use]
    pub fn class_counts(&self, classes: usize) -> Vec<usize> {
        let mut counts = vec![0; classes];
        for label in (0..self.len()).filter_map(|position| self.label(position)) {
            if let Some(count) = counts.get_mut(label as usize) {
                *count += 1;
            }
        }
        counts
    }

    /// The positions of this split in the order of an epoch: a permutation, drawn without replacement, a pure
    /// function of seed and epoch.
    #[must_use]
    pub fn epoch_order(&self, seed: u64, epoch: u64) -> Vec<u32> {
        permutation(
            &mut generator(seed, Purpose::Order, epoch, 0),
            self.len() as u32,
        )
    }

    /// Reads the images at `positions`, normalised, into `images` (`positions.len()` x channels x rows x
    /// columns) and their labels into `labels`.
    ///
    /// # Errors
    /// [`Error::Buffer`] or [`Error::Position`] for arguments that do not fit; for class folders also what
    /// reading and decoding can meet.
    pub fn read(
        &self,
        positions: &[u32],
        pass: Pass,
        images: &mut [f32],
        labels: &mut [u32],
    ) -> Result<(), Error> {
        let buffer = |what, expected, found| {
            if expected == found {
                Ok(())
            } else {
                Err(Error::Buffer {
                    what,
                    expected,
                    found,
                })
            }
        };
        buffer("images", positions.len() * self.image_len(), images.len())?;
        buffer("labels", positions.len(), labels.len())?;
        let targets = images.chunks_exact_mut(self.image_len()).zip(labels);
        for (&position, (image, label)) in positions.iter().zip(targets) {
            let index = self.index(position as usize).ok_or(Error::Position {
                position,
                len: self.len(),
            })?;
            *label = self.read_one(index, pass, image)?;
        }
        Ok(())
    }

    fn read_one(&self, index: u32, pass: Pass, out: &mut [f32]) -> Result<u32, Error> {
        match &*self.source {
            Source::Memory {
                images,
                tables,
                augmentation,
            } => {
                let placement = match pass {
                    Pass::Evaluate => Placement::IDENTITY,
                    Pass::Train { seed, epoch } => augmentation.placement(seed, epoch, index),
                };
                images.write(index as usize, placement, tables, out);
                Ok(images.labels[index as usize].into())
            }
            &Source::Pictures {
                ref folder,
                ref tables,
                options,
                crop,
                flip,
            } => {
                let draw = match pass {
                    Pass::Evaluate => None,
                    Pass::Train { seed, epoch } => Some(picture::Draw {
                        crop,
                        flip,
                        seed,
                        epoch,
                        index,
                    }),
                };
                let (path, bytes) = folder.read(index)?;
                picture::write(&bytes, options, draw, tables, out).map_err(|e| e.at(&path))?;
                Ok(folder.label(index))
            }
        }
    }
}

/// How much of the training set is held out for validation.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum Validation {
    /// Nothing.
    #[default]
    None,
    /// This many images.
    Count(usize),
    /// This share of the images, at least 0 and below 1, rounded to the nearest whole image.
    Fraction(f64),
}

/// Parts `0..images` into training and validation indices, both ascending: a uniform choice by seed, not
/// stratified by class.
pub(crate) fn hold_out(
    images: usize,
    validation: Validation,
    seed: u64,
) -> Result<(Vec<u32>, Vec<u32>), Error> {
    let (count, asked) = match validation {
        Validation::None => (0, String::new()),
        Validation::Count(count) => (count, format!("{count} images")),
        Validation::Fraction(share) => {
            // a share that is negative or NaN asks for more than there is
            let count = if (0.0..1.0).contains(&share) {
                (share * images as f64).round() as usize
            } else {
                usize::MAX
            };
            (count, format!("the share {share}"))
        }
    };
    if count >= images {
        return Err(Error::Validation { asked, images });
    }
    let mut held_out = permutation(
        &mut generator(seed, Purpose::Validation, 0, 0),
        images as u32,
    );
    let mut rest = held_out.split_off(count);
    held_out.sort_unstable();
    rest.sort_unstable();
    Ok((rest, held_out))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn validation_is_disjoint_complete_and_repeatable() {
        let (train, held) = hold_out(1000, Validation::Fraction(0.1), 4).unwrap();
        assert_eq!((train.len(), held.len()), (900, 100));
        let mut all = [train.clone(), held.clone()].concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..1000));
        assert_eq!(
            hold_out(1000, Validation::Count(100), 4).unwrap(),
            (train, held.clone())
        );
        assert_ne!(hold_out(1000, Validation::Count(100), 5).unwrap().1, held);
        assert!(hold_out(10, Validation::None, 5).unwrap().1.is_empty());
    }

    #[test]
    fn impossible_validation_is_refused() {
        for bad in [
            Validation::Count(10),
            Validation::Fraction(1.0),
            Validation::Fraction(-0.1),
            Validation::Fraction(f64::NAN),
            Validation::Fraction(0.99),
        ] {
            let error = hold_out(10, bad, 0).unwrap_err();
            assert!(
                error
                    .to_string()
                    .contains("cannot be held out of 10 training images"),
                "{error}"
            );
        }
    }
}
