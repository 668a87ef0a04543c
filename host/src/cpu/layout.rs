//! The layout blocked by batch, and the way from NCHW into it and back.

use super::shared::Shared;
use super::simd::transpose::TILE;
use super::simd::{Isa, Kernel, Simd};
use rayon::prelude::*;

/// Images that lie side by side.
pub const IMAGES: usize = TILE;

/// An activation stored as `[ceil(images/16)][channels][height][width][16]` f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Images of the ghost batch; the last block's other lanes are unused.
    pub images: usize,
    /// Channels, or features of a flat activation.
    pub channels: usize,
    /// Rows of pixels.
    pub height: usize,
    /// Pixels of a row.
    pub width: usize,
}

impl Blocked {
    /// Blocks of 16 images.
    #[must_use]
    pub const fn blocks(&self) -> usize {
        self.images.div_ceil(IMAGES)
    }

    /// Pixels of a channel.
    #[must_use]
    pub const fn pixels(&self) -> usize {
        self.height * self.width
    }

    /// Values of one image.
    #[must_use]
    pub const fn image_len(&self) -> usize {
        self.channels * self.pixels()
    }

    /// Floats of the whole activation, unused lanes included.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.blocks() * self.image_len() * IMAGES
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Images of a block that are used: 16, or fewer in the last one.
    #[must_use]
    pub const fn used(&self, block: usize) -> usize {
        let left = self.images - block * IMAGES;
        if left < IMAGES { left } else { IMAGES }
    }
}

/// Values of an image that one task moves; a multiple of the tile's edge.
const PIECE: usize = 1024;

/// Images in PyTorch's order NCHW into the blocked layout; unused lanes become zero.
///
/// # Panics
/// `images` is not `shape.images * shape.image_len()` long or `blocked` not `shape.len()`.
pub fn to_blocked(isa: Isa, shape: &Blocked, images: &[f32], blocked: &mut [f32]) {
    assert_eq!(images.len(), shape.images * shape.image_len());
    assert_eq!(blocked.len(), shape.len());
    let len = shape.image_len();
    if len == 0 {
        return;
    }
    blocked
        .par_chunks_mut(len * IMAGES)
        .enumerate()
        .for_each(|(block, blocked)| {
            let used = shape.used(block);
            let images = &images[block * IMAGES * len..][..used * len];
            blocked
                .par_chunks_mut(PIECE * IMAGES)
                .enumerate()
                .for_each(|(piece, blocked)| {
                    isa.run(Gather {
                        images,
                        len,
                        used,
                        first: piece * PIECE,
                        blocked,
                    });
                });
        });
}

/// The blocked layout back into PyTorch's order NCHW, without the unused lanes.
///
/// # Panics
/// `images` is not `shape.images * shape.image_len()` long or `blocked` not `shape.len()`.
pub fn from_blocked(isa: Isa, shape: &Blocked, blocked: &[f32], images: &mut [f32]) {
    assert_eq!(images.len(), shape.images * shape.image_len());
    assert_eq!(blocked.len(), shape.len());
    let len = shape.image_len();
    if len == 0 {
        return;
    }
    let images = Shared::new(images);
    blocked
        .par_chunks(len * IMAGES)
        .enumerate()
        .for_each(|(block, blocked)| {
            let used = shape.used(block);
            blocked
                .par_chunks(PIECE * IMAGES)
                .enumerate()
                .for_each(|(piece, blocked)| {
                    let start = block * IMAGES * len + piece * PIECE;
                    isa.run(Scatter {
                        blocked,
                        images: images.at(start),
                        len,
                        used,
                    });
                });
        });
}

/// Values `first..` of up to 16 images, as many as `blocked` has room for.
struct Gather<'a> {
    images: &'a [f32],
    len: usize,
    used: usize,
    first: usize,
    blocked: &'a mut [f32],
}

impl Kernel for Gather<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            images,
            len,
            used,
            first,
            blocked,
        } = self;
        let mut done = 0;
        if used == IMAGES {
            for tile in blocked.chunks_exact_mut(IMAGES * IMAGES) {
                // SAFETY: 16 values of each of the 16 images are left, as `blocked` has room for
                // them and ends where an image ends at the latest; the tile has 16 x 16 values.
                unsafe {
                    let source = images.as_ptr().add(first + done);
                    s.transpose(source, len, tile.as_mut_ptr(), IMAGES);
                }
                done += IMAGES;
            }
        }
        for (k, lanes) in blocked.chunks_exact_mut(IMAGES).enumerate().skip(done) {
            for (image, lane) in lanes.iter_mut().enumerate() {
                *lane = if image < used {
                    images[image * len + first + k]
                } else {
                    0.0
                };
            }
        }
    }
}

/// The way back; `images` points to the first value of the first image.
struct Scatter<'a> {
    blocked: &'a [f32],
    images: *mut f32,
    len: usize,
    used: usize,
}

impl Kernel for Scatter<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            blocked,
            images,
            len,
            used,
        } = self;
        let mut done = 0;
        if used == IMAGES {
            for tile in blocked.chunks_exact(IMAGES * IMAGES) {
                // SAFETY: 16 values of each of 16 images, which only this task writes.
                unsafe { s.transpose(tile.as_ptr(), IMAGES, images.add(done), len) };
                done += IMAGES;
            }
        }
        for (k, lanes) in blocked.chunks_exact(IMAGES).enumerate().skip(done) {
            for (image, &value) in lanes.iter().enumerate().take(used) {
                // SAFETY: a value of a used image, which only this task writes.
                unsafe { *images.add(image * len + k) = value };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{ODD_SHAPES, with_threads};
    use super::*;

    #[test]
    fn every_value_finds_its_place_and_comes_back() {
        for shape in ODD_SHAPES {
            let len = shape.image_len();
            let images: Vec<f32> = (0..shape.images * len).map(|k| k as f32 + 1.0).collect();
            for isa in Isa::available() {
                for threads in 1..=3 {
                    let mut blocked = vec![f32::NAN; shape.len()];
                    let mut back = vec![f32::NAN; images.len()];
                    with_threads(threads, || {
                        to_blocked(isa, &shape, &images, &mut blocked);
                        from_blocked(isa, &shape, &blocked, &mut back);
                    });
                    assert_eq!(back, images);
                    for (k, &value) in blocked.iter().enumerate() {
                        let image = k / (len * IMAGES) * IMAGES + k % IMAGES;
                        let want = match image < shape.images {
                            true => images[image * len + k / IMAGES % len],
                            false => 0.0,
                        };
                        assert_eq!(value, want, "{shape:?} {} {k}", isa.name());
                    }
                }
            }
        }
    }
}
