//! `smoothout gradient` and `smoothout noise` as anybody runs them: right results for every batch, one clear line and a
//! non-zero exit code for whatever cannot be.

use super::values::{START, Stream, filled};
use smoothout_host::checkpoint::{Checkpoint, Elements};
use smoothout_host::device::Part;
use smoothout_host::net::NetName;
use smoothout_host::options::DeviceName;
use smoothout_host::train::network_tensors;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Weights and batches of the digits network in a folder of their own.
struct Files {
    folder: TempDir,
    weights: Checkpoint,
}

impl Files {
    fn new() -> Self {
        let net = NetName::Digits.build(44, 10).expect("a small network");
        let (device, _) = filled(DeviceName::Portable, &net, 2, 0, START);
        let mut weights = Checkpoint::new();
        for part in [Part::Weights, Part::Statistics] {
            let values = device.read(part).expect("reads");
            for (name, shape, range) in network_tensors(device.plan(), part) {
                weights.insert_f32(name, &shape, &values[range]).expect("fits");
            }
        }
        let files = Self { folder: tempfile::tempdir().expect("a folder"), weights };
        files.weights.save(&files.path("w")).expect("writable");
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.safetensors"))
    }

    fn batch(&self, shape: &[usize], labels: &[i64]) -> Checkpoint {
        let mut stream = Stream::new(7);
        let mut batch = Checkpoint::new();
        let values = stream.list(shape.iter().product(), 1.0);
        batch.insert_f32("images", shape, &values).expect("fits");
        batch.insert("labels", &[labels.len()], Elements::I64(labels.to_vec())).expect("fits");
        batch
    }

    /// Runs `gradient` on what is in `w` and `b`.
    fn gradient(&self, more: &[&str]) -> Output {
        let _ = std::fs::remove_file(self.path("g"));
        let [w, b, g] = ["w", "b", "g"].map(|name| self.path(name));
        run(&["gradient", "--net", "digits", "--weights", text(&w), "--batch", text(&b), "--out", text(&g)], more)
    }

    fn noise(&self, more: &[&str]) -> Output {
        let [w, t] = ["w", "t"].map(|name| self.path(name));
        run(&["noise", "--net", "digits", "--weights", text(&w), "--out", text(&t)], more)
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("text")
}

fn run(arguments: &[&str], more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smoothout")).args(arguments).args(more).output().expect("runs")
}

/// The run failed with one line that holds `what`.
fn refused(output: &Output, what: &str) {
    let line = String::from_utf8_lossy(&output.stderr).trim_end().to_owned();
    assert!(!output.status.success(), "it went through, where `{what}` was expected");
    assert!(output.status.code().is_some_and(|code| code < 100), "{output:?}");
    assert!(line.contains(what), "`{line}` does not say `{what}`");
    assert_eq!(line.lines().count(), 1, "{line}");
}

fn values(file: &Checkpoint, name: &str) -> Vec<f32> {
    match file.get(name).expect("there").elements() {
        Elements::F32(values) => values.clone(),
        other => panic!("{name} is {}", other.type_name()),
    }
}

#[test]
fn batches_of_every_size_are_evaluated_alike() {
    let files = Files::new();
    let images: Vec<i64> = (0..37).map(|i| i % 10).collect();
    let all = files.batch(&[37, 1, 8, 8], &images);
    all.save(&files.path("b")).expect("writable");
    for device in ["cpu", "portable"] {
        let options = ["--mode", "eval", "--device", device];
        assert!(files.gradient(&options).status.success());
        let logits = values(&Checkpoint::load(&files.path("g")).expect("written"), "logits");
        for n in [1, 2, 15, 16, 17] {
            let mut some = Checkpoint::new();
            some.insert_f32("images", &[n, 1, 8, 8], &values(&all, "images")[..n * 64]).expect("fits");
            some.insert("labels", &[n], Elements::I64(images[..n].to_vec())).expect("fits");
            some.save(&files.path("b")).expect("writable");
            let output = files.gradient(&options);
            assert!(output.status.success(), "{n} on {device}: {output:?}");
            let got = Checkpoint::load(&files.path("g")).expect("written");
            assert_eq!(values(&got, "logits"), logits[..n * 10], "{n} on {device}");
            let norm = |name| values(&got, name).iter().map(|g| g * g).sum::<f32>();
            assert!(norm("features.0.weight") > 0.0 && norm("loss") > 0.0);
        }
        all.save(&files.path("b")).expect("writable");
    }
}

#[test]
fn impossible_batches_are_named() {
    let files = Files::new();
    let ten: Vec<i64> = (0..10).collect();
    let good = files.batch(&[10, 1, 8, 8], &ten);
    let changed = |change: &dyn Fn(&mut Checkpoint)| {
        let mut batch = good.clone();
        change(&mut batch);
        batch
    };
    let with = |name: &'static str, shape: &'static [usize], elements: Elements| {
        changed(&move |b| b.insert(name, shape, elements.clone()).expect("fits"))
    };
    let label = |label: i64| {
        let mut labels = ten.clone();
        labels[4] = label;
        with("labels", &[10], Elements::I64(labels))
    };
    let mut pixels = values(&good, "images");
    pixels[77] = f32::NAN;
    let mut empty = Checkpoint::new();
    empty.insert_f32("pictures", &[1], &[0.0]).expect("fits");
    let mut none = files.batch(&[0, 1, 8, 8], &[]);
    none.set_text("comment", "no images");
    let cases = [
        (empty, "there is no tensor `images`"),
        (none, "the batch is empty"),
        (files.batch(&[10, 8, 8, 1], &ten), "`images` has shape [10, 8, 8, 1], [10, 1, 8, 8] is needed"),
        (files.batch(&[9, 1, 8, 8], &ten), "`images` has shape [9, 1, 8, 8]"),
        (files.batch(&[10, 3, 32, 32], &ten), "`images` has shape [10, 3, 32, 32]"),
        (with("images", &[10, 1, 8, 8], Elements::F64(vec![0.0; 640])), "`images` is F64"),
        (with("labels", &[10], Elements::I32(vec![0; 10])), "`labels` is I32"),
        (with("labels", &[10, 1], Elements::I64(vec![0; 10])), "`labels` has shape [10, 1]"),
        (with("images", &[10, 1, 8, 8], Elements::F32(pixels)), "value 77 of tensor 'images' is NaN"),
        (label(10), "image 4 of the batch has label 10, there are 10 classes"),
        (label(-1), "image 4 has label -1"),
        (label(1 << 40), "image 4 has label 1099511627776"),
        (with("images", &[10, 1, 8, 8], Elements::F32(vec![3e38; 640])), "nothing was written"),
    ];
    for (batch, what) in cases {
        batch.save(&files.path("b")).expect("writable");
        for device in ["cpu", "portable"] {
            refused(&files.gradient(&["--device", device]), what);
            assert!(!files.path("g").exists());
        }
    }
    std::fs::remove_file(files.path("b")).expect("there");
    refused(&files.gradient(&[]), "cannot be read");
    std::fs::write(files.path("b"), b"images").expect("writable");
    refused(&files.gradient(&[]), "truncated");
}

#[test]
fn impossible_weights_are_named() {
    let files = Files::new();
    files.batch(&[4, 1, 8, 8], &[0, 1, 2, 3]).save(&files.path("b")).expect("writable");
    let with = |name: &str, shape: &[usize], elements: Elements| {
        let mut weights = files.weights.clone();
        weights.insert(name, shape, elements).expect("fits");
        weights
    };
    let mut without = Checkpoint::new();
    for (name, tensor) in files.weights.tensors() {
        let name = if name == "features.4.weight" { "features.3.weight" } else { name };
        without.insert(name, tensor.shape(), tensor.elements().clone()).expect("fits");
    }
    let mut bias = vec![0.0; 10];
    bias[3] = f32::INFINITY;
    let cases = [
        (without, "tensor 'features.4.weight' is missing"),
        (with("classifier.weight", &[64, 10], Elements::F32(vec![0.0; 640])), "tensor 'classifier.weight' has shape [64, 10], [10, 64] expected"),
        (with("classifier.bias", &[10], Elements::F64(vec![0.0; 10])), "elements of type F64, F32 expected"),
        (with("classifier.bias", &[10], Elements::F32(bias)), "value 3 of tensor 'classifier.bias' is inf"),
    ];
    for (weights, what) in cases {
        weights.save(&files.path("w")).expect("writable");
        refused(&files.gradient(&[]), what);
        refused(&files.noise(&["--strength", "0.1"]), what);
    }
}

#[test]
fn impossible_options_are_named() {
    let files = Files::new();
    files.batch(&[4, 1, 8, 8], &[0, 1, 2, 3]).save(&files.path("b")).expect("writable");
    for probability in ["1", "-0.5", "NaN", "inf"] {
        refused(&files.gradient(&["--dropout", probability]), "is not a probability");
    }
    for strength in ["-0.1", "NaN", "inf"] {
        refused(&files.noise(&["--strength", strength]), "--strength");
    }
    refused(&files.noise(&["--strength", "1.5", "--distribution", "dropout"]), "1.5 is more than 1");
    let [w, b] = ["w", "b"].map(|name| files.path(name));
    let resnet = ["gradient", "--net", "resnet", "--weights", text(&w), "--batch", text(&b), "--out", "x"];
    refused(&run(&resnet, &["--depth", "43"]), "no network of depth 43");
    let mut one = Checkpoint::new();
    one.insert_f32("images", &[1, 784], &[0.5; 784]).expect("fits");
    one.insert("labels", &[1], Elements::I64(vec![0])).expect("fits");
    one.save(&files.path("b")).expect("writable");
    let f1 = ["gradient", "--net", "f1", "--weights", text(&w), "--batch", text(&b), "--out", "x"];
    refused(&run(&f1, &[]), "batch norm in training needs more than one value a channel");
}

#[test]
fn noise_is_the_same_on_every_device() {
    let files = Files::new();
    for scaling in ["constant", "weight", "filter"] {
        for distribution in ["uniform", "gaussian", "dropout"] {
            let mut written = Vec::new();
            for device in ["cpu", "portable"] {
                let output = files.noise(&["--strength", "0.2", "--seed", "9", "--scaling", scaling,
                    "--distribution", distribution, "--device", device, "--perturb-norms"]);
                assert!(output.status.success(), "{output:?}");
                written.push(std::fs::read(files.path("t")).expect("written"));
            }
            assert!(written[0] == written[1], "{scaling} {distribution}");
        }
    }
}
