//! The batch that a step works on: its images and labels on the device.

use crate::data::{DataSet, Placement};
use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::ghosts::Ghosts;
use crate::kernels::{int, launch};
use crate::memory::{Buffer, Upload};
use crate::network::{Input};
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
    /// As many, of passes that see a ghost batch more than once; none where a batch is one ghost batch.
    repeated: (Buffer<f32>, Buffer<i32>),
    uploads: (Upload<f32>, Upload<i32>),
    most: usize,
    /// Images of a ghost batch, at most.
    size: usize,
    image_len: usize,
    classes: usize,
    gpu: Arc<Gpu>,
}

impl Batches {
    /// For ghost batches of at most `size` images of `image_len` values, of `classes` classes, one at a time.
    pub(crate) fn new(gpu: &Arc<Gpu>, size: usize, image_len: usize, classes: usize) -> Result<Self> {
        Ok(Self {
            images: Buffer::zeroed(gpu, size * image_len)?,
            labels: Buffer::zeroed(gpu, size)?,
            repeated: (Buffer::zeroed(gpu, 0)?, Buffer::zeroed(gpu, 0)?),
            uploads: (Upload::new(gpu, size * image_len)?, Upload::new(gpu, size)?),
            most: size,
            size,
            image_len,
            classes,
            gpu: gpu.clone(),
        })
    }

    /// Bytes that so many images, in ghost batches of at most `size`, take on the device.
    pub(crate) const fn bytes(most: usize, size: usize, image_len: usize) -> u64 {
        let times = if most > size { 2 } else { 1 };
        4 * (times * most as u64 * (image_len as u64 + 1))
    }

    /// The most images.
    pub(crate) const fn images(&self) -> usize {
        self.most
    }

    /// Has room for at least so many images from now on.
    pub(crate) fn set_images(&mut self, most: usize) -> Result<()> {
        if most > self.most {
            let gpu = self.gpu.clone();
            let room = |images| Ok::<_, GpuError>((Buffer::zeroed(&gpu, images * self.image_len)?, Buffer::zeroed(&gpu, images)?));
            // The old ones go first, as there may be no room for both.
            self.most = 0;
            (self.images, self.labels) = room(0)?;
            self.repeated = room(0)?;
            self.uploads = (Upload::new(&gpu, 0)?, Upload::new(&gpu, 0)?);
            (self.images, self.labels) = room(most)?;
            self.repeated = room(if most > self.size { most } else { 0 })?;
            self.uploads = (Upload::new(&gpu, most * self.image_len)?, Upload::new(&gpu, most)?);
            self.most = most;
        }
        Ok(())
    }

    /// The images of passes that see ghost batches of one size more than once. The first pass is number `pass` of the `draws`
    /// of the ghost batch at image `start`.
    pub(crate) fn repeated(&self, start: usize, at: Ghosts, (pass, draws): (u32, u32)) -> Result<Input> {
        let given = self.repeated.1.len();
        if at.images > given {
            return Err(GpuError::Length { what: "images of repeated ghost batches", needed: at.images, given });
        }
        let (from, to) = (self.input(start), [self.repeated.0.pointer(), self.repeated.1.pointer()]);
        let (len, size) = (int("values of an image", self.image_len)?, int("images", at.size)?);
        let grid = [[int("images", at.images)?.cast_unsigned(), 1, 1], [256, 1, 1]];
        // SAFETY: every ghost batch is part of the batch that lies there; room for all images was seen above.
        unsafe {
            launch!(self.gpu, repeat, grid, 0, from.images, from.labels, to[0], to[1], len, size, pass, draws)?;
        }
        Ok(Input { images: to[0], labels: to[1] })
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
