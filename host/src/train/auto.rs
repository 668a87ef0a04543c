//! `--strength auto`: a short plain training says how much noise its network bears.

use super::setup::{self, Setup, device_of};
use super::training::{Report, train};
use super::{TrainError, load_average};
use crate::checkpoint::Checkpoint;
use crate::data::{Data, Split};
use crate::device::Keeps;
use crate::measure::sensitivity::Kind;
use crate::measure::strength::{Search, choose};
use crate::measure::{MeasureError, Subject};
use crate::options::{AverageName, Config, MethodName, ScalingName, Strength};
use crate::progress::Progress;
use crate::run::RunFolder;
use smoothout::backend::Selection;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most images on which the strength is measured.
const IMAGES: usize = 5000;

/// Images of a batch there: what `smoothout strength` takes, so that it finds the same again.
const BATCH: usize = 100;

/// The training that comes first: the pilot where the strength is to be found, or else the training itself. The pilot
/// is the same training without noise, in a tenth of the epochs unless `pilot_epochs` says otherwise.
pub fn first(config: &Config) -> Config {
    if config.strength != Strength::Auto {
        return config.clone();
    }
    Config {
        method: MethodName::Sgd,
        strength: Strength::Value(0.0),
        epochs: if config.pilot_epochs > 0 { config.pilot_epochs } else { config.epochs.div_ceil(10) },
        average: AverageName::None,
        keep_every: 0,
        ..config.clone()
    }
}

/// Trains as `config` says in `folder`, from its last checkpoint if there is one; the caller has set up what
/// [`first`] gives. Where the strength is `auto`, the pilot runs in the folder `pilot` inside and the strength found
/// stands in the configuration that is saved.
///
/// # Errors
/// As [`train`], and a strength that cannot be found.
pub fn start(
    config: &Config,
    mut setup: Setup,
    folder: &RunFolder,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<Report, TrainError> {
    if config.strength != Strength::Auto {
        return train(config, &mut setup, folder, progress, stop);
    }
    folder.write_config(config)?;
    let path = folder.path().join("pilot");
    let pilot = RunFolder::open(&path, path.exists())?;
    progress.message("pilot training for the strength of the noise");
    let ours = |error| match error {
        TrainError::Interrupted { .. } => TrainError::Interrupted { folder: folder.path().into() },
        other => other,
    };
    train(&first(config), &mut setup, &pilot, progress, stop).map_err(ours)?;
    let strength = find(config, &setup.data, &pilot.best(), progress, stop).map_err(ours)?;
    progress.message(&format!("strength {strength}"));
    let config = Config { strength: Strength::Value(strength), ..config.clone() };
    let mut setup = Setup::new(&config)?;
    folder.write_config(&config)?;
    train(&config, &mut setup, folder, progress, stop)
}

/// The largest strength within the tolerance for the network of a checkpoint, on the images held out or else on
/// training images.
fn find(
    config: &Config,
    data: &Data,
    checkpoint: &Path,
    progress: &mut Progress,
    stop: &AtomicBool,
) -> Result<f32, TrainError> {
    let split = if data.validation.is_empty() { &data.train } else { &data.validation };
    let split: Split = if split.len() > IMAGES { split.sample(IMAGES, 1) } else { split.clone() };
    let plan = setup::plan(&setup::network(config, data.classes)?, data, BATCH.min(split.len()).max(2))?;
    let weights = vec![0.0; plan.parameters()];
    let mut device = device_of(config.device, plan, weights, Keeps { moments: 0, average: false })?;
    load_average(&mut *device, &Checkpoint::load(checkpoint)?)?;
    let kind = Kind {
        distribution: setup::distribution(config.distribution),
        scaling: setup::scaling(match config.method {
            MethodName::Ada => ScalingName::Filter,
            _ => ScalingName::Constant,
        }),
        selection: Selection { norms: config.perturb_norms, ..Selection::default() },
        seed: 1,
    };
    let search = Search { tolerance: config.tolerance, first: 0.01, precision: 0.01, passes: 3 };
    progress.start("strength", (split.len() * 40) as u64, 0);
    let mut done = 0;
    let mut watch = |images: usize| {
        done += images as u64;
        progress.update(done, &[]);
        !stop.load(Ordering::Relaxed)
    };
    let found = Subject::new(&mut *device, &mut watch)
        .and_then(|mut subject| choose(&mut subject, &split, kind, search, &mut Vec::new()));
    progress.finish();
    let [strength, _] = found.map_err(|error| match error {
        MeasureError::Device(error) => error.into(),
        MeasureError::Data(error) => error.into(),
        MeasureError::Request(problem) => TrainError::Option { option: "--strength auto", problem },
        // The caller names the folder.
        MeasureError::Interrupted => TrainError::Interrupted { folder: checkpoint.into() },
    })?;
    Ok(strength as f32)
}
