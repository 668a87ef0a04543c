//! A run that is killed at any moment and resumed ends in the same bits as one that was never killed.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod common;

use common::{assert_same, idx_set, program, random, run, stderr, succeed, unit};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const OPTIONS: &str = "--method ada --strength 0.2 --batch 32 --ghost 16 --optimizer adam --average ema \
     --augment crop --epochs 25 --threads 2 --quiet";

/// Kills with SIGKILL, over as many runs as that takes.
const KILLS: usize = 20;

/// Starts a run, or goes on with it once it has begun.
fn start(top: &Path, out: &str) -> Child {
    let begun = top.join(out).join("config.toml").exists();
    let options = if begun { "--resume --quiet" } else { OPTIONS };
    program(&format!("train --out {out} {options}")).current_dir(top).stdout(Stdio::null()).spawn().unwrap()
}

/// Whether the process ends by itself within this time; if so, it must have succeeded.
fn ends_within(child: &mut Child, time: Duration) -> bool {
    let end = Instant::now() + time;
    while Instant::now() < end {
        if let Some(status) = child.try_wait().unwrap() {
            assert!(status.success(), "{status}");
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}

#[test]
fn killed_at_random_moments() {
    let top = TempDir::new().unwrap();
    let began = Instant::now();
    succeed(top.path(), &format!("train --out whole {OPTIONS}"));
    let whole = began.elapsed();
    let mut rng = random(20);
    let (mut kills, mut runs, mut resumed) = (0, 0, 0);
    while kills < KILLS {
        runs += 1;
        let out = format!("killed{runs}");
        loop {
            let mut child = start(top.path(), &out);
            // Enough to get on from kill to kill, and short enough for several kills a run.
            let moment = whole.mul_f64(0.6 * unit(&mut rng));
            if ends_within(&mut child, if kills < KILLS { moment } else { Duration::from_secs(300) }) {
                break;
            }
            child.kill().unwrap();
            // One that had just ended by itself was not killed.
            kills += usize::from(child.wait().unwrap().signal() == Some(9));
            resumed += usize::from(top.path().join(&out).join("last.safetensors").exists());
        }
        assert_same(&top.path().join("whole"), &top.path().join(&out), &format!("after {kills} kills"));
    }
    println!("{kills} kills over {runs} runs; {resumed} of them left a checkpoint");
    assert!(resumed >= KILLS / 4, "only {resumed} kills came after a checkpoint");
}

/// Ctrl-C in the middle of an epoch: exit code 130, and the same end after --resume.
#[test]
fn interrupted_within_an_epoch() {
    let top = TempDir::new().unwrap();
    idx_set(&top.path().join("idx"), 3000, 50);
    let options = "--net f1 --data idx --batch 20 --ghost 10 --accumulate 2 --method smoothout --strength 0.01 --epochs 2";
    succeed(top.path(), &format!("train {options} --out whole --quiet"));
    let child = program(&format!("train {options} --out cut --quiet"))
        .current_dir(top.path())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The event file is made right before the first step.
    let folder = top.path().join("cut");
    let begun = || {
        let names = std::fs::read_dir(&folder).into_iter().flatten();
        names.filter_map(Result::ok).any(|f| f.file_name().to_string_lossy().starts_with("events"))
    };
    while !begun() {
        std::thread::sleep(Duration::from_millis(1));
    }
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
    assert!(stderr(&output).contains("train --out cut --resume"), "{}", stderr(&output));
    let rows = std::fs::read_to_string(folder.join("metrics.csv")).unwrap();
    assert_eq!(rows.lines().count(), 1, "stopped too late: {rows}");
    succeed(top.path(), "train --out cut --resume --quiet --threads 1");
    assert_same(&top.path().join("whole"), &folder, "after Ctrl-C");
}

/// A disk that is full while saving: a message, an exit code, and the old checkpoint whole.
#[test]
fn a_full_disk() {
    let top = TempDir::new().unwrap();
    succeed(top.path(), "train --epochs 6 --out whole --quiet");
    // A limit on the size of files stands for the full disk; with its signal ignored, writing fails as there.
    let limited = |blocks: usize, arguments: &str| {
        let program = env!("CARGO_BIN_EXE_smoothout");
        let line = format!("trap '' XFSZ; ulimit -f {blocks}; exec {program} {arguments}");
        Command::new("sh").args(["-c", &line]).current_dir(top.path()).output().unwrap()
    };
    // The checkpoint has 17 kB; blocks have 512 bytes or 1,024.
    let output = limited(8, "train --epochs 6 --out new --quiet");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("safetensors") && stderr(&output).lines().count() == 1, "{}", stderr(&output));
    assert!(!top.path().join("new/last.safetensors").exists());

    let cut = program("train --epochs 6 --out cut --json").current_dir(top.path()).stdout(Stdio::piped()).spawn();
    let mut cut = cut.unwrap();
    while !top.path().join("cut/last.safetensors").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
    cut.kill().unwrap();
    cut.wait().unwrap();
    let before = std::fs::read(top.path().join("cut/last.safetensors")).unwrap();
    let output = limited(8, "train --out cut --resume --quiet");
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    assert_eq!(std::fs::read(top.path().join("cut/last.safetensors")).unwrap(), before);
    // Once there is room again, it goes on.
    let output = run(top.path(), "train --out cut --resume --quiet");
    assert!(output.status.success(), "{}", stderr(&output));
    assert_same(&top.path().join("whole"), &top.path().join("cut"), "after a full disk");
}
