//! An epoch as batches, read ahead by background threads.
//!
//! Worker k of W makes batches k, k + W, k + 2W, ... and hands each over a bounded channel of its own, so the
//! order needs no sorting and an error arrives where its batch would have. Buffers go back to their worker:
//! none is allocated after the first few batches.

use super::error::Error;
use super::split::{Pass, Split};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

/// In which order an epoch goes through a split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// In the split's own order.
    Sequential,
    /// [`Split::epoch_order`] of this seed and epoch.
    Shuffled {
        /// Seed of the run.
        seed: u64,
        /// Epoch, from 0.
        epoch: u64,
    },
}

/// How an epoch is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchOptions {
    /// Images in a batch, at least 1; the last batch may be shorter and is kept.
    pub batch: usize,
    /// Order of the images.
    pub order: Order,
    /// Whether and how they are augmented.
    pub pass: Pass,
    /// First batch to deliver, from 0: where a resumed run goes on.
    pub first: usize,
    /// Background threads, at least 1. One is enough for sets in memory; class folders need about as many as
    /// decode faster than the network trains.
    pub threads: usize,
    /// Finished batches that each thread may hold ready, at least 1. Memory: `threads * (ready + 1) + 1` batches.
    pub ready: usize,
}

impl BatchOptions {
    /// A shuffled and augmented epoch of training from its first batch, read by one thread.
    #[must_use]
    pub fn train(batch: usize, seed: u64, epoch: u64) -> Self {
        Self {
            batch,
            order: Order::Shuffled { seed, epoch },
            pass: Pass::Train { seed, epoch },
            first: 0,
            threads: 1,
            ready: 2,
        }
    }

    /// The whole split in its own order, unaugmented, read by one thread.
    #[must_use]
    pub fn evaluate(batch: usize) -> Self {
        Self {
            batch,
            order: Order::Sequential,
            pass: Pass::Evaluate,
            first: 0,
            threads: 1,
            ready: 2,
        }
    }

    fn check(&self) -> Result<(), Error> {
        for (option, value) in [
            ("batch", self.batch),
            ("threads", self.threads),
            ("ready", self.ready),
        ] {
            if value == 0 {
                return Err(Error::Option {
                    option,
                    problem: "0, expected at least 1".into(),
                });
            }
        }
        Ok(())
    }
}

/// Images and labels of one batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Batch {
    /// `len` x channels x rows x columns.
    pub images: Vec<f32>,
    /// `len` labels.
    pub labels: Vec<u32>,
    /// Which batch of the epoch this is, from 0.
    pub index: usize,
}

impl Batch {
    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none (never so in a delivered batch).
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }
}

/// What every worker of an epoch shares.
struct Epoch {
    split: Split,
    positions: Vec<u32>,
    batch: usize,
    pass: Pass,
}

impl Epoch {
    fn batches(&self) -> usize {
        self.positions.len().div_ceil(self.batch)
    }

    fn fill(&self, index: usize, batch: &mut Batch) -> Result<(), Error> {
        let start = index * self.batch;
        let positions = &self.positions[start..self.positions.len().min(start + self.batch)];
        batch.index = index;
        batch.labels.resize(positions.len(), 0);
        batch
            .images
            .resize(positions.len() * self.split.image_len(), 0.0);
        self.split
            .read(positions, self.pass, &mut batch.images, &mut batch.labels)
    }
}

struct Worker {
    ready: Receiver<Result<Batch, Error>>,
    used: SyncSender<Batch>,
    thread: JoinHandle<()>,
}

fn spawn(epoch: Arc<Epoch>, first: usize, step: usize, ready: usize) -> Result<Worker, Error> {
    // ready ones, one being filled and one with the consumer: returning a buffer never waits
    let buffers = ready + 2;
    let (ready_in, ready_out) = sync_channel(ready);
    let (used_in, used_out) = sync_channel::<Batch>(buffers);
    for _ in 0..buffers {
        // the channel has room for all of them and its receiver is still here
        let _ = used_in.try_send(Batch::default());
    }
    let work = move || {
        for index in (first..epoch.batches()).step_by(step) {
            let Ok(mut batch) = used_out.recv() else {
                return;
            };
            let filled = epoch.fill(index, &mut batch);
            let failed = filled.is_err();
            if ready_in.send(filled.map(|()| batch)).is_err() || failed {
                return;
            }
        }
    };
    let thread = thread::Builder::new()
        .name("batches".into())
        .spawn(work)
        .map_err(Error::io(
            std::path::Path::new("batches"),
            "start a background thread",
        ))?;
    Ok(Worker {
        ready: ready_out,
        used: used_in,
        thread,
    })
}

/// The batches of one epoch, in order. Dropping it ends and joins the threads.
pub struct Batches {
    epoch: Arc<Epoch>,
    workers: Vec<Worker>,
    first: usize,
    next: usize,
    current: Option<Batch>,
}

impl std::fmt::Debug for Batches {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batches")
            .field("next", &self.next)
            .field("total", &self.total())
            .finish_non_exhaustive()
    }
}

impl Batches {
    /// Starts to read an epoch of `split` ahead.
    ///
    /// # Errors
    /// [`Error::Option`] for a batch size, thread count or read-ahead of 0; [`Error::Io`] if no thread can be started.
    pub fn new(split: &Split, options: BatchOptions) -> Result<Self, Error> {
        options.check()?;
        let positions = match options.order {
            Order::Sequential => (0..split.len() as u32).collect(),
            Order::Shuffled { seed, epoch } => split.epoch_order(seed, epoch),
        };
        let epoch = Arc::new(Epoch {
            split: split.clone(),
            positions,
            batch: options.batch,
            pass: options.pass,
        });
        let first = options.first.min(epoch.batches());
        let mut batches = Self {
            first,
            next: first,
            current: None,
            workers: Vec::new(),
            epoch,
        };
        let threads = options.threads.min(batches.total() - first);
        for worker in 0..threads {
            batches.workers.push(spawn(
                batches.epoch.clone(),
                first + worker,
                threads,
                options.ready,
            )?);
        }
        Ok(batches)
    }

    /// Number of batches of the whole epoch.
    #[must_use]
    pub fn total(&self) -> usize {
        self.epoch.batches()
    }

    /// The next batch, or `None` after the last. Its buffer is used again at the next call.
    ///
    /// # Errors
    /// What reading the batch met; every later call then reports [`Error::Worker`].
    // not an `Iterator`: the batch is lent, so that its memory can be recycled
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> Result<Option<&Batch>, Error> {
        let workers = self.workers.len();
        if let Some(batch) = self.current.take()
            && let Some(worker) = self.workers.get((batch.index - self.first) % workers)
        {
            // a worker that has finished takes no buffers back
            let _ = worker.used.try_send(batch);
        }
        if self.next == self.total() {
            return Ok(None);
        }
        let lost = Error::Worker { batch: self.next };
        let worker = &self.workers[(self.next - self.first) % workers];
        let batch = worker.ready.recv().map_err(|_| lost)??;
        self.next += 1;
        Ok(Some(self.current.insert(batch)))
    }
}

impl Drop for Batches {
    fn drop(&mut self) {
        for Worker {
            ready,
            used,
            thread,
        } in self.workers.drain(..)
        {
            // closed channels end the thread at its next send or receive
            drop((ready, used));
            // a panic of a worker has been reported as Error::Worker
            let _ = thread.join();
        }
    }
}
