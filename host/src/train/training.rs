use super::checkpoints::{restore, save};
use super::setup::{Setup, device};
use super::TrainError;
use crate::checkpoint::Checkpoint;
use crate::data::{Batch as Read, BatchOptions, Batches, Split};
use crate::device::{Batch, Device, DeviceError, Evaluation, Failed, Outcome, Part, Step};
use crate::options::{Config, SelectName};
use crate::progress::Progress;
use crate::run::{EventWriter, MetricsLog, MetricsRow, RunFolder};
use serde::Serialize;
use smoothout::backend::Draw;
use smoothout::optimizer::Update;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What a finished run reached.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Epochs trained.
    pub epochs: u32,
    /// Updates taken.
    pub updates: u64,
    /// Loss and accuracy on the validation split, of the last epoch.
    pub validation: Option<[f64; 2]>,
    /// Loss and accuracy on the test set, of the last epoch (of the average where one is kept).
    pub test: [f64; 2],
    /// The run's folder.
    pub folder: PathBuf,
    /// Metrics of every epoch.
    #[serde(skip)]
    pub rows: Vec<MetricsRow>,
}

/// Where a run stands.
struct Position {
    epoch: u32,
    updates: u64,
    best: Option<f64>,
    /// Sums since the last row: losses of updates, their number, images found, images seen.
    sums: [f64; 4],
    /// Batches of this epoch that were trained on.
    batch: u64,
}

impl Position {
    /// Adds what came of steps.
    fn add(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let (found, seen) = outcome.correct;
            let values = [f64::from(outcome.loss), 1.0, found as f64, seen as f64];
            self.sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }

    fn write(&self, checkpoint: &mut Checkpoint) {
        checkpoint.set_u64("epoch", u64::from(self.epoch));
        checkpoint.set_u64("updates", self.updates);
        checkpoint.set_u64("batch", self.batch);
        for (i, sum) in self.sums.iter().enumerate() {
            checkpoint.set_f64(format!("sum.{i}"), *sum);
        }
        if let Some(best) = self.best {
            checkpoint.set_f64("best", best);
        }
    }

    /// Where a checkpoint stands, which must be a place that the run of this setup comes through.
    fn read(checkpoint: &Checkpoint, config: &Config, setup: &Setup) -> Result<Self, TrainError> {
        let mut sums = [0.0; 4];
        for (i, sum) in sums.iter_mut().enumerate() {
            *sum = checkpoint.number_f64(&format!("sum.{i}"))?;
        }
        let best = checkpoint.metadata().contains_key("best");
        let [epoch, batch, updates] =
            [checkpoint.number_u64("epoch")?, checkpoint.number_u64("batch")?, checkpoint.number_u64("updates")?];
        let whole = epoch < u64::from(config.epochs) && batch <= setup.batches
            || epoch == u64::from(config.epochs) && batch == 0;
        let in_epoch = batch.div_ceil(u64::from(config.accumulate));
        if !whole || updates != epoch * setup.updates + in_epoch {
            return Err(TrainError::Position { epoch, batch, updates });
        }
        let best = if best { Some(checkpoint.number_f64("best")?) } else { None };
        Ok(Self { epoch: epoch as u32, updates, batch, best, sums })
    }
}

/// The run is saved at the end of every epoch, and when this time has passed since.
const SAVE_EVERY: Duration = Duration::from_secs(300);

/// Trains as `config` says and `setup` made it, in `folder`, from its last checkpoint if there is one. `stop` asks for
/// an early end: the step is finished and the run saved. The caller has made the thread pool.
///
/// # Errors
/// See [`TrainError`]; whatever happens, the last checkpoint on disk is whole.
pub fn train(
    config: &Config,
    setup: &mut Setup,
    folder: &RunFolder,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Report, TrainError> {
    let mut device = device(config, setup)?;
    device.prepare(config.batch)?;
    let adopted = device.adopt(&setup.data.train)?;
    if let Some(description) = device.describe() {
        progress.report("device", &Described { device: &description }, &format!("on {description}"));
    }
    let mut at = Position { epoch: 0, updates: 0, best: None, sums: [0.0; 4], batch: 0 };
    let resumed = folder.load_last()?;
    if let Some(checkpoint) = &resumed {
        restore(&mut *device, checkpoint)?;
        at = Position::read(checkpoint, config, setup)?;
    } else {
        folder.write_config(config)?;
        if config.keep_every > 0 {
            folder.save_epoch(0, &save(&*device)?)?;
        }
    }
    let mut metrics = folder.metrics(u64::from(at.epoch))?;
    let mut events = folder.events(resumed.is_some().then_some(at.updates + 1))?;
    while at.epoch < config.epochs {
        epoch(config, setup, &mut *device, adopted, folder, progress, stop, &mut at)?;
        let row = measure(config, setup, &mut *device, &at)?;
        record(&mut metrics, &mut events, progress, row)?;
        let score = score(config.select, &row);
        at.epoch += 1;
        at.batch = 0;
        at.sums = [0.0; 4];
        let better = at.best.is_none_or(|best| score > best);
        if better {
            at.best = Some(score);
        }
        let mut checkpoint = save(&*device)?;
        at.write(&mut checkpoint);
        metrics.sync()?;
        if better {
            folder.save_best(&checkpoint)?;
        }
        if config.keep_every > 0 && at.epoch.is_multiple_of(config.keep_every) {
            folder.save_epoch(at.epoch, &checkpoint)?;
        }
        folder.save_last(&checkpoint)?;
    }
    progress.finish();
    folder.write_learning_curves(metrics.rows())?;
    let last = metrics.rows().last().copied().unwrap_or_default();
    let pair = |loss: Option<f64>, accuracy: Option<f64>| Some([loss?, accuracy?]);
    Ok(Report {
        epochs: at.epoch,
        updates: at.updates,
        validation: pair(last.validation_loss, last.validation_accuracy),
        test: pair(last.test_loss, last.test_accuracy).unwrap_or_default(),
        folder: folder.path().into(),
        rows: metrics.rows().to_vec(),
    })
}

/// What an epoch is chosen by: the first with the highest score is the best.
fn score(select: SelectName, row: &MetricsRow) -> f64 {
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

#[derive(Serialize)]
struct Described<'a> {
    device: &'a str,
}

/// Places in an epoch's order of up to `most` batches from number `first` on.
fn places(config: &Config, images: usize, first: u64, most: usize) -> Vec<Range<usize>> {
    let batch = |number: usize| {
        let start = (first as usize + number) * config.batch;
        start.min(images)..(start + config.batch).min(images)
    };
    (0..most).map(batch).take_while(|range| !range.is_empty()).collect()
}

/// One epoch, from the batch where the run stands. `adopted`: the device has the training images.
#[expect(clippy::too_many_arguments, reason = "all that a run consists of")]
fn epoch(
    config: &Config,
    setup: &mut Setup,
    device: &mut dyn Device,
    adopted: bool,
    folder: &RunFolder,
    progress: &mut Progress,
    stop: &AtomicBool,
    at: &mut Position,
) -> Result<(), TrainError> {
    let total = setup.updates * u64::from(config.epochs);
    let options = BatchOptions {
        first: at.batch as usize,
        threads: setup.data.train.readers(),
        ..BatchOptions::train(config.batch, config.seed, u64::from(at.epoch))
    };
    if adopted {
        device.arrange(config.seed, u64::from(at.epoch))?;
    }
    let mut batches = if adopted { None } else { Some(Batches::new(&setup.data.train, options)?) };
    if config.reset_optimizer && at.batch == 0 {
        forget(device)?;
    }
    // What Adam's bias corrections count.
    let forgotten = if config.reset_optimizer { u64::from(at.epoch) * setup.updates } else { 0 };
    let name = format!("epoch {}/{}", at.epoch + 1, config.epochs);
    progress.start(&name, setup.batches, at.batch);
    let mut saved = Instant::now();
    loop {
        let accumulate = config.accumulate as usize;
        let mut group: Vec<Read> = Vec::new();
        while let Some(batches) = batches.as_mut().filter(|_| group.len() < accumulate) {
            match batches.next()? {
                // The buffer is lent for one call: a copy is needed where several batches make one update.
                Some(batch) => group.push(batch.clone()),
                None => break,
            }
        }
        let most = if adopted { accumulate } else { 0 };
        let places = places(config, setup.data.train.len(), at.batch, most);
        if group.is_empty() && places.is_empty() {
            return settle(config, setup, device, folder, at);
        }
        let borrowed: Vec<Batch<'_>> =
            group.iter().map(|b| Batch { images: &b.images, labels: &b.labels }).collect();
        let step = Step {
            batches: &borrowed,
            ghosts: setup.ghosts,
            first: u64::from(at.epoch) * setup.batches + at.batch,
            strength: strength(config, setup, at.updates),
            update: Update {
                optimizer: setup.optimizer,
                rate: setup.rate.at(at.epoch, at.updates, total),
                weight_decay: config.weight_decay,
                gradient_scale: 1.0,
                time: at.updates - forgotten + 1,
            },
            clip: setup.clip,
        };
        let begun = if adopted {
            device.begin_of_epoch(&mut setup.stepper, &step, &places)
        } else {
            device.begin(&mut setup.stepper, &step)
        };
        let outcomes = match begun {
            Ok(outcomes) => outcomes,
            Err(failure) => return Err(failed(config, setup, device, folder, at, failure)),
        };
        if let Some(share) = setup.averaging.share(at.updates) {
            device.average(share)?;
        }
        at.updates += 1;
        at.batch += (group.len() + places.len()) as u64;
        at.add(&outcomes);
        let loss = outcomes.last().map(|outcome| ("loss", f64::from(outcome.loss)));
        progress.update(at.batch, loss.as_slice());
        let stopped = stop.load(Ordering::Relaxed);
        if stopped || saved.elapsed() >= SAVE_EVERY {
            settle(config, setup, device, folder, at)?;
            save_last(device, folder, at)?;
            saved = Instant::now();
        }
        if stopped {
            return Err(TrainError::Interrupted { folder: folder.path().into() });
        }
    }
}

/// Sets the optimizer's memory to what it is before a training.
fn forget(device: &mut dyn Device) -> Result<(), DeviceError> {
    for part in [Part::First, Part::Second] {
        let zeros = vec![0.0; device.read(part)?.len()];
        device.write(part, &zeros)?;
    }
    Ok(())
}

fn strength(config: &Config, setup: &Setup, updates: u64) -> f32 {
    setup.strength * setup.schedule.factor(updates, setup.updates * u64::from(config.epochs))
}

fn save_last(device: &dyn Device, folder: &RunFolder, at: &Position) -> Result<(), TrainError> {
    let mut checkpoint = save(device)?;
    at.write(&mut checkpoint);
    Ok(folder.save_last(&checkpoint)?)
}

/// Waits for the steps that were begun.
fn settle(
    config: &Config,
    setup: &Setup,
    device: &mut dyn Device,
    folder: &RunFolder,
    at: &mut Position,
) -> Result<(), TrainError> {
    match device.settle() {
        Ok(outcomes) => {
            at.add(&outcomes);
            Ok(())
        }
        Err(failure) => {
            at.updates -= 1; // the last one that was begun
            Err(failed(config, setup, device, folder, at, failure))
        }
    }
}

/// Saves the weights from before a step that failed; `at` stands before the last one that was begun.
fn failed(
    config: &Config,
    setup: &Setup,
    device: &dyn Device,
    folder: &RunFolder,
    at: &mut Position,
    failure: Failed,
) -> TrainError {
    let Failed { cause, later, before } = failure;
    at.add(&before);
    at.updates -= later;
    // Within an epoch every update before this one took as many batches.
    at.batch = (at.updates - u64::from(at.epoch) * setup.updates) * u64::from(config.accumulate);
    let saved = match save_last(device, folder, at) {
        Ok(()) => format!("are in {}", folder.last().display()),
        Err(error) => format!("could not be saved: {error}"),
    };
    TrainError::Step { update: at.updates, cause, saved }
}

fn measure(
    config: &Config,
    setup: &Setup,
    device: &mut dyn Device,
    at: &Position,
) -> Result<MetricsRow, TrainError> {
    let mean = |split: &Split, e: Evaluation| {
        let n = split.len() as f64;
        [e.loss / n, e.correct as f64 / n]
    };
    let weights = averaged(device)?;
    let mut scores = [None, None];
    for (split, score) in [&setup.data.validation, &setup.data.test].into_iter().zip(&mut scores) {
        if !split.is_empty() {
            *score = Some(mean(split, evaluate_split(device, split, None)?));
        }
    }
    if let Some(weights) = weights {
        device.write(Part::Weights, &weights)?;
    }
    let [losses, updates, found, seen] = at.sums;
    let last = at.updates.saturating_sub(1);
    let total = setup.updates * u64::from(config.epochs);
    let [validation, test] = scores;
    Ok(MetricsRow {
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
    })
}

/// Puts the average in the weights' place where one is kept, and returns the weights.
fn averaged(device: &mut dyn Device) -> Result<Option<Vec<f32>>, TrainError> {
    let average = device.read(Part::Average)?;
    if average.iter().all(|a| *a == 0.0) {
        return Ok(None); // none is kept, or nothing was averaged yet
    }
    let weights = device.read(Part::Weights)?;
    device.write(Part::Weights, &average)?;
    Ok(Some(weights))
}

fn record(
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
