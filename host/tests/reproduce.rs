//! Experiments, reports and found strengths, through the program.
#![allow(clippy::unwrap_used)]

mod common;

use common::{program, run, stderr, succeed};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Two rows, a table and a figure of each kind, in a second of training.
const SPEC: &str = r#"
title = "Digits"

[options]
net = "digits"
data = "digits"

[[column]]
name = "sgd"
label = "SGD"

[[column]]
name = "ada"
label = "AdaSmoothOut"
options = { method = "ada", strength = 0.2 }

[[row]]
name = "small"
label = "digits, batch 64"
paper = { sgd = 95.0 }
run = { full = { epochs = 9, seeds = 9 }, tiny = { epochs = 2, seeds = 2 } }

[[row]]
name = "large"
label = "digits, batch 256"
options = { batch = 256 }
run = { tiny = { epochs = 2, seeds = 1 } }

[[figure]]
name = "line"
kind = "interpolate"
runs = ["small.sgd", "large.sgd"]
arguments = "--alphas 0:1:0.5"

[[figure]]
name = "noise"
kind = "sensitivity"
runs = ["small.sgd", "small.ada"]
arguments = "--strengths 0:0.1:0.05 --draws 1"

[[figure]]
name = "curve"
kind = "landscape"
runs = ["small.sgd", "large.sgd"]
arguments = "--distances -1:1:1"

[[figure]]
name = "plane"
kind = "surface"
runs = ["large.sgd"]
arguments = "--distances -1:1:1"

[scale.full]
about = "all of it"

[scale.tiny]
about = "nearly nothing"
sharpness = "--images 50 --runs 1 --iterations 2"
measure = "--images 50"
"#;

fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(&path).unwrap())
        })
        .collect();
    files.sort();
    files
}

#[test]
fn an_experiment_ends_in_a_table_and_pictures_and_goes_on_where_it_was() {
    let top = TempDir::new().unwrap();
    fs::write(top.path().join("mine.toml"), SPEC).unwrap();
    let dry = succeed(top.path(), "reproduce mine.toml --scale tiny --dry-run");
    assert_eq!(String::from_utf8(dry.stdout).unwrap().lines().count(), 6);
    assert!(!top.path().join("runs").exists());

    let done = run(top.path(), "reproduce mine.toml --scale tiny --out mine.toml");
    assert!(stderr(&done).starts_with("smoothout: mine.toml: cannot make the folder: "), "{}", stderr(&done));
    assert!(!top.path().join("runs").exists(), "trained for results that cannot be written");

    let done = succeed(top.path(), "reproduce mine.toml --scale tiny --quiet");
    let said = String::from_utf8(done.stdout).unwrap();
    assert!(said.contains("smoothout reproduce mine.toml --scale tiny\n"), "{said}");
    assert!(said.contains("| digits, batch 64 |") && said.contains("(2) | 95.00 |"), "{said}");
    let out = top.path().join("results/mine-tiny");
    let first = files(&out);
    let names: Vec<&str> = first.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["README.md", "report.json", "runs.csv", "small.png", "large.svg"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for figure in ["line", "noise", "curve", "plane"] {
        for extension in ["csv", "svg", "png"] {
            assert!(names.contains(&format!("figure-{figure}.{extension}").as_str()), "{names:?}");
        }
    }
    // A figure's table has all that its command found, and its picture says whose it is.
    let read = |name: &str| fs::read_to_string(out.join(name)).unwrap();
    assert!(read("figure-noise.csv").starts_with("network,distribution,scaling,split,strength,loss,loss_error,"));
    assert!(read("figure-plane.svg").contains(">digits, batch 256, SGD<"));
    assert!(read("figure-line.svg").contains(">Loss between small sgd and large sgd<"));
    let runs = fs::read_to_string(out.join("runs.csv")).unwrap();
    assert_eq!(runs.lines().count(), 7);
    assert_eq!(fs::read_dir(top.path().join("runs/reproduce")).unwrap().count(), 6 + 1);

    // Again: nothing is trained or measured, and the same comes out.
    let stamps = || -> Vec<_> {
        let folders = fs::read_dir(top.path().join("runs/reproduce")).unwrap();
        folders.map(|f| f.unwrap().path().join("metrics.csv")).filter(|p| p.exists()).map(|p| fs::metadata(p).unwrap().modified().unwrap()).collect()
    };
    let before = stamps();
    succeed(top.path(), "reproduce mine.toml --scale tiny --quiet");
    assert_eq!(stamps(), before);
    assert!(files(&out) == first);

    // A training that was lost half-way is made again to the bit.
    let mut trained = fs::read_dir(top.path().join("runs/reproduce")).unwrap().map(|f| f.unwrap().path());
    let lost = trained.find(|p| p.join("metrics.csv").exists()).unwrap();
    fs::remove_dir_all(&lost).unwrap();
    succeed(top.path(), "reproduce mine.toml --scale tiny --quiet");
    assert!(files(&out) == first && lost.exists());

    // The page of a run, of measurements and of the experiment.
    succeed(top.path(), &format!("report {} results/mine-tiny --out page.html --quiet", lost.display()));
    let page = fs::read_to_string(top.path().join("page.html")).unwrap();
    assert!(page.contains("smoothout train --") && page.contains("smoothout sharpness --checkpoint"));
    assert!(page.contains("smoothout reproduce mine.toml --scale tiny"));
    // With the means beside the paper's numbers.
    assert!(page.contains("mean ± standard deviation over seeds") && page.contains("<th>paper</th>"), "{page}");
    assert!(page.contains("<td>digits, batch 64</td>") && page.contains("(2)</td><td class=\"number\">95.00</td>"));
    assert!(page.matches("data:image/svg+xml").count() >= 8, "{}", page.matches("data:image/svg+xml").count());
    assert!(!page.contains("<script") && !page.contains("src=\"http"));
}

#[test]
fn two_processes_share_an_experiment() {
    let top = TempDir::new().unwrap();
    fs::write(top.path().join("mine.toml"), SPEC).unwrap();
    let start = |out: &str| {
        let line = format!("reproduce mine.toml --scale tiny --threads 1 --quiet --out {out}");
        program(&line).current_dir(top.path()).stdout(std::process::Stdio::null()).spawn().unwrap()
    };
    let children = ["one", "two"].map(start);
    for mut child in children {
        assert!(child.wait().unwrap().success());
    }
    assert!(files(&top.path().join("one")) == files(&top.path().join("two")));
}

#[test]
fn a_found_strength_is_that_of_the_command_and_stays_in_the_configuration() {
    let top = TempDir::new().unwrap();
    let options = "train --epochs 4 --method ada --strength auto --pilot-epochs 3 --out auto --quiet";
    succeed(top.path(), options);
    let config = fs::read_to_string(top.path().join("auto/config.toml")).unwrap();
    let line = config.lines().find(|line| line.starts_with("strength = ")).unwrap();
    let strength: f32 = line["strength = ".len()..].parse().unwrap();
    assert!(strength > 0.01 && strength < 3.0, "{strength}");
    succeed(top.path(), "strength --checkpoint auto/pilot --scaling filter --out found --quiet");
    let found: serde_json::Value = serde_json::from_slice(&fs::read(top.path().join("found/strength.json")).unwrap()).unwrap();
    assert_eq!(found["strength"].as_f64().unwrap() as f32, strength);
    // The same as with the number given, and it goes on.
    succeed(top.path(), &format!("train --epochs 4 --method ada --strength {strength} --pilot-epochs 3 --out given --quiet"));
    common::assert_same(&top.path().join("auto"), &top.path().join("given"), "found and given");
    succeed(top.path(), "train --out auto --resume --quiet");
    for (options, expected) in [
        ("--strength auto", "--strength: auto has no effect with sgd"),
        ("--method sam --strength auto", "--strength: auto is for noise"),
        ("--method ada --strength auto --tolerance 0", "--tolerance: 0"),
        ("--method ada --strength lots", "neither a number nor auto"),
    ] {
        let done = run(top.path(), &format!("train {options}"));
        assert!(!done.status.success() && stderr(&done).contains(expected), "{options}: {}", stderr(&done));
    }
}

#[test]
fn epochs_are_kept_selected_and_drawn_as_a_way() {
    let top = TempDir::new().unwrap();
    succeed(top.path(), "train --epochs 4 --keep-every 2 --select last --out run --quiet");
    let bytes = |name: &str| fs::read(top.path().join("run").join(name)).unwrap();
    assert!(bytes("epoch-00004.safetensors") == bytes("last.safetensors"));
    assert!(bytes("best.safetensors") == bytes("last.safetensors"));
    assert!(top.path().join("run/epoch-00000.safetensors").exists() && !top.path().join("run/epoch-00001.safetensors").exists());
    succeed(top.path(), "landscape --checkpoint run --trajectory run --distances -1:1:1 --images 50 --out way --quiet");
    let found: serde_json::Value = serde_json::from_slice(&fs::read(top.path().join("way/landscape.json")).unwrap()).unwrap();
    assert_eq!(found["path"].as_array().unwrap().len(), 3);
    // Epochs after the network's do not lie on the way to it.
    succeed(top.path(), "train --epochs 4 --keep-every 1 --out all --quiet");
    let middle = "landscape --checkpoint all/epoch-00003.safetensors --trajectory all --distances -1:1:2 --images 50 --out middle";
    succeed(top.path(), &format!("{middle} --quiet"));
    let found: serde_json::Value = serde_json::from_slice(&fs::read(top.path().join("middle/landscape.json")).unwrap()).unwrap();
    let path = found["path"].as_array().unwrap();
    assert!(path.len() == 4 && path[3][0].as_f64().unwrap().abs() < 1e-6, "{path:?}");
    // Without the optimizer's memory the same run goes another way, from the second epoch on.
    succeed(top.path(), "train --epochs 4 --keep-every 1 --reset-optimizer --out forgets --quiet");
    let rows = |run: &str| -> Vec<String> {
        fs::read_to_string(top.path().join(run).join("metrics.csv")).unwrap().lines().map(String::from).collect()
    };
    assert_eq!(rows("run")[1], rows("forgets")[1]);
    assert_ne!(rows("run")[2], rows("forgets")[2]);
}

#[test]
fn the_illustration_is_drawn_and_bad_names_get_one_line() {
    let top = TempDir::new().unwrap();
    succeed(top.path(), "reproduce figure1 --quiet");
    assert!(fs::read(top.path().join("results/figure1/figure1.png")).unwrap().starts_with(b"\x89PNG"));
    for (arguments, expected) in [
        ("reproduce tabel1", "did you mean table1?"),
        ("reproduce table1 --scale huge", "scale huge is not one of cpu, full, quick, small"),
        ("reproduce table1 --rows f9", "row f9 is not one of f1-256"),
        ("reproduce table1 --scale quick --rows c3-256", "none of these rows is run at scale quick"),
        ("report .", "neither the folder of a run"),
    ] {
        let done = program(arguments).current_dir(top.path()).output().unwrap();
        assert!(!done.status.success() && stderr(&done).contains(expected), "{arguments}: {}", stderr(&done));
        assert_eq!(stderr(&done).lines().count(), 1, "{arguments}: {}", stderr(&done));
    }
}
