//! `mov` in all its forms, and address conversions.

use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::access::{LOCAL_WINDOW, SHARED_WINDOW, WINDOW};
use crate::exec::machine::Machine;
use crate::exec::program::{Class, Code, Handler, Step};
use crate::lanes;
use crate::ptx::module::Operand;
use crate::ptx::module::Width::{self, B16, B32, B64};

/// The moves.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    let (base, rest) = op.plain()?;
    let found = |pair| Some(Found::new(Class::Move, pair));
    match (base, rest) {
        ("mov", [t]) => mov(op, t),
        ("cvta", [space, "u64"]) => match *space {
            "global" | "const" => found(lanes!(|a: u64| -> u64 { a })),
            "shared" => found(lanes!(|a: u64| -> u64 { a + SHARED_WINDOW })),
            "local" => found(lanes!(|a: u64| -> u64 { a + LOCAL_WINDOW })),
            _ => None,
        },
        ("cvta", ["to", space, "u64"]) => match *space {
            "global" | "const" => found(lanes!(|a: u64| -> u64 { a })),
            "shared" => found(lanes!(|a: u64| -> u64 { a.wrapping_sub(SHARED_WINDOW) })),
            "local" => found(lanes!(|a: u64| -> u64 { a.wrapping_sub(LOCAL_WINDOW) })),
            _ => None,
        },
        ("isspacep", [space]) => {
            let run: Handler = match *space {
                "shared" => isspacep::<0>,
                "local" => isspacep::<1>,
                "global" => isspacep::<2>,
                _ => return None,
            };
            found((run, &[Arg::DPred, Arg::S(B64)]))
        }
        _ => None,
    }
}

fn isspacep<const SPACE: u8>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let a = m.get::<u64>(c.r[1]);
    let mut result = 0u32;
    for i in 0..32 {
        let shared = a[i].wrapping_sub(SHARED_WINDOW) < WINDOW;
        let local = a[i].wrapping_sub(LOCAL_WINDOW) < WINDOW;
        let yes = if SPACE == 0 { shared } else if SPACE == 1 { local } else { !shared && !local };
        result |= u32::from(yes) << i;
    }
    m.set_predicate(c.r[0], mask, result);
    Ok(())
}

fn mov(op: &Opcode<'_>, t: &str) -> Option<Found> {
    let found = |pair| Some(Found::new(Class::Move, pair));
    let list = |i: usize| match op.operands.get(i) {
        Some(Operand::List(list)) => Some(list.len()),
        _ => None,
    };
    let width = match t {
        "pred" => Width::Pred,
        "b16" | "u16" | "s16" | "f16" | "bf16" => B16,
        "b32" | "u32" | "s32" | "f32" => B32,
        "b64" | "u64" | "s64" | "f64" => B64,
        _ => return None,
    };
    match (list(0), list(1), width) {
        (None, None, Width::Pred) => match op.operands.get(1) {
            Some(Operand::Int(value)) => {
                let value = i64::from(*value != 0);
                Some(Found::new(Class::Move, (constant_predicate, &[Arg::DPred, Arg::Imm])).with(value, [0; 2]))
            }
            _ => found((move_predicate, &[Arg::DPred, Arg::Pred])),
        },
        (None, None, _) => match op.operands.get(1) {
            Some(Operand::Special(name)) if name == "clock" || name == "globaltimer_lo" => {
                found((clock::<u32>, &[Arg::D(B32), Arg::Ignored]))
            }
            Some(Operand::Special(name)) if name == "clock64" || name == "globaltimer" => {
                found((clock::<u64>, &[Arg::D(B64), Arg::Ignored]))
            }
            _ => found(match width {
                B16 => lanes!(|a: u16| -> u16 { a }),
                B32 => lanes!(|a: u32| -> u32 { a }),
                _ => lanes!(|a: u64| -> u64 { a }),
            }),
        },
        (None, Some(2), B32) => found(lanes!(|a: u16, b: u16| -> u32 { u32::from(a) | u32::from(b) << 16 }))
            .map(|f| Found { args: &[Arg::D(B32), Arg::List(2, B16)], ..f }),
        (None, Some(2), B64) => found(lanes!(|a: u32, b: u32| -> u64 { u64::from(a) | u64::from(b) << 32 }))
            .map(|f| Found { args: &[Arg::D(B64), Arg::List(2, B32)], ..f }),
        (None, Some(4), B64) => found(lanes!(|a: u16, b: u16, c: u16, d: u16| -> u64 {
            u64::from(a) | u64::from(b) << 16 | u64::from(c) << 32 | u64::from(d) << 48
        }))
        .map(|f| Found { args: &[Arg::D(B64), Arg::List(4, B16)], ..f }),
        (Some(2), None, B32) => found((unpack16, &[Arg::DList(2, B16), Arg::S(B32)])),
        (Some(2), None, B64) => found((unpack32, &[Arg::DList(2, B32), Arg::S(B64)])),
        (Some(4), None, B64) => found((unpack64, &[Arg::DList(4, B16), Arg::S(B64)])),
        _ => None,
    }
}

fn constant_predicate(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    m.set_predicate(c.r[0], mask, if c.imm != 0 { u32::MAX } else { 0 });
    Ok(())
}

fn move_predicate(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    m.set_predicate(c.r[0], mask, m.predicate(c.r[1]));
    Ok(())
}

/// Instructions that this host thread has issued so far at the place of the read: it grows, and means nothing else.
fn clock<R: crate::exec::lanes::Raw + From<u32>>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let now = m.counts.issued.iter().fold(0u64, |sum, i| sum.wrapping_add(i.0)) as u32;
    m.put(c.r[0], mask, &[R::from(now); 32]);
    Ok(())
}

fn unpack16(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let source = *m.get::<u32>(c.r[2]);
    m.put(c.r[0], mask, &source.map(|v| v & 0xffff));
    m.put(c.r[1], mask, &source.map(|v| v >> 16));
    Ok(())
}

fn unpack32(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let source = *m.get::<u64>(c.r[2]);
    m.put(c.r[0], mask, &source.map(|v| v as u32));
    m.put(c.r[1], mask, &source.map(|v| (v >> 32) as u32));
    Ok(())
}

fn unpack64(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let source = *m.get::<u64>(c.r[4]);
    for k in 0..4 {
        m.put(c.r[k], mask, &source.map(|v| (v >> (16 * k)) as u32 & 0xffff));
    }
    Ok(())
}
