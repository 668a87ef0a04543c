//! The idx format of MNIST and Fashion-MNIST: images of one channel of unsigned bytes.
//!
//! Big-endian header: magic 0x00000803 and count, rows, columns for images; 0x00000801 and count for labels.

use super::error::{Error, FormatError};
use super::file;
use super::memory::Images;
use std::path::{Path, PathBuf};

const IMAGES_MAGIC: u32 = 0x0803;
const LABELS_MAGIC: u32 = 0x0801;
/// Classes of every set of the MNIST family that is read here.
pub const CLASSES: u32 = 10;
/// Largest side of an image.
const MAX_SIDE: u32 = 1024;

/// An images file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdxImages<'a> {
    /// Number of images, at least 1.
    pub count: usize,
    /// Rows of an image, 1 to 1,024.
    pub rows: usize,
    /// Columns of an image, 1 to 1,024.
    pub columns: usize,
    /// `count * rows * columns` bytes, row after row.
    pub pixels: &'a [u8],
}

fn word(bytes: &[u8], index: usize) -> Option<u32> {
    let four = bytes.get(4 * index..4 * index + 4)?;
    four.try_into().ok().map(u32::from_be_bytes)
}

fn header<const N: usize>(
    bytes: &[u8],
    magic: u32,
    format: &'static str,
) -> Result<[u32; N], FormatError> {
    if let Some(found) = word(bytes, 0)
        && found != magic
    {
        return Err(FormatError::Magic {
            format,
            expected: magic,
            found,
        });
    }
    let mut fields = [0; N];
    for (index, field) in fields.iter_mut().enumerate() {
        *field = word(bytes, index + 1).ok_or(FormatError::Header {
            expected: 4 * (N + 1),
            found: bytes.len(),
        })?;
    }
    Ok(fields)
}

fn payload(bytes: &[u8], header: usize, expected: u64) -> Result<&[u8], FormatError> {
    let found = bytes.len() as u64;
    let expected = header as u64 + expected;
    if found != expected {
        return Err(FormatError::Size {
            expected,
            found,
            why: "by its header",
        });
    }
    Ok(&bytes[header..])
}

/// Parses an images file.
///
/// # Errors
/// [`FormatError`]: wrong magic, a size that is not the header's, no images, sides outside 1 to 1,024.
pub fn parse_idx_images(bytes: &[u8]) -> Result<IdxImages<'_>, FormatError> {
    let [count, rows, columns] = header(bytes, IMAGES_MAGIC, "idx images of unsigned bytes")?;
    if !(1..=MAX_SIDE).contains(&rows) || !(1..=MAX_SIDE).contains(&columns) {
        return Err(FormatError::Dimensions {
            height: rows.into(),
            width: columns.into(),
            expected: "sides of 1 to 1024",
        });
    }
    // below 2^52: no overflow
    let pixels = payload(
        bytes,
        16,
        u64::from(count) * u64::from(rows) * u64::from(columns),
    )?;
    if count == 0 {
        return Err(FormatError::Empty);
    }
    Ok(IdxImages {
        count: count as usize,
        rows: rows as usize,
        columns: columns as usize,
        pixels,
    })
}

/// Parses a labels file and checks every label against `classes`.
///
/// # Errors
/// [`FormatError`]: wrong magic, a size that is not the header's, no labels, a label of `classes` or more.
pub fn parse_idx_labels(bytes: &[u8], classes: u32) -> Result<&[u8], FormatError> {
    let [count] = header(bytes, LABELS_MAGIC, "idx labels of unsigned bytes")?;
    let labels = payload(bytes, 8, count.into())?;
    if labels.is_empty() {
        return Err(FormatError::Empty);
    }
    check_labels(labels, classes)?;
    Ok(labels)
}

/// Finds the first label that names no class.
pub(crate) fn check_labels(labels: &[u8], classes: u32) -> Result<(), FormatError> {
    match labels.iter().position(|&label| u32::from(label) >= classes) {
        Some(index) => Err(FormatError::Label {
            index,
            value: labels[index].into(),
            classes,
        }),
        None => Ok(()),
    }
}

/// The file of one of the usual names in `folder`: `train-images-idx3-ubyte`, `train-images.idx3-ubyte`, each
/// plain or `.gz`.
pub(crate) fn find(folder: &Path, part: &str, kind: &str) -> Option<PathBuf> {
    ['-', '.']
        .into_iter()
        .find_map(|dot| file::plain_or_gz(&folder.join(format!("{part}{dot}{kind}-ubyte"))))
}

/// Loads one part, `train` or `t10k`; with `official`, only of that many 28x28 images.
///
/// # Errors
/// [`Error`] with the file at fault.
pub fn load(folder: &Path, part: &str, official: Option<usize>) -> Result<Images, Error> {
    let required = |stem: String, kind| {
        find(folder, &stem, kind).ok_or_else(|| Error::Missing {
            path: folder.join(format!("{stem}-{kind}-ubyte")),
            expected: "an idx file, plain or .gz".into(),
        })
    };
    let images_path = required(format!("{part}-images"), "idx3")?;
    let labels_path = required(format!("{part}-labels"), "idx1")?;
    let mut bytes = file::read(&images_path)?;
    let images = parse_idx_images(&bytes).map_err(|e| e.at(&images_path))?;
    let (count, shape) = (images.count, [1, images.rows, images.columns]);
    if let Some(expected) = official {
        if shape != [1, 28, 28] {
            let [_, height, width] = shape.map(|side| side as u64);
            return Err(FormatError::Dimensions {
                height,
                width,
                expected: "28x28",
            }
            .at(&images_path));
        }
        if count != expected {
            return Err(FormatError::Images {
                expected,
                found: count,
            }
            .at(&images_path));
        }
    }
    let label_bytes = file::read(&labels_path)?;
    let labels = parse_idx_labels(&label_bytes, CLASSES).map_err(|e| e.at(&labels_path))?;
    if labels.len() != count {
        return Err(FormatError::Count {
            images: count,
            labels: labels.len(),
        }
        .at(&labels_path));
    }
    bytes.drain(..16);
    Ok(Images {
        shape,
        pixels: bytes,
        labels: labels.to_vec(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn images(count: u32, rows: u32, columns: u32, pixels: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = [IMAGES_MAGIC, count, rows, columns]
            .iter()
            .flat_map(|v| v.to_be_bytes())
            .collect();
        bytes.extend((0..pixels).map(|i| i as u8));
        bytes
    }

    fn labels(labels: &[u8]) -> Vec<u8> {
        [
            &LABELS_MAGIC.to_be_bytes(),
            &(labels.len() as u32).to_be_bytes(),
            labels,
        ]
        .concat()
    }

    #[test]
    fn parses_what_it_should() {
        let bytes = images(2, 3, 4, 24);
        let parsed = parse_idx_images(&bytes).unwrap();
        assert_eq!(
            (parsed.count, parsed.rows, parsed.columns, parsed.pixels[23]),
            (2, 3, 4, 23)
        );
        assert_eq!(
            parse_idx_labels(&labels(&[1, 9, 0]), 10).unwrap(),
            [1, 9, 0]
        );
    }

    #[test]
    fn refuses_everything_else() {
        let size = |expected, found| {
            Err(FormatError::Size {
                expected,
                found,
                why: "by its header",
            })
        };
        assert_eq!(parse_idx_images(&images(2, 3, 4, 23)), size(40, 39));
        assert_eq!(parse_idx_images(&images(2, 3, 4, 25)), size(40, 41));
        assert_eq!(
            parse_idx_images(&images(u32::MAX, 1024, 1024, 0)),
            size(16 + (u32::MAX as u64) * 1024 * 1024, 16)
        );
        assert_eq!(
            parse_idx_images(&images(0, 3, 4, 0)),
            Err(FormatError::Empty)
        );
        assert!(matches!(
            parse_idx_images(&images(1, 0, 4, 0)),
            Err(FormatError::Dimensions { .. })
        ));
        assert!(matches!(
            parse_idx_images(&images(1, 1025, 4, 0)),
            Err(FormatError::Dimensions { .. })
        ));
        assert_eq!(
            parse_idx_images(&images(1, 1, 1, 1)[..15]),
            Err(FormatError::Header {
                expected: 16,
                found: 15
            })
        );
        assert_eq!(
            parse_idx_images(&[]),
            Err(FormatError::Header {
                expected: 16,
                found: 0
            })
        );
        assert!(matches!(
            parse_idx_images(&labels(&[1, 2])),
            Err(FormatError::Magic { found: 0x0801, .. })
        ));
        assert_eq!(
            parse_idx_labels(&labels(&[1, 9, 10, 11]), 10),
            Err(FormatError::Label {
                index: 2,
                value: 10,
                classes: 10
            })
        );
        assert_eq!(parse_idx_labels(&labels(&[]), 10), Err(FormatError::Empty));
        let cut = FormatError::Size {
            expected: 10,
            found: 9,
            why: "by its header",
        };
        assert_eq!(parse_idx_labels(&labels(&[1, 2])[..9], 10), Err(cut));
    }

    #[test]
    fn load_finds_usual_names_and_checks_counts() {
        let folder = tempfile::tempdir().unwrap();
        let write =
            |name: &str, bytes: Vec<u8>| std::fs::write(folder.path().join(name), bytes).unwrap();
        let missing = load(folder.path(), "train", None).unwrap_err().to_string();
        assert!(missing.contains("train-images-idx3-ubyte"), "{missing}");
        write("train-images.idx3-ubyte", images(2, 3, 4, 24));
        write("train-labels-idx1-ubyte", labels(&[1, 2, 3]));
        let count = load(folder.path(), "train", None).unwrap_err().to_string();
        assert!(count.ends_with("3 labels for 2 images"), "{count}");
        write("train-labels-idx1-ubyte", labels(&[1, 2]));
        let loaded = load(folder.path(), "train", None).unwrap();
        assert_eq!(
            (loaded.shape, loaded.pixels.len(), loaded.labels),
            ([1, 3, 4], 24, vec![1, 2])
        );
        let official = load(folder.path(), "train", Some(60_000))
            .unwrap_err()
            .to_string();
        assert!(
            official.ends_with("images of 3x4 pixels, expected 28x28"),
            "{official}"
        );
    }
}
