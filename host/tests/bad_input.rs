//! Bad input gets one clear line, a non-zero exit code, and leaves nothing behind.
#![allow(clippy::unwrap_used)]

mod common;

use common::{idx_set, run, stderr, succeed};
use std::fs;
use std::path::Path;
use std::process::Output;
use tempfile::TempDir;

/// What is done to a file's bytes.
type Damage = fn(&mut Vec<u8>);

/// Fails unless the program said one line with this in it and gave this exit code.
fn refused(output: &Output, code: i32, expected: &str, what: &str) {
    let text = stderr(output);
    assert_eq!(output.status.code(), Some(code), "{what}: {text}");
    assert!(text.contains(expected), "{what}: {text:?} has no {expected:?}");
    assert_eq!(text.trim_end().lines().count(), 1, "{what}: {text}");
    assert!(output.stdout.is_empty(), "{what}");
}

#[test]
fn options() {
    let top = TempDir::new().unwrap();
    for (options, code, expected) in [
        ("--method ada --strength NaN", 2, "--strength: noise strength NaN"),
        ("--method ada --strength -1", 2, "--strength: noise strength -1"),
        ("--method smoothout --strength inf", 2, "--strength: noise strength inf"),
        ("--method sam --strength 0", 2, "--strength: SAM's radius 0"),
        ("--method ada", 2, "--strength: missing"),
        ("--strength 0.1", 2, "--strength: 0.1 has no effect with sgd"),
        ("--ghost 65", 2, "--ghost: 65 is larger than the batch of 64"),
        ("--batch 0", 2, "--batch: 0"),
        ("--batch 1294", 2, "--batch: 1294 is more than the 1293 training images"),
        ("--epochs 0", 2, "--epochs: 0"),
        ("--method ada --strength 0.1 --draws 0", 2, "--draws: the number of draws is 0"),
        ("--method ada --strength 0.1 --draws 3 --antithetic", 2, "3 is odd"),
        ("--method sam --strength 0.1 --accumulate 2", 2, "--accumulate: SAM"),
        ("--learning-rate -1", 2, "--learning-rate: learning rate -1"),
        ("--rate-shape 5:0.1,3:0.01", 2, "--rate-shape: epoch 3"),
        ("--momentum -1", 2, "momentum cannot be -1"),
        ("--weight-decay NaN", 2, "--weight-decay: NaN"),
        ("--clip -1", 2, "--clip: -1"),
        ("--ema-decay 1", 2, "--ema-decay: 1"),
        ("--warm-up -2", 2, "--warm-up: -2"),
        ("--dropout 1", 2, "--dropout: 1"),
        ("--validation 1", 1, "the share 1 cannot be held out of 1437"),
        ("--net resnet --depth 45", 2, "no network of depth 45"),
        ("--net f1", 1, "the images of digits are 1x8x8, the network takes 1x28x28"),
        ("--normalization imagenet", 1, "imagenet has 3 channels, the images have 1"),
        ("--threads 100000", 2, "--threads: 100000"),
        ("--data minst", 1, "did you mean \"mnist\"?"),
        ("--data mnist", 1, "`smoothout data get mnist` fetches it"),
        ("--data none/there", 1, "none/there: missing"),
        ("--config none.toml", 1, "none.toml: cannot read"),
    ] {
        refused(&run(top.path(), &format!("train {options}")), code, expected, options);
    }
    assert_eq!(fs::read_dir(top.path()).unwrap().count(), 0, "a refused run left something");
}

/// What the argument parser refuses it explains in more than one line; the first says it.
#[test]
fn names() {
    let top = TempDir::new().unwrap();
    for (arguments, expected) in [
        ("trian", "a similar subcommand exists: 'train'"),
        ("train --sed 3", "a similar argument exists: '--seed'"),
        ("train --net digts", "a similar value exists: 'digits'"),
        ("train --method adda", "a similar value exists: 'ada'"),
        ("train --rate-shape cosin", "did you mean cosine?"),
        ("train --resume", "--out <OUT>"),
        ("train --batch x", "invalid value 'x' for '--batch"),
    ] {
        let output = run(top.path(), arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(stderr(&output).contains(expected), "{arguments}: {}", stderr(&output));
    }
    for (text, expected) in [
        ("net = \"digits\"\nmetod = \"ada\"", "line 2: unknown field `metod`; did you mean `method`?"),
        ("method = \"adda\"", "line 1: unknown variant `adda`; did you mean `ada`?"),
        ("strength = \"x\"", "line 1: \"x\" is neither a number nor auto"),
        ("epochs = -3", "line 1: invalid value"),
        ("net = digits", "line 1: "),
        ("rate-shape = \"cosin\"", "did you mean cosine?"),
    ] {
        fs::write(top.path().join("run.toml"), text).unwrap();
        refused(&run(top.path(), "train --config run.toml"), 1, expected, text);
    }
}

#[test]
fn data_files() {
    let top = TempDir::new().unwrap();
    let set = top.path().join("set");
    let [images, labels] = ["train-images-idx3-ubyte", "train-labels-idx1-ubyte"];
    let damages: [(&str, Damage, &str); 5] = [
        (images, |bytes| bytes[3] = 4, "magic number is 0x00000804"),
        (images, |bytes| bytes.truncate(5000), "truncated: 5000 bytes"),
        (labels, |bytes| bytes.push(0), "too long"),
        (labels, |bytes| bytes[8 + 17] = 10, "image 17 has the label 10"),
        (images, |bytes| bytes.clear(), "truncated: 0 bytes"),
    ];
    for (file, damage, expected) in damages {
        idx_set(&set, 40, 20);
        let path = set.join(file);
        let mut bytes = fs::read(&path).unwrap();
        damage(&mut bytes);
        fs::write(&path, bytes).unwrap();
        let output = run(top.path(), "train --data set --net f1 --batch 4");
        refused(&output, 1, expected, expected);
        assert!(stderr(&output).contains(file), "{}", stderr(&output));
    }
    idx_set(&set, 40, 20);
    fs::remove_file(set.join("t10k-labels-idx1-ubyte")).unwrap();
    refused(&run(top.path(), "train --data set --net f1 --batch 4"), 1, "t10k-labels-idx1-ubyte: missing", "missing");
    // 36 training images: batches of 7 leave one, of which a batch norm after a linear layer has no variance.
    idx_set(&set, 40, 20);
    refused(&run(top.path(), "train --data set --net f1 --batch 7"), 2, "--batch: 7 leaves a ghost batch of one", "one");
    succeed(top.path(), "train --data set --net f1 --batch 6 --epochs 1 --quiet --out run");
    let other = "evaluate --checkpoint run/last.safetensors --data digits";
    refused(&run(top.path(), other), 1, "the images of digits are 1x8x8, the network takes 1x28x28", other);
    assert!(!top.path().join("runs").exists(), "a refused run left a folder");
}

/// Changes a file of a run.
fn rewrite(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn runs() {
    let top = TempDir::new().unwrap();
    refused(&run(top.path(), "train --out run --resume"), 1, "no such folder", "resume of nothing");
    succeed(top.path(), "train --epochs 2 --out run --quiet");
    refused(&run(top.path(), "train --epochs 2 --out run"), 1, "not empty", "a second run");
    for (options, expected) in [
        ("--epochs 3", "--epochs is 2 in this run and cannot become 3"),
        ("--method ada --strength 0.1", "--method is \"sgd\""),
    ] {
        let output = run(top.path(), &format!("train --out run --resume {options}"));
        refused(&output, 2, expected, options);
    }
    succeed(top.path(), "train --out run --resume --threads 1 --epochs 2 --quiet");

    let last = top.path().join("run/last.safetensors");
    let metrics = top.path().join("run/metrics.csv");
    let (good, rows) = (fs::read(&last).unwrap(), fs::read(&metrics).unwrap());
    let damages: [(&Path, Damage, &str); 6] = [
        (&last, |b| b.truncate(1000), "truncated: 1000 bytes"),
        (&last, |b| b.push(0), "oversized"),
        (&last, |b| { let end = b.len() - 3; b[end] ^= 1 }, "damaged: its checksum is"),
        (&last, |b| b.clear(), "truncated: 0 bytes"),
        (&metrics, |b| b.truncate(b.len() - 5), "1 rows, but the checkpoint was saved after 2"),
        (&metrics, |b| b[0] = b'x', "does not name the columns"),
    ];
    for (path, damage, expected) in damages {
        rewrite(path, damage);
        refused(&run(top.path(), "train --out run --resume"), 1, expected, expected);
        fs::write(&last, &good).unwrap();
        fs::write(&metrics, &rows).unwrap();
    }
    succeed(top.path(), "train --epochs 2 --batch 60 --out other --quiet");
    fs::copy(top.path().join("other/last.safetensors"), &last).unwrap();
    refused(&run(top.path(), "train --out run --resume"), 1, "where this run does not come through", "another run's");
    fs::write(&last, &good).unwrap();

    fs::remove_file(top.path().join("run/config.toml")).unwrap();
    refused(&run(top.path(), "train --out run --resume"), 1, "not the folder of a run", "no config");
    fs::create_dir(top.path().join("empty")).unwrap();
    refused(&run(top.path(), "train --out empty --resume"), 2, "stopped before it began", "an empty folder");
    fs::write(top.path().join("file"), "").unwrap();
    refused(&run(top.path(), "train --epochs 1 --out file"), 1, "a file is in the place", "a file");
}

/// Measurements of a network without a loss, and into a folder that cannot be, are refused before they begin.
#[test]
fn measurements() {
    use smoothout_host::checkpoint::Checkpoint;
    let top = TempDir::new().unwrap();
    succeed(top.path(), "train --epochs 1 --out run --quiet");
    let commands = ["sharpness", "sensitivity", "strength", "landscape", "hessian", "robustness"];
    for command in commands {
        for out in ["run/config.toml", "run/config.toml/out"] {
            let output = run(top.path(), &format!("{command} --checkpoint run --out {out}"));
            refused(&output, 1, &format!("{out}: cannot make the folder"), command);
        }
    }
    let points = "sharpness --checkpoint run --out out --save-points run/config.toml";
    refused(&run(top.path(), points), 1, "run/config.toml: cannot make the folder", points);

    let best = top.path().join("run/best.safetensors");
    let mut network = Checkpoint::load(&best).unwrap();
    let (name, shape) = network
        .tensors()
        .iter()
        .find(|(name, tensor)| name.ends_with("weight") && tensor.shape().len() == 2)
        .map(|(name, tensor)| (name.clone(), tensor.shape().to_vec()))
        .unwrap();
    let mut values = network.f32(&name, &shape).unwrap().to_vec();
    values[3] = f32::NAN;
    network.insert_f32(name, &shape, &values).unwrap();
    network.save(&best).unwrap();
    for command in commands {
        let output = run(top.path(), &format!("{command} --checkpoint run --out out/inner"));
        refused(&output, 2, "the loss of the network itself is NaN", command);
    }
    let line = run(top.path(), "interpolate run/last.safetensors run/best.safetensors --out out/inner");
    refused(&line, 2, "the loss of the network itself is NaN", "interpolate");
    assert!(!top.path().join("out").exists(), "a refused measurement left a folder");
}

/// A folder that nothing can be written into.
#[cfg(unix)]
#[test]
fn read_only_folders() {
    use std::os::unix::fs::PermissionsExt;
    let top = TempDir::new().unwrap();
    let closed = top.path().join("closed");
    fs::create_dir(&closed).unwrap();
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(closed.join("probe"), "").is_ok() {
        println!("note: this user may write everywhere");
        // Nobody may in Linux's /proc.
        if Path::new("/proc/self").exists() {
            refused(&run(top.path(), "train --epochs 1 --out /proc/none"), 1, "/proc/none: cannot make the folder", "/proc");
        }
        return;
    }
    refused(&run(top.path(), "train --epochs 1 --out closed"), 1, "closed: cannot write into the folder", "closed");
    refused(&run(top.path(), "train --epochs 1 --out closed/run"), 1, "closed/run: cannot make the folder", "below it");
}

/// A loss that is not finite ends the run with the weights from before the step, which can be used.
#[test]
fn a_loss_that_is_not_finite() {
    let top = TempDir::new().unwrap();
    let output = run(top.path(), "train --learning-rate 1e30 --clip 0 --out run");
    refused(&output, 1, "update 1: the loss of ghost batch 0 is", "not finite");
    assert!(stderr(&output).contains("run/last.safetensors"), "{}", stderr(&output));
    // The same weights as a run that stops by itself after that update: one batch of the whole set an epoch.
    let one = "train --learning-rate 1e30 --clip 0 --batch 1293 --rate-shape constant";
    succeed(top.path(), &format!("{one} --epochs 1 --out one --quiet"));
    let output = run(top.path(), &format!("{one} --epochs 2 --out two --quiet"));
    assert_eq!(output.status.code(), Some(1));
    // After a warning that the losses after the first epoch are not finite either.
    assert!(stderr(&output).contains("smoothout: update 1: the loss of ghost batch 0 is"), "{}", stderr(&output));
    let weights = |run: &str| {
        let path = top.path().join(run).join("last.safetensors");
        smoothout_host::checkpoint::Checkpoint::load(&path).unwrap().tensors().clone()
    };
    assert!(weights("one") == weights("two"));
}
