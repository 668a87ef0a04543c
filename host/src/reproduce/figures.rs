//! Measurements between and around trained networks, by the program's own commands.

use super::measured::Measured;
use super::queue::{Outcome, measure, text};
use super::spec::{Figure, Kind, Scale, Spec};
use crate::commands::CommandError;
use crate::data::digest;
use crate::plot::{Curve, Picture, Surface, contours, loss_and_accuracy};
use crate::progress::Progress;
use crate::train::TrainError;
use std::path::Path;

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

/// Draws the figures of an experiment whose networks were trained, each of them one picture and one table; measurements
/// lie below `runs`.
///
/// # Errors
/// A measurement fails, or its files are not as they should be.
pub fn drawings(
    spec: &Spec,
    outcomes: &[Outcome],
    scale: &Scale,
    runs: &Path,
    progress: &mut Progress,
) -> Result<Vec<Drawing>, CommandError> {
    let mut drawn = Vec::new();
    for figure in &spec.figure {
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
        drawn.push(draw(spec, figure, &networks, scale, runs, progress)?);
    }
    Ok(drawn)
}

fn draw(
    spec: &Spec,
    figure: &Figure,
    networks: &[&Outcome],
    scale: &Scale,
    runs: &Path,
    progress: &mut Progress,
) -> Result<Drawing, CommandError> {
    let arguments = format!("{} {}", figure.arguments, scale.measure);
    // `first` are the arguments that say what is measured.
    let mut run = |command: &str, network: &Outcome, first: Vec<String>| {
        let mut line = vec![command.to_owned()];
        line.extend(first);
        line.extend(arguments.split_whitespace().map(String::from));
        let hash = &digest::of_bytes(line.join(" ").as_bytes())[..12];
        let out = runs.join("measurements").join(format!("{command}-{hash}"));
        measure(line, &network.job.config, &out, command, progress)?;
        Measured::read(name(network), title(spec, network), &out.join(command).with_extension("csv"))
    };
    let mut around = |command: &str, further: &[&str]| {
        let further = || further.iter().copied().map(String::from);
        let first = |n: &Outcome| ["--checkpoint".to_owned(), text(&n.folder)].into_iter().chain(further()).collect();
        networks.iter().map(|network| run(command, network, first(network))).collect::<Result<Vec<_>, _>>()
    };
    let (measured, picture) = match (figure.kind, networks) {
        (Kind::Interpolate, [a, b]) => {
            let line = run("interpolate", a, vec![text(&a.folder), text(&b.folder)])?;
            let of = format!("between {} and {}", name(a), name(b));
            let line = Measured { name: format!("{} to {}", name(a), name(b)), ..line };
            let curves = line.curves("alpha", |split| split.to_owned());
            (vec![line], loss_and_accuracy(&of, "alpha (0: the first, 1: the second)", &curves))
        }
        (Kind::Interpolate, _) => {
            return Err(CommandError::Request(format!("figure {}: a line goes through two networks", figure.name)));
        }
        (Kind::Surface, _) => {
            let measured = around("landscape", &["--dimensions", "2"])?;
            let surfaces: Vec<Surface> = measured.iter().flat_map(Measured::surfaces).collect();
            (measured, contours(&surfaces))
        }
        (Kind::Sensitivity, _) => {
            let measured = around("sensitivity", &[])?;
            let curves = all_curves(&measured, "strength");
            (measured, loss_and_accuracy("under noise", "strength a of the noise", &curves))
        }
        (Kind::Landscape, _) => {
            let measured = around("landscape", &[])?;
            let curves = all_curves(&measured, "x");
            let x_title = "distance (share of each filter's norm)";
            (measured, loss_and_accuracy("along a random direction", x_title, &curves))
        }
    };
    let picture = picture.map_err(TrainError::from)?;
    Ok(Drawing { name: figure.name.clone(), picture, table: table(&measured)? })
}

/// ROW COLUMN.
fn name(network: &Outcome) -> String {
    format!("{} {}", network.job.row, network.job.column)
}

/// The headings of row and column.
fn title(spec: &Spec, network: &Outcome) -> String {
    let row = spec.row.iter().find(|row| row.name == network.job.row).map(|row| &row.label);
    let column = spec.column.iter().find(|column| column.name == network.job.column).map(|column| &column.label);
    row.into_iter().chain(column).map(String::as_str).collect::<Vec<_>>().join(", ")
}

fn all_curves(measured: &[Measured], x: &str) -> Vec<Curve> {
    measured.iter().flat_map(|m| m.curves(x, |split| format!("{}, {split}", m.name))).collect()
}

/// The tables of all measurements under each other, with the network in a column before theirs.
fn table(measured: &[Measured]) -> Result<Vec<u8>, CommandError> {
    let failed = |e: String| CommandError::Failed(format!("the table of a figure: {e}"));
    let mut table = csv::Writer::from_writer(Vec::new());
    for (index, Measured { name, head, rows, .. }) in measured.iter().enumerate() {
        let named = |name, record| std::iter::once(name).chain(record);
        if index == 0 {
            table.write_record(named("network", head)).map_err(|e| failed(e.to_string()))?;
        }
        for row in rows {
            table.write_record(named(name, row)).map_err(|e| failed(e.to_string()))?;
        }
    }
    table.into_inner().map_err(|e| failed(e.to_string()))
}
