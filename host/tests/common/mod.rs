//! What several tests of the program need: the program itself and small data sets.
#![allow(dead_code, clippy::unwrap_used)] // each test uses a part of it

use rand_core::{Rng, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The program with these arguments, split at blanks.
pub fn program(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_smoothout"));
    command.args(arguments.split_whitespace()).stdin(Stdio::null());
    command
}

/// Runs the program to its end.
pub fn run(folder: &Path, arguments: &str) -> Output {
    program(arguments).current_dir(folder).output().unwrap()
}

/// Runs the program, which must succeed.
pub fn succeed(folder: &Path, arguments: &str) -> Output {
    let output = run(folder, arguments);
    assert!(output.status.success(), "{arguments}: {}", stderr(&output));
    output
}

/// What the program said to people.
pub fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A generator of test data.
pub fn random(seed: u64) -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(seed)
}

/// A number below 1.
pub fn unit(rng: &mut Xoshiro256PlusPlus) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Pixels of an image of class `label`: noise, and a bright stripe at a place of its own.
fn pixels(rng: &mut Xoshiro256PlusPlus, label: usize, len: usize) -> Vec<u8> {
    let stripe = label * len / 10..(label + 1) * len / 10;
    (0..len).map(|i| (rng.next_u64() >> 57) as u8 + if stripe.contains(&i) { 100 } else { 0 }).collect()
}

/// Writes idx files of 28x28 images into a folder.
pub fn idx_set(folder: &Path, train: usize, test: usize) {
    fs::create_dir_all(folder).unwrap();
    let mut rng = random(1);
    for (part, count) in [("train", train), ("t10k", test)] {
        let words = |values: &[usize]| values.iter().flat_map(|v| (*v as u32).to_be_bytes()).collect::<Vec<u8>>();
        let (mut images, mut labels) = (words(&[0x803, count, 28, 28]), words(&[0x801, count]));
        for index in 0..count {
            labels.push((index % 10) as u8);
            images.extend(pixels(&mut rng, index % 10, 28 * 28));
        }
        fs::write(folder.join(format!("{part}-images-idx3-ubyte")), images).unwrap();
        fs::write(folder.join(format!("{part}-labels-idx1-ubyte")), labels).unwrap();
    }
}

/// Writes CIFAR-10's files with `each` images in each of them.
pub fn cifar_set(folder: &Path, each: usize) {
    fs::create_dir_all(folder).unwrap();
    let mut rng = random(2);
    let files = (1..=5).map(|n| format!("data_batch_{n}.bin")).chain(["test_batch.bin".into()]);
    for file in files {
        let mut records = Vec::new();
        for index in 0..each {
            records.push((index % 10) as u8);
            records.extend(pixels(&mut rng, index % 10, 3 * 32 * 32));
        }
        fs::write(folder.join(file), records).unwrap();
    }
}

/// The files of a run's folder that do not depend on the time.
pub fn results(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    ["last.safetensors", "best.safetensors", "metrics.csv", "learning_curves.png"]
        .map(|name| folder.join(name))
        .into_iter()
        .map(|path| (path.clone(), fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))))
        .collect()
}

/// Fails unless two runs left the same bytes.
pub fn assert_same(a: &Path, b: &Path, what: &str) {
    for ((path, a), (_, b)) in results(a).into_iter().zip(results(b)) {
        assert!(a == b, "{what}: {} differs", path.display());
    }
}
