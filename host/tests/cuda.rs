//! The program on an NVIDIA GPU, or on the emulated driver. Ignored where neither may be: gpu/test and gpu/on-device.sh run these.
#![cfg(all(unix, feature = "cuda"))]
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_same, program, run, stderr, succeed};
use safetensors::SafeTensors;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

/// Two draws in turn for ghost batches of 16, so that passes of several draws go through the network at once.
const OPTIONS: &str = "--method ada --strength 0.15 --batch 64 --ghost 16 --average ema --seed 3 --quiet";

/// Every tensor of a checkpoint, all of which are f32, by name.
fn weights(path: &Path) -> Vec<(String, Vec<f32>)> {
    let bytes = std::fs::read(path).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let values = |data: &[u8]| data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    let mut all: Vec<(String, Vec<f32>)> =
        file.tensors().into_iter().map(|(name, tensor)| (name, values(tensor.data()))).collect();
    all.sort_by(|(a, _), (b, _)| a.cmp(b));
    all
}

fn norm(values: impl Iterator<Item = f64>) -> f64 {
    values.map(|v| v * v).sum::<f64>().sqrt()
}

/// The figures of metrics.csv's column `name`.
fn column(folder: &Path, name: &str) -> Vec<f64> {
    let text = std::fs::read_to_string(folder.join("metrics.csv")).unwrap();
    let mut lines = text.lines();
    let at = lines.next().unwrap().split(',').position(|n| n == name).unwrap();
    lines.map(|line| line.split(',').nth(at).unwrap().parse().unwrap()).collect()
}

#[test]
#[ignore = "needs a GPU or the emulated driver"]
fn cuda_trains_as_the_cpu_does() {
    let top = TempDir::new().unwrap();
    succeed(top.path(), &format!("train {OPTIONS} --epochs 2 --device cpu --out cpu"));
    succeed(top.path(), &format!("train {OPTIONS} --epochs 2 --device cuda,f32 --out cuda"));
    let [cpu, cuda] = ["cpu", "cuda"].map(|name| top.path().join(name));
    for name in ["train_loss", "test_loss"] {
        for (a, b) in column(&cpu, name).into_iter().zip(column(&cuda, name)) {
            assert!((a - b).abs() < 1e-3 * a.abs(), "{name}: {a} on the CPU, {b} on the GPU");
        }
    }
    let [cpu, cuda] = [cpu, cuda].map(|folder| weights(&folder.join("last.safetensors")));
    assert!(cpu.len() > 10);
    for ((name, a), (other, b)) in cpu.iter().zip(&cuda) {
        assert_eq!(name, other);
        let apart = norm(a.iter().zip(b).map(|(a, b)| f64::from(a - b)));
        let size = norm(a.iter().map(|a| f64::from(*a)));
        assert!(apart < 1e-3 * size.max(1e-2), "{name}: {apart:e} apart, norm {size:e}");
    }
}

#[test]
#[ignore = "needs a GPU or the emulated driver"]
fn cuda_runs_that_are_killed_end_in_the_same_bits() {
    let top = TempDir::new().unwrap();
    let options = format!("{OPTIONS} --epochs 3 --device cuda");
    succeed(top.path(), &format!("train {options} --out whole"));
    let mut child = program(&format!("train {options} --out killed"))
        .current_dir(top.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !top.path().join("killed/last.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    succeed(top.path(), "train --out killed --resume --quiet");
    assert_same(&top.path().join("whole"), &top.path().join("killed"), "after a kill");
}

#[test]
#[ignore = "needs a GPU or the emulated driver"]
fn cuda_checkpoints_move_to_the_cpu_and_back() {
    let top = TempDir::new().unwrap();
    let accuracy = |arguments: &str| {
        let output = succeed(top.path(), &format!("evaluate --json {arguments}"));
        let text = String::from_utf8(output.stdout).unwrap();
        let at = text.find("\"loss\":").unwrap() + 7;
        text[at..].split([',', '}']).next().unwrap().parse::<f64>().unwrap()
    };
    succeed(top.path(), &format!("train {OPTIONS} --epochs 1 --device cpu --out cpu"));
    let [a, b] = ["cpu", "cuda,f32"]
        .map(|device| accuracy(&format!("--checkpoint cpu/last.safetensors --device {device}")));
    assert!((a - b).abs() < 1e-5 * a, "{a} {b}");
    // A run goes on where it was not begun.
    let mut child = program(&format!("train {OPTIONS} --epochs 3 --device cuda,f32 --out moved"))
        .current_dir(top.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    while !top.path().join("moved/last.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    succeed(top.path(), "train --out moved --resume --device cpu --quiet");
    assert_eq!(column(&top.path().join("moved"), "train_loss").len(), 3);
}

#[test]
#[ignore = "needs a GPU or the emulated driver"]
fn cuda_devices_that_are_not_there_are_told_plainly() {
    let top = TempDir::new().unwrap();
    let output = run(top.path(), "train --epochs 1 --device cuda:77 --out a --quiet");
    assert!(!output.status.success());
    assert!(stderr(&output).contains("there is no device cuda:77; this machine has cuda:0 (GPU-"), "{}", stderr(&output));
    // A folder without libcuda.so.1: on a machine with a real driver the loader finds that elsewhere.
    let without = program("train --epochs 1 --device cuda --out b --quiet")
        .current_dir(top.path())
        .env("LD_LIBRARY_PATH", top.path())
        .output()
        .unwrap();
    if !without.status.success() {
        assert!(stderr(&without).contains("no NVIDIA driver was found"), "{}", stderr(&without));
    }
}
