//! `cvt`. Frequent pairs have loops of their own; the rest goes lane by lane through i128 or f64.

use super::rounding::{Toward, directed, sum64};
use super::half::{from_bf16, from_f16, to_bf16, to_f16};
use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::machine::{Machine, lanes_of};
use crate::exec::program::{Class, Code, Handler, Step};
use crate::lanes;
use crate::ptx::module::Width::{self, B16, B32, B64};

/// Types of `cvt`.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Type {
    Int { bits: u8, signed: bool },
    F16,
    Bf16,
    F32,
    F64,
}

impl Type {
    fn of(name: &str) -> Option<Type> {
        Some(match name {
            "f16" => Type::F16,
            "bf16" => Type::Bf16,
            "f32" => Type::F32,
            "f64" => Type::F64,
            _ => {
                let signed = match name.as_bytes().first()? {
                    b'u' => false,
                    b's' => true,
                    _ => return None,
                };
                let bits = name[1..].parse().ok().filter(|b| matches!(b, 8 | 16 | 32 | 64))?;
                Type::Int { bits, signed }
            }
        })
    }

    fn bits(self) -> u8 {
        match self {
            Type::Int { bits, .. } => bits,
            Type::F16 | Type::Bf16 => 16,
            Type::F32 => 32,
            Type::F64 => 64,
        }
    }

    fn code(self) -> u8 {
        match self {
            Type::Int { bits, signed } => bits | u8::from(signed),
            Type::F16 => 2,
            Type::Bf16 => 4,
            Type::F32 => 6,
            Type::F64 => 12,
        }
    }

    fn from_code(code: u8) -> Type {
        match code {
            2 => Type::F16,
            4 => Type::Bf16,
            6 => Type::F32,
            12 => Type::F64,
            _ => Type::Int { bits: code & !1, signed: code & 1 != 0 },
        }
    }

    fn is_int(self) -> bool {
        matches!(self, Type::Int { .. })
    }
}

/// Rounding modifiers.
#[derive(Clone, Copy, PartialEq)]
#[repr(u8)]
enum Rounding {
    None,
    Nearest,
    Zero,
    NearestInt,
    ZeroInt,
    DownInt,
    UpInt,
    Minus,
    Plus,
}

const ROUNDINGS: [(&str, Rounding); 8] = [
    ("rm", Rounding::Minus),
    ("rp", Rounding::Plus),
    ("rn", Rounding::Nearest),
    ("rz", Rounding::Zero),
    ("rni", Rounding::NearestInt),
    ("rzi", Rounding::ZeroInt),
    ("rmi", Rounding::DownInt),
    ("rpi", Rounding::UpInt),
];

/// The conversions.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    if op.base != "cvt" {
        return None;
    }
    let found = |pair| Some(Found::new(Class::Convert, pair));
    match (op.rest.as_slice(), op.ftz, op.sat) {
        // Nearest, ties away from zero; the 13 bits that tf32 lacks become zero.
        (["rna", "tf32", "f32"], false, false) => return found(lanes!(|a: f32| -> u32 {
            if a.is_finite() { (a.to_bits() + 0x1000) & !0x1fff } else { a.to_bits() }
        })),
        (["rn", "bf16x2", "f32"], false, false) => return found(lanes!(|a: f32, b: f32| -> u32 {
            u32::from(to_bf16(a)) << 16 | u32::from(to_bf16(b))
        })),
        (["rn", "relu", "bf16x2", "f32"], false, false) => return found(lanes!(|a: f32, b: f32| -> u32 {
            u32::from(to_bf16(relu(a))) << 16 | u32::from(to_bf16(relu(b)))
        })),
        (["rn", "relu", "f16x2", "f32"], false, false) => return found(lanes!(|a: f32, b: f32| -> u32 {
            u32::from(to_f16(f64::from(relu(a)))) << 16 | u32::from(to_f16(f64::from(relu(b))))
        })),
        (["rz", "bf16x2", "f32"], false, false) => return found(lanes!(|a: f32, b: f32| -> u32 {
            (truncated(Type::Bf16, f64::from(a)) << 16 | truncated(Type::Bf16, f64::from(b))) as u32
        })),
        (["rz", "f16x2", "f32"], false, false) => return found(lanes!(|a: f32, b: f32| -> u32 {
            (truncated(Type::F16, f64::from(a)) << 16 | truncated(Type::F16, f64::from(b))) as u32
        })),
        (["rn", "f16x2", "f32"], false, false) => return found(lanes!(|a: f32, b: f32| -> u32 {
            u32::from(to_f16(f64::from(a))) << 16 | u32::from(to_f16(f64::from(b)))
        })),
        _ => {}
    }
    let (first, rest) = op.rest.split_first()?;
    let (rounding, types) = match ROUNDINGS.iter().find(|(name, _)| name == first) {
        Some(&(_, rounding)) => (rounding, rest),
        None => (Rounding::None, op.rest.as_slice()),
    };
    let [to, from] = types else { return None };
    let (to, from) = (Type::of(to)?, Type::of(from)?);
    if !allowed(to, from, rounding) || op.ftz && to != Type::F32 && from != Type::F32 {
        return None;
    }
    let (to_width, from_width) = (op.width(0)?, op.width(1));
    let natural = |t: Type| match t.bits() {
        8 | 16 => B16,
        32 => B32,
        _ => B64,
    };
    let from_width = from_width.unwrap_or(natural(from));
    if !op.ftz && !op.sat && to_width == natural(to) && from_width == natural(from)
        && let Some(pair) = frequent(to, from, rounding) {
            return found(pair);
        }
    let narrow = |w: Width, t: Type| (w == B64) as u8 * 64 + (w != B64) as u8 * 32 < t.bits();
    if to_width == Width::Pred || narrow(to_width, to) || narrow(from_width, from) {
        return None;
    }
    let (run, args): (Handler, &[Arg]) = match (to_width, from_width) {
        (B16, B16) => (general::<u32, u32>, &[Arg::D(B16), Arg::S(B16)]),
        (B16, B32) => (general::<u32, u32>, &[Arg::D(B16), Arg::S(B32)]),
        (B16, B64) => (general::<u32, u64>, &[Arg::D(B16), Arg::S(B64)]),
        (B32, B16) => (general::<u32, u32>, &[Arg::D(B32), Arg::S(B16)]),
        (B32, B32) => (general::<u32, u32>, &[Arg::D(B32), Arg::S(B32)]),
        (B32, B64) => (general::<u32, u64>, &[Arg::D(B32), Arg::S(B64)]),
        (B64, B16) => (general::<u64, u32>, &[Arg::D(B64), Arg::S(B16)]),
        (B64, B32) => (general::<u64, u32>, &[Arg::D(B64), Arg::S(B32)]),
        (B64, B64) => (general::<u64, u64>, &[Arg::D(B64), Arg::S(B64)]),
        _ => return None,
    };
    let flags = rounding as u8 | u8::from(op.ftz) << 4 | u8::from(op.sat) << 5 | if to_width == B16 { 0x40 } else { 0 };
    let imm = i64::from(to.code()) | i64::from(from.code()) << 8 | i64::from(flags) << 16;
    found((run, args)).map(|f| f.with(imm, [0; 2]))
}

/// PTX's rule: a rounding where a value can need one, and nowhere else.
fn allowed(to: Type, from: Type, rounding: Rounding) -> bool {
    use Rounding::{Minus, Nearest, None, Plus, Zero};
    let directed = matches!(rounding, Zero | Minus | Plus) && matches!(to, Type::F32 | Type::F64);
    let integer = matches!(rounding, Rounding::NearestInt | Rounding::ZeroInt | Rounding::DownInt | Rounding::UpInt);
    match (to.is_int(), from.is_int()) {
        (true, true) => rounding == None,
        (false, true) => rounding == Nearest || directed,
        (true, false) => integer,
        // A half of another kind may be neither narrower nor wider.
        (false, false) if to == from => integer || rounding == None,
        (false, false) if to.bits() > from.bits() => rounding == None,
        (false, false) => rounding == Nearest || directed || rounding == Zero && matches!(to, Type::F16 | Type::Bf16),
    }
}

fn frequent(to: Type, from: Type, rounding: Rounding) -> Option<(Handler, &'static [Arg])> {
    let int = |bits, signed| Type::Int { bits, signed };
    Some(match (to, from, rounding) {
        (Type::Int { bits: 64, .. }, t, _) if t == int(32, false) => lanes!(|a: u32| -> u64 { u64::from(a) }),
        (Type::Int { bits: 64, .. }, t, _) if t == int(32, true) => lanes!(|a: i32| -> i64 { i64::from(a) }),
        (Type::Int { bits: 32, .. }, Type::Int { bits: 64, .. }, _) => lanes!(|a: u64| -> u32 { a as u32 }),
        (Type::Int { bits: 16, .. }, Type::Int { bits: 32, .. }, _) => lanes!(|a: u32| -> u16 { a as u16 }),
        (Type::Int { bits: 32, .. }, t, _) if t == int(16, false) => lanes!(|a: u16| -> u32 { u32::from(a) }),
        (Type::Int { bits: 32, .. }, t, _) if t == int(16, true) => lanes!(|a: i16| -> i32 { i32::from(a) }),
        (Type::F32, t, Rounding::Nearest) if t == int(32, true) => lanes!(|a: i32| -> f32 { a as f32 }),
        (Type::F32, t, Rounding::Nearest) if t == int(32, false) => lanes!(|a: u32| -> f32 { a as f32 }),
        (Type::F32, t, _) if t == int(16, false) => lanes!(|a: u16| -> f32 { f32::from(a) }),
        (t, Type::F32, Rounding::ZeroInt) if t == int(32, true) => lanes!(|a: f32| -> i32 { a as i32 }),
        (t, Type::F32, Rounding::ZeroInt) if t == int(32, false) => lanes!(|a: f32| -> u32 { a as u32 }),
        (Type::F32, Type::F32, Rounding::NearestInt) => lanes!(|a: f32| -> f32 { a.round_ties_even() }),
        (Type::F32, Type::F32, Rounding::ZeroInt) => lanes!(|a: f32| -> f32 { a.trunc() }),
        (Type::F32, Type::F32, Rounding::DownInt) => lanes!(|a: f32| -> f32 { a.floor() }),
        (Type::F32, Type::F32, Rounding::UpInt) => lanes!(|a: f32| -> f32 { a.ceil() }),
        (Type::F64, Type::F32, _) => lanes!(|a: f32| -> f64 { f64::from(a) }),
        (Type::F32, Type::F64, Rounding::Nearest) => lanes!(|a: f64| -> f32 { a as f32 }),
        (Type::Bf16, Type::F32, Rounding::Nearest) => lanes!(|a: f32| -> u16 { to_bf16(a) }),
        (Type::F32, Type::Bf16, _) => lanes!(|a: u16| -> f32 { from_bf16(a) }),
        (Type::F16, Type::F32, Rounding::Nearest) => lanes!(|a: f32| -> u16 { to_f16(f64::from(a)) }),
        (Type::F32, Type::F16, _) => lanes!(|a: u16| -> f32 { from_f16(a) }),
        _ => return None,
    })
}

trait Bits: crate::exec::lanes::Raw {
    fn up(self) -> u64;
    fn down(x: u64) -> Self;
}

impl Bits for u32 {
    fn up(self) -> u64 {
        self.into()
    }
    fn down(x: u64) -> u32 {
        x as u32
    }
}

impl Bits for u64 {
    fn up(self) -> u64 {
        self
    }
    fn down(x: u64) -> u64 {
        x
    }
}

fn general<D: Bits, S: Bits>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let (to, from, flags) = (Type::from_code(c.imm as u8), Type::from_code((c.imm >> 8) as u8), (c.imm >> 16) as u8);
    let source = m.get::<S>(c.r[1]);
    let mut out = [D::default(); 32];
    for lane in lanes_of(mask) {
        let bits = convert(to, from, flags, source[lane].up());
        out[lane] = D::down(if flags & 0x40 != 0 { bits & 0xffff } else { bits });
    }
    m.put(c.r[0], mask, &out);
    Ok(())
}

/// One value. Integer results come sign- or zero-extended to 64 bits, as wider registers want them.
fn convert(to: Type, from: Type, flags: u8, bits: u64) -> u64 {
    let (ftz, sat) = (flags & 0x10 != 0, flags & 0x20 != 0);
    let rounding = flags & 15;
    if let Type::Int { bits: width, signed } = from {
        let value = if signed {
            i128::from((bits << (64 - width)) as i64 >> (64 - width))
        } else {
            i128::from(bits << (64 - width) >> (64 - width))
        };
        return match to {
            Type::Int { bits, signed } => int_bits(value, bits, signed, sat),
            Type::F64 => {
                let near = value as f64;
                // What the nearest one lacks.
                let rest = (value - near as i128) as f64;
                toward(rounding).map_or(near, |toward| sum64(near, rest, toward)).to_bits()
            }
            Type::F32 => {
                let near = value as f64;
                let rest = (value - near as i128) as f64;
                let rounded = toward(rounding).map_or(value as f32, |toward| directed(near, rest, toward));
                rounded.to_bits().into()
            }
            Type::F16 => to_f16(value as f64).into(),
            Type::Bf16 => to_bf16(value as f32).into(),
        };
    }
    let flush = |x: f32| if ftz && x.is_subnormal() { 0f32.copysign(x) } else { x };
    let mut value = match from {
        Type::F64 => f64::from_bits(bits),
        Type::F32 => f64::from(flush(f32::from_bits(bits as u32))),
        Type::F16 => f64::from(from_f16(bits as u16)),
        _ => f64::from(from_bf16(bits as u16)),
    };
    value = match rounding {
        r if r == Rounding::NearestInt as u8 => value.round_ties_even(),
        r if r == Rounding::ZeroInt as u8 => value.trunc(),
        r if r == Rounding::DownInt as u8 => value.floor(),
        r if r == Rounding::UpInt as u8 => value.ceil(),
        _ => value,
    };
    if let Type::Int { bits, signed } = to {
        // Out of range is clamped, NaN is zero.
        return int_bits(value as i128, bits, signed, true);
    }
    if sat {
        value = if value > 0.0 { value.min(1.0) } else { 0.0 };
    }
    let truncate = rounding == Rounding::Zero as u8;
    match to {
        Type::F64 => value.to_bits(),
        Type::F32 => flush(toward(rounding).map_or(value as f32, |toward| directed(value, 0.0, toward))).to_bits().into(),
        Type::F16 | Type::Bf16 if truncate => truncated(to, value),
        Type::F16 => to_f16(value).into(),
        _ => to_bf16(value as f32).into(),
    }
}

/// The direction of a rounding modifier's number, if it has one.
fn toward(rounding: u8) -> Option<Toward> {
    match rounding {
        r if r == Rounding::Zero as u8 => Some(Toward::Zero),
        r if r == Rounding::Minus as u8 => Some(Toward::Minus),
        r if r == Rounding::Plus as u8 => Some(Toward::Plus),
        _ => None,
    }
}

/// Negative numbers become 0; NaN stays.
fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// The half of a number, rounded toward zero.
fn truncated(to: Type, value: f64) -> u64 {
    if to == Type::Bf16 {
        return if value.is_nan() { 0x7fff } else { directed(value, 0.0, Toward::Zero).to_bits() as u64 >> 16 };
    }
    let near = to_f16(value);
    u64::from(if f64::from(from_f16(near)).abs() > value.abs() { near - 1 } else { near })
}

fn int_bits(value: i128, bits: u8, signed: bool, clamp: bool) -> u64 {
    let (low, high) = if signed {
        (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1)
    } else {
        (0, (1i128 << bits) - 1)
    };
    let value = if clamp { value.clamp(low, high) } else { value };
    let cut = (value as u64) << (64 - bits);
    if signed { ((cut as i64) >> (64 - bits)) as u64 } else { cut >> (64 - bits) }
}
