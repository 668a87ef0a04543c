//! Real data: the digits that the program embeds (see host/src/data/DIGITS-LICENSE.md), as a sensor would see them
//! that is mounted sideways. None of these was in the training of the model in `models`.

static RECORDS: &[u8] = include_bytes!("../../../host/src/data/digits.bin");

/// The model that was trained on the host, on upright digits.
pub static MODEL: &[u8] = include_bytes!("../models/digits.smo");

/// Digits that the model was trained on; the others are the host's test set, of other writers' hands.
const TRAINED: usize = 1437;

/// Pixels of a digit.
pub const PIXELS: usize = 64;

/// Digits to fine-tune on: the first half of those the host never trained on.
pub const TUNE: core::ops::Range<usize> = 0..180;

/// Digits to measure on: the other half.
pub const TEST: core::ops::Range<usize> = 180..360;

/// A batch of `N` digits in the format that sessions take.
pub struct Batch<const N: usize> {
    /// Pixels from -1 to 1, one digit after the other.
    pub images: [[f32; PIXELS]; N],
    /// What they show.
    pub labels: [u32; N],
}

impl<const N: usize> Batch<N> {
    /// Digits from `first` on, turned by a quarter; as in a ring, 360 digits long.
    pub fn turned(first: usize) -> Self {
        let mut batch = Self { images: [[0.0; PIXELS]; N], labels: [0; N] };
        for (i, (image, label)) in batch.images.iter_mut().zip(&mut batch.labels).enumerate() {
            let record = (TRAINED + (first + i) % 360) * (PIXELS + 1);
            let Some((pixels, rest)) = RECORDS.get(record..).and_then(|r| r.split_at_checked(PIXELS)) else {
                continue;
            };
            for (at, value) in image.iter_mut().enumerate() {
                let (row, column) = (at / 8, at % 8);
                let pixel = pixels.get((7 - column) * 8 + row).copied().unwrap_or(0);
                *value = (f32::from(pixel) / 16.0 - 0.5) / 0.5;
            }
            *label = rest.first().copied().unwrap_or(0).into();
        }
        batch
    }
}
