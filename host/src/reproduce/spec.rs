//! What an experiment consists of, as its TOML file says.

use crate::options::{MethodName, Options};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Experiments that are part of the program, by name. `figure1` is drawn without a specification.
pub const BUILT_IN: [(&str, &str); 14] = [
    ("table1", include_str!("specs/table1.toml")),
    ("table2", include_str!("specs/table2.toml")),
    ("table3", include_str!("specs/table3.toml")),
    ("table4", include_str!("specs/table4.toml")),
    ("table5", include_str!("specs/table5.toml")),
    ("figure2", include_str!("specs/figure2.toml")),
    ("figure4", include_str!("specs/figure4.toml")),
    ("figure5", include_str!("specs/figure5.toml")),
    ("figure6", include_str!("specs/figure6.toml")),
    ("figure7", include_str!("specs/figure7.toml")),
    ("figure8", include_str!("specs/figure8.toml")),
    ("figure9", include_str!("specs/figure9.toml")),
    ("surfaces", include_str!("specs/surfaces.toml")),
    ("habits", include_str!("specs/habits.toml")),
];

/// Columns that every table can have in addition.
const EXTRA: &str = include_str!("specs/extra.toml");

/// An experiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Spec {
    /// Heading.
    pub title: String,
    /// Options of every training; those of a row win over them, and those of a column over both.
    #[serde(default)]
    pub options: Options,
    /// What is compared.
    pub column: Vec<Column>,
    /// Networks, data and settings.
    pub row: Vec<Row>,
    /// Measurements between and around the trained networks.
    #[serde(default)]
    pub figure: Vec<Figure>,
    /// Sizes of the experiment; `full` is the paper's.
    pub scale: BTreeMap<String, Scale>,
}

/// A way of training.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Column {
    /// Its name in the paper's numbers of a row.
    pub name: String,
    /// Its heading.
    pub label: String,
    /// Gradients of an update, by which the epochs are divided.
    #[serde(default = "one")]
    pub passes: f64,
    /// Its options.
    #[serde(default)]
    pub options: Options,
}

const fn one() -> f64 {
    1.0
}

/// A row of a table.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Row {
    /// Its name on the command line and in files.
    pub name: String,
    /// Its heading.
    pub label: String,
    /// Its heading at scales that change what it is, by scale.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Its options.
    #[serde(default)]
    pub options: Options,
    /// Options of single columns in this row, which win over all others.
    #[serde(default)]
    pub column: BTreeMap<String, Options>,
    /// Columns that the row has; all when empty.
    #[serde(default)]
    pub columns: Vec<String>,
    /// The paper's accuracies in percent, by column.
    #[serde(default)]
    pub paper: BTreeMap<String, f64>,
    /// The paper's sharpness in percent, by column.
    #[serde(default)]
    pub paper_sharpness: BTreeMap<String, f64>,
    /// Epochs and seeds by scale; at a scale that is not named here the row is not run.
    pub run: BTreeMap<String, Size>,
}

/// How long and how often a row is trained.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Size {
    /// Passes over the training set.
    pub epochs: u32,
    /// Seeds 1, 2, ... of each training.
    pub seeds: u64,
}

/// A size of the experiment.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scale {
    /// What it is, in words.
    pub about: String,
    /// Options that win over all others.
    #[serde(default)]
    pub options: Options,
    /// Arguments of `smoothout sharpness` for every trained network; none is measured without.
    pub sharpness: Option<String>,
    /// Further arguments of the measurements of figures.
    #[serde(default)]
    pub measure: String,
}

/// A picture from trained networks.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Figure {
    /// Its name in files.
    pub name: String,
    /// What is measured.
    pub kind: Kind,
    /// Networks as ROW.COLUMN; those of the first seed are taken.
    pub runs: Vec<String>,
    /// Arguments of the measuring command.
    #[serde(default)]
    pub arguments: String,
}

/// What a figure shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The line through two networks.
    Interpolate,
    /// Networks under noise of growing strength.
    Sensitivity,
    /// Curves along a random direction around networks.
    Landscape,
    /// Surfaces around networks.
    Surface,
}

/// A specification that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// No such name, and no file of it.
    #[error("{name} is neither an experiment nor a file; did you mean {nearest}?")]
    Name {
        /// The name.
        name: String,
        /// The name most like it.
        nearest: &'static str,
    },
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Its path.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The text is no specification.
    #[error("{name}: {message}")]
    Toml {
        /// Whose.
        name: String,
        /// What is wrong and where.
        message: String,
    },
    /// A name of a scale, row or column that the experiment does not have.
    #[error("{kind} {name} is not one of {known}")]
    Unknown {
        /// Scale, row or column.
        kind: &'static str,
        /// What was asked for.
        name: String,
        /// What there is.
        known: String,
    },
}

impl Spec {
    /// The experiment of this name, or else of this file, with the extra columns if asked for.
    ///
    /// # Errors
    /// No such experiment or file, or a file that is none.
    pub fn load(name: &str, extra: bool) -> Result<Self, SpecError> {
        let built_in = BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| (*text).to_owned());
        let text = match built_in {
            Some(text) => text,
            None if Path::new(name).exists() => std::fs::read_to_string(name)
                .map_err(|source| SpecError::Io { path: name.into(), source })?,
            None => {
                let likeness = |known: &str| strsim::jaro_winkler(name, known);
                let names = BUILT_IN.iter().map(|(known, _)| *known).chain(["figure1"]);
                let nearest = names.max_by(|a, b| likeness(a).total_cmp(&likeness(b))).unwrap_or_default();
                return Err(SpecError::Name { name: name.into(), nearest });
            }
        };
        let mut spec = Self::parse(name, &text)?;
        if extra {
            spec.add_extra_columns()?;
        }
        Ok(spec)
    }

    /// Adds the columns of other methods; not to rows that are a method themselves.
    fn add_extra_columns(&mut self) -> Result<(), SpecError> {
        #[derive(Deserialize)]
        struct Columns {
            column: Vec<Column>,
        }
        let own: Vec<String> = self.column.iter().map(|c| c.name.clone()).collect();
        let extra = parse::<Columns>("extra columns", EXTRA)?.column;
        for row in &mut self.row {
            let is_method = row.options.method.is_some_and(|method| method != MethodName::Sgd);
            if is_method && row.columns.is_empty() {
                row.columns = own.clone();
            } else if !is_method && !row.columns.is_empty() {
                row.columns.extend(extra.iter().map(|c| c.name.clone()));
            }
        }
        self.column.extend(extra);
        Ok(())
    }

    /// The specification in a text, every name in it checked.
    ///
    /// # Errors
    /// The text is none.
    pub fn parse(name: &str, text: &str) -> Result<Self, SpecError> {
        let spec: Self = parse(name, text)?;
        for row in &spec.row {
            let columns = row.paper.keys().chain(row.paper_sharpness.keys()).chain(row.column.keys());
            for column in columns.chain(&row.columns) {
                check("column", column, spec.column.iter().map(|c| c.name.as_str()))?;
            }
            for scale in row.run.keys().chain(row.labels.keys()) {
                check("scale", scale, spec.scale.keys().map(String::as_str))?;
            }
        }
        for run in spec.figure.iter().flat_map(|f| &f.runs) {
            let pairs: Vec<String> =
                spec.row.iter().flat_map(|r| spec.column.iter().map(|c| format!("{}.{}", r.name, c.name))).collect();
            check("run", run, pairs.iter().map(String::as_str))?;
        }
        Ok(spec)
    }

    /// The scale of this name.
    ///
    /// # Errors
    /// There is none.
    pub fn scale(&self, name: &str) -> Result<&Scale, SpecError> {
        check("scale", name, self.scale.keys().map(String::as_str))?;
        Ok(&self.scale[name])
    }

    /// Gives the rows the headings that they have at this scale.
    pub fn label_rows(&mut self, scale: &str) {
        for row in &mut self.row {
            if let Some(label) = row.labels.remove(scale) {
                row.label = label;
            }
        }
    }

    /// Keeps the rows and columns of these names, all where none is given; figures that lack one of them go.
    ///
    /// # Errors
    /// A name that the experiment does not have.
    pub fn restrict(&mut self, rows: &[String], columns: &[String]) -> Result<(), SpecError> {
        for row in rows {
            check("row", row, self.row.iter().map(|r| r.name.as_str()))?;
        }
        for column in columns {
            check("column", column, self.column.iter().map(|c| c.name.as_str()))?;
        }
        self.row.retain(|r| rows.is_empty() || rows.contains(&r.name));
        self.column.retain(|c| columns.is_empty() || columns.contains(&c.name));
        let (rows, columns) = (&self.row, &self.column);
        self.figure.retain(|figure| {
            figure.runs.iter().all(|run| {
                run.split_once('.').is_some_and(|(row, column)| {
                    rows.iter().any(|r| r.name == row) && columns.iter().any(|c| c.name == column)
                })
            })
        });
        Ok(())
    }
}

fn parse<T: for<'de> Deserialize<'de>>(name: &str, text: &str) -> Result<T, SpecError> {
    toml::from_str(text).map_err(|error| {
        let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        let message = format!("line {line}: {}", error.message().replace('\n', " "));
        SpecError::Toml { name: name.into(), message }
    })
}

fn check<'a>(kind: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Result<(), SpecError> {
    let known: Vec<&str> = known.collect();
    if known.contains(&name) {
        return Ok(());
    }
    Err(SpecError::Unknown { kind, name: name.into(), known: known.join(", ") })
}
