//! Where a run stands, as its checkpoints say.

use super::TrainError;
use super::setup::Setup;
use crate::checkpoint::Checkpoint;
use crate::device::Outcome;
use crate::options::Config;

/// Where a run stands.
pub(super) struct Position {
    pub epoch: u32,
    pub updates: u64,
    pub best: Option<f64>,
    /// Sums since the last row: losses of updates, their number, images found, images seen.
    pub sums: [f64; 4],
    /// Batches of this epoch that were trained on.
    pub batch: u64,
}

impl Position {
    /// Adds what came of steps.
    pub fn add(&mut self, outcomes: &[Outcome]) {
        for outcome in outcomes {
            let (found, seen) = outcome.correct;
            let values = [f64::from(outcome.loss), 1.0, found as f64, seen as f64];
            self.sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        }
    }

    pub fn write(&self, checkpoint: &mut Checkpoint) {
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
    pub fn read(checkpoint: &Checkpoint, config: &Config, setup: &Setup) -> Result<Self, TrainError> {
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
