//! A data set that lies on the device as bytes: images are chosen, augmented and normalised there.

use crate::device::Gpu;
use crate::error::{GpuError, Result};
use crate::kernels::{int, launch};
use crate::memory::Buffer;
use crate::pointer::Pointer;
use smoothout::layers::Label;

/// How images are augmented: they lie at a random place of themselves padded, and are mirrored half of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placement {
    /// Whether to pad and crop.
    pub crop: bool,
    /// Pixels of padding on each side.
    pub pad: usize,
    /// The byte of the padding.
    pub fill: u8,
    /// Whether to mirror half of the images.
    pub flip: bool,
    /// Address of the seed and the epoch: what an image's index is hashed with.
    pub base: u64,
}

/// Images as bytes, (n, C, H, W), with labels, and an order in which they are read.
#[derive(Debug)]
pub struct DataSet {
    pixels: Buffer<u8>,
    labels: Buffer<u8>,
    table: Buffer<f32>,
    order: Buffer<i32>,
    shape: [usize; 3],
}

impl DataSet {
    /// A set of images of `shape` (C, H, W). `table` holds the value of each byte, 256 a channel.
    ///
    /// # Errors
    /// Lengths that do not fit together, a label that is not one of `classes`, or the driver's.
    pub fn new(gpu: &Gpu, shape: [usize; 3], pixels: &[u8], labels: &[u8], table: &[f32], classes: usize) -> Result<Self> {
        let len: usize = shape.iter().product();
        let exact = |what, given, needed| {
            if given == needed { Ok(()) } else { Err(GpuError::Length { what, needed, given }) }
        };
        exact("pixels", pixels.len(), labels.len() * len)?;
        exact("values of bytes", table.len(), 256 * shape[0])?;
        if let Some((image, &label)) = labels.iter().enumerate().find(|(_, label)| usize::from(**label) >= classes) {
            return Err(GpuError::Label(Label { image, label: label.into(), classes }));
        }
        Ok(Self {
            pixels: Buffer::from_slice(gpu, pixels)?,
            labels: Buffer::from_slice(gpu, labels)?,
            table: Buffer::from_slice(gpu, table)?,
            order: Buffer::zeroed(gpu, labels.len())?,
            shape,
        })
    }

    /// Bytes that a set of so many images takes on the device.
    pub fn bytes(shape: [usize; 3], images: usize) -> u64 {
        let len: usize = shape.iter().product();
        (images * (len + 5) + 1024 * shape[0]) as u64
    }

    /// The images, by number, in the order in which they are read from now on; at most as many as there are.
    ///
    /// # Errors
    /// Too many, an image that does not exist, or the driver's.
    pub fn arrange(&mut self, gpu: &Gpu, order: &[u32]) -> Result<()> {
        let images = self.labels.len();
        if let Some(&value) = order.iter().find(|image| **image as usize >= images) {
            return Err(GpuError::Length { what: "images, of which one was asked for", needed: value as usize + 1, given: images });
        }
        let order: Vec<i32> = order.iter().map(|image| image.cast_signed()).collect();
        self.order.write(gpu, 0, &order)
    }

    /// Writes the images at `start..start + count` of the order, normalised, to `images` (count, C, H, W), and their labels
    /// to `labels`; augmented unless there is no `placement`.
    ///
    /// # Errors
    /// A range past the end, or the driver's.
    pub fn gather(
        &self,
        gpu: &Gpu,
        start: usize,
        count: usize,
        placement: Option<&Placement>,
        [images, labels]: [Pointer; 2],
    ) -> Result<()> {
        gpu.enter()?;
        let (needed, given) = (start.saturating_add(count), self.order.len());
        if needed > given {
            return Err(GpuError::Length { what: "images of an order", needed, given });
        }
        let (pixels, of_pixels, table) = (self.pixels.pointer(), self.labels.pointer(), self.table.pointer());
        let chosen = self.order.pointer().at(start);
        let (count, [channels, height, width]) = (int("images", count)?, self.shape.map(|size| size as i32));
        let off = Placement { crop: false, pad: 0, fill: 0, flip: false, base: 0 };
        let Placement { crop, pad, fill, flip, base } = *placement.unwrap_or(&off);
        let (train, crop, flip) = (i32::from(placement.is_some()), i32::from(crop), i32::from(flip));
        let grid = [[count.cast_unsigned(), 1, 1], [256, 1, 1]];
        // SAFETY: every number of the order is an image's; the callers' places hold `count` images and labels.
        unsafe {
            launch!(gpu, gather, grid, 0, pixels, of_pixels, chosen, table, images, labels, count, channels, height, width,
                train, crop, flip, pad as i32, i32::from(fill), base)
        }
    }
}

#[cfg(test)]
mod tests;
