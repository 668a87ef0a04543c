//! The average of the weights is measured with running statistics of its own, then and later.
#![allow(clippy::unwrap_used)]

mod common;

use common::{run, succeed};
use smoothout_host::checkpoint::Checkpoint;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// A rate so high that the weights of the moment are far from their average.
const OPTIONS: &str = "--method sgd --average swa --rate-shape constant --learning-rate 0.5 --epochs 6 --quiet";

/// The last row's value in a column of `metrics.csv`.
fn last(folder: &Path, column: &str) -> f64 {
    let text = fs::read_to_string(folder.join("metrics.csv")).unwrap();
    let at = text.lines().next().unwrap().split(',').position(|name| name == column).unwrap();
    text.lines().last().unwrap().split(',').nth(at).unwrap().parse().unwrap()
}

/// A number in a command's JSON.
fn number(top: &Path, arguments: &str, key: &str) -> f64 {
    let text = String::from_utf8(run(top, arguments).stdout).unwrap();
    let value = text.split(&format!("\"{key}\":")).nth(1).unwrap_or_else(|| panic!("no {key} in {text}"));
    value.split([',', '}']).next().unwrap().parse().unwrap()
}

#[test]
fn an_average_has_statistics_of_its_own() {
    let top = TempDir::new().unwrap();
    succeed(top.path(), &format!("train --out run {OPTIONS}"));
    let run = top.path().join("run");
    let measured = last(&run, "test_loss");

    // Another program run finds the same in the checkpoint.
    let evaluated = number(top.path(), "evaluate --checkpoint run/last.safetensors --json --quiet", "loss");
    assert!((evaluated - measured).abs() < 1e-6 * measured, "{evaluated} {measured}");

    // All training images at once see nearly the statistics that shuffled batches of them see.
    let ends = "run/last.safetensors run/last.safetensors --alphas 0:1:1 --splits test --out line --json --quiet";
    let anew = number(top.path(), &format!("interpolate {ends} --statistics reestimate"), "loss");
    assert!((anew - measured).abs() < 0.03 * measured, "{anew} {measured}");

    // With the training's statistics the average would be another network.
    let checkpoint = Checkpoint::load(&run.join("last.safetensors")).unwrap();
    let variance = |prefix: &str| checkpoint.f32(&format!("{prefix}features.1.running_var"), &[8]).unwrap();
    let (own, of_training) = (variance("average."), variance(""));
    let ratio = own.iter().zip(of_training).map(|(a, b)| (a / b).ln().abs()).fold(0.0, f32::max);
    assert!(ratio > 0.05, "{own:?} {of_training:?}");
}
