//! Augmentation of images in memory: pad, random crop of the original size, horizontal flip.

use super::error::Error;
use super::random::{Purpose, below, generator};
use rand_core::Rng;

/// Parts of the augmentation to switch; `None` leaves the set's default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AugmentationSwitches {
    /// Random crop: of the padded image, or of a picture of a class folder.
    pub crop: Option<bool>,
    /// Random horizontal flip.
    pub flip: Option<bool>,
}

impl AugmentationSwitches {
    /// Everything off.
    pub const OFF: Self = Self {
        crop: Some(false),
        flip: Some(false),
    };
}

/// How images in memory are augmented.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Augmentation {
    /// Whether to pad and crop.
    pub crop: bool,
    /// Pixels added on each side before the crop.
    pub pad: usize,
    /// The byte that the padding is filled with, before normalisation.
    pub fill: u8,
    /// Whether to flip half of the images.
    pub flip: bool,
}

impl Augmentation {
    /// MNIST and Fashion-MNIST: pad 2 with black, crop. The authors' program also flips; here that is off
    /// unless asked for, because a flipped digit is another sign.
    pub const MNIST: Self = Self {
        crop: true,
        pad: 2,
        fill: 0,
        flip: false,
    };
    /// CIFAR: pad 4 with grey 127, crop, flip.
    pub const CIFAR: Self = Self {
        crop: true,
        pad: 4,
        fill: 127,
        flip: true,
    };
    /// The embedded digits: off; with the crop switched on, pad 1 with black.
    pub const DIGITS: Self = Self {
        crop: false,
        pad: 1,
        fill: 0,
        flip: false,
    };

    /// With the parts that are switched.
    #[must_use]
    pub fn switched(self, switches: AugmentationSwitches) -> Self {
        Self {
            crop: switches.crop.unwrap_or(self.crop),
            flip: switches.flip.unwrap_or(self.flip),
            ..self
        }
    }

    /// Where image `index` (in file order) lands in `epoch`. Each part has a draw of its own, so switching one
    /// leaves the other as it was.
    pub(crate) fn placement(self, seed: u64, epoch: u64, index: u32) -> Placement {
        let mut rng = generator(seed, Purpose::Augmentation, epoch, index.into());
        let span = 2 * self.pad as u64 + 1;
        let (row, column) = (
            below(&mut rng, span) as usize,
            below(&mut rng, span) as usize,
        );
        let flip = self.flip && rng.next_u64() >> 63 == 1;
        if self.crop {
            Placement {
                pad: self.pad,
                fill: self.fill,
                row,
                column,
                flip,
            }
        } else {
            Placement {
                flip,
                ..Placement::IDENTITY
            }
        }
    }

    pub(crate) fn check(self, shape: [usize; 3]) -> Result<(), Error> {
        if self.crop && (self.pad >= shape[1] || self.pad >= shape[2]) {
            let problem = format!(
                "a padding of {} needs images larger than {}x{}",
                self.pad, shape[1], shape[2]
            );
            return Err(Error::Option {
                option: "augmentation",
                problem,
            });
        }
        Ok(())
    }
}

/// A window of the padded image, perhaps mirrored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Placement {
    pub pad: usize,
    pub fill: u8,
    pub row: usize,
    pub column: usize,
    pub flip: bool,
}

impl Placement {
    pub(crate) const IDENTITY: Self = Self {
        pad: 0,
        fill: 0,
        row: 0,
        column: 0,
        flip: false,
    };

    pub(crate) fn is_identity(self) -> bool {
        !self.flip && self.row == self.pad && self.column == self.pad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placements_cover_all_windows_and_both_sides_evenly() {
        let mut counts = [0u32; 9 * 9 * 2];
        for index in 0..81_000 {
            let p = Augmentation::CIFAR.placement(5, 2, index);
            counts[(p.row * 9 + p.column) * 2 + usize::from(p.flip)] += 1;
        }
        // 500 each, standard deviation 22; 5.4 of them either way
        assert!(
            counts.iter().all(|&c| (380..620).contains(&c)),
            "{counts:?}"
        );
    }

    #[test]
    fn a_pure_function_of_seed_epoch_index_and_parts_do_not_disturb_each_other() {
        let full = Augmentation::CIFAR;
        assert_eq!(full.placement(1, 2, 3), full.placement(1, 2, 3));
        let differs = |other: fn(u32) -> Placement| {
            (0..100).any(|i| other(i) != Augmentation::CIFAR.placement(1, 2, i))
        };
        assert!(differs(|i| Augmentation::CIFAR.placement(2, 2, i)));
        assert!(differs(|i| Augmentation::CIFAR.placement(1, 3, i)));
        let no_flip = full.switched(AugmentationSwitches {
            flip: Some(false),
            crop: None,
        });
        let no_crop = full.switched(AugmentationSwitches {
            flip: None,
            crop: Some(false),
        });
        for index in 0..50 {
            let (a, b, c) = (
                full.placement(1, 2, index),
                no_flip.placement(1, 2, index),
                no_crop.placement(1, 2, index),
            );
            assert_eq!((a.row, a.column, false), (b.row, b.column, b.flip));
            assert_eq!(a.flip, c.flip);
            assert_eq!((c.pad, c.row, c.column), (0, 0, 0));
        }
        let off = full.switched(AugmentationSwitches::OFF);
        assert!((0..50).all(|i| off.placement(1, 2, i).is_identity()));
    }
}
