//! `metrics.csv`: one row an epoch, and more often where asked for.
//!
//! A row holds nothing that differs between two runs of the same bits (no times), so that a run that was killed and
//! resumed ends with the same file as one that was not.

use super::RunError;
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

/// One row of metrics. Losses are means over samples in nats; accuracies are fractions from 0 to 1; an empty cell
/// means that the number was not measured there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct MetricsRow {
    /// Epochs trained so far; a fraction inside an epoch.
    pub epoch: f64,
    /// Updates so far.
    pub step: u64,
    /// Training loss since the row before, in train mode at the perturbed weights.
    pub train_loss: f64,
    /// Training accuracy since the row before, as the loss.
    pub train_accuracy: f64,
    /// Loss on the validation split at the clean weights.
    pub validation_loss: Option<f64>,
    /// Accuracy on the validation split at the clean weights.
    pub validation_accuracy: Option<f64>,
    /// Loss on the test set at the clean weights.
    pub test_loss: Option<f64>,
    /// Accuracy on the test set at the clean weights.
    pub test_accuracy: Option<f64>,
    /// Learning rate of the last update.
    pub learning_rate: f64,
    /// Noise strength a of the last update, after its schedule.
    pub strength: f64,
}

/// The columns in their order.
pub const COLUMNS: [&str; 10] = [
    "epoch",
    "step",
    "train_loss",
    "train_accuracy",
    "validation_loss",
    "validation_accuracy",
    "test_loss",
    "test_accuracy",
    "learning_rate",
    "strength",
];

/// The largest metrics file that is read, in bytes: a few million rows.
const LIMIT: u64 = 1 << 30;

/// An open table of metrics, to which rows are added.
#[derive(Debug)]
pub struct MetricsLog {
    path: PathBuf,
    file: File,
    rows: Vec<MetricsRow>,
}

impl MetricsLog {
    /// Opens the table and keeps its first `keep` rows: what came after the checkpoint that says so is cut off, a torn
    /// last line with it. 0 begins a new table.
    ///
    /// # Errors
    /// [`RunError::MetricsShort`] with fewer whole rows than `keep`; the errors of [`read_metrics`]; [`RunError::Io`].
    pub fn open(path: &Path, keep: u64) -> Result<Self, RunError> {
        let failed = |action| super::io_error(path, action);
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(keep == 0)
            .truncate(false)
            .open(path)
            .map_err(failed("open for writing"))?;
        let mut rows = Vec::new();
        if keep == 0 {
            file.set_len(0).map_err(failed("cut off"))?;
            let mut header = COLUMNS.join(",");
            header.push('\n');
            file.write_all(header.as_bytes()).map_err(failed("write"))?;
        } else {
            let text = read_whole(&mut file, path)?;
            // Only lines with their end can have been counted by a checkpoint.
            let whole = text.iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1);
            let mut end = 0;
            // What lies behind the kept rows is not looked at: a power cut may have left anything there.
            parse(path, &text[..whole], |row, position| {
                rows.push(row);
                end = position;
                (rows.len() as u64) < keep
            })?;
            let found = rows.len() as u64;
            if found < keep {
                return Err(RunError::MetricsShort {
                    path: path.into(),
                    expected: keep,
                    found,
                });
            }
            file.set_len(end).map_err(failed("cut off"))?;
            file.seek(SeekFrom::End(0)).map_err(failed("write"))?;
        }
        file.sync_data().map_err(failed("synchronise"))?;
        Ok(MetricsLog {
            path: path.into(),
            file,
            rows,
        })
    }

    /// Adds a row with one write; a reader of the file sees it at once.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn append(&mut self, row: MetricsRow) -> Result<(), RunError> {
        let failed = super::io_error(&self.path, "write");
        let mut line = csv::WriterBuilder::new()
            .has_headers(false)
            .from_writer(Vec::with_capacity(256));
        let line = line
            .serialize(row)
            .map_err(std::io::Error::from)
            .and_then(|()| line.into_inner().map_err(|e| e.into_error()));
        line.and_then(|line| self.file.write_all(&line))
            .map_err(failed)?;
        self.rows.push(row);
        Ok(())
    }

    /// Makes all rows durable; to be called before a checkpoint that counts them is saved.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn sync(&self) -> Result<(), RunError> {
        self.file
            .sync_data()
            .map_err(super::io_error(&self.path, "synchronise"))
    }

    /// All rows, oldest first; their number is what a checkpoint notes for [`MetricsLog::open`].
    pub fn rows(&self) -> &[MetricsRow] {
        &self.rows
    }
}

/// Reads a whole table.
///
/// # Errors
/// [`RunError::MetricsHeader`] for other columns, [`RunError::MetricsRow`] with the line at fault,
/// [`RunError::TooLarge`], [`RunError::Io`].
pub fn read_metrics(path: &Path) -> Result<Vec<MetricsRow>, RunError> {
    let mut file = File::open(path).map_err(super::io_error(path, "read"))?;
    let text = read_whole(&mut file, path)?;
    let mut rows = Vec::new();
    parse(path, &text, |row, _| {
        rows.push(row);
        true
    })?;
    Ok(rows)
}

fn read_whole(file: &mut File, path: &Path) -> Result<Vec<u8>, RunError> {
    let failed = || super::io_error(path, "read");
    let bytes = file.metadata().map_err(failed())?.len();
    super::check_size(path, bytes, LIMIT)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).map_err(failed())?;
    Ok(text)
}

/// Calls `each` with every row and the position of the byte after its line, until it says that it wants no more.
fn parse(
    path: &Path,
    text: &[u8],
    mut each: impl FnMut(MetricsRow, u64) -> bool,
) -> Result<(), RunError> {
    let bad_row = |line: u64, message: String| RunError::MetricsRow {
        path: path.into(),
        line,
        message,
    };
    // No cell has a quote or a line break: quoting is off, so that a line is a record and positions are those of lines.
    let mut reader = csv::ReaderBuilder::new()
        .has_headers(true)
        .quoting(false)
        .from_reader(text);
    match reader.headers() {
        Ok(header) if header.iter().eq(COLUMNS) => {}
        _ => return Err(RunError::MetricsHeader(path.into())),
    }
    let header = reader.headers().ok().cloned();
    let mut record = csv::StringRecord::new();
    loop {
        match reader.read_record(&mut record) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(e) => {
                let line = e.position().map_or(0, csv::Position::line);
                return Err(bad_row(line, describe(&e)));
            }
        }
        let line = record.position().map_or(0, csv::Position::line);
        let row = record
            .deserialize(header.as_ref())
            .map_err(|e| bad_row(line, describe(&e)))?;
        if !each(row, reader.position().byte()) {
            return Ok(());
        }
    }
}

/// What is wrong, without the position, which the caller names.
fn describe(error: &csv::Error) -> String {
    match error.kind() {
        csv::ErrorKind::Deserialize { err, .. } => match err.field() {
            Some(field) => format!(
                "column {}: {}",
                COLUMNS.get(field as usize).unwrap_or(&"?"),
                err.kind()
            ),
            None => err.kind().to_string(),
        },
        csv::ErrorKind::UnequalLengths {
            expected_len, len, ..
        } => format!("{len} cells, {expected_len} expected"),
        csv::ErrorKind::Utf8 { .. } => "not UTF-8 text".into(),
        _ => error.to_string(),
    }
}
