//! The batch that a step works on: its images and labels on the device.

use crate::data::{DataSet, Placement};
use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::memory::{Buffer, Upload};
use crate::network::Input;
use smoothout::layers::Label;
use std::sync::Arc;

/// Where the images of a batch come from.
#[derive(Clone, Copy, Debug)]
pub enum Feed<'a> {
    /// The host: images (n, C, H, W), already normalised, and n labels.
    Host {
        /// n * C * H * W values.
        images: &'a [f32],
        /// n classes.
        labels: &'a [u32],
    },
    /// A data set on the device.
    Set {
        /// The set.
        set: &'a DataSet,
        /// The first image, in the set's order.
        start: usize,
        /// Number of images.
        count: usize,
        /// How they are augmented, in training.
        placement: Option<Placement>,
    },
}

impl Feed<'_> {
    /// Number of images.
    pub const fn images(&self) -> usize {
        match self {
            Self::Host { labels, .. } => labels.len(),
            Self::Set { count, .. } => *count,
        }
    }
}

/// Room for the images and labels of a batch.
#[derive(Debug)]
pub(crate) struct Batches {
    images: Buffer<f32>,
    labels: Buffer<i32>,
    uploads: (Upload<f32>, Upload<i32>),
    most: usize,
    image_len: usize,
    classes: usize,
    gpu: Arc<Gpu>,
}

impl Batches {
    /// For at most `most` images of `image_len` values, of `classes` classes.
    pub(crate) fn new(gpu: &Arc<Gpu>, most: usize, image_len: usize, classes: usize) -> Result<Self> {
        Ok(Self {
            images: Buffer::zeroed(gpu, most * image_len)?,
            labels: Buffer::zeroed(gpu, most)?,
            uploads: (Upload::new(gpu)?, Upload::new(gpu)?),
            most,
            image_len,
            classes,
            gpu: gpu.clone(),
        })
    }

    /// Bytes that so many images take on the device.
    pub(crate) const fn bytes(most: usize, image_len: usize) -> u64 {
        4 * (most as u64 * (image_len as u64 + 1))
    }

    /// The most images.
    pub(crate) const fn images(&self) -> usize {
        self.most
    }

    /// Has room for at least so many images from now on.
    pub(crate) fn set_images(&mut self, most: usize) -> Result<()> {
        if most > self.most {
            // The old ones go first, as there may be no room for both.
            (self.images, self.labels) = (Buffer::zeroed(&self.gpu, 0)?, Buffer::zeroed(&self.gpu, 0)?);
            self.most = 0;
            self.images = Buffer::zeroed(&self.gpu, most * self.image_len)?;
            self.labels = Buffer::zeroed(&self.gpu, most)?;
            self.most = most;
        }
        Ok(())
    }

    /// Images and labels from image `start` on.
    pub(crate) fn input(&self, start: usize) -> Input {
        Input { images: self.images.pointer().at(start * self.image_len), labels: self.labels.pointer().at(start) }
    }

    /// Brings a batch here, in the stream's order.
    pub(crate) fn load(&mut self, feed: &Feed<'_>) -> Result<()> {
        let count = feed.images();
        if count > self.most {
            return Err(GpuError::Length { what: "images of a batch", needed: self.most, given: count });
        }
        match feed {
            Feed::Host { images, labels } => {
                let (needed, given) = (count * self.image_len, images.len());
                if needed != given {
                    return Err(GpuError::Length { what: "images", needed, given });
                }
                let classes = self.classes;
                let wrong = |(_, label): &(usize, &u32)| **label as usize >= classes;
                if let Some((image, &label)) = labels.iter().enumerate().find(wrong) {
                    return Err(GpuError::Label(Label { image, label, classes }));
                }
                self.uploads.0.send(&self.gpu, images.iter().copied(), &mut self.images)?;
                self.uploads.1.send(&self.gpu, labels.iter().map(|label| label.cast_signed()), &mut self.labels)
            }
            Feed::Set { set, start, count, placement } => {
                let input = self.input(0);
                set.gather(&self.gpu, *start, *count, placement.as_ref(), [input.images, input.labels])
            }
        }
    }
}
