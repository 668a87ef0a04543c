//! Integer arithmetic. Division by zero gives all ones (PTX leaves it open).

use super::{Found, Opcode};
use crate::exec::program::Class;
use crate::lanes;

/// One handler for each listed type.
macro_rules! typed {
    ($kind:expr; $($name:literal $t:ty),+; $T:ident => $make:expr) => {
        match $kind {
            $($name => { type $T = $t; Some($make) })+
            _ => None,
        }
    };
}

/// The integer opcodes.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    if op.sat {
        return match (op.base, op.rest.as_slice(), op.ftz) {
            ("add", ["s32"], false) => Some(found(lanes!(|a: i32, b: i32| -> i32 { a.saturating_add(b) }))),
            ("mad", ["hi", "s32"], false) => Some(found(lanes!(|a: i32, b: i32, c: i32| -> i32 {
                (((i64::from(a) * i64::from(b)) >> 32) as i32).saturating_add(c)
            }))),
            ("sub", ["s32"], false) => Some(found(lanes!(|a: i32, b: i32| -> i32 { a.saturating_sub(b) }))),
            _ => None,
        };
    }
    let (base, rest) = op.plain()?;
    let pair = match (base, rest) {
        ("add", [t]) => typed!(*t; "s16" u16, "u16" u16, "s32" u32, "u32" u32, "s64" u64, "u64" u64;
            T => lanes!(|a: T, b: T| -> T { a.wrapping_add(b) })),
        ("sub", [t]) => typed!(*t; "s16" u16, "u16" u16, "s32" u32, "u32" u32, "s64" u64, "u64" u64;
            T => lanes!(|a: T, b: T| -> T { a.wrapping_sub(b) })),
        ("mul", ["lo", t]) => typed!(*t; "s16" u16, "u16" u16, "s32" u32, "u32" u32, "s64" u64, "u64" u64;
            T => lanes!(|a: T, b: T| -> T { a.wrapping_mul(b) })),
        ("mad", ["lo", t]) => typed!(*t; "s16" u16, "u16" u16, "s32" u32, "u32" u32, "s64" u64, "u64" u64;
            T => lanes!(|a: T, b: T, c: T| -> T { a.wrapping_mul(b).wrapping_add(c) })),
        ("mul", ["hi", t]) => high(t),
        ("mad", ["hi", "s32"]) => Some(lanes!(|a: i32, b: i32, c: i32| -> i32 {
            ((i64::from(a) * i64::from(b)) >> 32).wrapping_add(i64::from(c)) as i32
        })),
        ("mad", ["hi", "u32"]) => Some(lanes!(|a: u32, b: u32, c: u32| -> u32 {
            ((u64::from(a) * u64::from(b)) >> 32).wrapping_add(u64::from(c)) as u32
        })),
        ("mad", ["hi", "s64"]) => Some(lanes!(|a: i64, b: i64, c: i64| -> i64 {
            (((i128::from(a) * i128::from(b)) >> 64) as i64).wrapping_add(c)
        })),
        ("mad", ["hi", "u64"]) => Some(lanes!(|a: u64, b: u64, c: u64| -> u64 {
            (((u128::from(a) * u128::from(b)) >> 64) as u64).wrapping_add(c)
        })),
        ("mul", ["wide", t]) => match *t {
            "s16" => Some(lanes!(|a: i16, b: i16| -> i32 { i32::from(a) * i32::from(b) })),
            "u16" => Some(lanes!(|a: u16, b: u16| -> u32 { u32::from(a) * u32::from(b) })),
            "s32" => Some(lanes!(|a: i32, b: i32| -> i64 { i64::from(a) * i64::from(b) })),
            "u32" => Some(lanes!(|a: u32, b: u32| -> u64 { u64::from(a) * u64::from(b) })),
            _ => None,
        },
        ("mad", ["wide", t]) => match *t {
            "s16" => Some(lanes!(|a: i16, b: i16, c: i32| -> i32 { (i32::from(a) * i32::from(b)).wrapping_add(c) })),
            "u16" => Some(lanes!(|a: u16, b: u16, c: u32| -> u32 { (u32::from(a) * u32::from(b)).wrapping_add(c) })),
            "s32" => Some(lanes!(|a: i32, b: i32, c: i64| -> i64 { (i64::from(a) * i64::from(b)).wrapping_add(c) })),
            "u32" => Some(lanes!(|a: u32, b: u32, c: u64| -> u64 { (u64::from(a) * u64::from(b)).wrapping_add(c) })),
            _ => None,
        },
        ("div", [t]) => typed!(*t; "s16" i16, "u16" u16, "s32" i32, "u32" u32, "s64" i64, "u64" u64;
            T => lanes!(|a: T, b: T| -> T { if b == 0 { !0 } else { a.wrapping_div(b) } })),
        ("rem", [t]) => typed!(*t; "s16" i16, "u16" u16, "s32" i32, "u32" u32, "s64" i64, "u64" u64;
            T => lanes!(|a: T, b: T| -> T { if b == 0 { !0 } else { a.wrapping_rem(b) } })),
        ("min", [t]) => typed!(*t; "s16" i16, "u16" u16, "s32" i32, "u32" u32, "s64" i64, "u64" u64;
            T => lanes!(|a: T, b: T| -> T { a.min(b) })),
        ("max", [t]) => typed!(*t; "s16" i16, "u16" u16, "s32" i32, "u32" u32, "s64" i64, "u64" u64;
            T => lanes!(|a: T, b: T| -> T { a.max(b) })),
        ("abs", [t]) => typed!(*t; "s16" i16, "s32" i32, "s64" i64; T => lanes!(|a: T| -> T { a.wrapping_abs() })),
        ("neg", [t]) => typed!(*t; "s16" i16, "s32" i32, "s64" i64; T => lanes!(|a: T| -> T { a.wrapping_neg() })),
        ("sad", ["u16"]) => Some(lanes!(|a: u16, b: u16, c: u16| -> u16 { a.abs_diff(b).wrapping_add(c) })),
        ("sad", ["s16"]) => Some(lanes!(|a: i16, b: i16, c: u16| -> u16 { a.abs_diff(b).wrapping_add(c) })),
        ("sad", ["u64"]) => Some(lanes!(|a: u64, b: u64, c: u64| -> u64 { a.abs_diff(b).wrapping_add(c) })),
        ("sad", ["s64"]) => Some(lanes!(|a: i64, b: i64, c: u64| -> u64 { a.abs_diff(b).wrapping_add(c) })),
        ("sad", ["u32"]) => Some(lanes!(|a: u32, b: u32, c: u32| -> u32 { a.abs_diff(b).wrapping_add(c) })),
        ("sad", ["s32"]) => Some(lanes!(|a: i32, b: i32, c: u32| -> u32 { a.abs_diff(b).wrapping_add(c) })),
        _ => None,
    };
    pair.map(found)
}

fn high(t: &str) -> Option<(crate::exec::program::Handler, &'static [crate::decode::operands::Arg])> {
    match t {
        "s16" => Some(lanes!(|a: i16, b: i16| -> i16 { ((i32::from(a) * i32::from(b)) >> 16) as i16 })),
        "u16" => Some(lanes!(|a: u16, b: u16| -> u16 { ((u32::from(a) * u32::from(b)) >> 16) as u16 })),
        "s32" => Some(lanes!(|a: i32, b: i32| -> i32 { ((i64::from(a) * i64::from(b)) >> 32) as i32 })),
        "u32" => Some(lanes!(|a: u32, b: u32| -> u32 { ((u64::from(a) * u64::from(b)) >> 32) as u32 })),
        "s64" => Some(lanes!(|a: i64, b: i64| -> i64 { ((i128::from(a) * i128::from(b)) >> 64) as i64 })),
        "u64" => Some(lanes!(|a: u64, b: u64| -> u64 { ((u128::from(a) * u128::from(b)) >> 64) as u64 })),
        _ => None,
    }
}

fn found(pair: (crate::exec::program::Handler, &'static [crate::decode::operands::Arg])) -> Found {
    Found::new(Class::Integer, pair)
}
