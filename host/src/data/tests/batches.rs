//! Epochs in batches: order, threads, resume, errors, recycling.
#![allow(clippy::unwrap_used)]

use super::*;

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
fn an_epoch_holds_every_image_once_and_keeps_the_short_batch() {
    let folder = tempfile::tempdir().unwrap();
    write_cifar100(folder.path());
    let data = open(
        folder.path(),
        &Options {
            validation: Validation::Count(3),
            ..Options::default()
        },
    );
    let batches = collect(&data.train, BatchOptions::train(8, 5, 0));
    assert_eq!(
        batches.iter().map(Batch::len).collect::<Vec<_>>(),
        [8, 8, 8, 3]
    );
    let mut labels: Vec<u32> = batches.iter().flat_map(|b| b.labels.clone()).collect();
    assert_ne!(
        labels,
        (0..27)
            .map(|p| data.train.label(p).unwrap())
            .collect::<Vec<_>>()
    );
    labels.sort_unstable();
    assert_eq!(
        labels,
        (0..27)
            .map(|p| data.train.label(p).unwrap())
            .collect::<Vec<_>>()
    );
    let evaluated = collect(&data.test, BatchOptions::evaluate(100));
    assert_eq!(
        (evaluated.len(), evaluated[0].labels.as_slice()),
        (1, [0, 1, 2, 3, 4, 5, 6].as_slice())
    );
}

#[test]
fn threads_and_resume_change_no_bit() {
    let folder = tempfile::tempdir().unwrap();
    write_cifar100(&folder.path().join("a"));
    write_pictures(&folder.path().join("b"), 9);
    for set in ["a", "b"] {
        let data = open(
            &folder.path().join(set),
            &Options {
                pictures: small_pictures(),
                ..Options::default()
            },
        );
        let options = BatchOptions::train(4, 9, 2);
        let whole = collect(&data.train, options);
        assert_ne!(whole, collect(&data.train, BatchOptions::train(4, 9, 3)));
        for threads in [1, 2, 3, 20] {
            for first in 0..=whole.len() + 1 {
                let part = collect(
                    &data.train,
                    BatchOptions {
                        threads,
                        first,
                        ready: 1 + first % 2,
                        ..options
                    },
                );
                assert_eq!(
                    part,
                    whole[first.min(whole.len())..],
                    "{set}: {threads} threads from batch {first}"
                );
            }
        }
    }
}

#[test]
fn an_error_arrives_at_its_batch() {
    let folder = tempfile::tempdir().unwrap();
    write_pictures(folder.path(), 6);
    fs::write(
        folder.path().join("train/n02/2.png"),
        b"\x89PNG\r\n\x1a\n no more",
    )
    .unwrap();
    let data = open(
        folder.path(),
        &Options {
            pictures: small_pictures(),
            ..Options::default()
        },
    );
    // in the split's order the broken one is image 8: batch 4 of 2
    for threads in [1, 2, 3] {
        let mut batches = Batches::new(
            &data.train,
            BatchOptions {
                threads,
                ..BatchOptions::evaluate(2)
            },
        )
        .unwrap();
        for _ in 0..4 {
            assert!(batches.next().unwrap().is_some());
        }
        let message = batches.next().unwrap_err().to_string();
        assert!(
            message.contains("2.png: cannot decode the picture"),
            "{message}"
        );
        if threads == 1 {
            assert!(matches!(batches.next(), Err(Error::Worker { batch: 4 })));
        }
    }
}

#[test]
fn dropping_early_ends_the_threads() {
    let data = Data::open("digits", &Options::default()).unwrap();
    for taken in 0..4 {
        let mut batches = Batches::new(
            &data.train,
            BatchOptions {
                threads: 3,
                ..BatchOptions::train(16, 1, 0)
            },
        )
        .unwrap();
        for _ in 0..taken {
            batches.next().unwrap();
        }
        // would hang here if a thread waited for ever
        drop(batches);
    }
    for bad in [
        BatchOptions {
            threads: 0,
            ..BatchOptions::evaluate(1)
        },
        BatchOptions {
            ready: 0,
            ..BatchOptions::evaluate(1)
        },
        BatchOptions::evaluate(0),
    ] {
        assert!(matches!(
            Batches::new(&data.train, bad),
            Err(Error::Option { .. })
        ));
    }
    let empty = collect(&data.validation, BatchOptions::evaluate(4));
    assert!(empty.is_empty());
}

#[test]
fn buffers_are_recycled() {
    let data = Data::open("digits", &Options::default()).unwrap();
    let mut batches = Batches::new(
        &data.train,
        BatchOptions {
            ready: 1,
            ..BatchOptions::train(32, 1, 0)
        },
    )
    .unwrap();
    let mut addresses = std::collections::HashSet::new();
    let mut count = 0;
    while let Some(batch) = batches.next().unwrap() {
        addresses.insert(batch.images.as_ptr());
        count += 1;
    }
    assert!(
        count == 45 && addresses.len() <= 3,
        "{count} batches in {} buffers",
        addresses.len()
    );
}
