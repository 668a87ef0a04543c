//! Numbers with a derivative along one direction.
//!
//! Run on them, forward and backward passes give the gradient and, in its derivatives, the product of the Hessian with
//! the direction that the parameters' derivatives are: exact but for rounding, where differences of gradients jump
//! whenever a ReLU or a pool takes another branch between the two points.

use crate::real::Real;
use core::cmp::Ordering;
use core::ops::{Add, Div, Mul, Neg, Sub};

/// value + derivative * e with e * e = 0. Compared by value alone, so that branches are those of the value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Dual {
    /// The number.
    pub value: f64,
    /// Its derivative.
    pub derivative: f64,
}

impl Dual {
    /// A number with this derivative.
    pub const fn new(value: f64, derivative: f64) -> Self {
        Self { value, derivative }
    }

    /// A number that does not change.
    pub const fn constant(value: f64) -> Self {
        Self::new(value, 0.0)
    }
}

impl PartialEq for Dual {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl PartialOrd for Dual {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        self.value.partial_cmp(&other.value)
    }
}

impl Add for Dual {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self::new(self.value + other.value, self.derivative + other.derivative)
    }
}

impl Sub for Dual {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self::new(self.value - other.value, self.derivative - other.derivative)
    }
}

impl Mul for Dual {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self::new(self.value * other.value, self.derivative * other.value + self.value * other.derivative)
    }
}

impl Div for Dual {
    type Output = Self;

    fn div(self, other: Self) -> Self {
        let value = self.value / other.value;
        Self::new(value, (self.derivative - value * other.derivative) / other.value)
    }
}

impl Neg for Dual {
    type Output = Self;

    fn neg(self) -> Self {
        Self::new(-self.value, -self.derivative)
    }
}

impl Real for Dual {
    const ZERO: Self = Self::constant(0.0);
    const ONE: Self = Self::constant(1.0);
    const MINUS_INFINITY: Self = Self::constant(f64::NEG_INFINITY);

    fn from_f32(value: f32) -> Self {
        Self::constant(value.into())
    }

    fn from_usize(value: usize) -> Self {
        Self::constant(value as f64)
    }

    fn sqrt(self) -> Self {
        let value = libm::sqrt(self.value);
        Self::new(value, self.derivative / (2.0 * value))
    }

    fn exp(self) -> Self {
        let value = libm::exp(self.value);
        Self::new(value, self.derivative * value)
    }

    fn ln(self) -> Self {
        Self::new(libm::log(self.value), self.derivative / self.value)
    }

    fn is_nan(self) -> bool {
        self.value.is_nan()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_those_of_differences() {
        fn f<T: Real>(x: T) -> T {
            let y = (x * x + T::ONE).sqrt().ln() / (-x).exp() - x;
            if y > T::ZERO { y * y } else { y }
        }
        for x in [-1.5, -0.2, 0.3, 2.0] {
            let h = 1e-6;
            let difference = (f(x + h) - f(x - h)) / (2.0 * h);
            let found = f(Dual::new(x, 1.0));
            assert_eq!(found.value, f(x));
            assert!((found.derivative - difference).abs() < 1e-8 * (1.0 + difference.abs()), "{found:?}, {difference}");
        }
    }
}
