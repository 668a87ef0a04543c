//! What is measured and recorded at the end of an epoch, and by what an epoch is selected.

use super::TrainError;
use super::average;
use super::position::Position;
use super::setup::Setup;
use crate::data::{BatchOptions, Batches, Split};
use crate::device::{Batch, Device, Evaluation};
use crate::options::{Config, SelectName};
use crate::progress::Progress;
use crate::run::{EventWriter, MetricsLog, MetricsRow};
use smoothout::backend::Draw;

/// What an epoch is chosen by: the first with the highest score is the best.
pub(super) fn score(select: SelectName, row: &MetricsRow) -> f64 {
    match select {
        SelectName::Validation => row.validation_accuracy.unwrap_or(row.train_accuracy),
        SelectName::Test => row.test_accuracy.unwrap_or(row.train_accuracy),
        SelectName::Last => row.epoch,
    }
}

/// The epoch whose weights are a run's best checkpoint.
pub fn selected(select: SelectName, rows: &[MetricsRow]) -> Option<&MetricsRow> {
    rows.iter().reduce(|best, row| if score(select, row) > score(select, best) { row } else { best })
}

/// The strength of the noise in an update.
pub(super) fn strength(config: &Config, setup: &Setup, updates: u64) -> f32 {
    setup.strength * setup.schedule.factor(updates, setup.updates * u64::from(config.epochs))
}

/// Measures the network, its average where one is kept, at the end of an epoch; returns the average's statistics too.
pub(super) fn measure(
    config: &Config,
    setup: &Setup,
    device: &mut dyn Device,
    at: &Position,
) -> Result<(MetricsRow, Option<Vec<f32>>), TrainError> {
    let mean = |split: &Split, e: Evaluation| {
        let n = split.len() as f64;
        [e.loss / n, e.correct as f64 / n]
    };
    let replaced = average::place(device, setup, config.seed, at.epoch)?;
    let mut scores = [None, None];
    for (split, score) in [&setup.data.validation, &setup.data.test].into_iter().zip(&mut scores) {
        if !split.is_empty() {
            *score = Some(mean(split, evaluate_split(device, split, None)?));
        }
    }
    let statistics = replaced.map(|replaced| replaced.put_back(device)).transpose()?;
    let [losses, updates, found, seen] = at.sums;
    let last = at.updates.saturating_sub(1);
    let total = setup.updates * u64::from(config.epochs);
    let [validation, test] = scores;
    let row = MetricsRow {
        epoch: f64::from(at.epoch) + 1.0,
        step: at.updates,
        train_loss: losses / updates.max(1.0),
        train_accuracy: found / seen.max(1.0),
        validation_loss: validation.map(|[loss, _]| loss),
        validation_accuracy: validation.map(|[_, accuracy]| accuracy),
        test_loss: test.map(|[loss, _]| loss),
        test_accuracy: test.map(|[_, accuracy]| accuracy),
        learning_rate: f64::from(setup.rate.at(at.epoch, last, total)),
        strength: f64::from(strength(config, setup, last)),
    };
    Ok((row, statistics))
}

/// Writes the row into `metrics.csv` and the events, and tells it.
pub(super) fn record(
    metrics: &mut MetricsLog,
    events: &mut EventWriter,
    progress: &mut Progress,
    row: MetricsRow,
) -> Result<(), TrainError> {
    metrics.append(row)?;
    let mut scalars = vec![
        ("train/loss", row.train_loss),
        ("train/accuracy", row.train_accuracy),
        ("learning_rate", row.learning_rate),
        ("strength", row.strength),
    ];
    let optional = [
        ("validation/loss", row.validation_loss),
        ("validation/accuracy", row.validation_accuracy),
        ("test/loss", row.test_loss),
        ("test/accuracy", row.test_accuracy),
    ];
    scalars.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value?))));
    events.scalars(row.step, &scalars)?;
    let percent = |a: Option<f64>| a.map_or("-".into(), |a| format!("{:.2} %", 100.0 * a));
    let text = format!(
        "epoch {:>3}  train loss {:.4}  accuracy {}  validation {}  test {}",
        row.epoch,
        row.train_loss,
        percent(Some(row.train_accuracy)),
        percent(row.validation_accuracy),
        percent(row.test_accuracy),
    );
    progress.report("epoch", &row, &text);
    for (split, loss) in [("validation", row.validation_loss), ("test", row.test_loss)] {
        if let Some(loss) = loss.filter(|loss| !loss.is_finite()) {
            progress.warning(&format!("the {split} loss is {loss}"));
        }
    }
    Ok(())
}

/// Sum of losses and images found over a split, with running statistics, at the clean weights or under a draw.
///
/// # Errors
/// The data or the device failed.
pub fn evaluate_split(
    device: &mut dyn Device,
    split: &Split,
    draw: Option<&Draw>,
) -> Result<Evaluation, TrainError> {
    let mut sum = Evaluation::default();
    let options =
        BatchOptions { threads: split.readers(), ..BatchOptions::evaluate(device.plan().batch()) };
    let mut batches = Batches::new(split, options)?;
    while let Some(batch) = batches.next()? {
        let part = device.evaluate(Batch { images: &batch.images, labels: &batch.labels }, draw)?;
        sum.loss += part.loss;
        sum.correct += part.correct;
    }
    Ok(sum)
}
