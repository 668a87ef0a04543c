//! Logic, shifts and bit fields.

use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::machine::Machine;
use crate::exec::program::{Class, Code, Handler, Step};
use crate::lanes;
use crate::ptx::module::Width::B32;

/// The bit opcodes.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    let (base, rest) = op.plain()?;
    let pair = match (base, rest) {
        ("and", ["b16"]) => lanes!(|a: u16, b: u16| -> u16 { a & b }),
        ("and", ["b32"]) => lanes!(|a: u32, b: u32| -> u32 { a & b }),
        ("and", ["b64"]) => lanes!(|a: u64, b: u64| -> u64 { a & b }),
        ("or", ["b16"]) => lanes!(|a: u16, b: u16| -> u16 { a | b }),
        ("or", ["b32"]) => lanes!(|a: u32, b: u32| -> u32 { a | b }),
        ("or", ["b64"]) => lanes!(|a: u64, b: u64| -> u64 { a | b }),
        ("xor", ["b16"]) => lanes!(|a: u16, b: u16| -> u16 { a ^ b }),
        ("xor", ["b32"]) => lanes!(|a: u32, b: u32| -> u32 { a ^ b }),
        ("xor", ["b64"]) => lanes!(|a: u64, b: u64| -> u64 { a ^ b }),
        ("not", ["b16"]) => lanes!(|a: u16| -> u16 { !a }),
        ("not", ["b32"]) => lanes!(|a: u32| -> u32 { !a }),
        ("not", ["b64"]) => lanes!(|a: u64| -> u64 { !a }),
        ("cnot", ["b16"]) => lanes!(|a: u16| -> u16 { u16::from(a == 0) }),
        ("cnot", ["b64"]) => lanes!(|a: u64| -> u64 { u64::from(a == 0) }),
        ("cnot", ["b32"]) => lanes!(|a: u32| -> u32 { u32::from(a == 0) }),
        ("and" | "or" | "xor" | "not", ["pred"]) => return predicates(base),
        // Shifts by the width or more give zero, or the sign.
        ("shl", ["b16"]) => lanes!(|a: u16, b: u32| -> u16 { if b > 15 { 0 } else { a << b } }),
        ("shl", ["b32"]) => lanes!(|a: u32, b: u32| -> u32 { if b > 31 { 0 } else { a << b } }),
        ("shl", ["b64"]) => lanes!(|a: u64, b: u32| -> u64 { if b > 63 { 0 } else { a << b } }),
        ("shr", ["b16" | "u16"]) => lanes!(|a: u16, b: u32| -> u16 { if b > 15 { 0 } else { a >> b } }),
        ("shr", ["b32" | "u32"]) => lanes!(|a: u32, b: u32| -> u32 { if b > 31 { 0 } else { a >> b } }),
        ("shr", ["b64" | "u64"]) => lanes!(|a: u64, b: u32| -> u64 { if b > 63 { 0 } else { a >> b } }),
        ("shr", ["s16"]) => lanes!(|a: i16, b: u32| -> i16 { a >> b.min(15) }),
        ("shr", ["s32"]) => lanes!(|a: i32, b: u32| -> i32 { a >> b.min(31) }),
        ("shr", ["s64"]) => lanes!(|a: i64, b: u32| -> i64 { a >> b.min(63) }),
        ("shf", ["l", "wrap", "b32"]) => lanes!(|a: u32, b: u32, c: u32| -> u32 { (wide(a, b) << (c & 31) >> 32) as u32 }),
        ("shf", ["l", "clamp", "b32"]) => lanes!(|a: u32, b: u32, c: u32| -> u32 { (wide(a, b) << c.min(32) >> 32) as u32 }),
        ("shf", ["r", "wrap", "b32"]) => lanes!(|a: u32, b: u32, c: u32| -> u32 { (wide(a, b) >> (c & 31)) as u32 }),
        ("shf", ["r", "clamp", "b32"]) => lanes!(|a: u32, b: u32, c: u32| -> u32 { (wide(a, b) >> c.min(32)) as u32 }),
        ("popc", ["b32"]) => lanes!(|a: u32| -> u32 { a.count_ones() }),
        ("popc", ["b64"]) => lanes!(|a: u64| -> u32 { a.count_ones() }),
        ("clz", ["b32"]) => lanes!(|a: u32| -> u32 { a.leading_zeros() }),
        ("clz", ["b64"]) => lanes!(|a: u64| -> u32 { a.leading_zeros() }),
        ("brev", ["b32"]) => lanes!(|a: u32| -> u32 { a.reverse_bits() }),
        ("brev", ["b64"]) => lanes!(|a: u64| -> u64 { a.reverse_bits() }),
        ("bfind", ["u32"]) => lanes!(|a: u32| -> u32 { 31u32.wrapping_sub(a.leading_zeros()) }),
        ("bfind", ["u64"]) => lanes!(|a: u64| -> u32 { 63u32.wrapping_sub(a.leading_zeros()) }),
        ("bfind", ["s32"]) => lanes!(|a: i32| -> u32 { 31u32.wrapping_sub((a ^ (a >> 31)).leading_zeros()) }),
        ("bfind", ["s64"]) => lanes!(|a: i64| -> u32 { 63u32.wrapping_sub((a ^ (a >> 63)).leading_zeros()) }),
        ("bfind", ["shiftamt", "s32"]) => lanes!(|a: i32| -> u32 { let a = a ^ (a >> 31); if a == 0 { !0 } else { a.leading_zeros() } }),
        ("bfind", ["shiftamt", "s64"]) => lanes!(|a: i64| -> u32 { let a = a ^ (a >> 63); if a == 0 { !0 } else { a.leading_zeros() } }),
        ("fns", ["b32"]) => lanes!(|a: u32, b: u32, c: i32| -> u32 { nth_set(a, b, c) }),
        ("bmsk", ["clamp", "b32"]) => lanes!(|a: u32, b: u32| -> u32 { insert(u64::from(u32::MAX), 0, a.min(255), b.min(255)) as u32 }),
        ("bmsk", ["wrap", "b32"]) => lanes!(|a: u32, b: u32| -> u32 { insert(u64::from(u32::MAX), 0, a & 31, b & 31) as u32 }),
        ("szext", ["clamp", "u32"]) => lanes!(|a: u32, b: u32| -> u32 { extract(u64::from(a), 0, b.min(32), 32, false) as u32 }),
        ("szext", ["clamp", "s32"]) => lanes!(|a: i32, b: u32| -> u32 { extract(i64::from(a) as u64, 0, b.min(32), 32, true) as u32 }),
        ("bfind", ["shiftamt", "u32"]) => lanes!(|a: u32| -> u32 { if a == 0 { !0 } else { a.leading_zeros() } }),
        ("bfind", ["shiftamt", "u64"]) => lanes!(|a: u64| -> u32 { if a == 0 { !0 } else { a.leading_zeros() } }),
        ("bfe", ["u32"]) => lanes!(|a: u32, b: u32, c: u32| -> u32 { extract(u64::from(a), b, c, 32, false) as u32 }),
        ("bfe", ["s32"]) => lanes!(|a: i32, b: u32, c: u32| -> u32 { extract(i64::from(a) as u64, b, c, 32, true) as u32 }),
        ("bfe", ["u64"]) => lanes!(|a: u64, b: u32, c: u32| -> u64 { extract(a, b, c, 64, false) }),
        ("bfe", ["s64"]) => lanes!(|a: u64, b: u32, c: u32| -> u64 { extract(a, b, c, 64, true) }),
        ("bfi", ["b32"]) => lanes!(|a: u32, b: u32, c: u32, d: u32| -> u32 {
            insert(u64::from(a), u64::from(b), c, d) as u32
        }),
        ("bfi", ["b64"]) => lanes!(|a: u64, b: u64, c: u32, d: u32| -> u64 { insert(a, b, c, d) }),
        ("prmt", ["b32"]) => lanes!(|a: u32, b: u32, c: u32| -> u32 { permute(a, b, c) }),
        ("lop3", ["b32"]) => (lop3 as Handler, &[Arg::D(B32), Arg::S(B32), Arg::S(B32), Arg::S(B32), Arg::Imm] as &[Arg]),
        _ => return None,
    };
    Some(Found::new(Class::Integer, pair))
}

fn wide(low: u32, high: u32) -> u64 {
    u64::from(high) << 32 | u64::from(low)
}

/// Bits `start..start + count` (both taken modulo 256), shifted down; signed: the field's last bit, or the value's last
/// bit if the field reaches past it, fills the rest.
fn extract(a: u64, start: u32, count: u32, width: u32, signed: bool) -> u64 {
    let (start, count) = (start & 255, count & 255);
    let last = (start + count).saturating_sub(1).min(width - 1);
    let fill = signed && count != 0 && a >> last & 1 != 0;
    let field = if start >= 64 { 0 } else { a >> start };
    // Past the value's end there are copies of the sign, or zeros.
    let have = width.saturating_sub(start).min(count);
    let kept = if have >= 64 { field } else { field & ((1 << have) - 1) };
    if fill && have < 64 { kept | u64::MAX << have } else { kept }
}

fn insert(a: u64, b: u64, start: u32, count: u32) -> u64 {
    let (start, count) = (start & 255, count & 255);
    if start >= 64 {
        return b;
    }
    let mask = if count >= 64 { u64::MAX } else { (1 << count) - 1 } << start;
    b & !mask | a << start & mask
}

/// Position of the `n`-th set bit of `a` from bit `base` on, downwards for a negative `n`; for 0 it is the base itself, if set. All
/// ones where there is none.
fn nth_set(a: u32, base: u32, n: i32) -> u32 {
    if n == 0 {
        return if base < 32 && a >> base & 1 == 1 { base } else { !0 };
    }
    let (step, mut left, mut at) = (n.signum(), n.unsigned_abs(), i64::from(base));
    while (0..32).contains(&at) {
        left -= u32::from(a >> at & 1 == 1);
        if left == 0 {
            return at as u32;
        }
        at += i64::from(step);
    }
    !0
}

fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = wide(a, b).to_le_bytes();
    (0..4).fold(0, |out, k| {
        let pick = selector >> (4 * k) & 15;
        let byte = bytes[(pick & 7) as usize];
        let byte = if pick & 8 != 0 { ((byte as i8) >> 7) as u8 } else { byte };
        out | u32::from(byte) << (8 * k)
    })
}

fn lop3(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let (x, y, z) = (m.get::<u32>(c.r[1]), m.get::<u32>(c.r[2]), m.get::<u32>(c.r[3]));
    let table = c.imm as u32;
    let term = |bit: u32| if table >> bit & 1 != 0 { u32::MAX } else { 0 };
    let terms: [u32; 8] = std::array::from_fn(|bit| term(bit as u32));
    let mut out = [0; 32];
    for i in 0..32 {
        let (x, y, z) = (x[i], y[i], z[i]);
        out[i] = terms[0] & !x & !y & !z
            | terms[1] & !x & !y & z
            | terms[2] & !x & y & !z
            | terms[3] & !x & y & z
            | terms[4] & x & !y & !z
            | terms[5] & x & !y & z
            | terms[6] & x & y & !z
            | terms[7] & x & y & z;
    }
    m.put(c.r[0], mask, &out);
    Ok(())
}

fn predicates(base: &str) -> Option<Found> {
    fn binary<const OP: u8>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
        let (a, b) = (m.predicate(c.r[1]), m.predicate(c.r[2]));
        m.set_predicate(c.r[0], mask, if OP == 0 { a & b } else if OP == 1 { a | b } else { a ^ b });
        Ok(())
    }
    fn not(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
        m.set_predicate(c.r[0], mask, !m.predicate(c.r[1]));
        Ok(())
    }
    let two: &[Arg] = &[Arg::DPred, Arg::Pred, Arg::Pred];
    let pair = match base {
        "and" => (binary::<0> as Handler, two),
        "or" => (binary::<1> as Handler, two),
        "xor" => (binary::<2> as Handler, two),
        _ => (not as Handler, &[Arg::DPred, Arg::Pred] as &[Arg]),
    };
    Some(Found::new(Class::Integer, pair))
}
