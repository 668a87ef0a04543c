//! The numbers that portable kernels work on: f32, which is the product, f64, which is its reference, and numbers with a
//! derivative, which give products with the Hessian.

use core::ops::{Add, Div, Mul, Neg, Range, Sub};

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for crate::dual::Dual {}
}

/// f32, f64 or [`Dual`](crate::dual::Dual).
pub trait Real:
    Copy
    + Default
    + PartialOrd
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + sealed::Sealed
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Minus infinity.
    const MINUS_INFINITY: Self;
    /// The nearest value.
    fn from_f32(value: f32) -> Self;
    /// The nearest value.
    fn from_usize(value: usize) -> Self;
    /// Square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// Exponential function.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Whether it is not a number.
    fn is_nan(self) -> bool;
}

macro_rules! real {
    ($type:ty, $sqrt:path, $exp:path, $ln:path) => {
        impl Real for $type {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const MINUS_INFINITY: Self = <$type>::NEG_INFINITY;

            fn from_f32(value: f32) -> Self {
                value.into()
            }

            fn from_usize(value: usize) -> Self {
                value as $type
            }

            fn sqrt(self) -> Self {
                $sqrt(self)
            }

            fn exp(self) -> Self {
                $exp(self)
            }

            fn ln(self) -> Self {
                $ln(self)
            }

            fn is_nan(self) -> bool {
                <$type>::is_nan(self)
            }
        }
    };
}

real!(f32, libm::sqrtf, libm::expf, libm::logf);
real!(f64, libm::sqrt, libm::exp, libm::log);

/// Terms that are added one after the other; longer sums are sums of such runs, which keeps rounding errors small.
pub(crate) const RUN: usize = 64;

/// Sum of `term` over `indices`, in runs.
pub(crate) fn sum<T: Real>(indices: Range<usize>, term: impl Fn(usize) -> T) -> T {
    let mut total = T::ZERO;
    for start in indices.clone().step_by(RUN) {
        let run = start..(start + RUN).min(indices.end);
        total = total + run.fold(T::ZERO, |sum, i| sum + term(i));
    }
    total
}

/// Sum of products in 8 partial sums, which keeps rounding errors small and lets compilers use vectors.
pub(crate) fn dot<T: Real>(a: &[T], b: &[T]) -> T {
    let mut lanes = [T::ZERO; 8];
    let (a_chunks, b_chunks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest = a_chunks.remainder().iter().zip(b_chunks.remainder());
    for (lane, (a, b)) in rest.enumerate() {
        lanes[lane] = *a * *b;
    }
    for (a, b) in a_chunks.zip(b_chunks) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane = *lane + *a * *b;
        }
    }
    let [a, b, c, d, e, f, g, h] = lanes;
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}
