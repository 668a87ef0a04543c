//! From a specification to the trainings that it consists of.

use super::habits::{Habit, without};
use super::spec::{Column, Row, Size, Spec, SpecError};
use crate::data::digest;
use crate::options::{Config, Options, RateShape, SelectName, Strength, listed};
use crate::train::first;
use std::path::Path;

/// What the command line changes about all trainings of an experiment.
#[derive(Clone, Debug, Default)]
pub struct Switches {
    /// Habits of the authors' program.
    pub habits: Vec<Habit>,
    /// By what the epoch is chosen; with `test` nothing is held out.
    pub select: SelectName,
    /// Seeds of each row instead of the scale's.
    pub seeds: Option<u64>,
    /// Where the data are and what trains: `data_root`, `threads`, `device`.
    pub machine: Options,
}

/// One training.
#[derive(Clone, Debug)]
pub struct Job {
    /// Name of its row.
    pub row: String,
    /// Name of its column.
    pub column: String,
    /// Its seed.
    pub seed: u64,
    /// Its configuration.
    pub config: Config,
}

/// Options that do not change what comes out.
const FREE: [&str; 3] = ["data-root", "threads", "keep-every"];

impl Job {
    /// Twelve hexadecimal digits of SHA-256 over the options that change the result.
    pub fn hash(&self) -> String {
        let mut options = listed(&self.config).unwrap_or_default();
        options.retain(|name, _| !FREE.contains(&name.as_str()));
        let text: String = options.iter().map(|(name, value)| format!("{name} = {value}\n")).collect();
        digest::of_bytes(text.as_bytes())[..12].to_owned()
    }

    /// The name of its folder.
    pub fn folder(&self) -> String {
        let name = |v: &dyn std::fmt::Debug| format!("{v:?}").to_lowercase();
        let data = Path::new(&self.config.data).file_name().map_or("data".into(), |n| n.to_string_lossy());
        format!("{}-{data}-{}-{}", name(&self.config.net), name(&self.config.method), self.hash())
    }
}

/// The trainings of an experiment at a scale: the first seed of all rows and columns first, so that a part of the
/// experiment is of use.
///
/// # Errors
/// The experiment has no such scale.
pub fn jobs(spec: &Spec, scale: &str, switches: &Switches) -> Result<Vec<Job>, SpecError> {
    spec.scale(scale)?;
    let mut jobs = Vec::new();
    for row in &spec.row {
        let Some(size) = row.run.get(scale) else { continue };
        for column in spec.column.iter().filter(|c| row.columns.is_empty() || row.columns.contains(&c.name)) {
            for seed in 1..=switches.seeds.unwrap_or(size.seeds) {
                let config = config(spec, scale, row, column, *size, seed, switches);
                jobs.push(Job { row: row.name.clone(), column: column.name.clone(), seed, config });
            }
        }
    }
    jobs.sort_by_key(|job| job.seed);
    Ok(jobs)
}

fn config(
    spec: &Spec,
    scale: &str,
    row: &Row,
    column: &Column,
    size: Size,
    seed: u64,
    switches: &Switches,
) -> Config {
    let of_cell = row.column.get(&column.name).cloned().unwrap_or_default();
    let written = of_cell.or(column.options.clone()).or(row.options.clone()).or(spec.options.clone());
    let data = written.data.clone().unwrap_or_default();
    let of_habits = switches.habits.iter().fold(Options::default(), |all, habit| all.or(habit.options(&data)));
    let machine = switches.machine.clone();
    let fixed = Options {
        seed: Some(seed),
        select: Some(switches.select),
        validation: (switches.select == SelectName::Test).then_some(0.0),
        ..Options::default()
    };
    let options = machine.or(fixed).or(spec.scale[scale].options.clone()).or(of_habits).or(written).or(without(&data));
    let mut config = options.resolve();
    let full = row.run.get("full").map_or(size.epochs, |full| full.epochs);
    config.epochs = ((f64::from(size.epochs) / column.passes).round() as u32).max(1);
    if config.strength == Strength::Auto {
        while config.epochs > 1 && config.epochs + first(&config).epochs > size.epochs {
            config.epochs -= 1;
        }
    }
    shorten(&mut config, full);
    config
}

/// Moves the changes of a learning-rate regime for `full` epochs to where they belong in the configuration's epochs; of
/// changes that fall together the last one counts.
fn shorten(config: &mut Config, full: u32) {
    let RateShape::Regime(changes) = &mut config.rate_shape else { return };
    for (epoch, _) in &mut *changes {
        let place = f64::from(*epoch) * f64::from(config.epochs) / f64::from(full);
        *epoch = (place.round() as u32).max(1);
    }
    let mut kept: Vec<(u32, f32)> = Vec::new();
    for change in changes.drain(..) {
        kept.retain(|(epoch, _)| *epoch < change.0);
        kept.push(change);
    }
    *changes = kept;
}

#[cfg(test)]
mod tests;
