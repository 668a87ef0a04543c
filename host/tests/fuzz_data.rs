//! Fuzzing of every parser of data files: mutated valid files and random bytes. No input may panic, make a
//! parser allocate far beyond its input, or be taken for valid with a label, count or size out of range.
//!
//! `SMOOTHOUT_FUZZ_SECONDS` (default 2) is the time for each parser, `SMOOTHOUT_FUZZ_SEED` (default 1) another
//! run. A failing input is written to a file whose path is in the message.
#![allow(clippy::unwrap_used)]

use flate2::{Compression, write::GzEncoder};
use image::{ImageFormat, Rgb, RgbImage};
use proptest::prelude::*;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use smoothout_host::data::cifar::{self, Variant, parse_cifar};
use smoothout_host::data::digits::{self, parse_digits};
use smoothout_host::data::file::gunzip;
use smoothout_host::data::get::sheets::{parse_labels_json, parse_sheet};
use smoothout_host::data::get::unpack::{Size, tar_gz};
use smoothout_host::data::idx::{parse_idx_images, parse_idx_labels};
use smoothout_host::data::{Images, decode_picture};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::io::{Cursor, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

/// Keeps the largest allocation of the thread.
struct Watched;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

fn note(bytes: usize) {
    // a thread that is ending has no counter any more
    let _ = LARGEST.try_with(|largest| largest.set(largest.get().max(bytes)));
}

// SAFETY: every call goes to `System` unchanged; the counter neither allocates nor touches the memory.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: the caller keeps `GlobalAlloc`'s contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size);
        // SAFETY: as above.
        unsafe { System.realloc(block, layout, size) }
    }
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

fn environment(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

fn below(rng: &mut Xoshiro256PlusPlus, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

const INTERESTING: [u32; 10] = [
    0,
    1,
    9,
    10,
    16,
    255,
    1024,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
];

/// One change of a file: a field, bytes, its length, a block moved.
fn mutate(rng: &mut Xoshiro256PlusPlus, bytes: &mut Vec<u8>) {
    let len = bytes.len();
    let at = below(rng, len.max(1));
    match below(rng, 9) {
        0 if len >= 4 => {
            // a header word, big-endian as in idx and PNG
            let field = below(rng, (len / 4).min(8)) * 4;
            let value = INTERESTING[below(rng, INTERESTING.len())];
            bytes[field..field + 4].copy_from_slice(&value.to_be_bytes());
        }
        1 if len > 0 => bytes[at] = INTERESTING[below(rng, 6)] as u8,
        2 if len > 0 => bytes[at] ^= 1 << below(rng, 8),
        3 => bytes.truncate(at),
        4 => bytes.extend((0..=below(rng, 9)).map(|_| rng.next_u64() as u8)),
        5 if len > 0 => drop(bytes.remove(at)),
        6 => bytes.insert(at.min(len), rng.next_u64() as u8),
        7 if len > 1 => {
            let block = bytes[at..len.min(at + 1 + below(rng, 64))].to_vec();
            let to = below(rng, bytes.len());
            bytes.splice(to..to, block);
        }
        _ => {
            let end = len.min(at + 1 + below(rng, 16));
            bytes[at.min(end)..end]
                .iter_mut()
                .for_each(|b| *b = rng.next_u64() as u8);
        }
    }
}

/// How mutated bytes become a file again, so that a checksum does not stop every mutation at the gate.
type Finish = fn(Vec<u8>) -> Vec<u8>;

/// Runs `parse` on the seeds, on mutations of them and on noise until the time is up. Allocations must stay
/// below `allowed(bytes)`.
fn fuzz(
    name: &str,
    seeds: &[Vec<u8>],
    finish: Finish,
    allowed: fn(usize) -> usize,
    parse: impl Fn(&[u8]),
) {
    let end = Instant::now() + Duration::from_secs(environment("SMOOTHOUT_FUZZ_SECONDS", 2));
    let seed = environment("SMOOTHOUT_FUZZ_SEED", 1);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(seed);
    let mut cases = 0u64;
    while Instant::now() < end {
        let mut bytes = if below(&mut rng, 16) == 0 {
            (0..below(&mut rng, 4096))
                .map(|_| rng.next_u64() as u8)
                .collect()
        } else {
            let mut bytes = seeds[below(&mut rng, seeds.len())].clone();
            (0..below(&mut rng, 5)).for_each(|_| mutate(&mut rng, &mut bytes));
            bytes
        };
        if below(&mut rng, 2) == 0 {
            bytes = finish(bytes);
        }
        LARGEST.with(|largest| largest.set(0));
        let panicked = catch_unwind(AssertUnwindSafe(|| parse(&bytes))).is_err();
        let largest = LARGEST.with(Cell::get);
        if panicked || largest > allowed(bytes.len()) {
            let path = std::env::temp_dir().join(format!("smoothout-fuzz-{name}-{seed}-{cases}"));
            std::fs::write(&path, &bytes).unwrap();
            panic!(
                "{name}: panicked: {panicked}, largest allocation {largest} for {} bytes: {}",
                bytes.len(),
                path.display()
            );
        }
        cases += 1;
    }
    println!("{name}: {cases} cases");
    assert!(cases > 20, "{name}: only {cases} cases");
}

fn same(bytes: Vec<u8>) -> Vec<u8> {
    bytes
}

/// Copies of the input, error texts and the like.
fn near_input(bytes: usize) -> usize {
    4 * bytes + 4096
}

fn gzip(bytes: Vec<u8>) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&bytes).unwrap();
    encoder.finish().unwrap()
}

fn words(values: &[u32]) -> Vec<u8> {
    values
        .iter()
        .flat_map(|value| value.to_be_bytes())
        .collect()
}

fn idx_images(count: u32, rows: u32, columns: u32) -> Vec<u8> {
    [
        words(&[0x0803, count, rows, columns]),
        vec![7; (count * rows * columns) as usize],
    ]
    .concat()
}

fn idx_labels(count: u32) -> Vec<u8> {
    [
        words(&[0x0801, count]),
        (0..count).map(|i| (i % 10) as u8).collect(),
    ]
    .concat()
}

fn check_idx_images(bytes: &[u8]) {
    if let Ok(images) = parse_idx_images(bytes) {
        assert!(
            images.count > 0
                && (1..=1024).contains(&images.rows)
                && (1..=1024).contains(&images.columns)
        );
        assert_eq!(
            images.pixels.len(),
            images.count * images.rows * images.columns
        );
        assert_eq!(images.pixels.len() + 16, bytes.len());
    }
}

fn check_idx_labels(bytes: &[u8]) {
    if let Ok(labels) = parse_idx_labels(bytes, 10) {
        assert!(
            !labels.is_empty() && labels.len() + 8 == bytes.len() && labels.iter().all(|&l| l < 10)
        );
    }
}

fn check_cifar(bytes: &[u8]) {
    for variant in [Variant::Cifar10, Variant::Cifar100] {
        let mut images = Images {
            shape: cifar::SHAPE,
            pixels: Vec::new(),
            labels: Vec::new(),
        };
        match parse_cifar(bytes, variant, &mut images) {
            Ok(()) => {
                assert!(!images.is_empty() && images.pixels.len() == images.len() * cifar::PIXELS);
                assert!(
                    images
                        .labels
                        .iter()
                        .all(|&l| u32::from(l) < variant.classes())
                );
            }
            Err(_) => assert!(images.is_empty() && images.pixels.is_empty()),
        }
    }
}

fn check_digits(bytes: &[u8]) {
    if let Ok(images) = parse_digits(bytes) {
        assert!(images.len() * 65 == bytes.len() && images.pixels.len() == images.len() * 64);
        assert!(images.labels.iter().all(|&l| l < 10) && images.pixels.iter().all(|&p| p <= 16));
    }
}

fn check_gunzip(bytes: &[u8]) {
    if let Ok(unpacked) = gunzip(bytes, 1 << 20) {
        assert!(unpacked.len() <= 1 << 20);
        // gzip in idx.gz: whatever comes out goes into the parser
        check_idx_images(&unpacked);
        check_idx_labels(&unpacked);
    }
}

fn check_labels_json(bytes: &[u8]) {
    if let Ok(labels) = parse_labels_json(bytes, 6) {
        assert!(labels.len() == 6 && labels.iter().all(|&l| l < 10));
    }
}

fn check_sheet(bytes: &[u8]) {
    if let Ok(records) = parse_sheet(bytes, &[1, 2, 3]) {
        assert_eq!(records.len(), 3 * 3073);
        check_cifar(&records);
    }
}

fn check_picture(bytes: &[u8]) {
    if let Ok(picture) = decode_picture(bytes) {
        assert!(picture.width() > 0 && picture.height() > 0);
    }
}

fn encoded(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    let picture = RgbImage::from_fn(width, height, |x, y| {
        Rgb([x as u8, (x >> 3) as u8 ^ y as u8, y as u8])
    });
    picture.write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Puts right the checksum of every PNG chunk whose length still fits.
fn png_checksums(mut bytes: Vec<u8>) -> Vec<u8> {
    let mut at = 8;
    while let Some(length) = bytes
        .get(at..at + 4)
        .map(|l| u32::from_be_bytes(l.try_into().unwrap()) as usize)
    {
        let Some(end) = at
            .checked_add(8 + length)
            .filter(|end| end + 4 <= bytes.len())
        else {
            break;
        };
        let mut crc = flate2::Crc::new();
        crc.update(&bytes[at + 4..end]);
        bytes[end..end + 4].copy_from_slice(&crc.sum().to_be_bytes());
        at = end + 4;
    }
    bytes
}

#[test]
fn idx() {
    let seeds = [
        idx_images(3, 4, 5),
        idx_images(1, 28, 28),
        idx_images(1, 1, 1),
    ];
    fuzz("idx-images", &seeds, same, near_input, check_idx_images);
    fuzz(
        "idx-labels",
        &[idx_labels(1), idx_labels(40)],
        same,
        near_input,
        check_idx_labels,
    );
}

#[test]
fn gz() {
    let seeds = [
        idx_images(3, 4, 5),
        idx_labels(12),
        gzip(idx_images(2, 9, 9)),
        gzip(vec![0; 100_000]),
    ];
    // at most the limit of 1 MiB, and what a growing vector adds
    fuzz(
        "gzip",
        &seeds,
        gzip,
        |bytes| 4 * bytes + (4 << 20),
        check_gunzip,
    );
}

#[test]
fn cifar() {
    let record = |labels: &[u8]| [labels, &[9; cifar::PIXELS]].concat();
    let seeds = [
        record(&[3]),
        [record(&[0]), record(&[9])].concat(),
        record(&[19, 99]),
        [record(&[0, 0]), record(&[1, 1])].concat(),
    ];
    // a mutated file seldom keeps a length that is a whole number of records: half of them are cut or filled to one
    let whole = |mut bytes: Vec<u8>| {
        let record = if bytes.first().is_some_and(|b| b % 2 == 0) {
            3073
        } else {
            3074
        };
        bytes.resize(bytes.len().div_ceil(record) * record, 0);
        bytes
    };
    fuzz("cifar", &seeds, whole, near_input, check_cifar);
}

#[test]
fn embedded_digits() {
    let seeds = [
        digits::BYTES[..65].to_vec(),
        digits::BYTES[650..1300].to_vec(),
    ];
    let whole = |mut bytes: Vec<u8>| {
        bytes.resize(bytes.len().div_ceil(65) * 65, 0);
        bytes
    };
    fuzz("digits", &seeds, whole, near_input, check_digits);
}

#[test]
fn labels_json() {
    let seeds = [
        b"[1,2,3,4,5,6]".to_vec(),
        b"[ 0, 9 ,9,9,9,0 ]".to_vec(),
        [vec![b'['; 5000], vec![b'1']].concat(),
        b"[[1],{\"a\":2},null,1e5,-1,\"\\u0041\"]".to_vec(),
    ];
    fuzz("labels-json", &seeds, same, near_input, check_labels_json);
}

#[test]
fn sheets() {
    // decoding works in whole rows of 1,024 pixels and in the window of deflate
    fuzz(
        "png-sheet",
        &[encoded(1024, 3, ImageFormat::Png)],
        png_checksums,
        |bytes| 8 * bytes + (1 << 20),
        check_sheet,
    );
}

#[test]
fn pictures() {
    let seeds = [
        encoded(31, 17, ImageFormat::Png),
        encoded(33, 40, ImageFormat::Jpeg),
        encoded(8, 8, ImageFormat::Jpeg),
    ];
    // the documented bound of a picture: 2^16 pixels and 8256 for each byte, in at most 8 bytes a pixel
    fuzz(
        "picture",
        &seeds,
        png_checksums,
        |bytes| 8 * ((1 << 16) + 8256 * bytes) + (1 << 20),
        check_picture,
    );
}

/// Packages: a tar in gzip, of which two files are wanted.
#[test]
fn archives() {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in [("package/a.bin", &b"abc"[..]), ("b.png", &[7; 700]), ("readme", b"no")] {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, bytes).unwrap();
    }
    let seed = builder.into_inner().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let archive = folder.path().join("a.tar.gz");
    let target = folder.path().join("out");
    std::fs::create_dir(&target).unwrap();
    fuzz("archive", &[seed.clone(), gzip(seed)], gzip, |bytes| 4 * bytes + (4 << 20), |bytes| {
        std::fs::write(&archive, bytes).unwrap();
        let wanted = [("a.bin", Size::Exact(3)), ("b.png", Size::AtMost(1 << 20))];
        if tar_gz(&archive, wanted.into_iter(), &target).is_ok() {
            let length = |name| std::fs::metadata(target.join(name)).unwrap().len();
            assert!(length("a.bin") == 3 && length("b.png") <= 1 << 20);
        }
        // Only what is wanted is written, and only there.
        let names = |folder: &Path| std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
        assert!(names(&target).all(|name| name == "a.bin" || name == "b.png"));
        assert_eq!(names(folder.path()).count(), 2);
    });
}

proptest! {
    #[test]
    fn arbitrary_bytes(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
        check_idx_images(&bytes);
        check_idx_labels(&bytes);
        check_gunzip(&bytes);
        check_cifar(&bytes);
        check_digits(&bytes);
        check_labels_json(&bytes);
        check_sheet(&bytes);
        check_picture(&bytes);
    }

    #[test]
    fn idx_headers(words in prop::array::uniform4(prop_oneof![Just(0x0803u32), Just(0x0801), 0..40u32, any::<u32>()]), rest in 0..2000usize) {
        let header: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
        let bytes = [header, vec![1; rest]].concat();
        check_idx_images(&bytes);
        check_idx_labels(&bytes);
    }

    #[test]
    fn every_valid_idx_file_is_taken(count in 1..20u32, rows in 1..20u32, columns in 1..20u32) {
        let bytes = idx_images(count, rows, columns);
        let images = parse_idx_images(&bytes).unwrap();
        prop_assert_eq!((images.count, images.rows, images.columns), (count as usize, rows as usize, columns as usize));
        let labels = idx_labels(count);
        prop_assert_eq!(parse_idx_labels(&labels, 10).unwrap().len(), count as usize);
        prop_assert_eq!(gunzip(&gzip(bytes.clone()), bytes.len() as u64).unwrap(), bytes);
    }
}
