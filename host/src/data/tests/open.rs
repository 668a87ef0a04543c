//! Opening sets, splitting them and reading single images.
#![allow(clippy::unwrap_used)]

use super::*;

#[test]
fn digits_open_by_name_normalised_to_one() {
    let data = Data::open(
        "digits",
        &Options {
            validation: Validation::Count(137),
            ..Options::default()
        },
    )
    .unwrap();
    assert_eq!(
        (data.classes, data.shape, data.name.as_str()),
        (10, [1, 8, 8], "digits")
    );
    assert_eq!(
        (data.train.len(), data.validation.len(), data.test.len()),
        (1300, 137, 360)
    );
    let (mut images, mut labels) = (vec![0.0; 64], [0]);
    data.test
        .read(&[0], Pass::Evaluate, &mut images, &mut labels)
        .unwrap();
    let first_test = &digits::BYTES[65 * digits::TRAIN..][..65];
    assert!(
        images
            .iter()
            .zip(first_test)
            .all(|(&value, &pixel)| value == f32::from(pixel) / 8.0 - 1.0)
    );
    assert_eq!(labels[0], u32::from(first_test[64]));
}

#[test]
fn validation_images_are_never_trained_on_or_augmented() {
    let data = Data::open(
        "digits",
        &Options {
            validation: Validation::Fraction(0.2),
            seed: 3,
            ..Options::default()
        },
    )
    .unwrap();
    let indices = |split: &Split| {
        (0..split.len())
            .map(|p| split.index(p).unwrap())
            .collect::<Vec<_>>()
    };
    let (train, held) = (indices(&data.train), indices(&data.validation));
    assert!(held.iter().all(|index| !train.contains(index)));
    assert_eq!(
        data.train.class_counts(10).iter().sum::<usize>(),
        train.len()
    );
    let again = Data::open(
        "digits",
        &Options {
            validation: Validation::Fraction(0.2),
            seed: 3,
            ..Options::default()
        },
    )
    .unwrap();
    assert_eq!(indices(&again.validation), held);
}

#[test]
fn formats_are_told_by_the_files() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    assert!(error(root.to_str().unwrap(), &Options::default()).contains("found nothing"));
    write_cifar100(&root.join("a/cifar-100-binary"));
    let data = open(&root.join("a"), &Options::default());
    assert_eq!(
        (data.classes, data.shape, data.train.len(), data.test.len()),
        (100, [3, 32, 32], 30, 7)
    );
    write_pictures(&root.join("b"), 3);
    let data = open(
        &root.join("b"),
        &Options {
            pictures: small_pictures(),
            ..Options::default()
        },
    );
    assert_eq!(
        (data.classes, data.shape, data.train.len(), data.test.len()),
        (2, [3, 8, 8], 6, 2)
    );
    fs::create_dir(root.join("c")).unwrap();
    fs::write(root.join("c/data_batch_2.bin"), vec![0; 3073]).unwrap();
    assert!(
        error(root.join("c").to_str().unwrap(), &Options::default())
            .contains("data_batch_1.bin: missing")
    );
    fs::write(root.join("train-images-idx3-ubyte"), [0, 0, 8, 4]).unwrap();
    assert!(
        error(root.to_str().unwrap(), &Options::default())
            .contains("train-labels-idx1-ubyte: missing")
    );
}

#[test]
fn names_and_folders_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        root: folder.path().into(),
        ..Options::default()
    };
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
    let pictures = PictureOptions {
        crop: 12,
        resize: 10,
        ..PictureOptions::default()
    };
    assert!(
        error(
            spec,
            &Options {
                pictures,
                ..Options::default()
            }
        )
        .contains("a crop of 12")
    );
    let own = Options {
        normalization: Some(Normalization::Own),
        ..Options::default()
    };
    assert!(error(spec, &own).contains("own needs a set that is read into memory"));
    let imagenet = Options {
        normalization: Some(Normalization::ImageNet),
        ..Options::default()
    };
    assert!(error("digits", &imagenet).contains("the images have 1"));
    assert!(
        error(
            "digits",
            &Options {
                validation: Validation::Count(1437),
                ..Options::default()
            }
        )
        .contains("1437 images cannot be held out")
    );
}

#[test]
fn read_checks_its_arguments() {
    let data = Data::open("digits", &Options::default()).unwrap();
    let read = |positions: &[u32], images: usize, labels: usize| {
        data.test
            .read(
                positions,
                Pass::Evaluate,
                &mut vec![0.0; images],
                &mut vec![0; labels],
            )
            .map_err(|e| e.to_string())
    };
    assert!(read(&[0, 359], 128, 2).is_ok());
    assert!(
        read(&[360], 64, 1)
            .unwrap_err()
            .contains("position 360 is outside the split of 360 images")
    );
    assert!(
        read(&[0], 63, 1)
            .unwrap_err()
            .contains("images has 63 elements, expected 64")
    );
    assert!(
        read(&[0], 64, 2)
            .unwrap_err()
            .contains("labels has 2 elements, expected 1")
    );
}

#[test]
fn cifar_is_augmented_with_grey_and_flips() {
    let folder = tempfile::tempdir().unwrap();
    write_cifar100(folder.path());
    let data = open(
        folder.path(),
        &Options {
            normalization: Some(Normalization::None),
            ..Options::default()
        },
    );
    let positions: Vec<u32> = (0..30).collect();
    let (mut images, mut labels) = (vec![0.0; 30 * cifar::PIXELS], vec![0; 30]);
    data.train
        .read(
            &positions,
            Pass::Train { seed: 1, epoch: 0 },
            &mut images,
            &mut labels,
        )
        .unwrap();
    let grey = 127.0 / 255.0;
    for (index, image) in images.chunks(cifar::PIXELS).enumerate() {
        let own = index as f32 / 255.0;
        assert!(image.iter().all(|&v| v == own || v == grey));
        assert_eq!(labels[index], index as u32);
    }
    assert!(images.iter().filter(|&&v| v == grey).count() > 10_000);
    let off = open(
        folder.path(),
        &Options {
            normalization: Some(Normalization::None),
            augmentation: AugmentationSwitches::OFF,
            ..Options::default()
        },
    );
    off.train
        .read(
            &positions,
            Pass::Train { seed: 1, epoch: 0 },
            &mut images,
            &mut labels,
        )
        .unwrap();
    assert!(images.iter().all(|&v| v != grey));
}
