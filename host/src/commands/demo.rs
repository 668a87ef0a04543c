//! `smoothout train` without options: three methods on the embedded digits, side by side.

use super::{CommandError, run_folder, start_threads};
use crate::options::{Config, MethodName, Options};
use crate::plot::{MethodResult, Point, method_comparison};
use crate::progress::Progress;
use crate::run::RunFolder;
use crate::train::{self, Report, Setup, TrainError};
use serde::Serialize;
use smoothout::backend::{Draw, Selection};
use smoothout::noise::{Address, Distribution, Noise, Scaling};
use std::sync::atomic::AtomicBool;

/// Strengths of the per-filter noise under which the trained networks are measured.
const STRENGTHS: [f32; 7] = [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6];

/// Draws that each of those losses is averaged over.
const DRAWS: u32 = 5;

#[derive(Serialize)]
struct Row {
    method: &'static str,
    strength: f32,
    test_accuracy: f64,
    test_loss: f64,
    /// Mean test loss under the strongest noise but two.
    noisy_loss: f64,
}

pub(super) fn run(progress: &mut Progress, stop: &AtomicBool) -> Result<(), CommandError> {
    start_threads(0)?;
    let mut rows = Vec::new();
    let mut results = Vec::new();
    for (name, method, strength) in [
        ("SGD", MethodName::Sgd, 0.0f32),
        ("SmoothOut", MethodName::Smoothout, 0.05),
        ("AdaSmoothOut", MethodName::Ada, 0.3),
    ] {
        let options = Options { method: Some(method), strength: Some(strength.into()), ..Options::default() };
        let config = options.resolve();
        progress.message(&format!("{name}, strength {strength}"));
        let folder = run_folder::free(&config)?;
        let mut setup = Setup::new(&config)?;
        let report = train::train(&config, &mut setup, &folder, progress, stop)?;
        let noisy = under_noise(&config, &setup, &folder)?;
        rows.push(Row {
            method: name,
            strength,
            test_accuracy: report.test[1],
            test_loss: report.test[0],
            noisy_loss: noisy[4].1,
        });
        results.push(result(name, &report, &noisy));
        if method == MethodName::Ada {
            let picture = method_comparison("digits", &results).map_err(TrainError::from)?;
            folder.write_picture("comparison", &picture).map_err(TrainError::from)?;
            let text = table(&rows) + &format!("\npicture: {}/comparison.png", folder.path().display());
            progress.result("comparison", &rows, &text)?;
        }
    }
    Ok(())
}

fn result(name: &str, report: &Report, noisy: &[(f32, f64)]) -> MethodResult {
    let accuracy = |row: &crate::run::MetricsRow| Some(Point::new(row.epoch, row.test_accuracy?));
    MethodResult {
        name: name.into(),
        accuracy: report.rows.iter().filter_map(accuracy).collect(),
        loss_under_noise: noisy.iter().map(|(a, loss)| Point::new(f64::from(*a), *loss)).collect(),
    }
}

/// Mean test loss of a run's last weights under noise of each strength.
fn under_noise(config: &Config, setup: &Setup, folder: &RunFolder) -> Result<Vec<(f32, f64)>, CommandError> {
    let mut device = train::device(config, setup)?;
    if let Some(checkpoint) = folder.load_last().map_err(TrainError::from)? {
        train::load_average(&mut *device, &checkpoint)?;
    }
    let test = &setup.data.test;
    let mut losses = Vec::new();
    for strength in STRENGTHS {
        let noise = Noise::new(Distribution::Uniform, Scaling::PerFilter, strength)
            .map_err(|e| CommandError::Request(e.to_string()))?;
        let mut sum = 0.0;
        for draw in 0..DRAWS {
            let address = Address { seed: config.seed, step: 0, draw };
            let draw = Draw { noise, selection: Selection::default(), address };
            sum += train::evaluate_split(&mut *device, test, Some(&draw))?.loss;
        }
        losses.push((strength, sum / f64::from(DRAWS) / test.len() as f64));
    }
    Ok(losses)
}

fn table(rows: &[Row]) -> String {
    let mut text = format!(
        "{:<14}{:>10}{:>16}{:>12}{:>24}\n",
        "method", "strength", "test accuracy", "test loss", "loss under noise 0.4"
    );
    for row in rows {
        text += &format!(
            "{:<14}{:>10}{:>14.2} %{:>12.4}{:>24.4}\n",
            row.method,
            row.strength,
            100.0 * row.test_accuracy,
            row.test_loss,
            row.noisy_loss
        );
    }
    text
}
