//! The official binary format of CIFAR-10 and CIFAR-100.
//!
//! A file is a run of records: one label byte (CIFAR-100: the coarse label, then the fine one, which is used),
//! then 3,072 pixels: 1,024 red, 1,024 green, 1,024 blue, each plane row by row.

use super::error::{Error, FormatError};
use super::file;
use super::idx::check_labels;
use super::memory::Images;
use std::path::Path;

/// Channels, rows, columns of every image.
pub const SHAPE: [usize; 3] = [3, 32, 32];
/// Bytes of the pixels of an image.
pub const PIXELS: usize = 3 * 32 * 32;

/// The two sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Variant {
    /// Ten classes; five training files and a test file.
    Cifar10,
    /// A hundred fine classes; one training file and a test file.
    Cifar100,
}

impl Variant {
    /// Number of classes.
    #[must_use]
    pub fn classes(self) -> u32 {
        match self {
            Self::Cifar10 => 10,
            Self::Cifar100 => 100,
        }
    }

    /// Training files, in order.
    #[must_use]
    pub fn train_files(self) -> &'static [&'static str] {
        match self {
            Self::Cifar10 => &[
                "data_batch_1.bin",
                "data_batch_2.bin",
                "data_batch_3.bin",
                "data_batch_4.bin",
                "data_batch_5.bin",
            ],
            Self::Cifar100 => &["train.bin"],
        }
    }

    /// The test file.
    #[must_use]
    pub fn test_file(self) -> &'static str {
        match self {
            Self::Cifar10 => "test_batch.bin",
            Self::Cifar100 => "test.bin",
        }
    }

    fn label_bytes(self) -> usize {
        match self {
            Self::Cifar10 => 1,
            Self::Cifar100 => 2,
        }
    }
}

/// Appends the images of one file to `images`.
///
/// # Errors
/// [`FormatError`]: no whole number of records, no record, a label out of range (of CIFAR-100's two: either).
/// `images` is then unchanged.
pub fn parse_cifar(bytes: &[u8], variant: Variant, images: &mut Images) -> Result<(), FormatError> {
    let label_bytes = variant.label_bytes();
    let record = label_bytes + PIXELS;
    if bytes.is_empty() {
        return Err(FormatError::Empty);
    }
    if !bytes.len().is_multiple_of(record) {
        return Err(FormatError::Records {
            record,
            found: bytes.len(),
        });
    }
    let labels: Vec<u8> = bytes
        .chunks_exact(record)
        .map(|r| r[label_bytes - 1])
        .collect();
    check_labels(&labels, variant.classes())?;
    if variant == Variant::Cifar100 {
        let coarse: Vec<u8> = bytes.chunks_exact(record).map(|r| r[0]).collect();
        check_labels(&coarse, 20)?;
    }
    images.labels.extend(labels);
    images.pixels.reserve_exact(bytes.len() / record * PIXELS);
    for image in bytes.chunks_exact(record) {
        images.pixels.extend_from_slice(&image[label_bytes..]);
    }
    Ok(())
}

/// Loads `files` of `folder` one after the other; with `official`, each only of that many images.
///
/// # Errors
/// [`Error`] with the file at fault.
pub fn load(
    folder: &Path,
    variant: Variant,
    files: &[&str],
    official: Option<usize>,
) -> Result<Images, Error> {
    let mut images = Images {
        shape: SHAPE,
        pixels: Vec::new(),
        labels: Vec::new(),
    };
    for name in files {
        let path = folder.join(name);
        if !path.is_file() {
            return Err(Error::Missing {
                path,
                expected: format!("a file of the {variant:?} binary version"),
            });
        }
        let before = images.labels.len();
        parse_cifar(&file::read(&path)?, variant, &mut images).map_err(|e| e.at(&path))?;
        let found = images.labels.len() - before;
        if let Some(expected) = official
            && found != expected
        {
            return Err(FormatError::Images { expected, found }.at(&path));
        }
    }
    Ok(images)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn empty() -> Images {
        Images {
            shape: SHAPE,
            pixels: Vec::new(),
            labels: Vec::new(),
        }
    }

    fn record(labels: &[u8], pixel: u8) -> Vec<u8> {
        [labels, &[pixel; PIXELS]].concat()
    }

    #[test]
    fn parses_both_variants() {
        let mut images = empty();
        parse_cifar(
            &[record(&[3], 7), record(&[9], 8)].concat(),
            Variant::Cifar10,
            &mut images,
        )
        .unwrap();
        assert_eq!(
            (
                images.labels.as_slice(),
                images.pixels[0],
                images.pixels[PIXELS]
            ),
            ([3, 9].as_slice(), 7, 8)
        );
        let mut images = empty();
        parse_cifar(&record(&[19, 99], 7), Variant::Cifar100, &mut images).unwrap();
        assert_eq!(
            (images.labels.as_slice(), images.pixels.len()),
            ([99].as_slice(), PIXELS)
        );
    }

    #[test]
    fn refuses_cut_long_empty_and_mislabelled_files() {
        let good = record(&[3], 7);
        let parse = |bytes: &[u8], variant| parse_cifar(bytes, variant, &mut empty());
        let records = |found| {
            Err(FormatError::Records {
                record: 3073,
                found,
            })
        };
        assert_eq!(parse(&good[..3072], Variant::Cifar10), records(3072));
        assert_eq!(
            parse(&[good.as_slice(), &[0]].concat(), Variant::Cifar10),
            records(3074)
        );
        assert_eq!(parse(&[], Variant::Cifar10), Err(FormatError::Empty));
        let wrong = [record(&[3], 7), record(&[10], 7)].concat();
        assert_eq!(
            parse(&wrong, Variant::Cifar10),
            Err(FormatError::Label {
                index: 1,
                value: 10,
                classes: 10
            })
        );
        assert_eq!(
            parse(&record(&[0, 100], 7), Variant::Cifar100),
            Err(FormatError::Label {
                index: 0,
                value: 100,
                classes: 100
            })
        );
        assert_eq!(
            parse(&record(&[20, 5], 7), Variant::Cifar100),
            Err(FormatError::Label {
                index: 0,
                value: 20,
                classes: 20
            })
        );
    }

    #[test]
    fn load_names_the_missing_and_the_short_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("train.bin"), record(&[1, 2], 3)).unwrap();
        let load =
            |files: &[&str], official| load(folder.path(), Variant::Cifar100, files, official);
        assert_eq!(load(&["train.bin"], None).unwrap().labels, [2]);
        let short = load(&["train.bin"], Some(50_000)).unwrap_err().to_string();
        assert!(
            short.contains("train.bin: 1 images, expected 50000"),
            "{short}"
        );
        let missing = load(&["train.bin", "test.bin"], None)
            .unwrap_err()
            .to_string();
        assert!(missing.contains("test.bin: missing"), "{missing}");
    }
}
