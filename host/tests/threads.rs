//! A run's bits do not depend on the number of threads.
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_same, cifar_set, idx_set, succeed};
use tempfile::TempDir;

/// Each way of training that has code of its own.
const DIGITS: [&str; 9] = [
    "",
    "--method smoothout --strength 0.05 --ghost 16",
    "--method ada --strength 0.3 --draws 2 --antithetic",
    "--method ada --strength 0.1 --perturb-norms --optimizer adam",
    "--method smoothout --strength 0.05 --distribution gaussian --renewal step --ghost 32 --optimizer adamw",
    "--method smoothout --strength 0.02 --distribution dropout --renewal never --accumulate 3",
    "--method smoothout --strength 0.001 --denoise false --average ema --nesterov",
    "--method sam --strength 0.05 --ghost 32 --average swa",
    "--augment crop --normalization own --rate-shape 1:0.1 --warm-up 1 --clip 0",
];

fn equal_for_any_threads(top: &TempDir, name: &str, options: &str) {
    for threads in 1..=3 {
        let run = format!("train {options} --out {name}-{threads} --threads {threads} --quiet");
        succeed(top.path(), &run);
    }
    let folder = |threads| top.path().join(format!("{name}-{threads}"));
    for threads in 2..=3 {
        assert_same(&folder(1), &folder(threads), &format!("{options}, {threads} threads"));
    }
}

#[test]
fn digits_by_every_method() {
    let top = TempDir::new().unwrap();
    for (index, options) in DIGITS.iter().enumerate() {
        equal_for_any_threads(&top, &format!("run{index}"), &format!("{options} --epochs 3"));
    }
}

#[test]
fn the_papers_networks() {
    let top = TempDir::new().unwrap();
    idx_set(&top.path().join("idx"), 700, 100);
    cifar_set(&top.path().join("cifar"), 40);
    for (index, options) in [
        "--net f1 --data idx --batch 128 --method ada --strength 0.15",
        "--net f1 --data idx --batch 200 --ghost 70 --method sam --strength 0.05 --augment crop",
        "--net c1 --data cifar --batch 48 --method smoothout --strength 0.01 --augment",
        "--net resnet --depth 8 --data cifar --batch 50 --ghost 16 --method ada --strength 0.15 --augment",
    ]
    .iter()
    .enumerate()
    {
        equal_for_any_threads(&top, &format!("run{index}"), &format!("{options} --epochs 1"));
    }
}
