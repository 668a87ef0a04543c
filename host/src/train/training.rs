use super::checkpoints::{insert_average_statistics, restore, save};
use super::epoch_end::{measure, record, score, strength};
use super::position::Position;
use super::setup::{Setup, device};
use super::TrainError;
use crate::data::{Batch as Read, BatchOptions, Batches};
use crate::device::{Batch, Device, DeviceError, Failed, Part, Step};
use crate::options::Config;
use crate::progress::Progress;
use crate::run::{MetricsRow, RunFolder};
use serde::Serialize;
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
        let (row, average_statistics) = measure(config, setup, &mut *device, &at)?;
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
        if let Some(statistics) = average_statistics {
            insert_average_statistics(device.plan(), &statistics, &mut checkpoint)?;
        }
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
