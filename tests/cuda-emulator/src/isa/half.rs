//! f16 and bf16: conversions, and arithmetic on scalars and pairs.

use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::program::{Class, Handler};
use crate::lanes;

/// The f32 of an f16.
#[inline(always)]
#[must_use]
pub fn from_f16(h: u16) -> f32 {
    let (sign, exponent, mantissa) = (u32::from(h >> 15) << 31, u32::from(h >> 10 & 31), u32::from(h & 0x3ff));
    match exponent {
        0 => f32::from_bits(sign | (mantissa as f32 * (1.0 / 16_777_216.0)).to_bits()),
        31 => f32::from_bits(sign | 0x7f80_0000 | mantissa << 13),
        _ => f32::from_bits(sign | (exponent + 112) << 23 | mantissa << 13),
    }
}

/// The f16 of an f64 (so also of an f32), rounded to nearest, ties to even.
#[inline(always)]
#[must_use]
pub fn to_f16(x: f64) -> u16 {
    if x.is_nan() {
        return 0x7fff;
    }
    let sign = if x.is_sign_negative() { 0x8000 } else { 0 };
    let a = x.abs();
    if a >= 65520.0 {
        return sign | 0x7c00;
    }
    // The unit in the last place: adding and taking away 2^52 of them rounds to nearest even.
    let unit = if a < 6.103_515_625e-5 {
        1.0 / 16_777_216.0
    } else {
        f64::from_bits((a.to_bits() >> 52) << 52) / 1024.0
    };
    let big = unit * 4_503_599_627_370_496.0;
    let rounded = (a + big) - big;
    if rounded < 6.103_515_625e-5 {
        return sign | (rounded * 16_777_216.0) as u16;
    }
    let bits = rounded.to_bits();
    let exponent = (bits >> 52) as i32 - 1023 + 15;
    sign | (exponent as u16) << 10 | (bits >> 42 & 0x3ff) as u16
}

/// The f32 of a bf16.
#[inline(always)]
#[must_use]
pub fn from_bf16(h: u16) -> f32 {
    f32::from_bits(u32::from(h) << 16)
}

/// The bf16 of an f32, rounded to nearest, ties to even.
#[inline(always)]
#[must_use]
pub fn to_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    if x.is_nan() { 0x7fff } else { ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16 }
}

/// The bf16 of a sum or fused product known in f64 with its rest: rounding twice must not change the result.
#[inline(always)]
fn to_bf16_exact(s: f64) -> u16 {
    // To odd in f32 first: then the second rounding sees every tie as it is.
    let near = s as f32;
    let odd = if f64::from(near) == s || !near.is_finite() || near.to_bits() & 1 == 1 {
        near
    } else if f64::from(near) < s {
        near.next_up()
    } else {
        near.next_down()
    };
    to_bf16(odd)
}

#[inline(always)]
fn h(x: u16) -> f64 {
    f64::from(from_f16(x))
}

#[inline(always)]
fn b(x: u16) -> f64 {
    f64::from(from_bf16(x))
}

/// Negative results become 0; NaN stays.
#[inline(always)]
fn relu(x: f64) -> f64 {
    if x < 0.0 { 0.0 } else { x }
}

macro_rules! half {
    ($t:expr, $from16:ident, $to16:ident, |$($x:ident),+| $e:expr) => {
        match $t {
            Kind::Scalar => lanes!(|$($x: u16),+| -> u16 { $(let $x = $from16($x);)+ $to16($e) }),
            Kind::Pair => lanes!(|$($x: u32),+| -> u32 {
                let half = |shift: u32| {
                    $(let $x = $from16(($x >> shift) as u16);)+
                    u32::from($to16($e))
                };
                half(0) | half(16) << 16
            }),
        }
    };
}

#[derive(Clone, Copy)]
enum Kind {
    Scalar,
    Pair,
}

/// Half-precision arithmetic: in f64, rounded once (a product of two is exact there, and so are most sums).
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    // `ex2.approx.ftz.bf16` alone has `.ftz`, and always.
    let brain_ex2 = op.ftz && !op.sat && op.base == "ex2";
    let (base, rest) = if brain_ex2 { (op.base, op.rest.as_slice()) } else { op.plain()? };
    let (&last, modifiers) = rest.split_last()?;
    let (kind, brain) = match last {
        "f16" => (Kind::Scalar, false),
        "f16x2" => (Kind::Pair, false),
        "bf16" => (Kind::Scalar, true),
        "bf16x2" => (Kind::Pair, true),
        _ => return None,
    };
    if brain_ex2 && (!brain || modifiers != ["approx"]) {
        return None;
    }
    let found: (Handler, &'static [Arg]) = match (base, modifiers, brain) {
        ("add", [] | ["rn"], false) => half!(kind, h, to_f16, |x, y| x + y),
        ("sub", [] | ["rn"], false) => half!(kind, h, to_f16, |x, y| x - y),
        ("mul", [] | ["rn"], false) => half!(kind, h, to_f16, |x, y| x * y),
        ("fma", ["rn"], false) => half!(kind, h, to_f16, |x, y, w| x.mul_add(y, w)),
        ("add", [] | ["rn"], true) => half!(kind, b, to_bf16_exact, |x, y| x + y),
        ("sub", [] | ["rn"], true) => half!(kind, b, to_bf16_exact, |x, y| x - y),
        ("mul", [] | ["rn"], true) => half!(kind, b, to_bf16_exact, |x, y| x * y),
        ("fma", ["rn"], true) => half!(kind, b, to_bf16_exact, |x, y, w| x.mul_add(y, w)),
        ("neg", [], _) => match kind {
            Kind::Scalar => lanes!(|x: u16| -> u16 { x ^ 0x8000 }),
            Kind::Pair => lanes!(|x: u32| -> u32 { x ^ 0x8000_8000 }),
        },
        ("abs", [], _) => match kind {
            Kind::Scalar => lanes!(|x: u16| -> u16 { x & 0x7fff }),
            Kind::Pair => lanes!(|x: u32| -> u32 { x & 0x7fff_7fff }),
        },
        ("ex2", ["approx"], false) => half!(kind, h, to_f16, |x| x.exp2()),
        ("tanh", ["approx"], false) => half!(kind, h, to_f16, |x| x.tanh()),
        ("ex2", ["approx"], true) if brain_ex2 => half!(kind, b, to_bf16_exact, |x| if x.abs() < 1.17549435e-38 { 1.0 } else { x.exp2() }),
        ("tanh", ["approx"], true) => half!(kind, b, to_bf16_exact, |x| x.tanh()),
        ("fma", ["rn", "relu"], false) => half!(kind, h, to_f16, |x, y, w| relu(x.mul_add(y, w))),
        ("fma", ["rn", "relu"], true) => half!(kind, b, to_bf16_exact, |x, y, w| relu(x.mul_add(y, w))),
        ("max", ["NaN"], false) => half!(kind, h, to_f16, |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) }),
        ("min", ["NaN"], false) => half!(kind, h, to_f16, |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.min(y) }),
        ("max", ["NaN"], true) => half!(kind, b, to_bf16_exact, |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.max(y) }),
        ("min", ["NaN"], true) => half!(kind, b, to_bf16_exact, |x, y| if x.is_nan() || y.is_nan() { f64::NAN } else { x.min(y) }),
        ("max", [], false) => half!(kind, h, to_f16, |x, y| x.max(y)),
        ("min", [], false) => half!(kind, h, to_f16, |x, y| x.min(y)),
        ("max", [], true) => half!(kind, b, to_bf16_exact, |x, y| x.max(y)),
        ("min", [], true) => half!(kind, b, to_bf16_exact, |x, y| x.min(y)),
        _ => return None,
    };
    Some(Found::new(Class::Half, found).flops(if matches!(kind, Kind::Pair) { 2 } else { 1 }))
}

