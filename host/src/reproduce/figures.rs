//! Measurements between and around trained networks, by the program's own commands.

use super::queue::{Outcome, measure, text};
use super::spec::{Figure, Kind, Scale};
use crate::commands::CommandError;
use crate::data::digest;
use crate::plot::{Curve, Picture, Point, loss_and_accuracy};
use crate::progress::Progress;
use crate::train::TrainError;
use std::fs;
use std::path::{Path, PathBuf};

/// A figure that was drawn.
#[derive(Clone, Debug)]
pub struct Drawing {
    /// Its name in files.
    pub name: String,
    /// The picture.
    pub picture: Picture,
    /// The numbers, as CSV.
    pub table: Vec<u8>,
}

/// A measurement of a figure that was made.
struct Measured {
    /// The network, as ROW COLUMN.
    label: String,
    /// Its files without their extension.
    files: PathBuf,
}

/// Draws the figures of an experiment whose networks were trained; measurements lie below `runs`.
///
/// # Errors
/// A measurement fails, or its files are not as they should be.
pub fn drawings(
    figures: &[Figure],
    outcomes: &[Outcome],
    scale: &Scale,
    runs: &Path,
    progress: &mut Progress,
) -> Result<Vec<Drawing>, CommandError> {
    let mut drawn = Vec::new();
    for figure in figures {
        let find = |name: &String| {
            let (row, column) = name.split_once('.')?;
            let is_it = |o: &&Outcome| o.job.row == row && o.job.column == column && o.job.seed == 1 && o.failed.is_none();
            outcomes.iter().find(is_it)
        };
        let networks: Vec<&Outcome> = figure.runs.iter().filter_map(find).collect();
        // At this scale the row is not run, or its training failed.
        if networks.len() < figure.runs.len() {
            continue;
        }
        progress.message(&format!("figure {}", figure.name));
        drawn.extend(draw(figure, &networks, scale, runs, progress)?);
    }
    Ok(drawn)
}

fn draw(
    figure: &Figure,
    networks: &[&Outcome],
    scale: &Scale,
    runs: &Path,
    progress: &mut Progress,
) -> Result<Vec<Drawing>, CommandError> {
    let arguments = format!("{} {}", figure.arguments, scale.measure);
    let mut run = |command: &str, network: &Outcome, first: Vec<String>| {
        let mut line = vec![command.to_owned()];
        line.extend(first);
        line.extend(arguments.split_whitespace().map(String::from));
        let hash = &digest::of_bytes(line.join(" ").as_bytes())[..12];
        let out = runs.join("measurements").join(format!("{command}-{hash}"));
        measure(line, &network.job.config, &out, command, progress)?;
        let label = format!("{} {}", network.job.row, network.job.column);
        Ok::<_, CommandError>(Measured { label, files: out.join(command) })
    };
    let checkpoint = |network: &Outcome| vec!["--checkpoint".to_owned(), text(&network.folder)];
    match (figure.kind, networks) {
        (Kind::Interpolate, [a, b]) => {
            Ok(vec![as_it_is(&figure.name, &run("interpolate", a, vec![text(&a.folder), text(&b.folder)])?)?])
        }
        (Kind::Interpolate, _) => {
            Err(CommandError::Request(format!("figure {}: a line goes through two networks", figure.name)))
        }
        (Kind::Surface, _) => {
            let mut drawn = Vec::new();
            for network in networks {
                let first = [checkpoint(network), vec!["--dimensions".into(), "2".into()]].concat();
                let name = format!("{}-{}-{}", figure.name, network.job.row, network.job.column);
                drawn.push(as_it_is(&name, &run("landscape", network, first)?)?);
            }
            Ok(drawn)
        }
        (Kind::Sensitivity | Kind::Landscape, _) => {
            let (command, x, of, x_title) = match figure.kind {
                Kind::Sensitivity => ("sensitivity", "strength", "under noise", "strength a of the noise"),
                _ => ("landscape", "x", "along a random direction", "distance (share of each filter's norm)"),
            };
            let mut measured = Vec::new();
            for network in networks {
                measured.push(run(command, network, checkpoint(network))?);
            }
            Ok(vec![together(&figure.name, &measured, x, of, x_title)?])
        }
    }
}

fn read(files: &Path, extension: &str) -> Result<Vec<u8>, CommandError> {
    let path = files.with_extension(extension);
    fs::read(&path).map_err(|e| CommandError::Failed(format!("{}: {e}", path.display())))
}

/// The command's own picture and numbers.
fn as_it_is(name: &str, measured: &Measured) -> Result<Drawing, CommandError> {
    let picture = Picture {
        svg: String::from_utf8_lossy(&read(&measured.files, "svg")?).into_owned(),
        png: read(&measured.files, "png")?,
    };
    Ok(Drawing { name: name.into(), picture, table: read(&measured.files, "csv")? })
}

/// One picture of all networks' curves over the column `x`.
fn together(
    name: &str,
    measured: &[Measured],
    x: &str,
    of: &str,
    x_title: &str,
) -> Result<Drawing, CommandError> {
    let mut curves: Vec<Curve> = Vec::new();
    let mut table = csv::Writer::from_writer(Vec::new());
    let failed = |e: csv::Error| CommandError::Failed(format!("figure {name}: {e}"));
    table.write_record(["network", "split", x, "loss", "accuracy"]).map_err(failed)?;
    for Measured { label, files } in measured {
        let bytes = read(files, "csv")?;
        let mut reader = csv::Reader::from_reader(&bytes[..]);
        for record in reader.deserialize::<std::collections::BTreeMap<String, String>>() {
            let record = record.map_err(failed)?;
            let cell = |name: &str| record.get(name).map_or("", String::as_str);
            let number = |name: &str| cell(name).parse::<f64>().unwrap_or(f64::NAN);
            table.write_record([label, cell("split"), cell(x), cell("loss"), cell("accuracy")]).map_err(failed)?;
            let curve = format!("{label}, {}", cell("split"));
            if curves.last().is_none_or(|last| last.label != curve) {
                let at = curves.iter().position(|c| c.label == curve);
                let found = at.map(|at| curves.remove(at));
                curves.push(found.unwrap_or(Curve { label: curve, ..Curve::default() }));
            }
            if let Some(last) = curves.last_mut() {
                last.loss.push(Point::new(number(x), number("loss")));
                last.accuracy.push(Point::new(number(x), number("accuracy")));
            }
        }
    }
    curves.sort_by(|a, b| a.label.cmp(&b.label));
    let picture = loss_and_accuracy(of, x_title, &curves).map_err(TrainError::from)?;
    let table = table.into_inner().map_err(|e| CommandError::Failed(e.to_string()))?;
    Ok(Drawing { name: name.into(), picture, table })
}
