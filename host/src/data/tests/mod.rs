//! Sets written to files, opened, split, augmented and read in batches.
#![allow(clippy::unwrap_used)]

mod batches;
mod check;
mod open;

use super::*;
use std::fs;
use std::path::Path;

/// Every file of a small CIFAR-100: 30 training and 7 test images, image i of fine class i % 100, all its pixels i.
fn write_cifar100(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let records = |count: u8| {
        (0..count)
            .flat_map(|i| [vec![i % 20, i % 100], vec![i; cifar::PIXELS]].concat())
            .collect::<Vec<u8>>()
    };
    fs::write(folder.join("train.bin"), records(30)).unwrap();
    fs::write(folder.join("test.bin"), records(7)).unwrap();
}

/// A small ImageNet: two classes of `per_class` training pictures and one test picture each.
fn write_pictures(folder: &Path, per_class: u32) {
    for (class, value) in [("n01", 40u8), ("n02", 200)] {
        for (part, count) in [("train", per_class), ("val", 1)] {
            let inside = folder.join(part).join(class);
            fs::create_dir_all(&inside).unwrap();
            for i in 0..count {
                let picture = image::RgbImage::from_fn(20 + i, 16, |x, y| {
                    image::Rgb([value, x as u8, y as u8])
                });
                picture
                    .save(inside.join(if i % 2 == 0 {
                        format!("{i}.png")
                    } else {
                        format!("{i}.jpg")
                    }))
                    .unwrap();
            }
        }
    }
}

fn open(folder: &Path, options: &Options) -> Data {
    Data::open(folder.to_str().unwrap(), options).unwrap()
}

fn error(spec: &str, options: &Options) -> String {
    Data::open(spec, options).unwrap_err().to_string()
}

fn small_pictures() -> PictureOptions {
    PictureOptions {
        crop: 8,
        resize: 10,
        ..PictureOptions::default()
    }
}
