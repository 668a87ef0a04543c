//! What a folder tells: of a training, of measurements, of a reproduction.

use crate::options::{Config, Options, listed};
use crate::run::{MetricsRow, RunError, read_config, read_metrics};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Everything found in a folder.
#[derive(Clone, Debug)]
pub struct Section {
    /// The folder as it was given.
    pub title: String,
    /// The training, where it is one's folder.
    pub training: Option<Training>,
    /// Measurements in it and in the folders right below.
    pub measurements: Vec<Measurement>,
}

/// A training.
#[derive(Clone, Debug)]
pub struct Training {
    /// Its configuration.
    pub config: Config,
    /// The same by name, with whether it differs from the default.
    pub options: Vec<(String, String, bool)>,
    /// Metrics of every epoch.
    pub rows: Vec<MetricsRow>,
    /// What repeats it.
    pub command: String,
}

/// A measurement, or the result of a reproduction.
#[derive(Clone, Debug)]
pub struct Measurement {
    /// Its name.
    pub name: String,
    /// What repeats it.
    pub command: String,
    /// Whether it was done to its end.
    pub complete: bool,
    /// Tables with what is said about each: of a reproduction those of its README, means beside the paper's numbers.
    pub summaries: Vec<(String, Table)>,
    /// Its numbers.
    pub table: Table,
    /// Its pictures by name, as SVG documents.
    pub pictures: Vec<(String, String)>,
}

/// Rows of a CSV file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    /// Names of the columns.
    pub head: Vec<String>,
    /// Cells.
    pub rows: Vec<Vec<String>>,
}

/// A folder that cannot be reported on.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// A file of a run is at fault.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A folder or file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A table is no CSV.
    #[error("{}: {source}", path.display())]
    Csv {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: csv::Error,
    },
    /// There is nothing to report on.
    #[error("{}: neither the folder of a run, of a measurement nor of a reproduction", .0.display())]
    Nothing(PathBuf),
}

/// Options that say where a training ran and not what it is.
const PLACE: [&str; 2] = ["data-root", "threads"];

/// Reads a folder.
///
/// # Errors
/// A file that cannot be read, or a folder with nothing to report on.
pub fn gather(folder: &Path) -> Result<Section, ReportError> {
    let io = |source| ReportError::Io { path: folder.into(), source };
    let mut folders = vec![folder.to_owned()];
    let mut below: Vec<PathBuf> = fs::read_dir(folder).map_err(io)?.filter_map(|e| Some(e.ok()?.path())).collect();
    below.retain(|path| path.is_dir());
    below.sort();
    folders.extend(below);
    let mut measurements = Vec::new();
    for folder in &folders {
        measurements.extend(measured(folder)?);
    }
    let training = training(folder)?;
    if training.is_none() && measurements.is_empty() {
        return Err(ReportError::Nothing(folder.into()));
    }
    Ok(Section { title: folder.display().to_string(), training, measurements })
}

fn training(folder: &Path) -> Result<Option<Training>, ReportError> {
    let path = folder.join("config.toml");
    if !path.exists() {
        return Ok(None);
    }
    let config = read_config::<Options>(&path)?.resolve();
    let metrics = folder.join("metrics.csv");
    let rows = if metrics.exists() { read_metrics(&metrics)? } else { Vec::new() };
    let defaults = listed(&Options::default().resolve()).unwrap_or_default();
    let options: Vec<(String, String, bool)> = listed(&config)
        .unwrap_or_default()
        .into_iter()
        .filter(|(name, _)| !PLACE.contains(&name.as_str()))
        .map(|(name, value)| {
            let changed = defaults.get(&name) != Some(&value);
            (name, value, changed)
        })
        .collect();
    let given = options.iter().filter(|(_, _, changed)| *changed).map(|(name, value, _)| format!(" --{name} {value}"));
    let command = format!("smoothout train{} --out {}", given.collect::<String>(), folder.display());
    Ok(Some(Training { config, options, rows, command }))
}

/// The measurements in a folder, by name: NAME.json with its command, NAME.csv and NAME.svg. A reproduction's report.json
/// comes with the tables of README.md, runs.csv and all pictures of the folder.
fn measured(folder: &Path) -> Result<Vec<Measurement>, ReportError> {
    let mut found = BTreeMap::new();
    let io = |source| ReportError::Io { path: folder.into(), source };
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        if path.extension().is_none_or(|e| e != "json") {
            continue;
        }
        let text = fs::read(&path).map_err(|source| ReportError::Io { path: path.clone(), source })?;
        // Other programs' files may lie there.
        let Ok(json) = serde_json::from_slice::<Value>(&text) else { continue };
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let measurement = match (&json["command"], &json["title"]) {
            (Value::Array(words), _) => Measurement {
                command: words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" "),
                complete: json["complete"] == true,
                summaries: Vec::new(),
                table: table(&path.with_extension("csv"))?,
                pictures: pictures(folder, |stem| stem == name)?,
                name: name.clone(),
            },
            (Value::String(command), Value::String(title)) => Measurement {
                command: command.clone(),
                complete: true,
                summaries: summaries(&folder.join("README.md"))?,
                table: table(&folder.join("runs.csv"))?,
                pictures: pictures(folder, |_| true)?,
                name: title.clone(),
            },
            _ => continue,
        };
        found.insert(name, measurement);
    }
    Ok(found.into_values().collect())
}

fn table(path: &Path) -> Result<Table, ReportError> {
    if !path.exists() {
        return Ok(Table::default());
    }
    let csv = |source| ReportError::Csv { path: path.into(), source };
    let words = |record: &csv::StringRecord| record.iter().map(String::from).collect();
    let mut reader = csv::Reader::from_path(path).map_err(csv)?;
    let head = words(reader.headers().map_err(csv)?);
    let rows = reader.records().map(|record| Ok(words(&record.map_err(csv)?))).collect::<Result<_, ReportError>>()?;
    Ok(Table { head, rows })
}

fn summaries(path: &Path) -> Result<Vec<(String, Table)>, ReportError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(markdown_tables(&text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(source) => Err(ReportError::Io { path: path.into(), source }),
    }
}

/// The tables of a Markdown text, each with the last line before it.
fn markdown_tables(text: &str) -> Vec<(String, Table)> {
    let mut tables: Vec<(String, Table)> = Vec::new();
    let (mut said, mut inside) = ("", false);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let Some(cells) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else {
            (said, inside) = (line, false);
            continue;
        };
        let cells: Vec<String> = cells.split('|').map(|cell| cell.trim().to_owned()).collect();
        match tables.last_mut().filter(|_| inside) {
            // The line between head and rows.
            Some(_) if cells.iter().all(|cell| cell.starts_with("---")) => {}
            Some((_, table)) => table.rows.push(cells),
            None => tables.push((said.to_owned(), Table { head: cells, rows: Vec::new() })),
        }
        inside = true;
    }
    tables
}

fn pictures(folder: &Path, wanted: impl Fn(&str) -> bool) -> Result<Vec<(String, String)>, ReportError> {
    let io = |source| ReportError::Io { path: folder.into(), source };
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(io)? {
        let path = entry.map_err(io)?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|e| e == "svg") && wanted(&stem) {
            let svg = fs::read_to_string(&path).map_err(|source| ReportError::Io { path: path.clone(), source })?;
            found.push((stem, svg));
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_of_a_readme_are_found_with_what_is_said_of_them() {
        let text = "# Title\n\nMeans:\n\n| | a | paper |\n|---|---|---|\n| x | 97.00 ± 1.41 (2) | 98.01 |\n| y | not run | |\n\n\
                    Gains:\n\n| | a |\n|---|---|\n| x | +1.5 |\n\n![x](x.png)\n";
        let found = markdown_tables(text);
        let words = |cells: &[&str]| cells.iter().copied().map(String::from).collect::<Vec<_>>();
        assert_eq!(found.len(), 2);
        assert_eq!((&found[0].0[..], &found[1].0[..]), ("Means:", "Gains:"));
        assert_eq!(found[0].1.head, words(&["", "a", "paper"]));
        assert_eq!(found[0].1.rows, [words(&["x", "97.00 ± 1.41 (2)", "98.01"]), words(&["y", "not run", ""])]);
        assert_eq!(found[1].1.rows, [words(&["x", "+1.5"])]);
    }
}
