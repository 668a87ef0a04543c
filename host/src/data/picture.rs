//! One JPEG or PNG picture to a square network input: decode, crop and resize as torchvision does it (bilinear
//! with antialiasing).

use super::error::FormatError;
use super::memory::Table;
use super::random::{Purpose, below, generator, unit};
use image::imageops::{self, FilterType};
use image::{ImageDecoder, ImageReader, Limits, RgbImage};
use rand_core::Rng;
use std::io::Cursor;

/// How training pictures are cropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrainCrop {
    /// A random part of 8 to 100 % of the area with an aspect ratio of 3/4 to 4/3, resized to the crop (the
    /// authors' resnet).
    RandomSized,
    /// Shorter side resized, then a random crop (the authors' alexnet).
    Random,
}

/// Transformation of the pictures of class folders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PictureOptions {
    /// Crop of training pictures.
    pub train: TrainCrop,
    /// Side of the square input in pixels; 224 by default.
    pub crop: u32,
    /// Length that the shorter side is resized to before a centre or a plain random crop; 256 by default, at
    /// least `crop`.
    pub resize: u32,
}

impl Default for PictureOptions {
    fn default() -> Self {
        Self {
            train: TrainCrop::RandomSized,
            crop: 224,
            resize: 256,
        }
    }
}

/// A training pass over pictures: which parts are random, and the address of the random choices.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Draw {
    pub crop: bool,
    pub flip: bool,
    pub seed: u64,
    pub epoch: u64,
    pub index: u32,
}

/// No decoded picture may be larger (ImageNet's largest has 61 million pixels).
const MAX_PIXELS: u64 = 1 << 27;
/// Nor, after resizing its shorter side, longer than this.
const MAX_LONG_SIDE: u32 = 1 << 14;

/// Decodes a JPEG or PNG by its content, whatever its name says, to RGB.
///
/// # Errors
/// [`FormatError::Picture`]: neither format, broken, or of more pixels than 2^27 or than so few bytes can hold.
pub fn decode_picture(bytes: &[u8]) -> Result<RgbImage, FormatError> {
    let broken = |e: image::ImageError| FormatError::Picture(e.to_string());
    let reader = ImageReader::new(Cursor::new(bytes))
        .with_guessed_format()
        .map_err(|e| FormatError::Picture(e.to_string()))?;
    let mut decoder = reader.into_decoder().map_err(broken)?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    // deflate packs at most 1032 to 1, and a byte may hold 8 one-bit pixels; JPEG stays far below
    if pixels == 0 || pixels > MAX_PIXELS || pixels > (1 << 16) + 8 * 1032 * bytes.len() as u64 {
        return Err(FormatError::Picture(format!(
            "{width}x{height} pixels in {} bytes",
            bytes.len()
        )));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(8 * MAX_PIXELS);
    decoder.set_limits(limits).map_err(broken)?;
    Ok(image::DynamicImage::from_decoder(decoder)
        .map_err(broken)?
        .into_rgb8())
}

/// Decodes, transforms and normalises a picture into `out` (3 x crop x crop); `draw` is `None` for evaluation
/// (centre crop).
pub(crate) fn write(
    bytes: &[u8],
    options: PictureOptions,
    draw: Option<Draw>,
    tables: &[Table],
    out: &mut [f32],
) -> Result<(), FormatError> {
    let picture = decode_picture(bytes)?;
    let side = options.crop;
    let mut rng = draw.map(|d| {
        (
            d,
            generator(d.seed, Purpose::Augmentation, d.epoch, d.index.into()),
        )
    });
    let flip = rng
        .as_mut()
        .is_some_and(|(draw, rng)| rng.next_u64() >> 63 == 1 && draw.flip);
    let cropped = match rng.filter(|(draw, _)| draw.crop) {
        Some((_, mut rng)) if options.train == TrainCrop::RandomSized => {
            let [x, y, width, height] = random_sized(&mut rng, picture.width(), picture.height());
            resize(
                &imageops::crop_imm(&picture, x, y, width, height).to_image(),
                side,
                side,
            )
        }
        random => {
            let resized = resize_shorter(picture, options.resize)?;
            let (right, down) = (resized.width() - side, resized.height() - side);
            let (x, y) = match random {
                Some((_, mut rng)) => (
                    below(&mut rng, u64::from(right) + 1) as u32,
                    below(&mut rng, u64::from(down) + 1) as u32,
                ),
                None => (half_to_even(right), half_to_even(down)),
            };
            imageops::crop_imm(&resized, x, y, side, side).to_image()
        }
    };
    let side = side as usize;
    let (red, rest) = out.split_at_mut(side * side);
    let (green, blue) = rest.split_at_mut(side * side);
    for (y, row) in cropped.as_raw().chunks_exact(3 * side).enumerate() {
        for (x, pixel) in row.chunks_exact(3).enumerate() {
            let at = y * side + if flip { side - 1 - x } else { x };
            red[at] = tables[0][usize::from(pixel[0])];
            green[at] = tables[1][usize::from(pixel[1])];
            blue[at] = tables[2][usize::from(pixel[2])];
        }
    }
    Ok(())
}

/// Half of `n`, rounded to the even neighbour as Python's `round` does: the offset of torchvision's centre crop.
fn half_to_even(n: u32) -> u32 {
    let half = n / 2;
    half + (n & half & 1)
}

fn resize(picture: &RgbImage, width: u32, height: u32) -> RgbImage {
    imageops::resize(picture, width, height, FilterType::Triangle)
}

fn resize_shorter(picture: RgbImage, length: u32) -> Result<RgbImage, FormatError> {
    let (width, height) = picture.dimensions();
    let scaled = |long: u32, short: u32| u64::from(length) * u64::from(long) / u64::from(short);
    let (new_width, new_height) = if width < height {
        (length.into(), scaled(height, width))
    } else {
        (scaled(width, height), length.into())
    };
    if new_width.max(new_height) > MAX_LONG_SIDE.into() {
        return Err(FormatError::Dimensions {
            height: height.into(),
            width: width.into(),
            expected: "a less elongated picture",
        });
    }
    if (width, height) == (new_width as u32, new_height as u32) {
        return Ok(picture);
    }
    Ok(resize(&picture, new_width as u32, new_height as u32))
}

/// x, y, width, height of torchvision's `RandomResizedCrop`: scale 0.08 to 1, ratio 3/4 to 4/3 (log-uniform),
/// ten tries, then the centre.
fn random_sized(rng: &mut rand_xoshiro::Xoshiro256PlusPlus, width: u32, height: u32) -> [u32; 4] {
    let area = f64::from(width) * f64::from(height);
    let (low, high) = (0.75f64, 4.0f64 / 3.0);
    for _ in 0..10 {
        let target = area * (0.08 + 0.92 * unit(rng));
        let ratio = (low.ln() + (high.ln() - low.ln()) * unit(rng)).exp();
        let w = (target * ratio).sqrt().round() as u32;
        let h = (target / ratio).sqrt().round() as u32;
        if (1..=width).contains(&w) && (1..=height).contains(&h) {
            let y = below(rng, u64::from(height - h) + 1) as u32;
            let x = below(rng, u64::from(width - w) + 1) as u32;
            return [x, y, w, h];
        }
    }
    let ratio = f64::from(width) / f64::from(height);
    let (w, h) = if ratio < low {
        (width, (f64::from(width) / low).round() as u32)
    } else if ratio > high {
        ((f64::from(height) * high).round() as u32, height)
    } else {
        (width, height)
    };
    let (w, h) = (w.clamp(1, width), h.clamp(1, height));
    [(width - w) / 2, (height - h) / 2, w, h]
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use image::{ImageFormat, Rgb};

    fn encode(picture: &RgbImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 50]))
    }

    fn tables() -> Vec<Table> {
        vec![std::array::from_fn(|v| v as f32); 3]
    }

    #[test]
    fn random_sized_crops_keep_inside_scale_and_ratio() {
        let mut rng = generator(1, Purpose::Augmentation, 0, 0);
        let mut areas = [0u32; 10];
        for _ in 0..10_000 {
            let [x, y, w, h] = random_sized(&mut rng, 500, 400);
            assert!(x + w <= 500 && y + h <= 400);
            let (share, ratio) = (f64::from(w * h) / 200_000.0, f64::from(w) / f64::from(h));
            assert!(
                (0.079..=1.0).contains(&share) && (0.74..1.35).contains(&ratio),
                "{w}x{h}"
            );
            areas[(share * 10.0).min(9.0) as usize] += 1;
        }
        assert!(areas[1..9].iter().all(|&a| a > 500), "{areas:?}");
        for (width, height) in [(1, 1), (1, 5000), (5000, 1), (3, 2)] {
            let [x, y, w, h] = random_sized(&mut rng, width, height);
            assert!(w >= 1 && h >= 1 && x + w <= width && y + h <= height);
        }
    }

    #[test]
    fn halves_are_rounded_as_python_does() {
        // [round(n / 2) for n in range(9)]
        assert_eq!(
            std::array::from_fn(|n| half_to_even(n as u32)),
            [0, 0, 1, 2, 2, 2, 3, 4, 4]
        );
    }

    #[test]
    fn evaluation_takes_the_centre() {
        let options = PictureOptions {
            train: TrainCrop::Random,
            crop: 4,
            resize: 8,
        };
        let bytes = encode(&gradient(16, 8), ImageFormat::Png);
        let mut out = vec![0.0; 48];
        write(&bytes, options, None, &tables(), &mut out).unwrap();
        // shorter side is 8 already: columns 6..10, rows 2..6
        assert_eq!(out[..4], [6.0, 7.0, 8.0, 9.0]);
        assert_eq!(out[16..20], [2.0; 4]);
        assert_eq!(out[32..], [50.0; 16]);
    }

    #[test]
    fn training_crops_and_flips_by_address() {
        let bytes = encode(&gradient(40, 30), ImageFormat::Jpeg);
        for train in [TrainCrop::RandomSized, TrainCrop::Random] {
            let options = PictureOptions {
                train,
                crop: 8,
                resize: 10,
            };
            let made = |epoch, index, crop, flip| {
                let mut out = vec![0.0; 192];
                let draw = Draw {
                    crop,
                    flip,
                    seed: 1,
                    epoch,
                    index,
                };
                write(&bytes, options, Some(draw), &tables(), &mut out).unwrap();
                out
            };
            assert_eq!(made(0, 0, true, true), made(0, 0, true, true));
            assert!((0..20).any(|i| made(0, i, true, false) != made(1, i, true, false)));
            let mut mirrored = 0;
            for index in 0..20 {
                let (plain, perhaps) = (made(0, index, true, false), made(0, index, true, true));
                let flipped: Vec<f32> = plain
                    .chunks(8)
                    .flat_map(|row| row.iter().rev().copied())
                    .collect();
                mirrored += u32::from(perhaps == flipped);
                assert!(perhaps == plain || perhaps == flipped);
            }
            assert!((3..18).contains(&mirrored), "{mirrored}");
        }
    }

    #[test]
    fn refuses_what_is_no_picture_or_too_large() {
        assert!(matches!(
            decode_picture(b"GIF89a"),
            Err(FormatError::Picture(_))
        ));
        assert!(decode_picture(&[]).is_err());
        let png = encode(&gradient(9, 9), ImageFormat::Png);
        assert!(decode_picture(&png[..png.len() / 2]).is_err());
        assert_eq!(decode_picture(&png).unwrap(), gradient(9, 9));
        let long = encode(&RgbImage::new(1, 3000), ImageFormat::Png);
        let error = write(
            &long,
            PictureOptions::default(),
            None,
            &tables(),
            &mut vec![0.0; 3 * 224 * 224],
        )
        .unwrap_err();
        assert!(
            matches!(
                error,
                FormatError::Dimensions {
                    height: 3000,
                    width: 1,
                    ..
                }
            ),
            "{error}"
        );
    }
}
