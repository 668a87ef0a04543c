//! Slices cut into runs of `len` values (at least 1), one after the other; what is left over is not among them.
//!
//! With the feature `micro-wide` these are the standard library's, which loops take fewest instructions over. Otherwise
//! nothing is divided: low optimization levels do not see that the divisor is not 0, and would link a panic.

#[cfg(any(not(feature = "micro-lean"), feature = "micro-wide"))]
mod wide {
    use core::slice::{ChunksExact, ChunksExactMut};

    pub(in super::super) fn runs(values: &[f32], len: usize) -> ChunksExact<'_, f32> {
        values.chunks_exact(len.max(1))
    }

    pub(in super::super) fn runs_mut(values: &mut [f32], len: usize) -> ChunksExactMut<'_, f32> {
        values.chunks_exact_mut(len.max(1))
    }
}

#[cfg(all(feature = "micro-lean", not(feature = "micro-wide")))]
mod narrow {
    pub(in super::super) fn runs(mut rest: &[f32], len: usize) -> impl Iterator<Item = &[f32]> {
        core::iter::from_fn(move || {
            let (run, later) = rest.split_at_checked(len.max(1))?;
            rest = later;
            Some(run)
        })
    }

    pub(in super::super) fn runs_mut(mut rest: &mut [f32], len: usize) -> impl Iterator<Item = &mut [f32]> {
        core::iter::from_fn(move || {
            let (run, later) = core::mem::take(&mut rest).split_at_mut_checked(len.max(1))?;
            rest = later;
            Some(run)
        })
    }
}

#[cfg(all(feature = "micro-lean", not(feature = "micro-wide")))]
pub(super) use narrow::{runs, runs_mut};
#[cfg(any(not(feature = "micro-lean"), feature = "micro-wide"))]
pub(super) use wide::{runs, runs_mut};
