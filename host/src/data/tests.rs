//! Sets written to files, opened, split, augmented and read in batches.
#![allow(clippy::unwrap_used)]

use super::*;
use std::fs;
use std::path::Path;

/// Every file of a small CIFAR-100: 30 training and 7 test images, image i of fine class i % 100, all its pixels i.
fn write_cifar100(folder: &Path) {
    fs::create_dir_all(folder).unwrap();
    let records = |count: u8| (0..count).flat_map(|i| [vec![i % 20, i % 100], vec![i; cifar::PIXELS]].concat()).collect::<Vec<u8>>();
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
                let picture = image::RgbImage::from_fn(20 + i, 16, |x, y| image::Rgb([value, x as u8, y as u8]));
                picture.save(inside.join(if i % 2 == 0 { format!("{i}.png") } else { format!("{i}.jpg") })).unwrap();
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
    PictureOptions { crop: 8, resize: 10, ..PictureOptions::default() }
}

/// Every image and label of an epoch, batch after batch.
fn collect(split: &Split, options: BatchOptions) -> Vec<Batch> {
    let mut batches = Batches::new(split, options).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = batches.next().unwrap() {
        found.push(batch.clone());
    }
    assert!(batches.next().unwrap().is_none());
    found
}

#[test]
fn digits_open_by_name_normalised_to_one() {
    let data = Data::open("digits", &Options { validation: Validation::Count(137), ..Options::default() }).unwrap();
    assert_eq!((data.classes, data.shape, data.name.as_str()), (10, [1, 8, 8], "digits"));
    assert_eq!((data.train.len(), data.validation.len(), data.test.len()), (1300, 137, 360));
    let (mut images, mut labels) = (vec![0.0; 64], [0]);
    data.test.read(&[0], Pass::Evaluate, &mut images, &mut labels).unwrap();
    let first_test = &digits::BYTES[65 * digits::TRAIN..][..65];
    assert!(images.iter().zip(first_test).all(|(&value, &pixel)| value == f32::from(pixel) / 8.0 - 1.0));
    assert_eq!(labels[0], u32::from(first_test[64]));
}

#[test]
fn validation_images_are_never_trained_on_or_augmented() {
    let data = Data::open("digits", &Options { validation: Validation::Fraction(0.2), seed: 3, ..Options::default() }).unwrap();
    let indices = |split: &Split| (0..split.len()).map(|p| split.index(p).unwrap()).collect::<Vec<_>>();
    let (train, held) = (indices(&data.train), indices(&data.validation));
    assert!(held.iter().all(|index| !train.contains(index)));
    assert_eq!(data.train.class_counts(10).iter().sum::<usize>(), train.len());
    let again = Data::open("digits", &Options { validation: Validation::Fraction(0.2), seed: 3, ..Options::default() }).unwrap();
    assert_eq!(indices(&again.validation), held);
}

#[test]
fn formats_are_told_by_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    assert!(error(root.to_str().unwrap(), &Options::default()).contains("found nothing"));
    write_cifar100(&root.join("a/cifar-100-binary"));
    let data = open(&root.join("a"), &Options::default());
    assert_eq!((data.classes, data.shape, data.train.len(), data.test.len()), (100, [3, 32, 32], 30, 7));
    write_pictures(&root.join("b"), 3);
    let data = open(&root.join("b"), &Options { pictures: small_pictures(), ..Options::default() });
    assert_eq!((data.classes, data.shape, data.train.len(), data.test.len()), (2, [3, 8, 8], 6, 2));
    fs::create_dir(root.join("c")).unwrap();
    fs::write(root.join("c/data_batch_2.bin"), vec![0; 3073]).unwrap();
    assert!(error(root.join("c").to_str().unwrap(), &Options::default()).contains("data_batch_1.bin: missing"));
    fs::write(root.join("train-images-idx3-ubyte"), [0, 0, 8, 4]).unwrap();
    assert!(error(root.to_str().unwrap(), &Options::default()).contains("train-labels-idx1-ubyte: missing"));
}

#[test]
fn names_and_folders_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { root: folder.path().into(), ..Options::default() };
    assert!(error("mnist", &options).contains("`smoothout data get mnist` fetches it"));
    assert!(error("cifar-10", &options).contains("did you mean \"cifar10\"?"));
    assert!(error("./nowhere", &options).starts_with("./nowhere: missing"));
    write_cifar100(&folder.path().join("cifar100"));
    assert!(error("cifar100", &options).contains("train.bin: 30 images, expected 50000"));
    fs::create_dir(folder.path().join("mnist")).unwrap();
    assert!(error("mnist", &options).contains("train-images-idx3-ubyte: missing"));
}

#[test]
fn options_that_do_not_fit() {
    let folder = tempfile::tempdir().unwrap();
    write_pictures(folder.path(), 2);
    let spec = folder.path().to_str().unwrap();
    let pictures = PictureOptions { crop: 12, resize: 10, ..PictureOptions::default() };
    assert!(error(spec, &Options { pictures, ..Options::default() }).contains("a crop of 12"));
    let own = Options { normalization: Some(Normalization::Own), ..Options::default() };
    assert!(error(spec, &own).contains("own needs a set that is read into memory"));
    let imagenet = Options { normalization: Some(Normalization::ImageNet), ..Options::default() };
    assert!(error("digits", &imagenet).contains("the images have 1"));
    assert!(error("digits", &Options { validation: Validation::Count(1437), ..Options::default() }).contains("1437 images cannot be held out"));
}

#[test]
fn read_checks_its_arguments() {
    let data = Data::open("digits", &Options::default()).unwrap();
    let read = |positions: &[u32], images: usize, labels: usize| {
        data.test.read(positions, Pass::Evaluate, &mut vec![0.0; images], &mut vec![0; labels]).map_err(|e| e.to_string())
    };
    assert!(read(&[0, 359], 128, 2).is_ok());
    assert!(read(&[360], 64, 1).unwrap_err().contains("position 360 is outside the split of 360 images"));
    assert!(read(&[0], 63, 1).unwrap_err().contains("images has 63 elements, expected 64"));
    assert!(read(&[0], 64, 2).unwrap_err().contains("labels has 2 elements, expected 1"));
}

#[test]
fn cifar_is_augmented_with_grey_and_flips() {
    let folder = tempfile::tempdir().unwrap();
    write_cifar100(folder.path());
    let data = open(folder.path(), &Options { normalization: Some(Normalization::None), ..Options::default() });
    let positions: Vec<u32> = (0..30).collect();
    let (mut images, mut labels) = (vec![0.0; 30 * cifar::PIXELS], vec![0; 30]);
    data.train.read(&positions, Pass::Train { seed: 1, epoch: 0 }, &mut images, &mut labels).unwrap();
    let grey = 127.0 / 255.0;
    for (index, image) in images.chunks(cifar::PIXELS).enumerate() {
        let own = index as f32 / 255.0;
        assert!(image.iter().all(|&v| v == own || v == grey));
        assert_eq!(labels[index], index as u32);
    }
    assert!(images.iter().filter(|&&v| v == grey).count() > 10_000);
    let off = open(folder.path(), &Options { normalization: Some(Normalization::None), augmentation: AugmentationSwitches::OFF, ..Options::default() });
    off.train.read(&positions, Pass::Train { seed: 1, epoch: 0 }, &mut images, &mut labels).unwrap();
    assert!(images.iter().all(|&v| v != grey));
}

#[test]
fn an_epoch_holds_every_image_once_and_keeps_the_short_batch() {
    let folder = tempfile::tempdir().unwrap();
    write_cifar100(folder.path());
    let data = open(folder.path(), &Options { validation: Validation::Count(3), ..Options::default() });
    let batches = collect(&data.train, BatchOptions::train(8, 5, 0));
    assert_eq!(batches.iter().map(Batch::len).collect::<Vec<_>>(), [8, 8, 8, 3]);
    let mut labels: Vec<u32> = batches.iter().flat_map(|b| b.labels.clone()).collect();
    assert_ne!(labels, (0..27).map(|p| data.train.label(p).unwrap()).collect::<Vec<_>>());
    labels.sort_unstable();
    assert_eq!(labels, (0..27).map(|p| data.train.label(p).unwrap()).collect::<Vec<_>>());
    let evaluated = collect(&data.test, BatchOptions::evaluate(100));
    assert_eq!((evaluated.len(), evaluated[0].labels.as_slice()), (1, [0, 1, 2, 3, 4, 5, 6].as_slice()));
}

#[test]
fn threads_and_resume_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    write_cifar100(&folder.path().join("a"));
    write_pictures(&folder.path().join("b"), 9);
    for set in ["a", "b"] {
        let data = open(&folder.path().join(set), &Options { pictures: small_pictures(), ..Options::default() });
        let options = BatchOptions::train(4, 9, 2);
        let whole = collect(&data.train, options);
        assert_ne!(whole, collect(&data.train, BatchOptions::train(4, 9, 3)));
        for threads in [1, 2, 3, 20] {
            for first in 0..=whole.len() + 1 {
                let part = collect(&data.train, BatchOptions { threads, first, ready: 1 + first % 2, ..options });
                assert_eq!(part, whole[first.min(whole.len())..], "{set}: {threads} threads from batch {first}");
            }
        }
    }
}

#[test]
fn an_error_arrives_at_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    write_pictures(folder.path(), 6);
    fs::write(folder.path().join("train/n02/2.png"), b"\x89PNG\r\n\x1a\n no more").unwrap();
    let data = open(folder.path(), &Options { pictures: small_pictures(), ..Options::default() });
    // in the split's order the broken one is image 8: batch 4 of 2
    for threads in [1, 2, 3] {
        let mut batches = Batches::new(&data.train, BatchOptions { threads, ..BatchOptions::evaluate(2) }).unwrap();
        for _ in 0..4 {
            assert!(batches.next().unwrap().is_some());
        }
        let message = batches.next().unwrap_err().to_string();
        assert!(message.contains("2.png: cannot decode the picture"), "{message}");
        if threads == 1 {
            assert!(matches!(batches.next(), Err(Error::Worker { batch: 4 })));
        }
    }
}

#[test]
fn dropping_early_ends_the_threads() {
    let data = Data::open("digits", &Options::default()).unwrap();
    for taken in 0..4 {
        let mut batches = Batches::new(&data.train, BatchOptions { threads: 3, ..BatchOptions::train(16, 1, 0) }).unwrap();
        for _ in 0..taken {
            batches.next().unwrap();
        }
        // would hang here if a thread waited for ever
        drop(batches);
    }
    for bad in [BatchOptions { threads: 0, ..BatchOptions::evaluate(1) }, BatchOptions { ready: 0, ..BatchOptions::evaluate(1) }, BatchOptions::evaluate(0)] {
        assert!(matches!(Batches::new(&data.train, bad), Err(Error::Option { .. })));
    }
    let empty = collect(&data.validation, BatchOptions::evaluate(4));
    assert!(empty.is_empty());
}

#[test]
fn buffers_are_recycled() {
    let data = Data::open("digits", &Options::default()).unwrap();
    let mut batches = Batches::new(&data.train, BatchOptions { ready: 1, ..BatchOptions::train(32, 1, 0) }).unwrap();
    let mut addresses = std::collections::HashSet::new();
    let mut count = 0;
    while let Some(batch) = batches.next().unwrap() {
        addresses.insert(batch.images.as_ptr());
        count += 1;
    }
    assert!(count == 45 && addresses.len() <= 3, "{count} batches in {} buffers", addresses.len());
}

#[test]
fn check_reports_counts_statistics_and_differences() {
    let digits = check("digits", Path::new("nowhere")).unwrap();
    assert!(digits.is_ok() && digits.to_string().contains("train 1437 images, 10 classes"), "{digits}");
    let folder = tempfile::tempdir().unwrap();
    write_cifar100(&folder.path().join("a"));
    let small = check(folder.path().join("a").to_str().unwrap(), folder.path()).unwrap();
    assert!(small.is_ok() && small.files.is_empty());
    assert_eq!(small.parts[1].class_counts.iter().sum::<usize>(), 7);
    assert!((small.parts[0].statistics.as_ref().unwrap().mean[2] - 14.5 / 255.0).abs() < 1e-12);
    write_pictures(&folder.path().join("b"), 3);
    let pictures = check(folder.path().join("b").to_str().unwrap(), folder.path()).unwrap();
    assert_eq!(pictures.parts[0].class_counts, [3, 3]);
    // files of the official size and layout that are not the official ones
    let named = folder.path().join("cifar100");
    fs::create_dir(&named).unwrap();
    for (file, images) in [("train.bin", 50_000), ("test.bin", 10_000)] {
        fs::write(named.join(file), vec![1; images * 3074]).unwrap();
    }
    let other = check("cifar100", folder.path()).unwrap();
    assert!(!other.is_ok() && other.problems.len() >= 4, "{other}");
    assert!(other.to_string().contains("DIFFERS") && other.problems.iter().any(|p| p.contains("50000 images of class 1, expected 500")), "{other}");
    assert!(check("cifar10", folder.path()).is_err());
}

#[test]
fn get_says_why_not() {
    let folder = tempfile::tempdir().unwrap();
    let get = |name| get(name, folder.path(), &mut |_| ()).unwrap_err().to_string();
    assert!(get(Name::Digits).contains("embedded in the program"));
    assert!(get(Name::ImageNet).contains("train/CLASS"));
}
