//! f32 and f64 arithmetic.
//!
//! `.rn` is IEEE 754's; so are `fma`, `div.rn`, `sqrt.rn` and `rcp.rn`. The `.approx` functions are computed in f64 and
//! rounded once, so they are closer to the truth than a GPU's; or, on request, as far from it as PTX allows, up or down by
//! the operand's bits. A program must hold with either.

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
        Some(&"f64") if !op.ftz && !op.sat => double(op),
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
        ("sqrt", ["rn"]) => arithmetic(f32s!(op, |a| a.sqrt()), 1),
        ("rcp", ["rn"]) => arithmetic(f32s!(op, |a| 1.0 / a), 1),
        ("sqrt", ["approx"]) => special(f32s!(op, |a| near(f64::from(a).sqrt(), a, 2.0 * UNIT, 0.0))),
        ("rcp", ["approx"]) => special(f32s!(op, |a| near(1.0 / f64::from(a), a, 1.5 * UNIT, 0.0))),
        ("rsqrt", ["approx"]) => special(f32s!(op, |a| near(1.0 / f64::from(a).sqrt(), a, 2.0 * UNIT, 0.0))),
        ("ex2", ["approx"]) => special(f32s!(op, |a| near(f64::from(a).exp2(), a, LAST, 0.0))),
        ("lg2", ["approx"]) => special(f32s!(op, |a| near(f64::from(a).log2(), a, LAST, if a > 0.5 && a < 2.0 { LAST } else { 0.0 }))),
        ("sin", ["approx"]) => special(f32s!(op, |a| near(f64::from(a).sin(), a, 0.0, 2.0 * LAST))),
        ("cos", ["approx"]) => special(f32s!(op, |a| near(f64::from(a).cos(), a, 0.0, 2.0 * LAST))),
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
        ("min", []) => lanes!(|a: f64, b: f64| -> f64 { a.min(b) }),
        ("max", []) => lanes!(|a: f64, b: f64| -> f64 { a.max(b) }),
        ("abs", []) => lanes!(|a: f64| -> f64 { a.abs() }),
        ("neg", []) => lanes!(|a: f64| -> f64 { -a }),
        ("copysign", []) => lanes!(|a: f64, b: f64| -> f64 { b.copysign(a) }),
        _ => return None,
    };
    Some(Found::new(Class::Float64, pair))
}

/// A direction of rounding other than to nearest.
#[derive(Clone, Copy, PartialEq)]
enum Toward {
    Zero,
    Minus,
    Plus,
}

/// Rounds `s + rest` (exact, `rest` below half a unit of `s`) to f32.
fn directed(s: f64, rest: f64, toward: Toward) -> f32 {
    let near = s as f32;
    if !s.is_finite() {
        return near;
    }
    let below = |x: f32| {
        // Is x less than s + rest?
        let x = f64::from(x);
        if x == s { rest > 0.0 } else { x < s }
    };
    let above = |x: f32| {
        let x = f64::from(x);
        if x == s { rest < 0.0 } else { x > s }
    };
    let up = toward == Toward::Plus || toward == Toward::Zero && (s < 0.0 || s == 0.0 && rest < 0.0);
    if up {
        if below(near) { near.next_up() } else { near }
    } else if above(near) {
        near.next_down()
    } else {
        near
    }
}

/// a + b exactly, as a rounded sum and the rest.
fn exact_sum(a: f64, b: f64) -> (f64, f64) {
    let s = a + b;
    let t = s - a;
    (s, (a - (s - t)) + (b - t))
}

fn sum(a: f32, b: f32, toward: Toward) -> f32 {
    let (s, rest) = exact_sum(f64::from(a), f64::from(b));
    if s == 0.0 { signed_zero(a, b, toward) } else { directed(s, rest, toward) }
}

fn product(a: f32, b: f32, toward: Toward) -> f32 {
    let s = f64::from(a) * f64::from(b);
    if s == 0.0 { a * b } else { directed(s, 0.0, toward) }
}

fn fused(a: f32, b: f32, c: f32, toward: Toward) -> f32 {
    let p = f64::from(a) * f64::from(b);
    let (s, rest) = exact_sum(p, f64::from(c));
    if s == 0.0 { signed_zero(p as f32, c, toward) } else { directed(s, rest, toward) }
}

/// A sum that is zero: negative when rounding down, unless both are positive zeros.
fn signed_zero(a: f32, b: f32, toward: Toward) -> f32 {
    let both = |negative: bool| a.is_sign_negative() == negative && b.is_sign_negative() == negative;
    if both(true) || toward == Toward::Minus && !both(false) { -0.0 } else { 0.0 }
}
