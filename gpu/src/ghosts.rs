//! How the images of a pass are cut into ghost batches.

/// Images of a pass, cut into ghost batches of `size`, the last one perhaps shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ghosts {
    /// All images.
    pub images: usize,
    /// Images of every ghost batch but perhaps the last; at least 1.
    pub size: usize,
}

impl Ghosts {
    /// One ghost batch.
    pub const fn one(images: usize) -> Self {
        Self { images, size: if images == 0 { 1 } else { images } }
    }

    /// Number of ghost batches.
    pub const fn count(self) -> usize {
        self.images.div_ceil(self.size)
    }
}
