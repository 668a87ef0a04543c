//! Tests of what is told.
#![allow(clippy::unwrap_used)]

use super::*;
use std::sync::{Arc, Mutex};

#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Serialize)]
struct Epoch {
    epoch: u64,
    loss: f64,
    accuracy: Option<f64>,
}

/// What a small run says on standard output and standard error; every update is due at once if `due`.
fn run(mode: Mode, due: bool) -> (String, String) {
    let (out, err) = (Shared::default(), Shared::default());
    let mut p = Progress::with_writers(mode, Box::new(out.clone()), Box::new(err.clone()));
    p.message("using 2 threads");
    p.start("train", 200, 0);
    for step in [50, 100] {
        if due {
            p.task.as_mut().unwrap().last = None;
        }
        p.update(step, &[("loss", 0.123456), ("images/s", 12345.6)]);
    }
    p.warning("no validation split");
    let epoch = Epoch {
        epoch: 1,
        loss: f64::NAN,
        accuracy: None,
    };
    p.report("epoch", &epoch, "epoch 1: loss NaN");
    p.result("result", &epoch, "| method |\n| SGD |\n").unwrap();
    (out.text(), err.text())
}

#[test]
fn plain_lines_go_to_standard_error_and_the_table_to_standard_output() {
    let (out, err) = run(Mode::Plain, true);
    assert_eq!(out, "| method |\n| SGD |\n");
    assert_eq!(
        err,
        "using 2 threads\n\
         train 50/200 (25%)  loss 0.1235  images/s 12346\n\
         train 100/200 (50%)  loss 0.1235  images/s 12346\n\
         warning: no validation split\n\
         epoch 1: loss NaN\n"
    );
}

#[test]
fn fast_updates_are_left_out() {
    let (_, err) = run(Mode::Plain, false);
    assert!(!err.contains("train"), "{err}");
    let (out, _) = run(Mode::Json, false);
    assert!(!out.contains("progress"), "{out}");
}

#[test]
fn quiet_says_results_and_warnings() {
    let (out, err) = run(Mode::Quiet, true);
    assert_eq!(out, "| method |\n| SGD |\n");
    assert_eq!(err, "warning: no validation split\n");
}

#[test]
fn json_is_one_object_a_line_on_standard_output() {
    let (out, err) = run(Mode::Json, true);
    assert_eq!(err, "");
    let events: Vec<serde_json::Value> = out
        .lines()
        .map(|l| serde_json::from_str(l).unwrap())
        .collect();
    let kinds: Vec<&str> = events
        .iter()
        .map(|e| e["event"].as_str().unwrap())
        .collect();
    assert_eq!(
        kinds,
        [
            "message", "progress", "progress", "warning", "epoch", "result"
        ]
    );
    assert_eq!(
        out.lines().nth(1).unwrap(),
        r#"{"event":"progress","task":"train","done":50,"total":200,"loss":0.123456,"images/s":12345.6}"#
    );
    assert_eq!(
        out.lines().nth(4).unwrap(),
        r#"{"event":"epoch","epoch":1,"loss":null,"accuracy":null}"#
    );
}

#[test]
fn a_bar_leaves_lines_and_results_where_they_belong() {
    // Without a terminal the bar itself is hidden.
    let (out, err) = run(Mode::Bar, true);
    assert_eq!(out, "| method |\n| SGD |\n");
    assert_eq!(
        err,
        "using 2 threads\nwarning: no validation split\nepoch 1: loss NaN\n"
    );
}

#[test]
fn a_closed_output_stops_only_results() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    for mode in [Mode::Plain, Mode::Json] {
        let mut p = Progress::with_writers(mode, Box::new(Closed), Box::new(Closed));
        p.message("hello");
        let error = p.result("result", &Text { text: "" }, "table").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    }
}

#[test]
fn options_choose_the_mode() {
    assert_eq!(Mode::choose(true, true), Mode::Json);
    assert_eq!(Mode::choose(true, false), Mode::Quiet);
}

#[test]
fn numbers_are_short() {
    for (value, text) in [
        (0.0, "0"),
        (12.0, "12"),
        (0.98765, "0.9877"),
        (0.0203, "0.02030"),
        (9.87654, "9.877"),
        (123.456, "123.5"),
        (12345.6, "12346"),
        (1.5e-7, "1.500e-7"),
        (f64::NAN, "NaN"),
        (f64::INFINITY, "inf"),
    ] {
        assert_eq!(short(value), text);
    }
}
