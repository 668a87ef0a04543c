//! Fuzzing of everything that a run's folder is read from: checkpoints, metrics and configurations.
//!
//! Each reader gets damaged good files and random ones for `SMOOTHOUT_FUZZ_SECONDS` (2 by default). It must give a value
//! or an error: no panic, and no memory beyond what the file's size bears out.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{TestCaseError, TestRunner};
use smoothout_host::checkpoint::{Checkpoint, Elements};
use smoothout_host::options::Options;
use smoothout_host::progress::{Mode, Progress};
use smoothout_host::run::{MetricsLog, MetricsRow, RunFolder, metrics, read_config, read_metrics};
use smoothout_host::train::{Setup, train};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
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

/// Seconds of fuzzing for each reader.
fn seconds() -> f64 {
    std::env::var("SMOOTHOUT_FUZZ_SECONDS").map_or(2.0, |s| {
        s.parse().expect("SMOOTHOUT_FUZZ_SECONDS is a number")
    })
}

/// Feeds files to a reader until the time is over.
fn fuzz(name: &str, files: impl Strategy<Value = Vec<u8>>, read: impl Fn(&Path) -> bool) {
    let end = Instant::now() + Duration::from_secs_f64(seconds());
    let folder = TempDir::new().unwrap();
    let path: PathBuf = folder.path().join("file");
    let (count, good) = (Cell::new(0u64), Cell::new(0u64));
    while Instant::now() < end {
        let config = ProptestConfig {
            cases: 200,
            failure_persistence: None,
            ..ProptestConfig::default()
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

#[test]
fn configurations() {
    let good = "\
net = \"resnet\"
method = \"ada\"
strength = 0.0375  # after the schedule
batch = 5_000
antithetic = false
rate-shape = \"81:0.1,122:0.01\"
";
    fuzz("configurations", file(good.into()), |path| {
        let read = read_config::<Options>(path);
        match &read {
            Ok(options) => drop(options.clone().resolve()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
        read.is_ok()
    });
}

/// A run of two epochs on the digits goes on from every checkpoint of its own tensors, whatever their bits and whatever
/// the numbers beside them, or refuses it.
#[test]
fn resumed_runs() {
    let top = TempDir::new().unwrap();
    let given = Options { epochs: Some(2), batch: Some(600), accumulate: Some(2), ..Options::default() };
    let config = given.resolve();
    let mut setup = Setup::new(&config).unwrap();
    let mut quiet = Progress::new(Mode::Quiet);
    let stop = AtomicBool::new(false);
    let mut resume = |setup: &mut Setup| {
        let folder = RunFolder::open(top.path(), true).unwrap();
        train(&config, setup, &folder, &mut quiet, &stop)
    };
    resume(&mut setup).unwrap();
    let good = Checkpoint::load(&top.path().join("last.safetensors")).unwrap();
    // Epoch, batch and update: three batches make two updates an epoch.
    let there = prop::sample::select(vec![
        [0, 0, 0], [0, 2, 1], [0, 3, 2], [1, 0, 2], [1, 2, 3], [1, 3, 4], [2, 0, 4],
    ]);
    let anywhere = prop::array::uniform3(prop_oneof![0u64..6, any::<u64>(), Just(u64::MAX)]);
    let numbers = prop_oneof![there, anywhere];
    let end = Instant::now() + Duration::from_secs_f64(seconds());
    let counts = Cell::new([0u64; 2]);
    while Instant::now() < end {
        let cases = (numbers.clone(), any::<f64>(), any::<Index>(), any::<u32>());
        let settings = ProptestConfig { cases: 16, failure_persistence: None, ..ProptestConfig::default() };
        let resume = std::sync::Mutex::new((&mut resume, &mut setup));
        TestRunner::new(settings)
            .run(&cases, |(numbers, sum, at, bits)| {
                let mut damaged = good.clone();
                for (key, value) in ["epoch", "batch", "updates"].into_iter().zip(numbers) {
                    damaged.set_u64(key, value);
                }
                damaged.set_f64("sum.0", sum);
                let names: Vec<String> = good.tensors().keys().cloned().collect();
                let name = &names[at.index(names.len())];
                let tensor = good.tensors()[name].clone();
                if let Elements::F32(values) = tensor.elements() {
                    let mut values = values.clone();
                    let place = at.index(values.len());
                    values[place] = f32::from_bits(bits);
                    damaged.insert_f32(name.clone(), tensor.shape(), &values).unwrap();
                }
                damaged.save(&top.path().join("last.safetensors")).unwrap();
                let mut guard = resume.lock().unwrap();
                let (resume, setup) = &mut *guard;
                let [taken, refused] = counts.get();
                match resume(setup) {
                    Ok(report) => {
                        assert_eq!(report.epochs, 2);
                        counts.set([taken + 1, refused]);
                    }
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        counts.set([taken, refused + 1]);
                    }
                }
                Ok(())
            })
            .unwrap();
    }
    let [taken, refused] = counts.get();
    println!("resumed runs: {taken} taken, {refused} refused");
    assert!(taken > 0 && refused > 0);
}

/// Deep nesting must end in an error, not in an overflow of the stack.
#[test]
fn deep_nesting() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("deep");
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let text = format!("a = {}{}", open.repeat(100_000), close.repeat(100_000));
        fs::write(&path, text).unwrap();
        assert!(read_config::<Options>(&path).is_err());
    }
    for open in ["[", "{\"a\":"] {
        let header = open.repeat(100_000);
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.as_bytes());
        fs::write(&path, bytes).unwrap();
        assert!(Checkpoint::load(&path).is_err());
    }
}
