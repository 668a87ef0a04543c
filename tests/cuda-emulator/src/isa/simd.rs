//! Arithmetic on the bytes and halves of words, and products of their parts: the video instructions, `dp4a`, `dp2a`,
//! `mul24`, `mad24`; and additions with carry.

use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::machine::Machine;
use crate::exec::program::{Class, Code, Handler, Step};
use crate::lanes;
use crate::ptx::module::Width::B32;

/// The opcodes.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    if op.ftz {
        return None;
    }
    let found = |pair| Some(Found::new(Class::Integer, pair));
    match (op.base, op.rest.as_slice(), op.sat) {
        ("dp4a", ["s32", "s32"], false) => found(lanes!(|a: u32, b: u32, c: u32| -> u32 { dot(a, b, c, true, true) })),
        ("dp4a", ["s32", "u32"], false) => found(lanes!(|a: u32, b: u32, c: u32| -> u32 { dot(a, b, c, true, false) })),
        ("dp4a", ["u32", "s32"], false) => found(lanes!(|a: u32, b: u32, c: u32| -> u32 { dot(a, b, c, false, true) })),
        ("dp4a", ["u32", "u32"], false) => found(lanes!(|a: u32, b: u32, c: u32| -> u32 { dot(a, b, c, false, false) })),
        ("dp2a", ["lo", "s32", "s32"], false) => found(lanes!(|a: u32, b: u32, c: u32| -> u32 { dot2(a, b, c, true, true) })),
        ("dp2a", ["hi", "s32", "s32"], false) => found(lanes!(|a: u32, b: u32, c: u32| -> u32 { dot2(a, b >> 16, c, true, true) })),
        ("dp2a", ["lo", "u32", "u32"], false) => found(lanes!(|a: u32, b: u32, c: u32| -> u32 { dot2(a, b, c, false, false) })),
        ("dp2a", ["hi", "u32", "u32"], false) => found(lanes!(|a: u32, b: u32, c: u32| -> u32 { dot2(a, b >> 16, c, false, false) })),
        ("mul24", ["lo", "u32"], false) => found(lanes!(|a: u32, b: u32| -> u32 { (low24(a, false) * low24(b, false)) as u32 })),
        ("mul24", ["lo", "s32"], false) => found(lanes!(|a: u32, b: u32| -> u32 { (low24(a, true) * low24(b, true)) as u32 })),
        ("mul24", ["hi", "u32"], false) => found(lanes!(|a: u32, b: u32| -> u32 { ((low24(a, false) * low24(b, false)) >> 16) as u32 })),
        ("mul24", ["hi", "s32"], false) => found(lanes!(|a: u32, b: u32| -> u32 { ((low24(a, true) * low24(b, true)) >> 16) as u32 })),
        ("mad24", ["lo", "u32"], false) => found(lanes!(|a: u32, b: u32, c: u32| -> u32 { ((low24(a, false) * low24(b, false)) as u32).wrapping_add(c) })),
        ("mad24", ["lo", "s32"], false) => found(lanes!(|a: u32, b: u32, c: u32| -> u32 { ((low24(a, true) * low24(b, true)) as u32).wrapping_add(c) })),
        (_, rest, false) if rest.contains(&"cc") || matches!(op.base, "addc" | "subc" | "madc") => carried(op.base, rest),
        (base, rest, sat) => video(base, rest, sat),
    }
}

/// The low 24 bits.
fn low24(a: u32, signed: bool) -> i64 {
    if signed { i64::from((a << 8) as i32 >> 8) } else { i64::from(a & 0xff_ffff) }
}

/// Part `k` of a word cut into parts of `bits` bits.
fn part(a: u32, k: u32, bits: u32, signed: bool) -> i64 {
    let moved = a >> (k * bits) << (32 - bits);
    if signed { i64::from(moved as i32 >> (32 - bits)) } else { i64::from(moved >> (32 - bits)) }
}

fn dot(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    (0..4).fold(c, |c, k| c.wrapping_add((part(a, k, 8, a_signed) * part(b, k, 8, b_signed)) as u32))
}

/// Halves of a times the lower bytes of b.
fn dot2(a: u32, b: u32, c: u32, a_signed: bool, b_signed: bool) -> u32 {
    (0..2).fold(c, |c, k| c.wrapping_add((part(a, k, 16, a_signed) * part(b, k, 8, b_signed)) as u32))
}

const ADD: i64 = 0;
const SUB: i64 = 1;
const AVERAGE: i64 = 2;
const DISTANCE: i64 = 3;
const MIN: i64 = 4;
const MAX: i64 = 5;
/// And the comparisons from here on.
const SET: i64 = 6;

/// `v{add,sub,avrg,absdiff,min,max,set}{2,4}.d.a.b[.sat|.add]`: part by part, without masks or selectors of parts. Of `.add` the
/// parts' results are summed to c.
fn video(base: &str, rest: &[&str], sat: bool) -> Option<Found> {
    let (name, bits) = base.strip_suffix('4').map(|n| (n, 8u8)).or(base.strip_suffix('2').map(|n| (n, 16)))?;
    let what = match name {
        "vadd" => ADD,
        "vsub" => SUB,
        "vavrg" => AVERAGE,
        "vabsdiff" => DISTANCE,
        "vmin" => MIN,
        "vmax" => MAX,
        "vset" => SET,
        _ => return None,
    };
    let (rest, accumulate) = rest.strip_suffix(&["add"]).map_or((rest, false), |rest| (rest, true));
    let signs = |t: &str| match t {
        "s32" => Some(1u8),
        "u32" => Some(0),
        _ => None,
    };
    let (what, d, a, b) = match (what, rest) {
        (SET, [a, b, compare]) => {
            let number = ["eq", "ne", "lt", "le", "gt", "ge"].iter().position(|c| c == compare)?;
            (SET + number as i64, 0, signs(a)?, signs(b)?)
        }
        (SET, _) => return None,
        (what, [d, a, b]) => (what, signs(d)?, signs(a)?, signs(b)?),
        _ => return None,
    };
    if sat && (accumulate || what >= SET) {
        return None;
    }
    let flags = d | a << 1 | b << 2 | u8::from(sat) << 3 | u8::from(accumulate) << 4;
    let args: &[Arg] = &[Arg::D(B32), Arg::S(B32), Arg::S(B32), Arg::S(B32)];
    Some(Found::new(Class::Integer, (parts as Handler, args)).with(what, [bits, flags]))
}

fn parts(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let (bits, flags) = (u32::from(c.small[0]), c.small[1]);
    let (d, sat, accumulate) = (flags & 1 != 0, flags & 8 != 0, flags & 16 != 0);
    let (a, b, other) = (m.get::<u32>(c.r[1]), m.get::<u32>(c.r[2]), m.get::<u32>(c.r[3]));
    let mut out = [0u32; 32];
    for lane in 0..32 {
        let mut word = if accumulate { other[lane] } else { 0 };
        for k in 0..32 / bits {
            let x = part(a[lane], k, bits, flags & 2 != 0);
            let y = part(b[lane], k, bits, flags & 4 != 0);
            let value = match c.imm {
                ADD => x + y,
                SUB => x - y,
                // Halves are rounded up, away from zero.
                AVERAGE => (x + y + i64::from(x + y >= 0)) >> 1,
                DISTANCE => (x - y).abs(),
                MIN => x.min(y),
                MAX => x.max(y),
                compare => i64::from([x == y, x != y, x < y, x <= y, x > y, x >= y][(compare - SET) as usize]),
            };
            let (low, high) = if d { (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) } else { (0, (1 << bits) - 1) };
            let value = if sat { value.clamp(low, high) } else { value };
            word = if accumulate {
                word.wrapping_add(value as u32)
            } else {
                word | (value as u32) << (32 - bits) >> (32 - bits) << (k * bits)
            };
        }
        out[lane] = word;
    }
    m.put(c.r[0], mask, &out);
    Ok(())
}

/// `add.cc`, `addc[.cc]` and so on: the carry goes from one to the next by a flag of each lane. Of a subtraction it is the
/// borrow.
fn carried(base: &str, rest: &[&str]) -> Option<Found> {
    macro_rules! carry {
        ($t:ty, $wide:ty, |$a:ident, $b:ident, $d:ident, $in:ident| $e:expr, $takes:expr, $gives:expr) => {{
            fn run(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
                use crate::exec::program::NONE;
                let (a, b) = (*m.get::<$t>(c.r[1]), *m.get::<$t>(c.r[2]));
                let d = if c.r[3] == NONE { b } else { *m.get::<$t>(c.r[3]) };
                let (mut out, mut carries) = ([0; 32], 0u32);
                for lane in 0..32 {
                    let ($a, $b, $d) = (<$wide>::from(a[lane]), <$wide>::from(b[lane]), <$wide>::from(d[lane]));
                    let $in = <$wide>::from($takes && m.carry >> lane & 1 != 0);
                    let value: $wide = $e;
                    out[lane] = value as $t;
                    carries |= u32::from(value >> <$t>::BITS & 1 != 0) << lane;
                }
                m.put(c.r[0], mask, &out);
                if $gives {
                    m.carry = m.carry & !mask | carries & mask;
                }
                Ok(())
            }
            use crate::exec::lanes::Lane;
            let binary: &[Arg] = &[Arg::D(<$t as Lane>::WIDTH), Arg::S(<$t as Lane>::WIDTH), Arg::S(<$t as Lane>::WIDTH)];
            let ternary: &[Arg] = &[Arg::D(<$t as Lane>::WIDTH), Arg::S(<$t as Lane>::WIDTH), Arg::S(<$t as Lane>::WIDTH), Arg::S(<$t as Lane>::WIDTH)];
            (run as Handler, binary, ternary)
        }};
    }
    macro_rules! both {
        ($t:ident, $wide:ident) => {
            match (base, rest) {
                ("add", ["cc", _]) => carry!($t, $wide, |a, b, _d, _i| a + b, false, true),
                ("addc", [_]) => carry!($t, $wide, |a, b, _d, i| a + b + i, true, false),
                ("addc", ["cc", _]) => carry!($t, $wide, |a, b, _d, i| a + b + i, true, true),
                ("sub", ["cc", _]) => carry!($t, $wide, |a, b, _d, _i| a.wrapping_sub(b), false, true),
                ("subc", [_]) => carry!($t, $wide, |a, b, _d, i| a.wrapping_sub(b).wrapping_sub(i), true, false),
                ("subc", ["cc", _]) => carry!($t, $wide, |a, b, _d, i| a.wrapping_sub(b).wrapping_sub(i), true, true),
                ("mad", ["cc", "lo", _] | ["lo", "cc", _]) => carry!($t, $wide, |a, b, d, _i| (a * b & $wide::from($t::MAX)) + d, false, true),
                ("madc", ["lo", _]) => carry!($t, $wide, |a, b, d, i| (a * b & $wide::from($t::MAX)) + d + i, true, false),
                ("madc", ["lo", "cc", _]) => carry!($t, $wide, |a, b, d, i| (a * b & $wide::from($t::MAX)) + d + i, true, true),
                ("mad", ["hi", "cc", "u32" | "u64"]) => carry!($t, $wide, |a, b, d, _i| (a * b >> $t::BITS) + d, false, true),
                ("madc", ["hi", "u32" | "u64"]) => carry!($t, $wide, |a, b, d, i| (a * b >> $t::BITS) + d + i, true, false),
                ("madc", ["hi", "cc", "u32" | "u64"]) => carry!($t, $wide, |a, b, d, i| (a * b >> $t::BITS) + d + i, true, true),
                _ => return None,
            }
        };
    }
    let (run, binary, ternary) = match *rest.last()? {
        "u32" | "s32" | "b32" => both!(u32, u64),
        "u64" | "s64" | "b64" => both!(u64, u128),
        _ => return None,
    };
    let args = if base.starts_with("mad") { ternary } else { binary };
    Some(Found::new(Class::Integer, (run, args)))
}
