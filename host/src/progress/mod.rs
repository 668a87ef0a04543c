//! What the program tells while it works: a bar on a terminal, plain lines elsewhere, nothing, or JSON lines.
//!
//! People read progress on standard error and results on standard output. In JSON mode everything is an object on one
//! line of standard output, with its kind under `event`.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde::{Serialize, Serializer};
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

/// How progress is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A bar on the terminal, and lines above it.
    Bar,
    /// Lines.
    Plain,
    /// Results and warnings only.
    Quiet,
    /// One JSON object a line.
    Json,
}

impl Mode {
    /// The mode that the options ask for; without any a bar if standard error is a terminal, else lines.
    pub fn choose(quiet: bool, json: bool) -> Self {
        match (quiet, json) {
            (_, true) => Mode::Json,
            (true, false) => Mode::Quiet,
            (false, false) if io::stderr().is_terminal() => Mode::Bar,
            (false, false) => Mode::Plain,
        }
    }

    /// The shortest time between two updates of a task.
    fn interval(self) -> Duration {
        match self {
            // The bar limits its own redrawing; this saves formatting numbers that nobody sees.
            Mode::Bar => Duration::from_millis(50),
            Mode::Plain | Mode::Quiet => Duration::from_secs(5),
            Mode::Json => Duration::from_secs(1),
        }
    }
}

/// Tells the progress of one task after the other.
pub struct Progress {
    mode: Mode,
    out: Box<dyn Write + Send>,
    err: Box<dyn Write + Send>,
    task: Option<Task>,
}

struct Task {
    name: String,
    total: u64,
    bar: Option<ProgressBar>,
    last: Option<Instant>,
}

#[derive(Serialize)]
struct Event<'a, T> {
    event: &'a str,
    #[serde(flatten)]
    fields: &'a T,
}

#[derive(Serialize)]
struct Update<'a> {
    task: &'a str,
    done: u64,
    total: u64,
    #[serde(flatten)]
    numbers: Numbers<'a>,
}

/// Named numbers, in their order.
struct Numbers<'a>(&'a [(&'a str, f64)]);

impl Serialize for Numbers<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().copied())
    }
}

impl fmt::Display for Numbers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let gap = if index == 0 { "" } else { "  " };
            write!(f, "{gap}{name} {}", short(*value))?;
        }
        Ok(())
    }
}

impl fmt::Debug for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Progress")
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl Progress {
    /// Tells on standard output and standard error.
    pub fn new(mode: Mode) -> Self {
        Self::with_writers(mode, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// Tells on other writers; a bar is still drawn on the terminal.
    pub fn with_writers(
        mode: Mode,
        out: Box<dyn Write + Send>,
        err: Box<dyn Write + Send>,
    ) -> Self {
        Progress {
            mode,
            out,
            err,
            task: None,
        }
    }

    /// The mode.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// Starts a task of `total` parts (steps, bytes), of which `done` are done. A task before it ends.
    pub fn start(&mut self, name: &str, total: u64, done: u64) {
        self.finish();
        let bar = (self.mode == Mode::Bar).then(|| {
            let bar =
                ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr_with_hz(10));
            let style = "{prefix} {bar:30} {percent:>3}% [{elapsed} < {eta}]  {wide_msg}";
            if let Ok(style) = ProgressStyle::with_template(style) {
                bar.set_style(style);
            }
            bar.with_prefix(name.to_owned()).with_position(done)
        });
        self.task = Some(Task {
            name: name.to_owned(),
            total,
            bar,
            // Plain lines and JSON say nothing within the first interval: short tasks need no updates.
            last: Some(Instant::now()),
        });
    }

    /// Says how far the task is, with numbers such as the loss. May be called as often as wanted: what comes too fast
    /// is not shown.
    pub fn update(&mut self, done: u64, numbers: &[(&str, f64)]) {
        let interval = self.mode.interval();
        let Some(task) = &mut self.task else { return };
        if task.last.is_some_and(|last| last.elapsed() < interval) {
            return;
        }
        task.last = Some(Instant::now());
        let (name, total) = (task.name.clone(), task.total);
        match self.mode {
            Mode::Bar => {
                if let Some(bar) = &task.bar {
                    bar.set_position(done);
                    bar.set_message(Numbers(numbers).to_string());
                }
            }
            Mode::Plain => {
                let percent = 100.0 * done as f64 / total.max(1) as f64;
                self.line(&format!(
                    "{name} {done}/{total} ({percent:.0}%)  {}",
                    Numbers(numbers)
                ));
            }
            Mode::Quiet => {}
            Mode::Json => self.json(
                "progress",
                &Update {
                    task: &name,
                    done,
                    total,
                    numbers: Numbers(numbers),
                },
            ),
        }
    }

    /// Tells an event (the end of an epoch, a saved file): `text` to people, `fields` (a struct or map) in JSON.
    pub fn report<T: Serialize>(&mut self, event: &str, fields: &T, text: &str) {
        match self.mode {
            Mode::Bar | Mode::Plain => self.line(text),
            Mode::Quiet => {}
            Mode::Json => self.json(event, fields),
        }
    }

    /// Tells something in words.
    pub fn message(&mut self, text: &str) {
        self.report("message", &Text { text }, text);
    }

    /// Warns; in quiet mode too.
    pub fn warning(&mut self, text: &str) {
        match self.mode {
            Mode::Json => self.json("warning", &Text { text }),
            _ => self.line(&format!("warning: {text}")),
        }
    }

    /// Gives a result: `text` (a table, say) to people on standard output, in quiet mode too, or `fields` in JSON.
    ///
    /// # Errors
    /// What the system says when standard output cannot be written.
    pub fn result<T: Serialize>(&mut self, event: &str, fields: &T, text: &str) -> io::Result<()> {
        self.finish();
        if self.mode == Mode::Json {
            self.try_json(event, fields)
        } else {
            self.out
                .write_all(text.trim_end_matches('\n').as_bytes())
                .and_then(|()| self.out.write_all(b"\n"))
                .and_then(|()| self.out.flush())
        }
    }

    /// Ends the task, which takes its bar away.
    pub fn finish(&mut self) {
        if let Some(Task { bar: Some(bar), .. }) = self.task.take() {
            bar.finish_and_clear();
        }
    }

    /// A line for people. A standard error that cannot be written is no reason to stop training.
    fn line(&mut self, text: &str) {
        let err = &mut self.err;
        let mut write = || {
            let _ = writeln!(err, "{text}");
        };
        match self.task.as_ref().and_then(|t| t.bar.as_ref()) {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    fn json<T: Serialize>(&mut self, event: &str, fields: &T) {
        // As for `line`.
        let _ = self.try_json(event, fields);
    }

    fn try_json<T: Serialize>(&mut self, event: &str, fields: &T) -> io::Result<()> {
        let mut line = serde_json::to_vec(&Event { event, fields })?;
        line.push(b'\n');
        self.out.write_all(&line)?;
        self.out.flush()
    }
}

#[derive(Serialize)]
struct Text<'a> {
    text: &'a str,
}

/// A number with four significant digits, or all those before the point.
fn short(value: f64) -> String {
    let size = value.abs();
    if !value.is_finite() || value == value.trunc() && size < 1e6 {
        format!("{value}")
    } else if !(1e-3..1e6).contains(&size) {
        format!("{value:.3e}")
    } else {
        let decimals = 3 - size.log10().floor() as i32;
        format!("{value:.*}", decimals.max(0) as usize)
    }
}

#[cfg(test)]
mod tests;
