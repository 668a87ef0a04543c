//! The digits embedded in the program: 1,797 images of 8x8 pixels (origin, licence and layout:
//! DIGITS-LICENSE.md).
//!
//! The split is fixed: the first 1,437 images train, the last 360 test. The file's order goes by writer, so
//! most test digits are of hands not trained on.

use super::error::FormatError;
use super::idx::check_labels;
use super::memory::Images;

/// The embedded file.
pub const BYTES: &[u8] = include_bytes!("digits.bin");
/// Images of the training set; the others are the test set.
pub const TRAIN: usize = 1437;
/// Channels, rows, columns.
pub const SHAPE: [usize; 3] = [1, 8, 8];
/// Largest pixel value.
pub const MAX_PIXEL: u8 = 16;
const PIXELS: usize = 64;

/// Parses records of 64 pixels (0 to 16) and a label (0 to 9).
///
/// # Errors
/// [`FormatError`]: no whole number of records, no record, a pixel or a label out of range.
pub fn parse_digits(bytes: &[u8]) -> Result<Images, FormatError> {
    let record = PIXELS + 1;
    if bytes.is_empty() {
        return Err(FormatError::Empty);
    }
    if !bytes.len().is_multiple_of(record) {
        return Err(FormatError::Records {
            record,
            found: bytes.len(),
        });
    }
    let mut images = Images {
        shape: SHAPE,
        pixels: Vec::new(),
        labels: Vec::new(),
    };
    for (index, image) in bytes.chunks_exact(record).enumerate() {
        if let Some(&value) = image[..PIXELS].iter().find(|&&pixel| pixel > MAX_PIXEL) {
            return Err(FormatError::Pixel {
                index,
                value,
                max: MAX_PIXEL,
            });
        }
        images.pixels.extend_from_slice(&image[..PIXELS]);
        images.labels.push(image[PIXELS]);
    }
    check_labels(&images.labels, 10)?;
    Ok(images)
}

/// The embedded training and test images.
///
/// # Errors
/// [`FormatError`] only if the program was built from a changed file.
pub fn load() -> Result<(Images, Images), FormatError> {
    let mut train = parse_digits(BYTES)?;
    if train.labels.len() <= TRAIN {
        return Err(FormatError::Images {
            expected: 1797,
            found: train.labels.len(),
        });
    }
    let test = Images {
        shape: SHAPE,
        pixels: train.pixels.split_off(TRAIN * PIXELS),
        labels: train.labels.split_off(TRAIN),
    };
    Ok((train, test))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use sha2::{Digest, Sha256};

    #[test]
    fn embedded_file_is_the_credited_one() {
        let digest: String = Sha256::digest(BYTES)
            .iter()
            .map(|b| format!("{b:02x}"))
            .collect();
        assert!(include_str!("DIGITS-LICENSE.md").contains(&digest));
        let (train, test) = load().unwrap();
        assert_eq!((train.labels.len(), test.labels.len()), (1437, 360));
        // class counts as scikit-learn's documentation gives them
        let mut counts = [0; 10];
        train
            .labels
            .iter()
            .chain(&test.labels)
            .for_each(|&label| counts[usize::from(label)] += 1);
        assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
        assert_eq!(train.pixels[..8], [0, 0, 5, 13, 9, 1, 0, 0]);
        assert_eq!(train.labels[..10], [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    }

    #[test]
    fn refuses_bad_records() {
        assert_eq!(
            parse_digits(&BYTES[..64]),
            Err(FormatError::Records {
                record: 65,
                found: 64
            })
        );
        assert_eq!(parse_digits(&[]), Err(FormatError::Empty));
        let mut bytes = BYTES[..130].to_vec();
        bytes[70] = 17;
        assert_eq!(
            parse_digits(&bytes),
            Err(FormatError::Pixel {
                index: 1,
                value: 17,
                max: 16
            })
        );
        bytes[70] = 16;
        bytes[129] = 10;
        assert_eq!(
            parse_digits(&bytes),
            Err(FormatError::Label {
                index: 1,
                value: 10,
                classes: 10
            })
        );
    }
}
