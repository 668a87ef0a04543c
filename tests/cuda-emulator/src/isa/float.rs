//! f32 and f64 arithmetic.
//!
//! `.rn` is IEEE 754's; so are `fma`, `div.rn`, `sqrt.rn` and `rcp.rn`. The `.approx` functions are computed in f64 and
//! rounded once, so they are closer to the truth than a GPU's; or, on request, as far from it as PTX allows, up or down by
//! the operand's bits. A program must hold with either.

use super::rounding::{Toward, fused, fused64, product, product64, quotient, quotient64, root, root64, sum, sum64};
use super::{Found, Opcode};
use crate::exec::program::Class;
use crate::lanes;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

static WORST: AtomicBool = AtomicBool::new(false);

/// Whether `.approx` functions are as wrong as PTX allows.
pub fn set_worst(worst: bool) {
    WORST.store(worst, Relaxed);
}

/// The result of an `.approx` function, with the largest relative and absolute error that PTX states for it.
#[inline(always)]
fn near(exact: f64, operand: f32, relative: f64, absolute: f64) -> f32 {
    let rounded = exact as f32;
    if !WORST.load(Relaxed) || !rounded.is_normal() {
        return rounded;
    }
    // Rounding takes half a unit of the error allowed.
    let error = (exact.abs() * relative).max(absolute) - exact.abs() * HALF_UNIT;
    let up = operand.to_bits().wrapping_mul(0x9e37_79b9) >> 31 == 0;
    (exact + if up { error.max(0.0) } else { -error.max(0.0) }) as f32
}

/// Half a unit in the last place is at most this part of an f32.
const HALF_UNIT: f64 = 1.0 / 16_777_216.0;
/// One unit in the last place is at least this part.
const UNIT: f64 = 1.0 / 16_777_216.0;
/// 2^-22.
const LAST: f64 = 1.0 / 4_194_304.0;
/// 2^-22.4.
const RSQRT: f64 = 1.806_865_6e-7;
/// 2^-20.5: the absolute error of `sin` and `cos` between -2π and 2π.
const ANGLE: f64 = 6.743_495_761_743_064e-7;
/// 2^-14.7: theirs further out.
const FAR_ANGLE: f64 = 3.757_171_966_880_853e-5;

/// The absolute error of `sin` and `cos`.
#[inline(always)]
fn of_angle(a: f32) -> f64 {
    if a.abs() <= std::f32::consts::TAU { ANGLE } else { FAR_ANGLE }
}

/// `.ftz`: a subnormal becomes a zero of its sign.
#[inline(always)]
fn z(x: f32) -> f32 {
    if x.is_subnormal() { 0f32.copysign(x) } else { x }
}

/// `.sat`: to [0, 1], NaN to 0.
#[inline(always)]
pub fn saturate(x: f32) -> f32 {
    if x > 0.0 { if x < 1.0 { x } else { 1.0 } } else { 0.0 }
}

/// PTX's `min` and `max`: of a number and a NaN the number; -0 is less than +0.
#[inline(always)]
fn min32(a: f32, b: f32) -> f32 {
    if a.is_nan() {
        if b.is_nan() { f32::from_bits(0x7fff_ffff) } else { b }
    } else if b.is_nan() || a < b || (a == b && a.is_sign_negative()) {
        a
    } else {
        b
    }
}

#[inline(always)]
fn max32(a: f32, b: f32) -> f32 {
    if a.is_nan() {
        if b.is_nan() { f32::from_bits(0x7fff_ffff) } else { b }
    } else if b.is_nan() || a > b || (a == b && a.is_sign_positive()) {
        a
    } else {
        b
    }
}

/// A handler with and without `.ftz` and `.sat`.
macro_rules! f32s {
    ($op:expr, |$($x:ident),+| $e:expr) => {
        match ($op.ftz, $op.sat) {
            (false, false) => lanes!(|$($x: f32),+| -> f32 { $e }),
            (true, false) => lanes!(|$($x: f32),+| -> f32 { $(let $x = z($x);)+ z($e) }),
            (false, true) => lanes!(|$($x: f32),+| -> f32 { saturate($e) }),
            (true, true) => lanes!(|$($x: f32),+| -> f32 { $(let $x = z($x);)+ saturate(z($e)) }),
        }
    };
}

/// The floating-point opcodes.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    match op.rest.last() {
        Some(&"f32") => single(op),
        Some(&"f64") if op.ftz && !op.sat => gross(op),
        Some(&"f64") if !op.sat => double(op),
        _ => None,
    }
}

fn single(op: &Opcode<'_>) -> Option<Found> {
    let modifiers = &op.rest[..op.rest.len() - 1];
    let arithmetic = |pair, flops| Some(Found::new(Class::Float32, pair).flops(flops));
    let special = |pair| Some(Found::new(Class::Special, pair).flops(1));
    match (op.base, modifiers) {
        ("add", [] | ["rn"]) => arithmetic(f32s!(op, |a, b| a + b), 1),
        ("sub", [] | ["rn"]) => arithmetic(f32s!(op, |a, b| a - b), 1),
        ("mul", [] | ["rn"]) => arithmetic(f32s!(op, |a, b| a * b), 1),
        ("fma", ["rn"]) | ("mad", ["rn"]) => arithmetic(f32s!(op, |a, b, c| a.mul_add(b, c)), 2),
        ("add", ["rz"]) => arithmetic(f32s!(op, |a, b| sum(a, b, Toward::Zero)), 1),
        ("add", ["rm"]) => arithmetic(f32s!(op, |a, b| sum(a, b, Toward::Minus)), 1),
        ("add", ["rp"]) => arithmetic(f32s!(op, |a, b| sum(a, b, Toward::Plus)), 1),
        ("sub", ["rz"]) => arithmetic(f32s!(op, |a, b| sum(a, -b, Toward::Zero)), 1),
        ("sub", ["rm"]) => arithmetic(f32s!(op, |a, b| sum(a, -b, Toward::Minus)), 1),
        ("sub", ["rp"]) => arithmetic(f32s!(op, |a, b| sum(a, -b, Toward::Plus)), 1),
        ("mul", ["rz"]) => arithmetic(f32s!(op, |a, b| product(a, b, Toward::Zero)), 1),
        ("mul", ["rm"]) => arithmetic(f32s!(op, |a, b| product(a, b, Toward::Minus)), 1),
        ("mul", ["rp"]) => arithmetic(f32s!(op, |a, b| product(a, b, Toward::Plus)), 1),
        ("fma", ["rz"]) => arithmetic(f32s!(op, |a, b, c| fused(a, b, c, Toward::Zero)), 2),
        ("fma", ["rm"]) => arithmetic(f32s!(op, |a, b, c| fused(a, b, c, Toward::Minus)), 2),
        ("fma", ["rp"]) => arithmetic(f32s!(op, |a, b, c| fused(a, b, c, Toward::Plus)), 2),
        _ if op.sat => None,
        ("div", ["rn"]) => arithmetic(f32s!(op, |a, b| a / b), 1),
        // Above 2^126 the reciprocal of `div.approx` is flushed to zero; `div.full` scales and holds.
        ("div", ["approx"]) => special(f32s!(op, |a, b| {
            if b.abs() > f32::from_bits(0x7e80_0000) && b.is_finite() { a * 0f32.copysign(b) } else { near(f64::from(a) / f64::from(b), a, 2.0 * UNIT, 0.0) }
        })),
        ("div", ["full"]) => special(f32s!(op, |a, b| near(f64::from(a) / f64::from(b), a, 2.0 * UNIT, 0.0))),
        ("div", ["rz"]) => arithmetic(f32s!(op, |a, b| quotient(a, b, Toward::Zero)), 1),
        ("div", ["rm"]) => arithmetic(f32s!(op, |a, b| quotient(a, b, Toward::Minus)), 1),
        ("div", ["rp"]) => arithmetic(f32s!(op, |a, b| quotient(a, b, Toward::Plus)), 1),
        ("sqrt", ["rz"]) => arithmetic(f32s!(op, |a| root(a, Toward::Zero)), 1),
        ("sqrt", ["rm"]) => arithmetic(f32s!(op, |a| root(a, Toward::Minus)), 1),
        ("sqrt", ["rp"]) => arithmetic(f32s!(op, |a| root(a, Toward::Plus)), 1),
        ("rcp", ["rz"]) => arithmetic(f32s!(op, |a| quotient(1.0, a, Toward::Zero)), 1),
        ("rcp", ["rm"]) => arithmetic(f32s!(op, |a| quotient(1.0, a, Toward::Minus)), 1),
        ("rcp", ["rp"]) => arithmetic(f32s!(op, |a| quotient(1.0, a, Toward::Plus)), 1),
        ("sqrt", ["rn"]) => arithmetic(f32s!(op, |a| a.sqrt()), 1),
        ("rcp", ["rn"]) => arithmetic(f32s!(op, |a| 1.0 / a), 1),
        ("sqrt", ["approx"]) => special(f32s!(op, |a| near(f64::from(a).sqrt(), a, 2.0 * UNIT, 0.0))),
        ("rcp", ["approx"]) => special(f32s!(op, |a| near(1.0 / f64::from(a), a, 2.0 * UNIT, 0.0))),
        ("rsqrt", ["approx"]) => special(f32s!(op, |a| near(1.0 / f64::from(a).sqrt(), a, RSQRT, 0.0))),
        ("ex2", ["approx"]) => special(f32s!(op, |a| near(f64::from(a).exp2(), a, LAST, 0.0))),
        ("lg2", ["approx"]) => special(f32s!(op, |a| near(f64::from(a).log2(), a, LAST, if a > 0.5 && a < 2.0 { LAST } else { 0.0 }))),
        ("sin", ["approx"]) => special(f32s!(op, |a| near(f64::from(a).sin(), a, 0.0, of_angle(a)))),
        ("cos", ["approx"]) => special(f32s!(op, |a| near(f64::from(a).cos(), a, 0.0, of_angle(a)))),
        ("tanh", ["approx"]) if !op.ftz => special(f32s!(op, |a| near(f64::from(a).tanh(), a, 1.0 / 2048.0, 0.0))),
        ("min", []) => arithmetic(f32s!(op, |a, b| min32(a, b)), 1),
        ("max", []) => arithmetic(f32s!(op, |a, b| max32(a, b)), 1),
        ("min", ["NaN"]) => arithmetic(f32s!(op, |a, b| if a.is_nan() || b.is_nan() { f32::from_bits(0x7fff_ffff) } else { min32(a, b) }), 1),
        ("max", ["NaN"]) => arithmetic(f32s!(op, |a, b| if a.is_nan() || b.is_nan() { f32::from_bits(0x7fff_ffff) } else { max32(a, b) }), 1),
        ("abs", []) => arithmetic(f32s!(op, |a| a.abs()), 0),
        ("neg", []) => arithmetic(f32s!(op, |a| -a), 0),
        // The sign of the first, the size of the second.
        ("copysign", []) if !op.ftz => arithmetic(lanes!(|a: f32, b: f32| -> f32 { b.copysign(a) }), 0),
        _ => None,
    }
}

/// Handlers of an f64 opcode that rounds in a direction.
macro_rules! directed64 {
    ($base:expr, $toward:expr) => {
        match $base {
            "add" => lanes!(|a: f64, b: f64| -> f64 { sum64(a, b, $toward) }),
            "sub" => lanes!(|a: f64, b: f64| -> f64 { sum64(a, -b, $toward) }),
            "mul" => lanes!(|a: f64, b: f64| -> f64 { product64(a, b, $toward) }),
            "fma" => lanes!(|a: f64, b: f64, c: f64| -> f64 { fused64(a, b, c, $toward) }),
            "div" => lanes!(|a: f64, b: f64| -> f64 { quotient64(a, b, $toward) }),
            "sqrt" => lanes!(|a: f64| -> f64 { root64(a, $toward) }),
            _ => lanes!(|a: f64| -> f64 { quotient64(1.0, a, $toward) }),
        }
    };
}

/// `rcp` and `rsqrt.approx.ftz.f64`: of the operand's upper half, to an upper half; the lower one is zero.
fn gross(op: &Opcode<'_>) -> Option<Found> {
    fn upper(x: f64) -> f64 {
        let x = f64::from_bits(x.to_bits() & 0xffff_ffff_0000_0000);
        if x.is_subnormal() { 0f64.copysign(x) } else { x }
    }
    let pair = match (op.base, op.rest.as_slice()) {
        ("rcp", ["approx", _]) => lanes!(|a: f64| -> f64 { upper(1.0 / upper(a)) }),
        ("rsqrt", ["approx", _]) => lanes!(|a: f64| -> f64 { upper(1.0 / upper(a).sqrt()) }),
        _ => return None,
    };
    Some(Found::new(Class::Float64, pair))
}

fn double(op: &Opcode<'_>) -> Option<Found> {
    let modifiers = &op.rest[..op.rest.len() - 1];
    let pair = match (op.base, modifiers) {
        ("add", [] | ["rn"]) => lanes!(|a: f64, b: f64| -> f64 { a + b }),
        ("sub", [] | ["rn"]) => lanes!(|a: f64, b: f64| -> f64 { a - b }),
        ("mul", [] | ["rn"]) => lanes!(|a: f64, b: f64| -> f64 { a * b }),
        ("fma" | "mad", ["rn"]) => lanes!(|a: f64, b: f64, c: f64| -> f64 { a.mul_add(b, c) }),
        ("div", ["rn"]) => lanes!(|a: f64, b: f64| -> f64 { a / b }),
        ("sqrt", ["rn"]) => lanes!(|a: f64| -> f64 { a.sqrt() }),
        ("rcp", ["rn"]) => lanes!(|a: f64| -> f64 { 1.0 / a }),
        ("add" | "sub" | "mul" | "fma" | "div" | "sqrt" | "rcp", ["rz"]) => directed64!(op.base, Toward::Zero),
        ("add" | "sub" | "mul" | "fma" | "div" | "sqrt" | "rcp", ["rm"]) => directed64!(op.base, Toward::Minus),
        ("add" | "sub" | "mul" | "fma" | "div" | "sqrt" | "rcp", ["rp"]) => directed64!(op.base, Toward::Plus),
        ("rsqrt", ["approx"]) => lanes!(|a: f64| -> f64 { 1.0 / a.sqrt() }),
        ("min", []) => lanes!(|a: f64, b: f64| -> f64 { a.min(b) }),
        ("max", []) => lanes!(|a: f64, b: f64| -> f64 { a.max(b) }),
        ("abs", []) => lanes!(|a: f64| -> f64 { a.abs() }),
        ("neg", []) => lanes!(|a: f64| -> f64 { -a }),
        ("copysign", []) => lanes!(|a: f64, b: f64| -> f64 { b.copysign(a) }),
        _ => return None,
    };
    Some(Found::new(Class::Float64, pair))
}
