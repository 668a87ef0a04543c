//! CIFAR-10 as PNG sheets (one image a row of 1,024 RGB pixels, labels as a JSON list) to the official binary layout.

use crate::data::cifar::PIXELS;
use crate::data::error::FormatError;
use crate::data::idx::check_labels;
use image::codecs::png::PngDecoder;
use image::{DynamicImage, ImageDecoder, Limits};
use std::io::Cursor;

const WIDTH: u32 = 1024;

/// Parses a JSON list of `count` labels, each below 10.
///
/// # Errors
/// [`FormatError`]: not such a list, another length, a label out of range.
pub fn parse_labels_json(bytes: &[u8], count: usize) -> Result<Vec<u8>, FormatError> {
    let labels: Vec<u8> =
        serde_json::from_slice(bytes).map_err(|e| FormatError::Json(e.to_string()))?;
    if labels.len() != count {
        return Err(FormatError::Count {
            images: count,
            labels: labels.len(),
        });
    }
    check_labels(&labels, 10)?;
    Ok(labels)
}

/// Turns a sheet with one row for each of `labels` into records: label, then the red, green and blue plane.
///
/// # Errors
/// [`FormatError`]: no PNG, or not of 1,024 columns and one row a label.
pub fn parse_sheet(png: &[u8], labels: &[u8]) -> Result<Vec<u8>, FormatError> {
    let broken = |e: image::ImageError| FormatError::Picture(e.to_string());
    let mut limits = Limits::default();
    limits.max_alloc = Some(64 * u64::from(WIDTH) * (labels.len() as u64 + 64));
    let mut decoder = PngDecoder::with_limits(Cursor::new(png), limits.clone()).map_err(broken)?;
    decoder.set_limits(limits).map_err(broken)?;
    let (width, height) = decoder.dimensions();
    if width != WIDTH || height as usize != labels.len() {
        return Err(FormatError::Dimensions {
            height: height.into(),
            width: width.into(),
            expected: "one row of 1024 pixels a label",
        });
    }
    let sheet = DynamicImage::from_decoder(decoder)
        .map_err(broken)?
        .into_rgb8()
        .into_raw();
    let mut records = Vec::with_capacity(labels.len() * (1 + PIXELS));
    for (image, &label) in sheet.chunks_exact(PIXELS).zip(labels) {
        records.push(label);
        for channel in 0..3 {
            records.extend(image.chunks_exact(3).map(|pixel| pixel[channel]));
        }
    }
    Ok(records)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use image::{ImageFormat, Rgb, RgbImage};

    fn png(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        RgbImage::from_fn(width, height, |x, y| {
            Rgb([x as u8, (x >> 8) as u8, y as u8])
        })
        .write_to(&mut bytes, ImageFormat::Png)
        .unwrap();
        bytes.into_inner()
    }

    #[test]
    fn rows_become_records() {
        let records = parse_sheet(&png(1024, 2), &[4, 5]).unwrap();
        assert_eq!(records.len(), 2 * 3073);
        assert_eq!(
            (
                records[0],
                records[1 + 3],
                records[1 + 1024 + 515],
                records[3073],
                records[3073 + 1 + 2048 + 9]
            ),
            (4, 3, 2, 5, 1)
        );
    }

    #[test]
    fn other_sizes_and_labels_are_refused() {
        assert!(matches!(
            parse_sheet(&png(1024, 2), &[4]),
            Err(FormatError::Dimensions { height: 2, .. })
        ));
        assert!(matches!(
            parse_sheet(&png(1023, 1), &[4]),
            Err(FormatError::Dimensions { width: 1023, .. })
        ));
        assert!(matches!(
            parse_sheet(b"no png", &[4]),
            Err(FormatError::Picture(_))
        ));
        assert_eq!(parse_labels_json(b"[1, 2,9]", 3).unwrap(), [1, 2, 9]);
        assert_eq!(
            parse_labels_json(b"[1,2]", 3),
            Err(FormatError::Count {
                images: 3,
                labels: 2
            })
        );
        assert_eq!(
            parse_labels_json(b"[1,10]", 2),
            Err(FormatError::Label {
                index: 1,
                value: 10,
                classes: 10
            })
        );
        for bad in ["[1,256]", "[1,-1]", "[1", "{}", "[1.5,2]", "", "[1,2] x"] {
            assert!(
                matches!(
                    parse_labels_json(bad.as_bytes(), 2),
                    Err(FormatError::Json(_))
                ),
                "{bad}"
            );
        }
    }
}
