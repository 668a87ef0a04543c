//! ReLU and residual addition where no batch norm takes them along. Buffers may have any layout.

use super::lanewise::{Lanewise, pass};
use super::simd::{Isa, Simd};

/// `output = max(input, 0)`; NaN stays NaN.
///
/// # Panics
/// The lengths are not equal.
pub fn relu(isa: Isa, input: &[f32], output: &mut [f32]) {
    pass(isa, [input], [output], Relu);
}

/// `gradient`, that of the output, becomes that of the input: zero where the output is not positive.
///
/// # Panics
/// The lengths are not equal.
pub fn relu_backward(isa: Isa, output: &[f32], gradient: &mut [f32]) {
    pass(isa, [output], [gradient], ReluBackward);
}

/// `sum = a + b`.
///
/// # Panics
/// The lengths are not equal.
pub fn add(isa: Isa, a: &[f32], b: &[f32], sum: &mut [f32]) {
    pass(isa, [a, b], [sum], Add);
}

/// `target = source`, by all threads.
///
/// # Panics
/// The lengths are not equal.
pub fn copy(isa: Isa, source: &[f32], target: &mut [f32]) {
    pass(isa, [source], [target], CopyFrom);
}

/// `sum += a`: how the gradient of a value used twice comes together.
///
/// # Panics
/// The lengths are not equal.
pub fn add_to(isa: Isa, a: &[f32], sum: &mut [f32]) {
    pass(isa, [a], [sum], AddTo);
}

/// `sum += factor * a`.
///
/// # Panics
/// The lengths are not equal.
pub fn add_scaled(isa: Isa, factor: f32, a: &[f32], sum: &mut [f32]) {
    pass(isa, [a], [sum], AddScaled(factor));
}

#[derive(Clone, Copy)]
struct Relu;

impl Lanewise<1, 1> for Relu {
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, [x]: [S::F; 1], _: [S::F; 1]) -> [S::F; 1] {
        [s.max(s.splat(0.0), x)]
    }
}

#[derive(Clone, Copy)]
struct ReluBackward;

impl Lanewise<1, 1> for ReluBackward {
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, [y]: [S::F; 1], [gradient]: [S::F; 1]) -> [S::F; 1] {
        let zero = s.splat(0.0);
        [s.select(s.gt(y, zero), gradient, zero)]
    }
}

#[derive(Clone, Copy)]
struct Add;

impl Lanewise<2, 1> for Add {
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, [a, b]: [S::F; 2], _: [S::F; 1]) -> [S::F; 1] {
        [s.add(a, b)]
    }
}

#[derive(Clone, Copy)]
struct CopyFrom;

impl Lanewise<1, 1> for CopyFrom {
    #[inline(always)]
    fn lanes<S: Simd>(self, _: S, [a]: [S::F; 1], _: [S::F; 1]) -> [S::F; 1] {
        [a]
    }
}

#[derive(Clone, Copy)]
struct AddTo;

impl Lanewise<1, 1> for AddTo {
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, [a]: [S::F; 1], [sum]: [S::F; 1]) -> [S::F; 1] {
        [s.add(sum, a)]
    }
}

#[derive(Clone, Copy)]
struct AddScaled(f32);

impl Lanewise<1, 1> for AddScaled {
    #[inline(always)]
    fn lanes<S: Simd>(self, s: S, [a]: [S::F; 1], [sum]: [S::F; 1]) -> [S::F; 1] {
        [s.add(sum, s.mul(s.splat(self.0), a))]
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{values, with_threads};
    use super::*;

    #[test]
    fn every_element_is_treated_alike() {
        for len in [0, 1, 7, 16, 31, 16_384, 40_001] {
            let (mut a, b) = (values(len, 1, 0.0), values(len, 2, 0.0));
            if len > 3 {
                (a[0], a[1]) = (0.0, f32::NAN);
            }
            for isa in Isa::available() {
                for threads in 1..=3 {
                    let [mut positive, mut sum] = [(); 2].map(|()| vec![f32::NAN; len]);
                    let [mut gradient, mut total] = [(); 2].map(|()| b.clone());
                    with_threads(threads, || {
                        relu(isa, &a, &mut positive);
                        relu_backward(isa, &a, &mut gradient);
                        add(isa, &a, &b, &mut sum);
                        add_to(isa, &a, &mut total);
                    });
                    for k in 0..len {
                        let bits = |got: f32, want: f32| {
                            assert_eq!(got.to_bits(), want.to_bits(), "{k} {}", isa.name())
                        };
                        bits(
                            positive[k],
                            if a[k] > 0.0 || a[k].is_nan() {
                                a[k]
                            } else {
                                0.0
                            },
                        );
                        bits(gradient[k], if a[k] > 0.0 { b[k] } else { 0.0 });
                        bits(sum[k], a[k] + b[k]);
                        bits(total[k], a[k] + b[k]);
                    }
                }
            }
        }
    }
}
