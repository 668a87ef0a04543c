//! Tests of a run's folder.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::checkpoint::{CheckpointCause, Elements};
use serde::Deserialize;
use tempfile::TempDir;

fn row(step: u64) -> MetricsRow {
    MetricsRow {
        epoch: step as f64 / 100.0,
        step,
        train_loss: 1.0 / 3.0 / step as f64,
        train_accuracy: 0.5,
        validation_loss: Some(f64::NAN),
        validation_accuracy: None,
        test_loss: None,
        test_accuracy: Some(1.0),
        learning_rate: 0.1,
        strength: 1e-9,
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let mut names = names(folder).unwrap();
    names.sort();
    names
}

#[test]
fn a_new_folder_is_made_and_locked_until_dropped() {
    let top = TempDir::new().unwrap();
    let path = top.path().join("runs/first");
    let run = RunFolder::open(&path, false).unwrap();
    for resume in [false, true] {
        let error = RunFolder::open(&path, resume).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}: the folder is in use by process {}",
                path.display(),
                std::process::id()
            )
        );
    }
    assert!(run.load_last().unwrap().is_none());
    drop(run);
    // Nothing was written yet: a new run may take it, and so may a resumed one.
    drop(RunFolder::open(&path, false).unwrap());
    drop(RunFolder::open(&path, true).unwrap());
}

/// The lock is the system's: it holds against another process and goes with it, even when that is killed.
#[cfg(unix)]
#[test]
fn the_lock_of_a_killed_process_is_free() {
    use std::process::{Command, Stdio};
    let top = TempDir::new().unwrap();
    drop(RunFolder::open(top.path(), false).unwrap());
    let Ok(mut holder) = Command::new("flock")
        .arg("--no-fork")
        .arg(top.path().join(LOCK))
        .args(["sh", "-c", "echo locked; exec sleep 60"])
        .stdout(Stdio::piped())
        .spawn()
    else {
        println!("note: no program flock here");
        return;
    };
    let mut line = String::new();
    let mut out = io::BufReader::new(holder.stdout.take().unwrap());
    io::BufRead::read_line(&mut out, &mut line).unwrap();
    assert_eq!(line, "locked\n");
    let found = RunFolder::open(top.path(), false);
    holder.kill().unwrap();
    holder.wait().unwrap();
    assert!(matches!(found, Err(RunError::InUse { .. })));
    RunFolder::open(top.path(), false).unwrap();
}

#[test]
fn folders_that_do_not_fit_are_refused_with_a_clear_message() {
    let top = TempDir::new().unwrap();
    let message = |path: &Path, resume| RunFolder::open(path, resume).unwrap_err().to_string();

    let missing = top.path().join("missing");
    let text = message(&missing, true);
    assert!(
        text.ends_with("no such folder, so there is no run to resume"),
        "{text}"
    );
    assert!(!missing.exists());

    let file = top.path().join("file");
    fs::write(&file, "x").unwrap();
    for resume in [false, true] {
        let text = message(&file, resume);
        assert!(
            text.ends_with("a file is in the place of the run's folder"),
            "{text}"
        );
    }

    let documents = top.path().join("documents");
    fs::create_dir(&documents).unwrap();
    fs::write(documents.join("letter"), "dear").unwrap();
    let text = message(&documents, false);
    assert!(
        text.contains("--resume, or choose another folder"),
        "{text}"
    );
    assert!(message(&documents, true).contains("no config.toml"));
    assert_eq!(names_in(&documents), ["letter"], "nothing was left behind");

    let run = top.path().join("run");
    let folder = RunFolder::open(&run, false).unwrap();
    folder.write_config(&toml::Table::new()).unwrap();
    drop(folder);
    assert!(message(&run, false).contains("not empty"));
    drop(RunFolder::open(&run, true).unwrap());
}

#[cfg(target_os = "linux")]
#[test]
fn a_read_only_folder_is_refused() {
    // /proc refuses new files and folders whoever asks, so this holds for root too.
    for path in ["/proc/sys", "/proc/smoothout-run"] {
        let error = RunFolder::open(Path::new(path), false).unwrap_err();
        assert!(
            matches!(error, RunError::Io { .. } | RunError::NotEmpty(_)),
            "{error}"
        );
    }
}

#[test]
fn leftovers_of_a_killed_process_are_removed() {
    let top = TempDir::new().unwrap();
    let leftover = top.path().join(".last.safetensors.4711.3.tmp");
    fs::write(&leftover, "half").unwrap();
    drop(RunFolder::open(top.path(), false).unwrap());
    assert_eq!(names_in(top.path()), [LOCK]);
}

#[test]
fn checkpoints_go_to_last_and_best() {
    let top = TempDir::new().unwrap();
    let run = RunFolder::open(top.path(), false).unwrap();
    let mut c = Checkpoint::new();
    c.insert("w", &[2], Elements::F32(vec![1.0, -1.0])).unwrap();
    run.save_last(&c).unwrap();
    assert_eq!(run.load_last().unwrap().unwrap(), c);
    run.save_best(&c).unwrap();
    assert_eq!(
        names_in(top.path()),
        [LOCK, "best.safetensors", "last.safetensors"]
    );
    fs::write(run.last(), "broken").unwrap();
    assert!(matches!(
        run.load_last().unwrap_err(),
        RunError::Checkpoint(e) if matches!(e.cause, CheckpointCause::Truncated { .. })
    ));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    net: String,
    strength: f64,
    seed: u64,
    ghost: Option<usize>,
}

#[test]
fn the_configuration_comes_back_and_mistakes_in_it_are_located() {
    let top = TempDir::new().unwrap();
    let run = RunFolder::open(top.path(), false).unwrap();
    let config = Config {
        net: "f1".into(),
        strength: 0.0375,
        seed: u64::MAX,
        ghost: None,
    };
    run.write_config(&config).unwrap();
    assert_eq!(run.read_config::<Config>().unwrap(), config);

    fs::write(top.path().join(CONFIG), "net = \"f1\"\nstrenght = 1\n").unwrap();
    let text = run.read_config::<Config>().unwrap_err().to_string();
    assert!(
        text.contains("line 2: unknown field `strenght`")
            && text.ends_with("did you mean `strength`?")
            && !text.contains('\n'),
        "{text}"
    );

    let too_large = File::create(top.path().join(CONFIG)).unwrap();
    too_large.set_len(CONFIG_LIMIT + 1).unwrap();
    assert!(matches!(
        run.read_config::<Config>().unwrap_err(),
        RunError::TooLarge { .. }
    ));
    assert!(matches!(
        read_config::<Config>(&top.path().join("none.toml")).unwrap_err(),
        RunError::Io { .. }
    ));
    // TOML is a table, not a list.
    assert!(matches!(
        run.write_config(&[1, 2]).unwrap_err(),
        RunError::ConfigValue { .. }
    ));
}

fn equal(a: &[MetricsRow], b: &[MetricsRow]) -> bool {
    // By text, because a NaN does not equal itself.
    format!("{a:?}") == format!("{b:?}")
}

#[test]
fn metrics_are_a_table_that_comes_back_exactly() {
    let top = TempDir::new().unwrap();
    let run = RunFolder::open(top.path(), false).unwrap();
    let mut log = run.metrics(0).unwrap();
    for step in [50, 100, 150] {
        log.append(row(step)).unwrap();
    }
    log.sync().unwrap();
    let path = top.path().join("metrics.csv");
    let text = fs::read_to_string(&path).unwrap();
    let mut lines = text.lines();
    assert_eq!(lines.next().unwrap(), metrics::COLUMNS.join(","));
    assert_eq!(
        lines.next().unwrap(),
        "0.5,50,0.006666666666666666,0.5,NaN,,,1.0,0.1,1e-9"
    );
    let rows = read_metrics(&path).unwrap();
    assert!(equal(&rows, log.rows()));
    assert_eq!(rows.len(), 3);
}

#[test]
fn a_resumed_table_ends_as_one_that_was_never_interrupted() {
    let top = TempDir::new().unwrap();
    let (whole, cut) = (top.path().join("whole"), top.path().join("cut"));
    let mut log = MetricsLog::open(&whole, 0).unwrap();
    for step in 1..=6 {
        log.append(row(step)).unwrap();
    }
    let text = fs::read(&whole).unwrap();
    let second = 1 + text
        .iter()
        .enumerate()
        .filter(|(_, b)| **b == b'\n')
        .nth(2)
        .unwrap()
        .0;
    // Killed anywhere after the second row, be it in the middle of a line, or with garbage behind it.
    for end in second..=text.len() {
        for garbage in ["", "\0\0\0\n\0", "\n1,2\n", ",,,,\""] {
            let mut torn = text[..end].to_vec();
            torn.extend(garbage.as_bytes());
            fs::write(&cut, torn).unwrap();
            let mut log = MetricsLog::open(&cut, 2).unwrap();
            assert_eq!(log.rows().len(), 2);
            for step in 3..=6 {
                log.append(row(step)).unwrap();
            }
            assert_eq!(fs::read(&cut).unwrap(), text, "cut at {end}");
        }
    }
    // Resumed from a checkpoint of the very beginning.
    let log = MetricsLog::open(&cut, 0).unwrap();
    assert!(log.rows().is_empty());
    assert!(read_metrics(&cut).unwrap().is_empty());
}

#[test]
fn a_table_that_is_too_short_or_wrong_is_refused() {
    let top = TempDir::new().unwrap();
    let path = top.path().join("metrics.csv");
    let header = metrics::COLUMNS.join(",");
    let good = "1.0,100,0.1,0.2,,,,,0.1,0.0";
    let error = |text: &str| {
        fs::write(&path, text).unwrap();
        let read = read_metrics(&path).unwrap_err().to_string();
        read.rsplit_once("metrics.csv: ").unwrap().1.to_owned()
    };
    assert_eq!(
        error("epoch,loss\n1,2\n"),
        "the first line does not name the columns of a metrics file"
    );
    assert_eq!(error(""), error("epoch,loss\n"));
    assert_eq!(
        error(&format!("{header}\n{good}\n1.0,100,0.1\n")),
        "line 3: 3 cells, 10 expected"
    );
    assert_eq!(
        error(&format!("{header}\n1.0,x,0.1,0.2,,,,,0.1,0.0\n")),
        "line 2: column step: invalid digit found in string"
    );
    assert!(error(&format!("{header}\n1.0,-1,0.1,0.2,,,,,0.1,0.0\n")).contains("column step"));

    fs::write(&path, format!("{header}\n{good}\n{good}")).unwrap();
    // The second line has no end: it was never counted.
    assert!(matches!(
        MetricsLog::open(&path, 2).unwrap_err(),
        RunError::MetricsShort {
            expected: 2,
            found: 1,
            ..
        }
    ));
    fs::remove_file(&path).unwrap();
    assert!(matches!(
        MetricsLog::open(&path, 1).unwrap_err(),
        RunError::Io { .. }
    ));
    assert!(!path.exists());
}

#[test]
fn learning_curves_are_written_as_svg_and_png() {
    let top = TempDir::new().unwrap();
    let run = RunFolder::open(top.path(), false).unwrap();
    run.write_learning_curves(&[]).unwrap();
    assert_eq!(names_in(top.path()), [LOCK]);
    run.write_learning_curves(&[row(100), row(200)]).unwrap();
    assert_eq!(
        names_in(top.path()),
        [LOCK, "learning_curves.png", "learning_curves.svg"]
    );
    let png = fs::read(top.path().join("learning_curves.png")).unwrap();
    assert_eq!(&png[1..4], b"PNG");
}
