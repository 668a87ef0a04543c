//! Passes over flat buffers in which every element has the same place in all of them.

use super::shared::Shared;
use super::simd::{Isa, Kernel, Simd};
use rayon::prelude::*;

/// Elements that a task works on; a multiple of every vector length.
pub(super) const CHUNK: usize = 16 * 1024;

/// The longest vector.
const LONGEST: usize = 16;

/// What a pass computes from R values that it reads and W values that it replaces.
pub(super) trait Lanewise<const R: usize, const W: usize>: Copy + Send + Sync {
    /// The new values. Has to be `#[inline(always)]`.
    fn lanes<S: Simd>(self, s: S, read: [S::F; R], written: [S::F; W]) -> [S::F; W];
}

/// Runs a pass over whole buffers. The result does not depend on how they are cut into tasks.
///
/// # Panics
/// The lengths are not equal.
pub(super) fn pass<const R: usize, const W: usize>(
    isa: Isa,
    reads: [&[f32]; R],
    writes: [&mut [f32]; W],
    step: impl Lanewise<R, W>,
) {
    let len = writes.first().map_or(0, |buffer| buffer.len());
    assert!(reads.iter().all(|buffer| buffer.len() == len));
    assert!(writes.iter().all(|buffer| buffer.len() == len));
    let writes = writes.map(Shared::new);
    (0..len.div_ceil(CHUNK)).into_par_iter().for_each(|chunk| {
        let start = chunk * CHUNK;
        let end = len.min(start + CHUNK);
        let reads = reads.map(|buffer| &buffer[start..end]);
        isa.run(Chunk {
            reads,
            writes: writes.map(|buffer| buffer.at(start)),
            len: end - start,
            step,
        });
    });
}

/// `writes` point to `len` floats each, which no other task accesses.
struct Chunk<'a, L, const R: usize, const W: usize> {
    reads: [&'a [f32]; R],
    writes: [*mut f32; W],
    len: usize,
    step: L,
}

impl<L: Lanewise<R, W>, const R: usize, const W: usize> Kernel for Chunk<'_, L, R, W> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            reads,
            writes,
            len,
            step,
        } = self;
        let whole = len - len % S::LANES;
        for at in (0..whole).step_by(S::LANES) {
            // SAFETY: a vector at `at` ends at `whole` at the latest, and all buffers have `len` floats.
            unsafe {
                let (mut read, mut written) = ([s.splat(0.0); R], [s.splat(0.0); W]);
                for (value, buffer) in read.iter_mut().zip(&reads) {
                    *value = s.load(buffer.as_ptr().add(at));
                }
                for (value, buffer) in written.iter_mut().zip(&writes) {
                    *value = s.load(buffer.add(at));
                }
                for (value, buffer) in step.lanes(s, read, written).into_iter().zip(&writes) {
                    s.store(buffer.add(at), value);
                }
            }
        }
        let rest = len - whole;
        if rest == 0 {
            return;
        }
        // SAFETY: copies of the last `rest` floats into places of the longest vector's length, and back.
        unsafe {
            let (mut read, mut written) = ([s.splat(0.0); R], [s.splat(0.0); W]);
            let mut place = [0.0; LONGEST];
            for (value, buffer) in read.iter_mut().zip(&reads) {
                place
                    .as_mut_ptr()
                    .copy_from_nonoverlapping(buffer.as_ptr().add(whole), rest);
                *value = s.load(place.as_ptr());
            }
            for (value, buffer) in written.iter_mut().zip(&writes) {
                place
                    .as_mut_ptr()
                    .copy_from_nonoverlapping(buffer.add(whole), rest);
                *value = s.load(place.as_ptr());
            }
            for (value, buffer) in step.lanes(s, read, written).into_iter().zip(&writes) {
                s.store(place.as_mut_ptr(), value);
                buffer
                    .add(whole)
                    .copy_from_nonoverlapping(place.as_ptr(), rest);
            }
        }
    }
}
