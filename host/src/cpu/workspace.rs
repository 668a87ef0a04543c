//! Scratch memory of the kernels, allocated once, before any step.

use super::aligned::Aligned;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Floats of scratch memory that a kernel needs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkspaceSize {
    /// Floats that each thread needs for itself.
    pub per_thread: usize,
    /// Floats that all threads share.
    pub shared: usize,
}

impl WorkspaceSize {
    /// What serves both of two kernels that run one after the other.
    #[must_use]
    pub fn max(self, other: Self) -> Self {
        Self {
            per_thread: self.per_thread.max(other.per_thread),
            shared: self.shared.max(other.shared),
        }
    }
}

/// Scratch memory for kernels that run one after the other.
#[derive(Debug)]
pub struct Workspace {
    threads: Vec<Mutex<Aligned>>,
    pub(super) shared: Aligned,
}

impl Workspace {
    /// Memory of that size for a rayon pool of `threads` threads.
    #[must_use]
    pub fn new(size: WorkspaceSize, threads: usize) -> Self {
        let slot = |_| Mutex::new(Aligned::zeroed(size.per_thread));
        Self {
            threads: (0..threads.max(1)).map(slot).collect(),
            shared: Aligned::zeroed(size.shared),
        }
    }

    /// The threads' own memory and the shared memory.
    pub(super) fn split(&mut self) -> (Slots<'_>, &mut [f32]) {
        assert!(
            self.threads.len() >= rayon::current_num_threads(),
            "the workspace is made for {} threads, the pool has {}",
            self.threads.len(),
            rayon::current_num_threads()
        );
        (Slots(&self.threads), &mut self.shared)
    }
}

/// The memory that belongs to each thread of the pool.
#[derive(Clone, Copy)]
pub(super) struct Slots<'a>(&'a [Mutex<Aligned>]);

impl<'a> Slots<'a> {
    /// The calling thread's memory. A thread holds it for one unit of work, so it never waits.
    pub(super) fn mine(self) -> MutexGuard<'a, Aligned> {
        let slot = &self.0[rayon::current_thread_index().unwrap_or(0)];
        // A kernel that panicked leaves only scratch values behind.
        slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
