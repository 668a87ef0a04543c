//! Integer opcodes against the meaning that the PTX specification gives them.
#![allow(missing_docs)]

mod support;
use support::{l, lanes, s};

const M: u64 = u32::MAX as u64;

#[test]
fn add_sub() {
    assert_eq!(lanes("add.s32", "rrr", &[&[1, M, 0x7fff_ffff], &[2, 1, 1]]), [3, 0, 0x8000_0000]);
    assert_eq!(lanes("add.u16", "hhh", &[&[0xffff, 3], &[2, 4]]), [1, 7]);
    assert_eq!(lanes("add.s64", "ddd", &[&[M, u64::MAX], &[1, 1]]), [1 << 32, 0]);
    assert_eq!(lanes("add.sat.s32", "rrr", &[&[0x7fff_ffff, s(-5)], &[1, 3]]), [0x7fff_ffff, s(-2)]);
    assert_eq!(lanes("sub.u32", "rrr", &[&[0, 9], &[1, 4]]), [M, 5]);
    assert_eq!(lanes("sub.s16", "hhh", &[&[0], &[1]]), [0xffff]);
    assert_eq!(lanes("sub.u64", "ddd", &[&[0], &[1]]), [u64::MAX]);
    assert_eq!(lanes("sub.sat.s32", "rrr", &[&[s(i32::MIN)], &[1]]), [s(i32::MIN)]);
}

#[test]
fn mul() {
    assert_eq!(lanes("mul.lo.s32", "rrr", &[&[s(-3), 0x10000], &[7, 0x10000]]), [s(-21), 0]);
    assert_eq!(lanes("mul.lo.u16", "hhh", &[&[300], &[300]]), [90000 & 0xffff]);
    assert_eq!(lanes("mul.lo.s64", "ddd", &[&[l(-3)], &[1 << 40]]), [l(-3 << 40)]);
    assert_eq!(lanes("mul.hi.u32", "rrr", &[&[M, 0x10000], &[M, 0x10000]]), [M - 1, 1]);
    assert_eq!(lanes("mul.hi.s32", "rrr", &[&[s(-1), s(i32::MIN)], &[1, s(i32::MIN)]]), [M, 0x4000_0000]);
    assert_eq!(lanes("mul.hi.u64", "ddd", &[&[u64::MAX], &[u64::MAX]]), [u64::MAX - 1]);
    assert_eq!(lanes("mul.hi.s64", "ddd", &[&[l(-1)], &[1]]), [u64::MAX]);
    assert_eq!(lanes("mul.hi.s16", "hhh", &[&[0x8000], &[0x8000]]), [0x4000]);
    assert_eq!(lanes("mul.hi.u16", "hhh", &[&[0x8000], &[0x8000]]), [0x4000]);
    assert_eq!(lanes("mul.wide.s32", "drr", &[&[s(-2)], &[M]]), [2]);
    assert_eq!(lanes("mul.wide.u32", "drr", &[&[M], &[M]]), [M * M]);
    assert_eq!(lanes("mul.wide.u16", "rhh", &[&[0xffff], &[0xffff]]), [0xffff * 0xffff]);
    assert_eq!(lanes("mul.wide.s16", "rhh", &[&[0xffff], &[5]]), [s(-5)]);
    assert_eq!(lanes("mul24.lo.u32", "rrr", &[&[0xff00_0003], &[5]]), [15]);
}

#[test]
fn mad() {
    assert_eq!(lanes("mad.lo.s32", "rrrr", &[&[s(-3)], &[4], &[5]]), [s(-7)]);
    assert_eq!(lanes("mad.lo.u16", "hhhh", &[&[300], &[300], &[1]]), [90001 & 0xffff]);
    assert_eq!(lanes("mad.lo.u64", "dddd", &[&[1 << 33], &[1 << 31], &[9]]), [9]);
    assert_eq!(lanes("mad.hi.u32", "rrrr", &[&[0x10000], &[0x30000], &[4]]), [7]);
    assert_eq!(lanes("mad.hi.s32", "rrrr", &[&[s(-1)], &[1], &[4]]), [3]);
    assert_eq!(lanes("mad.wide.u32", "drrd", &[&[M], &[2], &[3]]), [2 * M + 3]);
    assert_eq!(lanes("mad.wide.s32", "drrd", &[&[s(-4)], &[2], &[3]]), [l(-5)]);
    assert_eq!(lanes("mad.wide.u16", "rhhr", &[&[0xffff], &[2], &[3]]), [0x1ffff + 2]);
    assert_eq!(lanes("mad.wide.s16", "rhhr", &[&[0xffff], &[2], &[3]]), [1]);
}

#[test]
fn div_rem() {
    assert_eq!(lanes("div.s32", "rrr", &[&[s(-7), 7], &[2, s(-2)]]), [s(-3), s(-3)], "toward zero");
    assert_eq!(lanes("div.u32", "rrr", &[&[M], &[10]]), [M / 10]);
    assert_eq!(lanes("div.u64", "ddd", &[&[u64::MAX], &[10]]), [u64::MAX / 10]);
    assert_eq!(lanes("div.s64", "ddd", &[&[l(-7)], &[2]]), [l(-3)]);
    assert_eq!(lanes("div.u16", "hhh", &[&[100], &[7]]), [14]);
    assert_eq!(lanes("div.s16", "hhh", &[&[0xff9c], &[7]]), [0xfff2]);
    assert_eq!(lanes("rem.s32", "rrr", &[&[s(-7), 7], &[2, s(-2)]]), [s(-1), 1], "sign of the dividend");
    assert_eq!(lanes("rem.u32", "rrr", &[&[M], &[10]]), [5]);
    assert_eq!(lanes("rem.u64", "ddd", &[&[u64::MAX], &[10]]), [5]);
    assert_eq!(lanes("rem.s64", "ddd", &[&[l(-7)], &[2]]), [l(-1)]);
    assert_eq!(lanes("rem.u16", "hhh", &[&[100], &[7]]), [2]);
    assert_eq!(lanes("rem.s16", "hhh", &[&[0xff9c], &[7]]), [0xfffe]);
}

#[test]
fn min_max_abs_neg_sad() {
    assert_eq!(lanes("min.s32", "rrr", &[&[s(-1)], &[1]]), [s(-1)]);
    assert_eq!(lanes("min.u32", "rrr", &[&[s(-1)], &[1]]), [1]);
    assert_eq!(lanes("max.s32", "rrr", &[&[s(-1)], &[1]]), [1]);
    assert_eq!(lanes("max.u32", "rrr", &[&[s(-1)], &[1]]), [M]);
    assert_eq!(lanes("min.s64", "ddd", &[&[l(-1)], &[1]]), [l(-1)]);
    assert_eq!(lanes("max.u64", "ddd", &[&[l(-1)], &[1]]), [u64::MAX]);
    assert_eq!(lanes("min.u64", "ddd", &[&[l(-1)], &[1]]), [1]);
    assert_eq!(lanes("max.s64", "ddd", &[&[l(-1)], &[1]]), [1]);
    assert_eq!(lanes("min.s16", "hhh", &[&[0xffff], &[1]]), [0xffff]);
    assert_eq!(lanes("min.u16", "hhh", &[&[0xffff], &[1]]), [1]);
    assert_eq!(lanes("max.s16", "hhh", &[&[0xffff], &[1]]), [1]);
    assert_eq!(lanes("max.u16", "hhh", &[&[0xffff], &[1]]), [0xffff]);
    assert_eq!(lanes("abs.s32", "rr", &[&[s(-5), 5]]), [5, 5]);
    assert_eq!(lanes("abs.s64", "dd", &[&[l(-5)]]), [5]);
    assert_eq!(lanes("abs.s16", "hh", &[&[0xfffb]]), [5]);
    assert_eq!(lanes("neg.s32", "rr", &[&[5]]), [s(-5)]);
    assert_eq!(lanes("neg.s64", "dd", &[&[5]]), [l(-5)]);
    assert_eq!(lanes("neg.s16", "hh", &[&[5]]), [0xfffb]);
    assert_eq!(lanes("sad.u32", "rrrr", &[&[3], &[10], &[100]]), [107]);
    assert_eq!(lanes("sad.s32", "rrrr", &[&[s(-3)], &[10], &[100]]), [113]);
}

#[test]
fn dot_products_of_bytes() {
    assert_eq!(lanes("dp4a.u32.u32", "rrrr", &[&[0xff02_0103], &[0x0101_0204], &[7]]), [255 + 2 + 2 + 12 + 7]);
    assert_eq!(lanes("dp4a.s32.s32", "rrrr", &[&[0xff02_0103], &[0x0101_0204], &[7]]), [2 + 2 + 12 + 7 - 1]);
}

#[test]
fn logic() {
    let (a, b): (&[u64], &[u64]) = (&[0, 0, 1, 1, 0xf0f0], &[0, 1, 0, 1, 0xff00]);
    for (width, kinds) in [("b16", "hhh"), ("b32", "rrr"), ("b64", "ddd")] {
        assert_eq!(lanes(&format!("and.{width}"), kinds, &[a, b]), [0, 0, 0, 1, 0xf000]);
        assert_eq!(lanes(&format!("or.{width}"), kinds, &[a, b]), [0, 1, 1, 1, 0xfff0]);
        assert_eq!(lanes(&format!("xor.{width}"), kinds, &[a, b]), [0, 1, 1, 0, 0x0ff0]);
    }
    assert_eq!(lanes("and.pred", "ppp", &[&a[..4], &b[..4]]), [0, 0, 0, 1]);
    assert_eq!(lanes("or.pred", "ppp", &[&a[..4], &b[..4]]), [0, 1, 1, 1]);
    assert_eq!(lanes("xor.pred", "ppp", &[&a[..4], &b[..4]]), [0, 1, 1, 0]);
    assert_eq!(lanes("not.pred", "pp", &[&[0, 1]]), [1, 0]);
    assert_eq!(lanes("not.b16", "hh", &[&[1]]), [0xfffe]);
    assert_eq!(lanes("not.b32", "rr", &[&[1]]), [M - 1]);
    assert_eq!(lanes("not.b64", "dd", &[&[1]]), [u64::MAX - 1]);
    assert_eq!(lanes("cnot.b32", "rr", &[&[0, 5]]), [1, 0]);
}

#[test]
fn lop3_is_its_table() {
    // The specification's own: a and b and c = 0x80, a or b or c = 0xfe, (a and b) or c = 0xea, a xor b xor c = 0x96.
    let inputs: [&[u64]; 3] = [&[0xf0], &[0xcc], &[0xaa]];
    for table in [0x80u64, 0xfe, 0xea, 0x96, 0x1a, 0, 0xff, 0x40] {
        let out = lanes(&format!("lop3.b32 $, {table}"), "rrrr", &inputs)[0];
        assert_eq!(out & 0xff, table);
    }
}

#[test]
fn shifts_clamp() {
    assert_eq!(lanes("shl.b32", "rrr", &[&[3, 3, 3], &[1, 31, 32]]), [6, 1 << 31, 0]);
    assert_eq!(lanes("shl.b64", "ddr", &[&[3, 3], &[63, 64]]), [1 << 63, 0]);
    assert_eq!(lanes("shl.b16", "hhr", &[&[3, 3], &[15, 16]]), [0x8000, 0]);
    assert_eq!(lanes("shr.u32", "rrr", &[&[M, M, M], &[1, 31, 32]]), [M / 2, 1, 0]);
    assert_eq!(lanes("shr.b32", "rrr", &[&[M], &[4]]), [M >> 4]);
    assert_eq!(lanes("shr.s32", "rrr", &[&[s(-8), s(-8), 8], &[1, 99, 99]]), [s(-4), s(-1), 0]);
    assert_eq!(lanes("shr.u64", "ddr", &[&[u64::MAX, 5], &[60, 64]]), [15, 0]);
    assert_eq!(lanes("shr.s64", "ddr", &[&[l(-8)], &[70]]), [l(-1)]);
    assert_eq!(lanes("shr.u16", "hhr", &[&[0xffff, 1], &[12, 16]]), [15, 0]);
    assert_eq!(lanes("shr.s16", "hhr", &[&[0x8000], &[20]]), [0xffff]);
}

#[test]
fn funnel_shifts() {
    let (low, high) = (0x89ab_cdef, 0x0123_4567);
    assert_eq!(lanes("shf.l.wrap.b32", "rrrr", &[&[low], &[high], &[8, 40]]), [0x2345_6789, 0x2345_6789]);
    assert_eq!(lanes("shf.l.clamp.b32", "rrrr", &[&[low], &[high], &[8, 40]]), [0x2345_6789, low]);
    assert_eq!(lanes("shf.r.wrap.b32", "rrrr", &[&[low], &[high], &[8, 40]]), [0x6789_abcd, 0x6789_abcd]);
    assert_eq!(lanes("shf.r.clamp.b32", "rrrr", &[&[low], &[high], &[8, 40]]), [0x6789_abcd, high]);
}

#[test]
fn counting_and_reversing() {
    assert_eq!(lanes("popc.b32", "rr", &[&[0xf0f0, 0]]), [8, 0]);
    assert_eq!(lanes("popc.b64", "rd", &[&[u64::MAX]]), [64]);
    assert_eq!(lanes("clz.b32", "rr", &[&[0, 1, M]]), [32, 31, 0]);
    assert_eq!(lanes("clz.b64", "rd", &[&[0, 1]]), [64, 63]);
    assert_eq!(lanes("brev.b32", "rr", &[&[1, 0x8000_0001]]), [0x8000_0000, 0x8000_0001]);
    assert_eq!(lanes("brev.b64", "dd", &[&[1]]), [1 << 63]);
    assert_eq!(lanes("bfind.u32", "rr", &[&[0, 1, 0x100]]), [M, 0, 8]);
    assert_eq!(lanes("bfind.s32", "rr", &[&[s(-1), s(-256), 0x100]]), [M, 7, 8]);
    assert_eq!(lanes("bfind.u64", "rd", &[&[1 << 40]]), [40]);
    assert_eq!(lanes("bfind.shiftamt.u32", "rr", &[&[0, 1, 0x100]]), [M, 31, 23]);
    assert_eq!(lanes("bfind.shiftamt.u64", "rd", &[&[1]]), [63]);
}

/// `bfe` bit by bit, as the specification's pseudo-code has it.
fn bfe(a: u64, b: u64, c: u64, signed: bool, bits: u32) -> u64 {
    let (pos, len, msb) = ((b & 255) as u32, (c & 255) as u32, bits - 1);
    let sign = if !signed || len == 0 { 0 } else { a >> (pos + len - 1).min(msb) & 1 };
    (0..bits).fold(0, |d, i| d | (if i < len && pos + i <= msb { a >> (pos + i) & 1 } else { sign }) << i)
}

/// `bfi` likewise.
fn bfi(a: u64, b: u64, c: u64, d: u64, bits: u32) -> u64 {
    let (pos, len) = ((c & 255) as u32, (d & 255) as u32);
    (0..len).take_while(|i| pos + i < bits).fold(b, |f, i| f & !(1 << (pos + i)) | (a >> i & 1) << (pos + i))
}

#[test]
fn bit_fields() {
    let a = [0x89ab_cdef_0123_4567u64, 0xffff_0000_8000_0001, 0x0f0f];
    let (mut from, mut start, mut count) = (Vec::new(), Vec::new(), Vec::new());
    for &value in &a {
        for (b, c) in [(0, 0), (4, 8), (28, 8), (0, 32), (31, 1), (40, 10), (0, 64), (256 + 4, 8), (255, 255), (60, 4)] {
            from.push(value);
            start.push(b);
            count.push(c);
        }
    }
    let narrow: Vec<u64> = from.iter().map(|a| a & M).collect();
    let expect = |signed, bits, from: &[u64]| -> Vec<u64> {
        (0..from.len()).map(|i| bfe(from[i], start[i], count[i], signed, bits)).collect()
    };
    assert_eq!(lanes("bfe.u32", "rrrr", &[&narrow, &start, &count]), expect(false, 32, &narrow));
    assert_eq!(lanes("bfe.s32", "rrrr", &[&narrow, &start, &count]), expect(true, 32, &narrow));
    assert_eq!(lanes("bfe.u64", "ddrr", &[&from, &start, &count]), expect(false, 64, &from));
    assert_eq!(lanes("bfe.s64", "ddrr", &[&from, &start, &count]), expect(true, 64, &from));
    let into = 0x5555_5555_5555_5555u64;
    let inserted: Vec<u64> = (0..from.len()).map(|i| bfi(narrow[i], into & M, start[i], count[i], 32)).collect();
    assert_eq!(lanes("bfi.b32", "rrrrr", &[&narrow, &[into], &start, &count]), inserted);
    let inserted: Vec<u64> = (0..from.len()).map(|i| bfi(from[i], into, start[i], count[i], 64)).collect();
    assert_eq!(lanes("bfi.b64", "dddrr", &[&from, &[into], &start, &count]), inserted);
}

#[test]
fn prmt_picks_bytes() {
    let (a, b): (&[u64], &[u64]) = (&[0x0302_8100], &[0x0706_0504]);
    assert_eq!(lanes("prmt.b32", "rrrr", &[a, b, &[0x3210, 0x7654, 0x0123, 0x4444]]), [0x0302_8100, 0x0706_0504, 0x0081_0203, 0x0404_0404]);
    assert_eq!(lanes("prmt.b32", "rrrr", &[a, b, &[0x9999, 0xbbbb]]), [0xffff_ffff, 0], "the high bit copies the sign");
}

#[test]
fn parts_of_words() {
    let words: &[u64] = &[0x80ff_7f01, 0x0102_0304];
    let other: &[u64] = &[0x0101_0102, 0x0403_0201];
    let run = |name: &str| lanes(name, "rrrr", &[words, other, &[5]]);
    assert_eq!(run("vadd4.u32.u32.u32"), [0x8100_8003, 0x0505_0505]);
    assert_eq!(run("vadd4.u32.u32.u32.sat"), [0x81ff_8003, 0x0505_0505]);
    assert_eq!(run("vadd4.s32.s32.s32.sat"), [0x8100_7f03, 0x0505_0505]);
    assert_eq!(run("vsub4.u32.u32.u32.sat"), [0x7ffe_7e00, 0x0000_0103]);
    assert_eq!(run("vabsdiff4.u32.u32.u32"), [0x7ffe_7e01, 0x0301_0103]);
    assert_eq!(run("vabsdiff4.u32.u32.u32.add"), [5 + 0x7f + 0xfe + 0x7e + 1, 5 + 3 + 1 + 1 + 3]);
    assert_eq!(run("vmax4.s32.s32.s32"), [0x0101_7f02, 0x0403_0304]);
    assert_eq!(run("vmin4.u32.u32.u32"), [0x0101_0101, 0x0102_0201]);
    assert_eq!(run("vavrg4.u32.u32.u32"), [0x4180_4002, 0x0303_0303]);
    assert_eq!(run("vset4.u32.u32.gt"), [0x0101_0100, 0x0000_0101]);
    assert_eq!(run("vset2.s32.s32.lt"), [0x0001_0000, 0x0001_0000]);
    assert_eq!(run("vadd2.s32.s32.s32.sat"), [0x8200_7fff, 0x0505_0505]);
    assert_eq!(run("vavrg2.s32.s32.s32"), [0xc100_4002, 0x0283_0283]);
}

#[test]
fn products_of_parts() {
    assert_eq!(lanes("dp4a.s32.s32", "rrrr", &[&[0xff02_0304], &[0x0203_0405], &[1]]), [s(1 - 2 + 6 + 12 + 20)]);
    assert_eq!(lanes("dp4a.u32.u32", "rrrr", &[&[0xff02_0304], &[0x0203_0405], &[1]]), [1 + 510 + 6 + 12 + 20]);
    assert_eq!(lanes("dp4a.u32.s32", "rrrr", &[&[0xff00_0000], &[0xff00_0000], &[0]]), [s(-255)]);
    assert_eq!(lanes("dp4a.s32.u32", "rrrr", &[&[0xff00_0000], &[0xff00_0000], &[0]]), [s(-255)]);
    assert_eq!(lanes("dp2a.lo.s32.s32", "rrrr", &[&[0xffff_0002], &[0x0807_ff03], &[1]]), [s(1 + 6 + 1)]);
    assert_eq!(lanes("dp2a.hi.s32.s32", "rrrr", &[&[0xffff_0002], &[0x0807_ff03], &[1]]), [s(1 + 14 - 8)]);
    assert_eq!(lanes("dp2a.lo.u32.u32", "rrrr", &[&[0xffff_0002], &[0x0807_ff03], &[1]]), [1 + 6 + 0xffff * 0xff]);
    assert_eq!(lanes("dp2a.hi.u32.u32", "rrrr", &[&[0xffff_0002], &[0x0807_ff03], &[1]]), [1 + 14 + 0xffff * 8]);
    assert_eq!(lanes("mul24.lo.s32", "rrr", &[&[0x00ff_ffff], &[5]]), [s(-5)]);
    assert_eq!(lanes("mul24.hi.u32", "rrr", &[&[0x0080_0000], &[0x0080_0000]]), [0x4000_0000]);
    assert_eq!(lanes("mul24.hi.s32", "rrr", &[&[0x0080_0000], &[0x0040_0000]]), [s(-0x2000_0000)]);
    assert_eq!(lanes("mad24.lo.u32", "rrrr", &[&[0xff00_0003], &[5], &[7]]), [22]);
    assert_eq!(lanes("mad24.lo.s32", "rrrr", &[&[0x00ff_ffff], &[5], &[7]]), [2]);
}

#[test]
fn carries_go_on() {
    let wide = |first: &str, second: &str, a: u64, b: u64| {
        let text = format!("{{ .reg .b32 a, b, c, d; mov.b64 {{a, b}}, %d2; mov.b64 {{c, d}}, %d3; {first} a, a, c; {second} b, b, d; mov.b64 %d1, {{a, b}}; }} mov.b64 $");
        // The operands stand in the text; the move that the helper adds is of the first to itself.
        lanes(&text.replace(" mov.b64 $", " //$\n"), "ddd", &[&[a], &[b]])[0]
    };
    for (a, b) in [(u64::MAX, 1), (0xffff_ffff, 0xffff_ffff), (1 << 63, 1 << 63), (5, 7)] {
        assert_eq!(wide("add.cc.u32", "addc.u32", a, b), a.wrapping_add(b));
        assert_eq!(wide("sub.cc.u32", "subc.u32", a, b), a.wrapping_sub(b));
    }
}

#[test]
fn wide_products_by_carries() {
    // a * b of 64 bits from products of 32, as compilers write it.
    let text = "{ .reg .b32 a, b, c, d, x, y; mov.b64 {a, b}, %d2; mov.b64 {c, d}, %d3; mul.lo.u32 x, a, c; mul.hi.u32 y, a, c;
        mad.lo.cc.u32 y, a, d, y; madc.hi.u32 a, a, d, 0; mad.lo.cc.u32 y, b, c, y; addc.u32 a, a, 0; mov.b64 %d1, {x, y}; } //$\n";
    for (a, b) in [(0xffff_ffff_ffffu64, 0x1_0000_0001u64), (1 << 40, 12345), (u64::MAX, u64::MAX)] {
        assert_eq!(lanes(text, "ddd", &[&[a], &[b]]), [a.wrapping_mul(b)]);
    }
    assert_eq!(lanes("add.cc.u64 %d1, %d2, %d3; addc.u64 %d1, 0, 0 //$\n", "ddd", &[&[u64::MAX, 1], &[1]]), [1, 0]);
    assert_eq!(lanes("sub.cc.u64 %d1, %d2, %d3; subc.cc.u64 %d1, 0, 0 //$\n", "ddd", &[&[0, 1], &[1]]), [u64::MAX, 0]);
    assert_eq!(lanes("mad.hi.cc.u32 %r1, %r2, %r3, %r4; addc.cc.u32 %r1, 0, 0 //$\n", "rrrr", &[&[M, 2], &[M, 2], &[M]]), [1, 0]);
    assert_eq!(lanes("mad.lo.cc.u64 %d1, %d2, %d3, %d4; madc.lo.cc.u64 %d1, %d2, 0, 0; madc.hi.cc.u64 %d1, %d2, 0, 0 //$\n", "dddd", &[&[2], &[3], &[u64::MAX]]), [0]);
    assert_eq!(lanes("mad.lo.cc.u64 %d1, %d2, %d3, %d4; madc.lo.u64 %d1, %d2, 0, 0 //$\n", "dddd", &[&[2], &[3], &[u64::MAX]]), [1]);
}

#[test]
fn more_of_bits() {
    assert_eq!(lanes("cnot.b16", "hh", &[&[0, 7]]), [1, 0]);
    assert_eq!(lanes("cnot.b64", "dd", &[&[0, 7]]), [1, 0]);
    assert_eq!(lanes("bfind.s64", "rd", &[&[l(-2), 1 << 40, l(-1)]]), [0, 40, M]);
    assert_eq!(lanes("bfind.shiftamt.s32", "rr", &[&[s(-2), 1, s(-1)]]), [31, 31, M]);
    assert_eq!(lanes("bfind.shiftamt.s64", "rd", &[&[l(-2), 1 << 62, 0]]), [63, 1, M]);
    assert_eq!(lanes("fns.b32", "rrrr", &[&[0b1011_0100], &[3, 3, 4, 4, 0], &[1, s(-1), 0, 2, 9]]), [4, 2, 4, 5, M]);
    assert_eq!(lanes("bmsk.clamp.b32", "rrr", &[&[4, 30, 40], &[8, 9, 3]]), [0xff0, 0xc000_0000, 0]);
    assert_eq!(lanes("bmsk.wrap.b32", "rrr", &[&[36], &[8]]), [0xff0]);
    assert_eq!(lanes("szext.clamp.s32", "rrr", &[&[0x8f], &[8, 7, 0, 40]]), [s(-0x71), 0xf, 0, 0x8f]);
    assert_eq!(lanes("szext.clamp.u32", "rrr", &[&[0x8f], &[4]]), [0xf]);
    assert_eq!(lanes("mad.hi.u64", "dddd", &[&[u64::MAX], &[2], &[5]]), [6]);
    assert_eq!(lanes("mad.hi.s64", "dddd", &[&[l(-1)], &[2], &[5]]), [4]);
    assert_eq!(lanes("mad.hi.sat.s32", "rrrr", &[&[0x7fff_ffff], &[0x7fff_ffff], &[0x7fff_ffff]]), [0x7fff_ffff]);
    assert_eq!(lanes("sad.u16", "hhhh", &[&[3], &[10], &[5]]), [12]);
    assert_eq!(lanes("sad.s16", "hhhh", &[&[0xffff], &[10], &[5]]), [16]);
    assert_eq!(lanes("sad.u64", "dddd", &[&[3], &[1 << 40], &[5]]), [(1 << 40) + 2]);
    assert_eq!(lanes("sad.s64", "dddd", &[&[l(-3)], &[4], &[5]]), [12]);
}
