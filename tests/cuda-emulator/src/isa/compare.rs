//! Comparisons into predicates, and selections by them.

use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::lanes::Lane;
use crate::exec::machine::Machine;
use crate::exec::program::{Class, Code, Handler, NONE, Step};
use crate::ptx::module::Width::{self, B16, B32, B64};

/// `p` (and `q`, its complement) from the comparison's lanes, combined with a third predicate if there is one.
#[inline(always)]
fn finish(m: &mut Machine<'_>, c: &Code, mask: u32, result: u32) -> Step {
    let (mut p, mut q) = (result, !result);
    if c.small[0] != 0 {
        let other = m.predicate(c.r[4]) ^ if c.small[1] & 1 != 0 { u32::MAX } else { 0 };
        let combine = |x: u32| match c.small[0] {
            1 => x & other,
            2 => x | other,
            _ => x ^ other,
        };
        (p, q) = (combine(p), combine(q));
    }
    m.set_predicate(c.r[0], mask, p);
    if c.r[1] != NONE {
        m.set_predicate(c.r[1], mask, q);
    }
    Ok(())
}

macro_rules! setp {
    ($t:ty, |$a:ident, $b:ident| $e:expr) => {{
        fn run(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
            let a = m.get::<<$t as Lane>::Raw>(c.r[2]);
            let b = m.get::<<$t as Lane>::Raw>(c.r[3]);
            let mut result = 0u32;
            for i in 0..32 {
                let ($a, $b) = (<$t>::of(a[i]), <$t>::of(b[i]));
                result |= u32::from($e) << i;
            }
            finish(m, c, mask, result)
        }
        Some(run as Handler)
    }};
}

macro_rules! ordered {
    ($cmp:expr, $t:ty) => {
        match $cmp {
            "eq" => setp!($t, |a, b| a == b),
            "ne" => setp!($t, |a, b| a != b),
            "lt" | "lo" => setp!($t, |a, b| a < b),
            "le" | "ls" => setp!($t, |a, b| a <= b),
            "gt" | "hi" => setp!($t, |a, b| a > b),
            "ge" | "hs" => setp!($t, |a, b| a >= b),
            _ => None,
        }
    };
}

macro_rules! floats {
    ($cmp:expr, $t:ty, $z:expr) => {
        match $cmp {
            "eq" => setp!($t, |a, b| $z(a) == $z(b)),
            // Ordered: a NaN makes it false.
            "ne" => setp!($t, |a, b| $z(a) != $z(b) && !a.is_nan() && !b.is_nan()),
            "lt" => setp!($t, |a, b| $z(a) < $z(b)),
            "le" => setp!($t, |a, b| $z(a) <= $z(b)),
            "gt" => setp!($t, |a, b| $z(a) > $z(b)),
            "ge" => setp!($t, |a, b| $z(a) >= $z(b)),
            "equ" => setp!($t, |a, b| $z(a) == $z(b) || a.is_nan() || b.is_nan()),
            "neu" => setp!($t, |a, b| $z(a) != $z(b)),
            "ltu" => setp!($t, |a, b| !($z(a) >= $z(b))),
            "leu" => setp!($t, |a, b| !($z(a) > $z(b))),
            "gtu" => setp!($t, |a, b| !($z(a) <= $z(b))),
            "geu" => setp!($t, |a, b| !($z(a) < $z(b))),
            "num" => setp!($t, |a, b| !a.is_nan() && !b.is_nan()),
            "nan" => setp!($t, |a, b| a.is_nan() || b.is_nan()),
            _ => None,
        }
    };
}

fn comparison(cmp: &str, t: &str, ftz: bool) -> Option<(Handler, Width)> {
    let unsigned_only = matches!(cmp, "lo" | "ls" | "hi" | "hs");
    if unsigned_only && !t.starts_with('u') || t.starts_with('b') && t != "bf16" && !matches!(cmp, "eq" | "ne") {
        return None;
    }
    Some(match t {
        "u16" | "b16" => (ordered!(cmp, u16)?, B16),
        "s16" => (ordered!(cmp, i16)?, B16),
        "u32" | "b32" => (ordered!(cmp, u32)?, B32),
        "s32" => (ordered!(cmp, i32)?, B32),
        "u64" | "b64" => (ordered!(cmp, u64)?, B64),
        "s64" => (ordered!(cmp, i64)?, B64),
        "f32" if ftz => (floats!(cmp, f32, |x: f32| if x.is_subnormal() { 0.0 } else { x })?, B32),
        "f32" => (floats!(cmp, f32, |x: f32| x)?, B32),
        "f64" => (floats!(cmp, f64, |x: f64| x)?, B64),
        "f16" => (floats!(cmp, F16, |x: F16| x.0)?, B16),
        "bf16" => (floats!(cmp, Bf16, |x: Bf16| x.0)?, B16),
        _ => return None,
    })
}

/// A half as the f32 that it equals.
#[derive(Clone, Copy)]
struct F16(f32);
#[derive(Clone, Copy)]
struct Bf16(f32);

impl F16 {
    fn is_nan(self) -> bool {
        self.0.is_nan()
    }
}

impl Bf16 {
    fn is_nan(self) -> bool {
        self.0.is_nan()
    }
}

impl Lane for F16 {
    type Raw = u32;
    const WIDTH: Width = B16;
    fn of(raw: u32) -> Self {
        F16(super::half::from_f16(raw as u16))
    }
    fn raw(self) -> u32 {
        super::half::to_f16(f64::from(self.0)).into()
    }
}

impl Lane for Bf16 {
    type Raw = u32;
    const WIDTH: Width = B16;
    fn of(raw: u32) -> Self {
        Bf16(super::half::from_bf16(raw as u16))
    }
    fn raw(self) -> u32 {
        super::half::to_bf16(self.0).into()
    }
}

macro_rules! select {
    ($raw:ty) => {{
        fn run(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
            let (a, b, p) = (m.get::<$raw>(c.r[1]), m.get::<$raw>(c.r[2]), m.predicate(c.r[3]));
            let mut out = [Default::default(); 32];
            for i in 0..32 {
                out[i] = if p >> i & 1 != 0 { a[i] } else { b[i] };
            }
            m.put(c.r[0], mask, &out);
            Ok(())
        }
        run as Handler
    }};
}

/// `setp` and `selp`.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    if op.sat {
        return None;
    }
    let found = |pair, small| Some(Found::new(Class::Compare, pair).with(0, small));
    match (op.base, op.rest.as_slice()) {
        ("setp", [cmp, t]) if !op.ftz || *t == "f32" => {
            let (run, width) = comparison(cmp, t, op.ftz)?;
            let args: &[Arg] = match width {
                B16 => &[Arg::DPreds, Arg::S(B16), Arg::S(B16)],
                B32 => &[Arg::DPreds, Arg::S(B32), Arg::S(B32)],
                _ => &[Arg::DPreds, Arg::S(B64), Arg::S(B64)],
            };
            found((run, args), [0; 2])
        }
        ("setp", [cmp, combine, t]) if !op.ftz || *t == "f32" => {
            let (run, width) = comparison(cmp, t, op.ftz)?;
            let args: &[Arg] = match width {
                B16 => &[Arg::DPreds, Arg::S(B16), Arg::S(B16), Arg::PredOrNot],
                B32 => &[Arg::DPreds, Arg::S(B32), Arg::S(B32), Arg::PredOrNot],
                _ => &[Arg::DPreds, Arg::S(B64), Arg::S(B64), Arg::PredOrNot],
            };
            let combine = match *combine {
                "and" => 1,
                "or" => 2,
                "xor" => 3,
                _ => return None,
            };
            found((run, args), [combine, 0])
        }
        ("selp", [t]) if !op.ftz => match *t {
            "b16" | "u16" | "s16" => found((select!(u32), &[Arg::D(B16), Arg::S(B16), Arg::S(B16), Arg::Pred]), [0; 2]),
            "b32" | "u32" | "s32" | "f32" => {
                found((select!(u32), &[Arg::D(B32), Arg::S(B32), Arg::S(B32), Arg::Pred]), [0; 2])
            }
            "b64" | "u64" | "s64" | "f64" => {
                found((select!(u64), &[Arg::D(B64), Arg::S(B64), Arg::S(B64), Arg::Pred]), [0; 2])
            }
            _ => None,
        },
        ("testp", [what, "f32"]) if !op.ftz => testp(what),
        _ => None,
    }
}

fn testp(what: &str) -> Option<Found> {
    macro_rules! test {
        (|$a:ident| $e:expr) => {{
            fn run(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
                let a = m.get::<u32>(c.r[1]);
                let mut result = 0u32;
                for i in 0..32 {
                    let $a = f32::from_bits(a[i]);
                    result |= u32::from($e) << i;
                }
                m.set_predicate(c.r[0], mask, result);
                Ok(())
            }
            run as Handler
        }};
    }
    let run = match what {
        "finite" => test!(|a| a.is_finite()),
        "infinite" => test!(|a| a.is_infinite()),
        "number" => test!(|a| !a.is_nan()),
        "notanumber" => test!(|a| a.is_nan()),
        "normal" => test!(|a| a.is_normal()),
        "subnormal" => test!(|a| a.is_subnormal()),
        _ => return None,
    };
    Some(Found::new(Class::Compare, (run, &[Arg::DPred, Arg::S(B32)])))
}
