//! Pooling.

use crate::device::Gpu;
use crate::error::Result;
use crate::kernels::{int, launch, over, warps};
use crate::pointer::Pointer;
use smoothout::shape::Shape;

/// Windows over planes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Windows {
    pub(crate) input: Shape,
    pub(crate) output: Shape,
    pub(crate) kernel: [usize; 2],
    pub(crate) stride: [usize; 2],
    pub(crate) padding: [usize; 2],
}

impl Windows {
    /// Planes of this many images, and the shape as the kernels take it.
    fn ints(&self, images: usize) -> Result<[i32; 11]> {
        let values = self.input.len().max(self.output.len());
        int("activations", images.saturating_mul(values))?;
        let Self { input, output, kernel, stride, padding } = self;
        let planes = images * input.channels;
        Ok([planes, input.height, input.width, output.height, output.width, kernel[0], kernel[1], stride[0], stride[1],
            padding[0], padding[1]].map(|value| value as i32))
    }

    /// Values of the arena that the places of the maxima of this many images take, two to a value.
    pub(crate) const fn places(&self, images: usize) -> usize {
        (images * self.output.len()).div_ceil(2)
    }

    /// y, and of each maximum its place, unless that is null.
    pub(crate) fn max(&self, gpu: &Gpu, images: usize, [x, y, places]: [Pointer; 3]) -> Result<()> {
        let [p, h, w, oh, ow, kh, kw, sh, sw, ph, pw] = self.ints(images)?;
        // SAFETY: x and y hold the images.
        unsafe {
            launch!(gpu, max_pool, over(images * self.output.len(), 256)?, 0, x, y, places, p, h, w, oh, ow, kh, kw, sh, sw,
                ph, pw)
        }
    }

    /// dx from dy.
    pub(crate) fn max_backward(
        &self,
        gpu: &Gpu,
        images: usize,
        [dy, places, dx]: [Pointer; 3],
        add: bool,
    ) -> Result<()> {
        let [p, h, w, oh, ow, kh, kw, sh, sw, ph, pw] = self.ints(images)?;
        // SAFETY: as above.
        unsafe {
            launch!(gpu, max_pool_backward, over(images * self.input.len(), 256)?, 0, dy, places, dx, p, h, w, oh, ow, kh,
                kw, sh, sw, ph, pw, i32::from(add))
        }
    }

    /// y, of means.
    pub(crate) fn average(&self, gpu: &Gpu, images: usize, [x, y]: [Pointer; 2]) -> Result<()> {
        let [p, h, w, oh, ow, kh, kw, sh, sw, ph, pw] = self.ints(images)?;
        // SAFETY: as above.
        unsafe {
            launch!(gpu, average_pool, over(images * self.output.len(), 256)?, 0, x, y, p, h, w, oh, ow, kh, kw, sh, sw, ph,
                pw)
        }
    }

    /// dx from dy.
    pub(crate) fn average_backward(&self, gpu: &Gpu, images: usize, [dy, dx]: [Pointer; 2], add: bool) -> Result<()> {
        let [p, h, w, oh, ow, kh, kw, sh, sw, ph, pw] = self.ints(images)?;
        // SAFETY: as above.
        unsafe {
            launch!(gpu, average_pool_backward, over(images * self.input.len(), 256)?, 0, dy, dx, p, h, w, oh, ow, kh, kw,
                sh, sw, ph, pw, i32::from(add))
        }
    }
}

/// y: the mean of each of `planes` planes of x.
pub(crate) fn global_average(gpu: &Gpu, planes: usize, pixels: usize, [x, y]: [Pointer; 2]) -> Result<()> {
    int("activations", planes.saturating_mul(pixels))?;
    // SAFETY: x holds the planes, y one value each.
    unsafe { launch!(gpu, global_average_pool, warps(planes)?, 0, x, y, planes as i32, pixels as i32) }
}

/// dx from dy.
pub(crate) fn global_average_backward(
    gpu: &Gpu,
    planes: usize,
    pixels: usize,
    [dy, dx]: [Pointer; 2],
    add: bool,
) -> Result<()> {
    int("activations", planes.saturating_mul(pixels))?;
    // SAFETY: as above.
    unsafe {
        launch!(gpu, global_average_pool_backward, over(planes * pixels, 256)?, 0, dy, dx, planes as i32, pixels as i32,
            i32::from(add))
    }
}
