//! The measuring commands as they are used, on a network that was trained for a moment on the embedded digits.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

fn smoothout(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_smoothout")).args(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The folders of two short runs.
fn runs() -> &'static [PathBuf; 2] {
    static RUNS: OnceLock<[PathBuf; 2]> = OnceLock::new();
    RUNS.get_or_init(|| {
        ["1", "2"].map(|seed| {
            let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("measured-{seed}"));
            let _ = std::fs::remove_dir_all(&folder);
            let out = folder.to_str().expect("a path in UTF-8");
            let done = smoothout(&["train", "--epochs", "2", "--seed", seed, "--out", out, "--quiet"]);
            assert!(done.status.success(), "{}", text(&done.stderr));
            folder
        })
    })
}

/// Runs a command on the first run and gives its JSON.
fn measure(name: &str, folder: &Path, arguments: &[&str]) -> serde_json::Value {
    let checkpoint = runs()[0].to_str().expect("a path in UTF-8");
    let out = folder.to_str().expect("a path in UTF-8");
    let of = if name == "interpolate" { vec![] } else { vec!["--checkpoint", checkpoint] };
    let images: &[&str] = if arguments.contains(&"--images") { &[] } else { &["--images", "200"] };
    let all = [&[name][..], &of, images, &["--out", out, "--quiet"], arguments].concat();
    let done = smoothout(&all);
    assert!(done.status.success(), "{all:?}: {}", text(&done.stderr));
    let read = |extension: &str| std::fs::read(folder.join(format!("{name}.{extension}"))).expect(extension);
    assert!(text(&read("svg")).contains("</svg>"));
    assert!(read("png").starts_with(b"\x89PNG"));
    assert!(text(&read("csv")).lines().count() > 1);
    let json: serde_json::Value = serde_json::from_slice(&read("json")).expect("JSON");
    assert_eq!(json["complete"], true);
    json
}

fn number(value: &serde_json::Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn sharpness_finds_a_higher_loss_and_saves_where() {
    let place = tempfile::tempdir().expect("a folder");
    let points = place.path().join("points");
    let arguments = ["--save-points", points.to_str().expect("UTF-8"), "--runs", "2", "--epsilon", "5e-3"];
    let found = measure("sharpness", place.path(), &arguments);
    let (loss, sharpness) = (number(&found["loss"]), number(&found["sharpness"]));
    assert!(sharpness > 0.1, "{sharpness}");
    for run in found["runs"].as_array().expect("runs") {
        assert!(number(&run["loss"]) > loss);
        assert!(number(&run["losses"][0]) < number(&run["loss"]));
    }
    // The loss at the saved point is the one that was found: measured anew it is that of a network.
    let worst = points.join("worst.safetensors");
    let checked = place.path().join("checked");
    let done = smoothout(&[
        "sharpness", "--checkpoint", worst.to_str().expect("UTF-8"), "--net", "digits", "--data", "digits", "--runs", "1",
        "--iterations", "1", "--images", "200", "--quiet", "--out", checked.to_str().expect("UTF-8"),
    ]);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let json = std::fs::read(checked.join("sharpness.json")).expect("its result");
    let again: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    let highest = loss + sharpness / 100.0 * (1.0 + loss);
    assert!((number(&again["loss"]) - highest).abs() < 1e-5 * highest, "{} and {highest}", again["loss"]);

    // The same again, to the bit; a subspace; the authors' way, which sees less.
    let other = tempfile::tempdir().expect("a folder");
    let same = measure("sharpness", other.path(), &["--runs", "2", "--epsilon", "5e-3"]);
    assert_eq!(same["sharpness"], found["sharpness"]);
    let subspace = measure("sharpness", other.path(), &["--runs", "2", "--epsilon", "5e-3", "--subspace", "10"]);
    assert!(number(&subspace["sharpness"]) < sharpness);
    let authors = measure("sharpness", other.path(), &["--runs", "1", "--epsilon", "5e-3", "--as-authors"]);
    assert_eq!(authors["split"], "test");
    assert!(number(&authors["sharpness"]) < sharpness);
}

#[test]
fn sensitivity_rises_with_the_strength_and_gives_equation_9() {
    let place = tempfile::tempdir().expect("a folder");
    let found = measure("sensitivity", place.path(), &[
        "--strengths", "0:0.4:0.2", "--scaling", "filter", "--distribution", "uniform,gaussian", "--draws", "3",
        "--splits", "test",
    ]);
    let rows = found["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 6);
    let (clean, strong) = (&rows[0], &rows[2]);
    assert!(number(&strong["loss"]) > number(&clean["loss"]) && clean["slope"].is_null());
    let slope = (number(&strong["loss"]) - number(&clean["loss"])) / 0.4;
    assert!((number(&strong["slope"]) - slope).abs() < 1e-9 * slope.abs());
    assert!(number(&strong["slope_error"]) > 0.0);
}

#[test]
fn interpolation_meets_the_networks_at_its_ends() {
    let place = tempfile::tempdir().expect("a folder");
    let [a, b] = runs();
    let ends = [a.to_str().expect("UTF-8"), b.to_str().expect("UTF-8")];
    for statistics in ["interpolate", "reestimate"] {
        let found = measure("interpolate", place.path(), &[
            ends[0], ends[1], "--alphas", "0:1:0.5", "--splits", "test", "--statistics", statistics, "--images", "0",
        ]);
        let rows = found["rows"].as_array().expect("rows");
        for (row, end) in [(&rows[0], ends[0]), (&rows[2], ends[1])] {
            let done = smoothout(&["evaluate", "--checkpoint", &format!("{end}/best.safetensors"), "--json"]);
            let evaluated: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
            let (ours, known) = (number(&row["loss"]), number(&evaluated["loss"]));
            // Statistics of the training set differ from running ones by little.
            let bound = if statistics == "interpolate" { 1e-5 } else { 0.2 };
            assert!((ours - known).abs() < bound * known, "{statistics}: {ours} and {known}");
        }
        assert!(number(&rows[1]["loss"]) > number(&rows[0]["loss"]));
    }
}

#[test]
fn variances_below_zero_are_counted_and_warned_of() {
    let place = tempfile::tempdir().expect("a folder");
    let out = place.path().to_str().expect("UTF-8");
    let [a, b] = runs().each_ref().map(|run| run.to_str().expect("UTF-8"));
    for statistics in ["interpolate", "reestimate"] {
        let done = smoothout(&[
            "interpolate", a, b, "--alphas", "1:41:40", "--splits", "test", "--images", "50", "--statistics", statistics,
            "--out", out, "--quiet",
        ]);
        let json = std::fs::read(place.path().join("interpolate.json")).expect("JSON");
        let found: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
        let [end, beyond] = [0, 1].map(|row| number(&found["rows"][row]["negative_variances"]));
        assert_eq!(end, 0.0);
        let warning = text(&done.stderr);
        if statistics == "interpolate" {
            assert!(beyond > 0.0 && beyond <= number(&found["variances"]), "{beyond}");
            assert!(warning.contains(&format!("at 1 points running variances became negative and were put to 0, {beyond} of")), "{warning}");
        } else {
            assert!(beyond == 0.0 && warning.is_empty(), "{beyond}: {warning}");
        }
        let table = std::fs::read_to_string(place.path().join("interpolate.csv")).expect("CSV");
        assert!(table.starts_with("alpha,split,loss,accuracy,negative_variances\n"), "{table}");
    }
}

#[test]
fn landscapes_are_lowest_near_the_middle() {
    let place = tempfile::tempdir().expect("a folder");
    let line = measure("landscape", place.path(), &["--distances", "-1:1:0.5", "--splits", "train"]);
    let rows = line["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 5);
    assert!(number(&rows[2]["loss"]) < number(&rows[0]["loss"]) && number(&rows[2]["loss"]) < number(&rows[4]["loss"]));
    let plane = measure("landscape", place.path(), &["--dimensions", "2", "--distances", "-1:1:0.5"]);
    let rows = plane["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 25);
    // The first direction is the curve's.
    assert_eq!(rows[10]["loss"], line["rows"][0]["loss"]);
    assert_eq!(rows[12]["loss"], line["rows"][2]["loss"]);
}

#[test]
fn a_strength_is_chosen_within_the_tolerance() {
    let place = tempfile::tempdir().expect("a folder");
    let found = measure("strength", place.path(), &["--scaling", "filter", "--tolerance", "0.05", "--draws", "2"]);
    let (low, high) = (number(&found["strength"]), number(&found["beyond"]));
    assert!(low < high && high <= low * 1.01 * (1.0 + 1e-9), "{low} {high}");
    let error = number(&found["strength_error"]);
    assert!(error > 0.0 && error < low, "{error}");
    for row in found["rows"].as_array().expect("rows") {
        let (strength, rise) = (number(&row["strength"]), number(&row["rise"]));
        assert!(strength != low || rise <= 0.05);
        assert!(strength != high || rise > 0.05);
    }
}

#[test]
fn the_hessian_has_eigenvalues_with_residuals() {
    let place = tempfile::tempdir().expect("a folder");
    let found = measure("hessian", place.path(), &["--top", "2", "--steps", "15", "--samples", "4"]);
    let eigenvalues = found["eigenvalues"].as_array().expect("eigenvalues");
    let (first, second) = (number(&eigenvalues[0]["value"]), number(&eigenvalues[1]["value"]));
    assert!(first > second && first > 0.0);
    assert!(number(&eigenvalues[0]["residual"]) > 0.0, "{eigenvalues:?}");
    assert!(found["trace"]["mean"].is_number() && found["trace"]["error"].is_number());
    // Exact products are symmetric: enough steps leave next to no residual.
    assert!(number(&eigenvalues[0]["residual"]) < 0.2 * first, "{eigenvalues:?}");
}

#[test]
fn an_interrupted_hessian_is_what_the_steps_so_far_give() {
    use std::io::{BufRead, BufReader};
    let place = tempfile::tempdir().expect("a folder");
    let (run, out) = (runs()[0].to_str().expect("UTF-8"), place.path().to_str().expect("UTF-8"));
    let line = ["hessian", "--checkpoint", run, "--top", "2", "--steps", "1900", "--out", out, "--json"];
    let mut child = Command::new(env!("CARGO_BIN_EXE_smoothout"))
        .args(line)
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut said = BufReader::new(child.stdout.take().expect("its output")).lines().map_while(Result::ok);
    // After the loss itself and three products, of 1293 images each.
    let far = said.any(|line| {
        let event: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        event["done"].as_u64().is_some_and(|done| done > 4 * 1293)
    });
    assert!(far, "it ended by itself");
    let signal = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    assert!(signal.expect("kill").success());
    said.for_each(drop);
    let done = child.wait_with_output().expect("its end");
    assert_eq!(done.status.code(), Some(130), "{}", text(&done.stderr));
    assert!(text(&done.stderr).contains("what was found until then is written"), "{}", text(&done.stderr));
    let json = std::fs::read(place.path().join("hessian.json")).expect("JSON");
    let found: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(found["complete"], false);
    assert!((3..1900).contains(&found["steps"].as_u64().expect("steps")), "{}", found["steps"]);
    let eigenvalues = found["eigenvalues"].as_array().expect("eigenvalues");
    assert_eq!(eigenvalues.len(), 2);
    assert!(number(&eigenvalues[0]["value"]) > number(&eigenvalues[0]["residual"]), "{eigenvalues:?}");
    let picture = std::fs::read_to_string(place.path().join("hessian.svg")).expect("a picture");
    assert!(picture.contains("(interrupted)"));
}

#[test]
fn robustness_counts_bits_and_noise() {
    let place = tempfile::tempdir().expect("a folder");
    let found = measure("robustness", place.path(), &["--bits", "8,2", "--strengths", "0:1:1", "--draws", "2"]);
    let rows = found["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 4);
    let (clean, eight, two) = (number(&rows[0]["loss"]), number(&rows[1]["loss"]), number(&rows[2]["loss"]));
    assert!((eight - clean).abs() < 0.05 * (1.0 + clean) && two > clean && number(&rows[3]["loss"]) > clean);
}

#[test]
fn help_has_examples_and_bad_input_gets_one_line() {
    let place = tempfile::tempdir().expect("a folder");
    let none = place.path().join("none.safetensors");
    let (run, none) = (runs()[0].to_str().expect("UTF-8"), none.to_str().expect("UTF-8"));
    let commands = ["sharpness", "sensitivity", "strength", "landscape", "hessian", "robustness"];
    for command in commands.into_iter().chain(["interpolate"]) {
        let help = text(&smoothout(&[command, "--help"]).stdout);
        assert!(help.contains(&format!("  smoothout {command} ")), "{help}");
    }
    let mut bad: Vec<Vec<&str>> = Vec::new();
    for command in commands {
        bad.push(vec![command, "--checkpoint", none]);
        bad.push(vec![command, "--checkpoint", none, "--net", "digits", "--data", "digits"]);
        bad.push(vec![command, "--checkpoint", run, "--net", "f1"]);
    }
    bad.push(vec!["interpolate", run, none]);
    bad.push(vec!["sharpness", "--checkpoint", run, "--epsilon", "-1"]);
    bad.push(vec!["sharpness", "--checkpoint", run, "--epsilon", "nan"]);
    bad.push(vec!["sharpness", "--checkpoint", run, "--runs", "0"]);
    bad.push(vec!["sharpness", "--checkpoint", run, "--subspace", "0"]);
    bad.push(vec!["sharpness", "--checkpoint", run, "--split", "validation", "--validation", "0"]);
    bad.push(vec!["sensitivity", "--checkpoint", run, "--draws", "0"]);
    bad.push(vec!["sensitivity", "--checkpoint", run, "--strengths=-1:0:0.5"]);
    bad.push(vec!["landscape", "--checkpoint", run, "--distribution", "dropout"]);
    bad.push(vec!["strength", "--checkpoint", run, "--tolerance", "0"]);
    bad.push(vec!["hessian", "--checkpoint", run, "--top", "5", "--steps", "4"]);
    bad.push(vec!["hessian", "--checkpoint", run, "--products", "differences", "--step", "0"]);
    bad.push(vec!["hessian", "--checkpoint", run, "--step", "1e-5"]);
    for arguments in bad {
        let out = place.path().join("out");
        let done = smoothout(&[&arguments[..], &["--images", "50", "--quiet", "--out", out.to_str().expect("UTF-8")]].concat());
        let message = text(&done.stderr);
        assert!(!done.status.success() && message.lines().count() == 1, "{arguments:?}: {message}");
        assert!(message.starts_with("smoothout: "), "{message}");
        assert!(!out.exists(), "{arguments:?} left files");
    }
    // What the parser refuses takes more lines, and names the value.
    for arguments in [["sharpness", "--include", "nothing"], ["landscape", "--distances", "1:2"], ["robustness", "--bits", "1"]] {
        let done = smoothout(&arguments);
        assert_eq!(done.status.code(), Some(2));
        assert!(text(&done.stderr).contains(arguments[2]), "{}", text(&done.stderr));
    }
}
