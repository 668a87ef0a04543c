//! Comparisons into predicates, and selections by them.

use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::lanes::Lane;
use crate::exec::machine::Machine;
use crate::exec::program::{Class, Code, Handler, NONE, Step};
use crate::lanes;
use crate::ptx::module::Width::{self, B16, B32, B64};

/// What `set` writes for true, by the upper bits of `small[1]`, which are 0 for `setp`.
const TRUE: [u32; 5] = [0, u32::MAX, 0x3f80_0000, 0x3c00, 0x3f80];

/// `p` (and `q`, its complement) from the comparison's lanes, combined with a third predicate if there is one; of `set` a
/// register.
#[inline(always)]
fn finish(m: &mut Machine<'_>, c: &Code, mask: u32, result: u32) -> Step {
    if c.small[1] >> 1 != 0 {
        let value = TRUE[usize::from(c.small[1] >> 1)];
        m.put(c.r[0], mask, &std::array::from_fn(|lane| if result >> lane & 1 != 0 { value } else { 0u32 }));
        return Ok(());
    }
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
        ("setp", [cmp, t @ ("f16x2" | "bf16x2")]) if !op.ftz => pairs(cmp, t, t, true),
        ("set", [cmp, d, t @ ("f16x2" | "bf16x2")]) if !op.ftz => pairs(cmp, d, t, false),
        ("set", [cmp, d, t]) if !op.ftz || *t == "f32" => {
            let (run, width) = comparison(cmp, t, op.ftz)?;
            let (which, to) = match *d {
                "u32" | "s32" => (1, B32),
                "f32" => (2, B32),
                "f16" => (3, B16),
                "bf16" => (4, B16),
                _ => return None,
            };
            let args: &[Arg] = match (to, width) {
                (B32, B16) => &[Arg::D(B32), Arg::NoResult, Arg::S(B16), Arg::S(B16)],
                (B32, B32) => &[Arg::D(B32), Arg::NoResult, Arg::S(B32), Arg::S(B32)],
                (B32, _) => &[Arg::D(B32), Arg::NoResult, Arg::S(B64), Arg::S(B64)],
                (_, B16) => &[Arg::D(B16), Arg::NoResult, Arg::S(B16), Arg::S(B16)],
                (_, B32) => &[Arg::D(B16), Arg::NoResult, Arg::S(B32), Arg::S(B32)],
                (..) => &[Arg::D(B16), Arg::NoResult, Arg::S(B64), Arg::S(B64)],
            };
            found((run, args), [0, which << 1])
        }
        ("slct", [t, "s32"]) if !op.ftz => match *t {
            "b32" | "u32" | "s32" | "f32" => Some(Found::new(Class::Compare, lanes!(|a: u32, b: u32, c: i32| -> u32 { if c >= 0 { a } else { b } }))),
            "b64" | "u64" | "s64" | "f64" => Some(Found::new(Class::Compare, lanes!(|a: u64, b: u64, c: i32| -> u64 { if c >= 0 { a } else { b } }))),
            _ => None,
        },
        ("slct", ["b32" | "u32" | "s32" | "f32", "f32"]) => {
            Some(Found::new(Class::Compare, lanes!(|a: u32, b: u32, c: f32| -> u32 { if c >= 0.0 { a } else { b } })))
        }
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

const PAIR_COMPARISONS: [&str; 14] =
    ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

/// Comparisons of two halves at once: `setp` into two predicates, `set` into halves, or bits if the result's type is not one
/// of halves.
fn pairs(cmp: &str, d: &str, t: &str, predicates: bool) -> Option<Found> {
    fn run<const PREDICATES: bool>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
        let (a, b) = (*m.get::<u32>(c.r[2]), *m.get::<u32>(c.r[3]));
        let half = |word: u32, k: u32| {
            let bits = (word >> (16 * k)) as u16;
            if c.small[0] != 0 { super::half::from_bf16(bits) } else { super::half::from_f16(bits) }
        };
        let holds = |lane: usize, k: u32| {
            let (x, y) = (half(a[lane], k), half(b[lane], k));
            let nan = x.is_nan() || y.is_nan();
            match c.imm {
                0 => x == y,
                1 => x != y && !nan,
                2 => x < y,
                3 => x <= y,
                4 => x > y,
                5 => x >= y,
                6 => x == y || nan,
                7 => x != y,
                8 => x < y || nan,
                9 => x <= y || nan,
                10 => x > y || nan,
                11 => x >= y || nan,
                12 => !nan,
                _ => nan,
            }
        };
        if PREDICATES {
            let all = |k: u32| (0..32).fold(0u32, |bits, lane| bits | u32::from(holds(lane, k)) << lane);
            m.set_predicate(c.r[0], mask, all(0));
            if c.r[1] != NONE {
                m.set_predicate(c.r[1], mask, all(1));
            }
            return Ok(());
        }
        let value = TRUE[usize::from(c.small[1] >> 1)] & 0xffff;
        let of = |lane: usize, k: u32| if holds(lane, k) { value << (16 * k) } else { 0 };
        m.put(c.r[0], mask, &std::array::from_fn(|lane| of(lane, 0) | of(lane, 1)));
        Ok(())
    }
    let number = PAIR_COMPARISONS.iter().position(|c| *c == cmp)?;
    let which = match d {
        "f16x2" => 3,
        "bf16x2" => 4,
        "u32" | "s32" => 1,
        _ => return None,
    };
    let (handler, args): (Handler, &[Arg]) = if predicates {
        (run::<true>, &[Arg::DPreds, Arg::S(B32), Arg::S(B32)])
    } else {
        (run::<false>, &[Arg::D(B32), Arg::NoResult, Arg::S(B32), Arg::S(B32)])
    };
    let brain = u8::from(t == "bf16x2");
    Some(Found::new(Class::Compare, (handler, args)).with(number as i64, [brain, which << 1]))
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
