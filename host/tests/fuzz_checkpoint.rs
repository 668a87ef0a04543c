//! Fuzzing of everything that a run's folder is read from: checkpoints, metrics and configurations.
//!
//! Each reader gets damaged good files and random ones for `SMOOTHOUT_FUZZ_SECONDS` (2 by default). It must give a value
//! or an error: no panic, and no memory beyond what the file's size bears out.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde::{Deserialize, Serialize};
use smoothout_host::checkpoint::{Checkpoint, Elements};
use smoothout_host::run::{MetricsLog, MetricsRow, metrics, read_config, read_metrics};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The largest single allocation that reading a small file may make, in bytes.
const LARGEST_ALLOCATION: usize = 8 << 20;

thread_local! {
    static LARGEST: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, which notes the largest allocation of each thread.
struct Watched;

// SAFETY: every call goes to the system's allocator unchanged; noting a number allocates nothing.
unsafe impl GlobalAlloc for Watched {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = LARGEST.try_with(|l| l.set(l.get().max(layout.size())));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and `pointer` came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Watched = Watched;

/// A damage done to a file.
#[derive(Debug, Clone)]
enum Damage {
    Set(Index, u8),
    Flip(Index, u8),
    Cut(Index),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
    Repeat(Index, usize),
    /// The n-th number in the text becomes this one.
    Number(Index, String),
}

fn damage() -> impl Strategy<Value = Damage> {
    let at = any::<Index>;
    let number = prop_oneof![
        any::<u64>().prop_map(|n| n.to_string()),
        any::<i64>().prop_map(|n| n.to_string()),
        any::<f64>().prop_map(|n| n.to_string()),
        (0u64..20).prop_map(|n| n.to_string()),
        Just("9999999999999999999999".to_owned()),
        Just("[]".to_owned()),
        Just("\"".to_owned()),
    ];
    prop_oneof![
        (at(), any::<u8>()).prop_map(|(i, b)| Damage::Set(i, b)),
        (at(), 0u8..8).prop_map(|(i, b)| Damage::Flip(i, b)),
        at().prop_map(Damage::Cut),
        (at(), 1usize..40).prop_map(|(i, n)| Damage::Remove(i, n)),
        (at(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(i, v)| Damage::Insert(i, v)),
        (at(), 1usize..60).prop_map(|(i, n)| Damage::Repeat(i, n)),
        (at(), number).prop_map(|(i, n)| Damage::Number(i, n)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    if bytes.is_empty() {
        return;
    }
    match damage {
        Damage::Set(i, byte) => {
            let i = i.index(bytes.len());
            bytes[i] = *byte;
        }
        Damage::Flip(i, bit) => {
            let i = i.index(bytes.len());
            bytes[i] ^= 1 << bit;
        }
        Damage::Cut(i) => bytes.truncate(i.index(bytes.len())),
        Damage::Remove(i, n) => {
            let i = i.index(bytes.len());
            bytes.drain(i..(i + n).min(bytes.len()));
        }
        Damage::Insert(i, new) => {
            let i = i.index(bytes.len());
            bytes.splice(i..i, new.iter().copied());
        }
        Damage::Repeat(i, n) => {
            let i = i.index(bytes.len());
            let part = bytes[i..(i + n).min(bytes.len())].to_vec();
            bytes.splice(i..i, part);
        }
        Damage::Number(i, new) => {
            let starts: Vec<usize> = (0..bytes.len())
                .filter(|&i| {
                    bytes[i].is_ascii_digit() && (i == 0 || !bytes[i - 1].is_ascii_digit())
                })
                .collect();
            if !starts.is_empty() {
                let start = starts[i.index(starts.len())];
                let digits = bytes[start..].iter().take_while(|b| b.is_ascii_digit());
                let end = start + digits.count();
                bytes.splice(start..end, new.bytes());
            }
        }
    }
}

/// A good file with up to four damages, or a random one.
fn file(good: Vec<u8>) -> impl Strategy<Value = Vec<u8>> {
    let damaged = prop::collection::vec(damage(), 0..5).prop_map(move |all| {
        let mut bytes = good.clone();
        all.iter().for_each(|d| apply(&mut bytes, d));
        bytes
    });
    prop_oneof![
        8 => damaged,
        1 => prop::collection::vec(any::<u8>(), 0..400),
    ]
}

/// Feeds files to a reader until the time is over.
fn fuzz(name: &str, files: impl Strategy<Value = Vec<u8>>, read: impl Fn(&Path) -> bool) {
    let seconds = std::env::var("SMOOTHOUT_FUZZ_SECONDS").map_or(2.0, |s| {
        s.parse().expect("SMOOTHOUT_FUZZ_SECONDS is a number")
    });
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let folder = TempDir::new().unwrap();
    let path: PathBuf = folder.path().join("file");
    let (count, good) = (Cell::new(0u64), Cell::new(0u64));
    while Instant::now() < end {
        let config = Config {
            cases: 200,
            failure_persistence: None,
            ..Config::default()
        };
        TestRunner::new(config)
            .run(&files, |bytes| {
                fs::write(&path, &bytes).unwrap();
                LARGEST.set(0);
                let accepted = read(&path);
                let largest = LARGEST.get();
                count.set(count.get() + 1);
                good.set(good.get() + u64::from(accepted));
                if largest > LARGEST_ALLOCATION {
                    let text = format!("{largest} bytes taken at once");
                    return Err(TestCaseError::fail(text));
                }
                Ok(())
            })
            .unwrap();
    }
    let (count, good) = (count.get(), good.get());
    println!("{name}: {count} files, {good} of them accepted");
    // A reader that refuses, or takes, everything was not tested.
    assert!(good > 0 && good < count, "{good} of {count} accepted");
}

#[test]
fn checkpoints() {
    let mut c = Checkpoint::new();
    c.insert_f32("layer1.0.conv1.weight", &[2, 3], &[0.5; 6])
        .unwrap();
    c.insert_f32("bn1.bias", &[0], &[]).unwrap();
    c.insert("bn1.num_batches_tracked", &[], Elements::I64(vec![3]))
        .unwrap();
    c.insert("bytes", &[5], Elements::U8(vec![7; 5])).unwrap();
    c.set_u64("step", 1000);
    c.set_text("net", "f1");
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("good");
    c.save(&path).unwrap();
    let again = folder.path().join("again");
    fuzz("checkpoints", file(fs::read(&path).unwrap()), |path| {
        let loaded = Checkpoint::load(path);
        if let Ok(loaded) = &loaded {
            // What was accepted can be used and saved.
            let _ = loaded.f32("layer1.0.conv1.weight", &[2, 3]);
            let _ = loaded.number_u64("step");
            loaded.save(&again).unwrap();
        }
        if let Err(error) = &loaded {
            assert!(!error.to_string().is_empty());
        }
        loaded.is_ok()
    });
}

#[test]
fn metrics_tables() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("good.csv");
    let mut log = MetricsLog::open(&path, 0).unwrap();
    for step in 1..5 {
        log.append(MetricsRow {
            epoch: step as f64,
            step: step * 100,
            validation_loss: Some(0.1),
            ..MetricsRow::default()
        })
        .unwrap();
    }
    let good = fs::read(&path).unwrap();
    assert!(good.starts_with(metrics::COLUMNS[0].as_bytes()));
    fuzz("metrics tables", file(good), |path| {
        let read = read_metrics(path);
        if let Err(error) = &read {
            assert!(!error.to_string().is_empty());
        }
        // Opening cuts the file to whole rows, so what it kept must be readable.
        if let Ok(log) = MetricsLog::open(path, 2) {
            assert_eq!(log.rows().len(), 2);
            assert_eq!(read_metrics(path).unwrap().len(), 2);
        }
        read.is_ok()
    });
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct Settings {
    net: String,
    strength: f64,
    batch: usize,
    resume: bool,
    regime: Vec<Stage>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Stage {
    epoch: u32,
    learning_rate: f32,
}

#[test]
fn configurations() {
    let good = "\
net = \"resnet44\"
strength = 0.0375  # after the schedule
batch = 5_000
resume = false
regime = [{ epoch = 0, learning_rate = 0.1 }, { epoch = 81, learning_rate = 1e-2 }]
";
    fuzz("configurations", file(good.into()), |path| {
        let read = read_config::<Settings>(path);
        if let Err(error) = &read {
            assert!(!error.to_string().is_empty());
        }
        read.is_ok()
    });
}

/// Deep nesting must end in an error, not in an overflow of the stack.
#[test]
fn deep_nesting() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("deep");
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let text = format!("a = {}{}", open.repeat(100_000), close.repeat(100_000));
        fs::write(&path, text).unwrap();
        assert!(read_config::<Settings>(&path).is_err());
    }
    for open in ["[", "{\"a\":"] {
        let header = open.repeat(100_000);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        fs::write(&path, bytes).unwrap();
        assert!(Checkpoint::load(&path).is_err());
    }
}
