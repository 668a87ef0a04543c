//! A buffer that several threads write at once, each in places of its own.

use std::marker::PhantomData;

/// A mutable slice whose disjoint parts are handed to tasks that are not neighbours in memory (a
/// channel of every block of images).
#[derive(Clone, Copy)]
pub(crate) struct Shared<'a, T> {
    start: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

impl<'a, T> Shared<'a, T> {
    /// Borrows the slice exclusively for as long as tasks write to it.
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self {
            start: slice.as_mut_ptr(),
            len: slice.len(),
            slice: PhantomData,
        }
    }

    /// Pointer to element `offset`, for accesses that no other task makes to the same elements.
    #[inline(always)]
    pub(crate) fn at(self, offset: usize) -> *mut T {
        debug_assert!(offset <= self.len);
        self.start.wrapping_add(offset)
    }
}

// SAFETY: the pointer alone does nothing; whoever dereferences it promises that no other task
// accesses the same elements.
unsafe impl<T: Send> Send for Shared<'_, T> {}
// SAFETY: as for Send.
unsafe impl<T: Send> Sync for Shared<'_, T> {}
