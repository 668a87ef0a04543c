//! max(x, 0), on all values alike; the gradient at 0 is 0.

use crate::real::Real;

pub(crate) fn forward<T: Real>(x: &[T], y: &mut [T]) {
    // Not a number stays one: it must reach the loss, where it is noticed.
    let relu = |x: T| if x < T::ZERO { T::ZERO } else { x };
    y.iter_mut().zip(x).for_each(|(y, x)| *y = relu(*x));
}

/// dx += dy where the output y is positive.
pub(crate) fn backward<T: Real>(y: &[T], dy: &[T], dx: &mut [T]) {
    for ((y, dy), dx) in y.iter().zip(dy).zip(dx) {
        if *y > T::ZERO {
            *dx = *dx + *dy;
        }
    }
}
