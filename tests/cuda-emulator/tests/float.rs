//! Floating-point opcodes, comparisons and conversions against the meaning that the PTX specification gives them.
#![allow(missing_docs)]

mod support;
use support::{f, g, l, lanes, s, try_lanes};

const NAN: u64 = 0x7fc0_0000;
const CANONICAL: u64 = 0x7fff_ffff;
const TINY: f32 = 1e-40;
/// The smallest f32 above 1, minus 1.
const EPS: f32 = f32::EPSILON;

#[test]
fn arithmetic_rounds_to_nearest_even() {
    let tie = EPS / 2.0;
    assert_eq!(lanes("add.f32", "rrr", &[&[f(1.0), f(1.0 + EPS)], &[f(tie)]]), [f(1.0), f(1.0 + 2.0 * EPS)]);
    assert_eq!(lanes("add.rn.f32", "rrr", &[&[f(1.5)], &[f(2.25)]]), [f(3.75)]);
    assert_eq!(lanes("sub.f32", "rrr", &[&[f(1.0)], &[f(2.5)]]), [f(-1.5)]);
    assert_eq!(lanes("sub.rn.f32", "rrr", &[&[f(0.0)], &[f(0.0)]]), [f(0.0)]);
    assert_eq!(lanes("mul.f32", "rrr", &[&[f(3.0), f(-0.0)], &[f(-2.0), f(2.0)]]), [f(-6.0), f(-0.0)]);
    assert_eq!(lanes("mul.rn.f32", "rrr", &[&[f(1.0 + EPS)], &[f(1.0 + EPS)]]), [f(1.0 + 2.0 * EPS)]);
    assert_eq!(lanes("add.f64", "ddd", &[&[g(0.1)], &[g(0.2)]]), [g(0.1 + 0.2)]);
    assert_eq!(lanes("sub.rn.f64", "ddd", &[&[g(1.0)], &[g(3.0)]]), [g(-2.0)]);
    assert_eq!(lanes("mul.rn.f64", "ddd", &[&[g(1.5)], &[g(3.0)]]), [g(4.5)]);
}

#[test]
fn fma_rounds_once() {
    let a = 1.0 + EPS;
    // a * a = 1 + 2 eps + eps^2: only a fused operation sees eps^2.
    assert_eq!(lanes("fma.rn.f32", "rrrr", &[&[f(a)], &[f(a)], &[f(-1.0 - 2.0 * EPS)]]), [f(EPS * EPS)]);
    assert_eq!(lanes("mad.rn.f32", "rrrr", &[&[f(2.0)], &[f(3.0)], &[f(4.0)]]), [f(10.0)]);
    let a = 1.0 + f64::EPSILON;
    let rest = f64::EPSILON * f64::EPSILON;
    assert_eq!(lanes("fma.rn.f64", "dddd", &[&[g(a)], &[g(a)], &[g(-1.0 - 2.0 * f64::EPSILON)]]), [g(rest)]);
}

#[test]
fn directed_rounding() {
    let third = f32::from_bits(0x3eaa_aaab); // 1/3 rounded up
    assert_eq!(lanes("add.rz.f32", "rrr", &[&[f(1.0), f(-1.0)], &[f(1e-9), f(-1e-9)]]), [f(1.0), f(-1.0)]);
    assert_eq!(lanes("add.rp.f32", "rrr", &[&[f(1.0), f(-1.0)], &[f(1e-9), f(-1e-9)]]), [f(1.0 + EPS), f(-1.0)]);
    assert_eq!(lanes("add.rm.f32", "rrr", &[&[f(1.0), f(-1.0)], &[f(1e-9), f(-1e-9)]]), [f(1.0), f(-1.0 - EPS)]);
    assert_eq!(lanes("add.rz.f32", "rrr", &[&[f(1.0)], &[f(-1e-9)]]), [f(1.0f32.next_down())]);
    assert_eq!(lanes("mul.rz.f32", "rrr", &[&[f(third)], &[f(3.0)]]), [f(1.0)]);
    assert_eq!(lanes("mul.rp.f32", "rrr", &[&[f(third)], &[f(3.0)]]), [f(1.0 + EPS)]);
    assert_eq!(lanes("mul.rm.f32", "rrr", &[&[f(-third)], &[f(3.0)]]), [f(-1.0 - EPS)]);
    assert_eq!(lanes("fma.rz.f32", "rrrr", &[&[f(third)], &[f(3.0)], &[f(0.0)]]), [f(1.0)]);
    assert_eq!(lanes("fma.rp.f32", "rrrr", &[&[f(third)], &[f(3.0)], &[f(0.0)]]), [f(1.0 + EPS)]);
    assert_eq!(lanes("fma.rm.f32", "rrrr", &[&[f(1.0)], &[f(1.0)], &[f(-1.0)]]), [f(-0.0)], "exact zero, rounding down");
    assert_eq!(lanes("add.rm.f32", "rrr", &[&[f(1.0)], &[f(-1.0)]]), [f(-0.0)]);
}

#[test]
fn subnormals_and_saturation() {
    assert_eq!(lanes("add.f32", "rrr", &[&[f(TINY)], &[f(0.0)]]), [f(TINY)], "kept without .ftz");
    assert_eq!(lanes("add.ftz.f32", "rrr", &[&[f(TINY), f(-TINY)], &[f(1.0), f(-0.0)]]), [f(1.0), f(-0.0)]);
    assert_eq!(lanes("mul.rn.ftz.f32", "rrr", &[&[f(1e-20)], &[f(-1e-20)]]), [f(-0.0)], "results too");
    assert_eq!(lanes("fma.rn.ftz.f32", "rrrr", &[&[f(TINY)], &[f(1e38)], &[f(1.0)]]), [f(1.0)]);
    assert_eq!(lanes("add.sat.f32", "rrr", &[&[f(0.7), f(-2.0), NAN, f(0.25)], &[f(0.7), f(1.0), f(0.0), f(0.5)]]), [f(1.0), f(0.0), f(0.0), f(0.75)]);
    assert_eq!(lanes("mul.ftz.sat.f32", "rrr", &[&[f(3.0)], &[f(0.5)]]), [f(1.0)]);
}

#[test]
fn exact_functions() {
    assert_eq!(lanes("div.rn.f32", "rrr", &[&[f(1.0), f(1.0), f(-1.0)], &[f(3.0), f(0.0), f(0.0)]]), [f(1.0 / 3.0), f(f32::INFINITY), f(f32::NEG_INFINITY)]);
    assert_eq!(lanes("div.rn.f64", "ddd", &[&[g(1.0)], &[g(3.0)]]), [g(1.0 / 3.0)]);
    assert_eq!(lanes("sqrt.rn.f32", "rr", &[&[f(2.0), f(-0.0)]]), [f(2f32.sqrt()), f(-0.0)]);
    assert_eq!(lanes("sqrt.rn.f64", "dd", &[&[g(2.0)]]), [g(2f64.sqrt())]);
    assert_eq!(lanes("rcp.rn.f32", "rr", &[&[f(3.0)]]), [f(1.0 / 3.0)]);
    assert_eq!(lanes("rcp.rn.f64", "dd", &[&[g(3.0)]]), [g(1.0 / 3.0)]);
}

#[test]
fn approximations_keep_the_stated_bounds() {
    // The specification's largest errors: 2 ulp for div, 1 for rcp and sqrt, 2^-22.9 for rsqrt, 2^-22 for ex2 ...
    let near = |name: &str, x: &[f32], of: fn(f64) -> f64, relative: f64| {
        let bits: Vec<u64> = x.iter().map(|&x| f(x)).collect();
        for (out, &x) in lanes(name, "rr", &[&bits]).iter().zip(x) {
            let (got, want) = (f64::from(f32::from_bits(*out as u32)), of(f64::from(x)));
            assert!((got - want).abs() <= relative * want.abs().max(1e-30), "{name}({x}) = {got}, not {want}");
        }
    };
    let x = [0.1f32, 0.5, 1.0, 2.7, 10.0];
    let ulp = f64::from(EPS);
    near("rcp.approx.f32", &x, |x| 1.0 / x, ulp);
    near("rcp.approx.ftz.f32", &x, |x| 1.0 / x, ulp);
    near("sqrt.approx.f32", &x, f64::sqrt, ulp);
    near("sqrt.approx.ftz.f32", &x, f64::sqrt, ulp);
    near("rsqrt.approx.f32", &x, |x| 1.0 / x.sqrt(), ulp);
    near("rsqrt.approx.ftz.f32", &x, |x| 1.0 / x.sqrt(), ulp);
    near("ex2.approx.f32", &[-3.5, 0.0, 4.25], f64::exp2, 2.0 * ulp);
    near("ex2.approx.ftz.f32", &[-3.5, 0.0, 4.25], f64::exp2, 2.0 * ulp);
    near("lg2.approx.f32", &[0.3, 8.0, 100.0], f64::log2, 2.0 * ulp);
    near("lg2.approx.ftz.f32", &[0.3, 8.0, 100.0], f64::log2, 2.0 * ulp);
    near("sin.approx.f32", &[0.5, 1.0, -2.0, 100.0], f64::sin, 4.0 * ulp);
    near("cos.approx.f32", &[0.5, 1.0, -2.0, 100.0], f64::cos, 4.0 * ulp);
    near("tanh.approx.f32", &[0.5, 1.0, -2.0], f64::tanh, 1.0 / 2048.0);
    let third = f64::from(f32::from_bits(lanes("div.approx.f32", "rrr", &[&[f(1.0)], &[f(3.0)]])[0] as u32));
    assert!((third - 1.0 / 3.0).abs() <= ulp);
    assert_eq!(lanes("div.full.f32", "rrr", &[&[f(6.0)], &[f(3.0)]]), [f(2.0)]);
    // For divisors between 2^126 and 2^128, div.approx gives 0, div.full does not.
    let big = 2f32.powi(127);
    assert_eq!(lanes("div.approx.f32", "rrr", &[&[f(big)], &[f(big)]]), [f(0.0)]);
    assert_eq!(lanes("div.full.f32", "rrr", &[&[f(big)], &[f(big)]]), [f(1.0)]);
    assert_eq!(lanes("ex2.approx.ftz.f32", "rr", &[&[f(-140.0)]]), [f(0.0)], "subnormal results are flushed");
    assert_ne!(lanes("ex2.approx.f32", "rr", &[&[f(-140.0)]]), [f(0.0)]);
}

#[test]
fn min_max_abs_neg_copysign() {
    let (a, b): (&[u64], &[u64]) = (&[f(1.0), NAN, NAN, f(-0.0)], &[f(2.0), f(3.0), NAN, f(0.0)]);
    assert_eq!(lanes("min.f32", "rrr", &[a, b]), [f(1.0), f(3.0), CANONICAL, f(-0.0)]);
    assert_eq!(lanes("max.f32", "rrr", &[a, b]), [f(2.0), f(3.0), CANONICAL, f(0.0)]);
    assert_eq!(lanes("min.NaN.f32", "rrr", &[a, b])[1], CANONICAL);
    assert_eq!(lanes("max.NaN.f32", "rrr", &[a, b])[..2], [f(2.0), CANONICAL]);
    assert_eq!(lanes("max.ftz.f32", "rrr", &[&[f(TINY)], &[f(0.0)]]), [f(0.0)]);
    assert_eq!(lanes("min.f64", "ddd", &[&[g(1.0)], &[g(2.0)]]), [g(1.0)]);
    assert_eq!(lanes("max.f64", "ddd", &[&[g(f64::NAN)], &[g(2.0)]]), [g(2.0)]);
    assert_eq!(lanes("abs.f32", "rr", &[&[f(-1.5)]]), [f(1.5)]);
    assert_eq!(lanes("neg.f32", "rr", &[&[f(-1.5)]]), [f(1.5)]);
    assert_eq!(lanes("abs.f64", "dd", &[&[g(-1.5)]]), [g(1.5)]);
    assert_eq!(lanes("neg.f64", "dd", &[&[g(1.5)]]), [g(-1.5)]);
    assert_eq!(lanes("copysign.f32", "rrr", &[&[f(-1.0)], &[f(3.0)]]), [f(-3.0)], "the sign of a, the size of b");
    assert_eq!(lanes("copysign.f64", "ddd", &[&[g(-1.0)], &[g(3.0)]]), [g(-3.0)]);
}

#[test]
fn comparisons() {
    let (a, b): (&[u64], &[u64]) = (&[1, 2, 3], &[2, 2, 2]);
    for (t, kinds) in [("s16", "phh"), ("u16", "phh"), ("s32", "prr"), ("u32", "prr"), ("s64", "pdd"), ("u64", "pdd")] {
        let run = |cmp: &str| lanes(&format!("setp.{cmp}.{t}"), kinds, &[a, b]);
        assert_eq!(run("eq"), [0, 1, 0]);
        assert_eq!(run("ne"), [1, 0, 1]);
        assert_eq!(run("lt"), [1, 0, 0]);
        assert_eq!(run("le"), [1, 1, 0]);
        assert_eq!(run("gt"), [0, 0, 1]);
        assert_eq!(run("ge"), [0, 1, 1]);
    }
    assert_eq!(lanes("setp.lt.s32", "prr", &[&[s(-1)], &[1]]), [1]);
    assert_eq!(lanes("setp.lt.u32", "prr", &[&[s(-1)], &[1]]), [0]);
    assert_eq!(lanes("setp.lo.u32", "prr", &[&[s(-1), 0], &[1]]), [0, 1]);
    assert_eq!(lanes("setp.hs.u64", "pdd", &[&[l(-1)], &[1]]), [1]);
    assert_eq!(lanes("setp.eq.b32", "prr", &[&[7], &[7]]), [1]);
    assert!(try_lanes("setp.lt.b32", "prr", &[&[7], &[7]]).is_err(), "bits have no order");
    let (a, b): (&[u64], &[u64]) = (&[f(1.0), f(2.0), NAN], &[f(2.0), f(2.0), f(2.0)]);
    let run = |cmp: &str| lanes(&format!("setp.{cmp}.f32"), "prr", &[a, b]);
    for (ordered, unordered, expect) in [
        ("eq", "equ", [0, 1]),
        ("ne", "neu", [1, 0]),
        ("lt", "ltu", [1, 0]),
        ("le", "leu", [1, 1]),
        ("gt", "gtu", [0, 0]),
        ("ge", "geu", [0, 1]),
    ] {
        assert_eq!(run(ordered), [expect[0], expect[1], 0], "{ordered}");
        assert_eq!(run(unordered), [expect[0], expect[1], 1], "{unordered}");
    }
    assert_eq!(run("num"), [1, 1, 0]);
    assert_eq!(run("nan"), [0, 0, 1]);
    assert_eq!(lanes("setp.gt.ftz.f32", "prr", &[&[f(TINY)], &[f(0.0)]]), [0]);
    assert_eq!(lanes("setp.gt.f32", "prr", &[&[f(TINY)], &[f(0.0)]]), [1]);
    assert_eq!(lanes("setp.lt.f64", "pdd", &[&[g(1.0)], &[g(2.0)]]), [1]);
    assert_eq!(lanes("setp.lt.f16", "phh", &[&[0x3c00], &[0x4000]]), [1]);
    assert_eq!(lanes("setp.lt.bf16", "phh", &[&[0x3f80], &[0x4000]]), [1]);
}

#[test]
fn combined_comparisons_and_selections() {
    let (a, b, c): (&[u64], &[u64], &[u64]) = (&[1, 1, 3, 3], &[2, 2, 2, 2], &[0, 1, 0, 1]);
    assert_eq!(lanes("setp.lt.and.s32", "prrp", &[a, b, c]), [0, 1, 0, 0]);
    assert_eq!(lanes("setp.lt.or.s32", "prrp", &[a, b, c]), [1, 1, 0, 1]);
    assert_eq!(lanes("setp.lt.xor.s32", "prrp", &[a, b, c]), [1, 0, 0, 1]);
    let not = "setp.ne.u32 %p9, %r4, 0; setp.lt.and.s32 %p8, %r2, %r3, !%p9; selp.u32 %r1, 1, 0, %p8; // $\n";
    assert_eq!(lanes(not, "rrrr", &[a, b, c]), [1, 0, 0, 0]);
    let both = "setp.lt.s32 %p9|%p8, %r2, %r3; selp.u32 %r7, 1, 0, %p9; selp.u32 %r1, 2, 0, %p8; add.u32 %r1, %r1, %r7; // $\n";
    assert_eq!(lanes(both, "rrr", &[a, b]), [1, 1, 2, 2], "q is the complement");
    assert_eq!(lanes("selp.b32", "rrrp", &[&[5], &[6], &[1, 0]]), [5, 6]);
    assert_eq!(lanes("selp.f64", "dddp", &[&[5], &[6], &[1, 0]]), [5, 6]);
    assert_eq!(lanes("selp.b16", "hhhp", &[&[5], &[6], &[1, 0]]), [5, 6]);
    assert_eq!(lanes("testp.finite.f32", "pr", &[&[f(1.0), NAN, f(f32::INFINITY)]]), [1, 0, 0]);
    assert_eq!(lanes("testp.infinite.f32", "pr", &[&[f(1.0), NAN, f(f32::INFINITY)]]), [0, 0, 1]);
    assert_eq!(lanes("testp.notanumber.f32", "pr", &[&[f(1.0), NAN]]), [0, 1]);
    assert_eq!(lanes("testp.number.f32", "pr", &[&[f(1.0), NAN]]), [1, 0]);
    assert_eq!(lanes("testp.normal.f32", "pr", &[&[f(1.0), f(TINY)]]), [1, 0]);
    assert_eq!(lanes("testp.subnormal.f32", "pr", &[&[f(1.0), f(TINY)]]), [0, 1]);
}

#[test]
fn integer_conversions() {
    assert_eq!(lanes("cvt.u64.u32", "dr", &[&[0xffff_ffff]]), [0xffff_ffff]);
    assert_eq!(lanes("cvt.s64.s32", "dr", &[&[s(-2)]]), [l(-2)]);
    assert_eq!(lanes("cvt.u32.u64", "rd", &[&[0x1_2345_6789]]), [0x2345_6789]);
    assert_eq!(lanes("cvt.u16.u32", "hr", &[&[0x12345]]), [0x2345]);
    assert_eq!(lanes("cvt.u32.u16", "rh", &[&[0xffff]]), [0xffff]);
    assert_eq!(lanes("cvt.s32.s16", "rh", &[&[0xffff]]), [s(-1)]);
    assert_eq!(lanes("cvt.u32.u8", "rr", &[&[0x1ff]]), [0xff], "the low bits of a wider register");
    assert_eq!(lanes("cvt.s32.s8", "rr", &[&[0x80]]), [s(-128)]);
    assert_eq!(lanes("cvt.s64.s16", "dh", &[&[0x8000]]), [l(-32768)]);
    assert_eq!(lanes("cvt.s16.s8", "hh", &[&[0x80]]), [0xff80]);
    assert_eq!(lanes("cvt.sat.u8.s32", "rr", &[&[s(-5), 300, 7]]), [0, 255, 7]);
    assert_eq!(lanes("cvt.sat.s8.s32", "rr", &[&[s(-500), 300]]), [s(-128), 127]);
    assert_eq!(lanes("cvt.sat.u16.s32", "hr", &[&[s(-5), 70000]]), [0, 65535]);
}

#[test]
fn float_to_integer() {
    let halves: &[u64] = &[f(2.5), f(-2.5), f(3.5), f(2.7), NAN, f(1e20), f(-1e20)];
    let (high, low) = (0x7fff_ffff, 0x8000_0000);
    assert_eq!(lanes("cvt.rni.s32.f32", "rr", &[halves]), [2, s(-2), 4, 3, 0, high, low]);
    assert_eq!(lanes("cvt.rzi.s32.f32", "rr", &[halves]), [2, s(-2), 3, 2, 0, high, low]);
    assert_eq!(lanes("cvt.rmi.s32.f32", "rr", &[halves]), [2, s(-3), 3, 2, 0, high, low]);
    assert_eq!(lanes("cvt.rpi.s32.f32", "rr", &[halves]), [3, s(-2), 4, 3, 0, high, low]);
    assert_eq!(lanes("cvt.rzi.u32.f32", "rr", &[halves])[..3], [2, 0, 3]);
    assert_eq!(lanes("cvt.rzi.ftz.s32.f32", "rr", &[&[f(9.9)]]), [9]);
    assert_eq!(lanes("cvt.rzi.s64.f64", "dd", &[&[g(-1e15)]]), [l(-1_000_000_000_000_000)]);
    assert_eq!(lanes("cvt.rzi.u64.f32", "dr", &[&[f(1e10)]]), [10_000_000_000]);
    assert_eq!(lanes("cvt.rni.u8.f32", "rr", &[&[f(254.5), f(300.0), f(-1.0)]]), [254, 255, 0]);
    assert_eq!(lanes("cvt.rzi.s32.f64", "rd", &[&[g(-7.9)]]), [s(-7)]);
    assert_eq!(lanes("cvt.rni.f32.f32", "rr", &[&[f(2.5), f(-0.4)]]), [f(2.0), f(-0.0)]);
    assert_eq!(lanes("cvt.rzi.f32.f32", "rr", &[&[f(-2.7)]]), [f(-2.0)]);
    assert_eq!(lanes("cvt.rmi.f32.f32", "rr", &[&[f(-2.2)]]), [f(-3.0)]);
    assert_eq!(lanes("cvt.rpi.f32.f32", "rr", &[&[f(2.2)]]), [f(3.0)]);
    assert!(try_lanes("cvt.s32.f32", "rr", &[&[0]]).is_err(), "a rounding is needed");
}

#[test]
fn to_float() {
    assert_eq!(lanes("cvt.rn.f32.s32", "rr", &[&[s(-3), 0x0100_0001]]), [f(-3.0), f(16_777_216.0)]);
    assert_eq!(lanes("cvt.rn.f32.u32", "rr", &[&[0xffff_ffff]]), [f(4_294_967_296.0)]);
    assert_eq!(lanes("cvt.rn.f32.u16", "rh", &[&[0xffff]]), [f(65535.0)]);
    assert_eq!(lanes("cvt.rn.f32.u8", "rr", &[&[0x1ff]]), [f(255.0)]);
    assert_eq!(lanes("cvt.rn.f32.u64", "rd", &[&[1 << 63]]), [f(9.223_372e18)]);
    assert_eq!(lanes("cvt.rn.f64.s64", "dd", &[&[l(-5)]]), [g(-5.0)]);
    assert_eq!(lanes("cvt.rn.f64.u32", "dr", &[&[7]]), [g(7.0)]);
    assert_eq!(lanes("cvt.f64.f32", "dr", &[&[f(0.1)]]), [g(f64::from(0.1f32))]);
    assert_eq!(lanes("cvt.rn.f32.f64", "rd", &[&[g(0.1)]]), [f(0.1)]);
    assert_eq!(lanes("cvt.rn.ftz.f32.f64", "rd", &[&[g(1e-40)]]), [f(0.0)]);
    assert_eq!(lanes("cvt.sat.f32.f32", "rr", &[&[f(2.0), f(-1.0), NAN, f(0.5)]]), [f(1.0), f(0.0), f(0.0), f(0.5)]);
    assert_eq!(lanes("cvt.ftz.f32.f32", "rr", &[&[f(TINY)]]), [f(0.0)]);
}

#[test]
fn halves() {
    // f16: 1, the largest, the smallest subnormal, infinity after rounding, ties to even.
    let x: &[u64] = &[f(1.0), f(65504.0), f(5.960_464_5e-8), f(65520.0), f(1.0 + 1.0 / 2048.0), f(1.0 + 3.0 / 2048.0), f(-2.0)];
    assert_eq!(lanes("cvt.rn.f16.f32", "hr", &[x]), [0x3c00, 0x7bff, 1, 0x7c00, 0x3c00, 0x3c02, 0xc000]);
    assert_eq!(lanes("cvt.rz.f16.f32", "hr", &[x])[4..6], [0x3c00, 0x3c01]);
    assert_eq!(lanes("cvt.f32.f16", "rh", &[&[0x3c00, 1, 0x7c00, 0xc000, 0x03ff]]), [f(1.0), f(5.960_464_5e-8), f(f32::INFINITY), f(-2.0), f(6.097_555e-5)]);
    let y: &[u64] = &[f(1.0), 0x3f80_8000, 0x3f81_8000, 0x3f80_8001, f(-3.0)];
    assert_eq!(lanes("cvt.rn.bf16.f32", "hr", &[y]), [0x3f80, 0x3f80, 0x3f82, 0x3f81, 0xc040]);
    assert_eq!(lanes("cvt.rz.bf16.f32", "hr", &[y])[3], 0x3f80);
    assert_eq!(lanes("cvt.f32.bf16", "rh", &[&[0x3f80]]), [f(1.0)]);
    assert_eq!(lanes("cvt.rn.bf16x2.f32", "rrr", &[&[f(1.0)], &[f(2.0)]]), [0x3f80_4000], "the first operand is the upper half");
    assert_eq!(lanes("cvt.rn.f16x2.f32", "rrr", &[&[f(1.0)], &[f(2.0)]]), [0x3c00_4000]);
    // tf32 has 10 bits of mantissa: ties go away from zero.
    assert_eq!(lanes("cvt.rna.tf32.f32", "rr", &[&[0x3f80_0fff, 0x3f80_1000, 0xbf80_1000, f(f32::INFINITY)]]), [0x3f80_0000, 0x3f80_2000, 0xbf80_2000, f(f32::INFINITY)]);
    assert_eq!(lanes("cvt.rn.f16.s32", "hr", &[&[s(-2)]]), [0xc000]);
}

#[test]
fn half_arithmetic() {
    assert_eq!(lanes("add.f16", "hhh", &[&[0x3c00], &[0x4000]]), [0x4200]);
    assert_eq!(lanes("add.rn.f16x2", "rrr", &[&[0x3c00_3c00], &[0x4000_3c00]]), [0x4200_4000]);
    assert_eq!(lanes("sub.f16", "hhh", &[&[0x3c00], &[0x4000]]), [0xbc00]);
    assert_eq!(lanes("mul.f16x2", "rrr", &[&[0x4000_4200], &[0x4000_4000]]), [0x4400_4600]);
    assert_eq!(lanes("fma.rn.f16", "hhhh", &[&[0x4000], &[0x4000], &[0x3c00]]), [0x4500]);
    assert_eq!(lanes("fma.rn.bf16", "hhhh", &[&[0x4000], &[0x4000], &[0x3f80]]), [0x40a0]);
    assert_eq!(lanes("fma.rn.bf16x2", "rrrr", &[&[0x4000_4000], &[0x4000_3f80], &[0x3f80_3f80]]), [0x40a0_4040]);
    assert_eq!(lanes("neg.bf16", "hh", &[&[0x3f80]]), [0xbf80]);
    assert_eq!(lanes("abs.f16x2", "rr", &[&[0xbc00_bc00]]), [0x3c00_3c00]);
    assert_eq!(lanes("max.bf16x2", "rrr", &[&[0x3f80_4000], &[0x4000_3f80]]), [0x4000_4000]);
    assert_eq!(lanes("min.f16", "hhh", &[&[0x3c00], &[0x4000]]), [0x3c00]);
}

#[test]
fn what_ptx_does_not_have_is_refused() {
    for bad in ["add.sat.f64", "div.f32", "sqrt.f32", "fma.f32", "mul.foo.f32", "add.ftz.f64", "ex2.f32"] {
        let error = try_lanes(bad, "rrr", &[&[0], &[0]]).unwrap_err();
        assert!(error.contains("unknown instruction") && error.contains("line"), "{bad}: {error}");
    }
}

#[test]
fn directed_quotients_and_roots() {
    let both = |name: &str, kinds: &str, inputs: &[&[u64]]| lanes(name, kinds, inputs);
    let third = 1.0f32 / 3.0; // rounded up
    assert!(f64::from(third) > 1.0 / 3.0);
    assert_eq!(both("div.rz.f32", "rrr", &[&[f(1.0), f(-1.0)], &[f(3.0)]]), [f(third.next_down()), f(-third.next_down())]);
    assert_eq!(both("div.rp.f32", "rrr", &[&[f(1.0), f(-1.0)], &[f(3.0)]]), [f(third), f(-third.next_down())]);
    assert_eq!(both("div.rm.f32", "rrr", &[&[f(1.0), f(-1.0)], &[f(3.0)]]), [f(third.next_down()), f(-third)]);
    assert_eq!(both("div.rm.f32", "rrr", &[&[f(6.0)], &[f(3.0)]]), [f(2.0)], "exact");
    let root = 2f32.sqrt(); // rounded down
    assert!(f64::from(root) < 2f64.sqrt());
    assert_eq!(both("sqrt.rp.f32", "rr", &[&[f(2.0), f(4.0)]]), [f(root.next_up()), f(2.0)]);
    assert_eq!(both("sqrt.rm.f32", "rr", &[&[f(2.0)]]), [f(root)]);
    assert_eq!(both("sqrt.rz.f32", "rr", &[&[f(2.0)]]), [f(root)]);
    assert_eq!(both("rcp.rz.f32", "rr", &[&[f(3.0)]]), [f(third.next_down())]);
    assert_eq!(both("rcp.rp.f32", "rr", &[&[f(3.0)]]), [f(third)]);
    assert_eq!(both("rcp.rm.f32", "rr", &[&[f(3.0)]]), [f(third.next_down())]);
    assert_eq!(both("sub.rp.f32", "rrr", &[&[f(1.0)], &[f(-1e-9)]]), [f(1.0 + EPS)]);
    assert_eq!(both("sub.rz.f32", "rrr", &[&[f(1.0)], &[f(1e-9)]]), [f(1f32.next_down())]);
    assert_eq!(both("sub.rm.f32", "rrr", &[&[f(1.0)], &[f(1.0)]]), [f(-0.0)]);
}

#[test]
fn directed_rounding_in_double() {
    let (one, tiny) = (g(1.0), g(1e-30));
    let (up, down) = (g(1f64.next_up()), g(1f64.next_down()));
    assert_eq!(lanes("add.rp.f64", "ddd", &[&[one, g(-1.0)], &[tiny]]), [up, g(-1f64.next_down())]);
    assert_eq!(lanes("add.rm.f64", "ddd", &[&[one, g(-1.0)], &[tiny]]), [one, g(-1.0)]);
    assert_eq!(lanes("add.rz.f64", "ddd", &[&[one, g(-1.0)], &[tiny]]), [one, g(-1f64.next_down())]);
    assert_eq!(lanes("sub.rz.f64", "ddd", &[&[one], &[tiny]]), [down]);
    assert_eq!(lanes("sub.rp.f64", "ddd", &[&[one], &[tiny]]), [one]);
    assert_eq!(lanes("sub.rm.f64", "ddd", &[&[one], &[tiny]]), [down]);
    // (1 + e)^2 = 1 + 2e + e^2.
    let a = g(1f64.next_up());
    assert_eq!(lanes("mul.rm.f64", "ddd", &[&[a], &[a]]), [g(1.0 + 2.0 * f64::EPSILON)]);
    assert_eq!(lanes("mul.rz.f64", "ddd", &[&[a], &[a]]), [g(1.0 + 2.0 * f64::EPSILON)]);
    assert_eq!(lanes("mul.rp.f64", "ddd", &[&[a], &[a]]), [g(1.0 + 3.0 * f64::EPSILON)]);
    assert_eq!(lanes("mul.rz.f64", "ddd", &[&[g(1e300)], &[g(1e300)]]), [g(f64::MAX)]);
    assert_eq!(lanes("fma.rp.f64", "dddd", &[&[a], &[a], &[g(1.0)]]), [g(2.0 + 4.0 * f64::EPSILON)]);
    assert_eq!(lanes("fma.rm.f64", "dddd", &[&[a], &[a], &[g(-1.0 - 2.0 * f64::EPSILON)]]), [g(f64::EPSILON * f64::EPSILON)]);
    assert_eq!(lanes("fma.rz.f64", "dddd", &[&[one], &[one], &[g(-1e-30)]]), [down]);
    let third = 1.0f64 / 3.0; // rounded down
    assert_eq!(lanes("div.rp.f64", "ddd", &[&[one], &[g(3.0)]]), [g(third.next_up())]);
    assert_eq!(lanes("div.rm.f64", "ddd", &[&[one], &[g(3.0)]]), [g(third)]);
    assert_eq!(lanes("div.rz.f64", "ddd", &[&[g(-1.0)], &[g(3.0)]]), [g(-third)]);
    assert_eq!(lanes("rcp.rp.f64", "dd", &[&[g(3.0)]]), [g(third.next_up())]);
    assert_eq!(lanes("rcp.rm.f64", "dd", &[&[g(3.0)]]), [g(third)]);
    assert_eq!(lanes("rcp.rz.f64", "dd", &[&[g(4.0)]]), [g(0.25)]);
    let root = 2f64.sqrt(); // rounded up: its square is above 2
    assert!(root.mul_add(root, -2.0) > 0.0);
    assert_eq!(lanes("sqrt.rm.f64", "dd", &[&[g(2.0), g(4.0)]]), [g(root.next_down()), g(2.0)]);
    assert_eq!(lanes("sqrt.rz.f64", "dd", &[&[g(2.0)]]), [g(root.next_down())]);
    assert_eq!(lanes("sqrt.rp.f64", "dd", &[&[g(2.0)]]), [g(root)]);
}

#[test]
fn gross_approximations_in_double() {
    // Of the upper half of the operand, to the upper half of the result.
    for (name, of) in [("rcp.approx.ftz.f64", (|x: f64| 1.0 / x) as fn(f64) -> f64), ("rsqrt.approx.ftz.f64", |x| 1.0 / x.sqrt())] {
        for x in [3.0, 0.1, 1e200] {
            let out = lanes(name, "dd", &[&[g(x)]])[0];
            assert_eq!(out & 0xffff_ffff, 0, "{name}");
            assert!((f64::from_bits(out) / of(x) - 1.0).abs() < 1e-5, "{name}({x})");
        }
    }
    let out = f64::from_bits(lanes("rsqrt.approx.f64", "dd", &[&[g(3.0)]])[0]);
    assert!((out * 3f64.sqrt() - 1.0).abs() < 1e-15);
}

#[test]
fn conversions_round_in_a_direction() {
    assert_eq!(lanes("cvt.rz.f32.f64", "rd", &[&[g(1.0 + 1e-9), g(-1.0 - 1e-9)]]), [f(1.0), f(-1.0)]);
    assert_eq!(lanes("cvt.rp.f32.f64", "rd", &[&[g(1.0 + 1e-9), g(-1.0 - 1e-9)]]), [f(1.0 + EPS), f(-1.0)]);
    assert_eq!(lanes("cvt.rm.f32.f64", "rd", &[&[g(1.0 + 1e-9), g(-1.0 - 1e-9)]]), [f(1.0), f(-1.0 - EPS)]);
    let big = (1 << 25) + 1;
    assert_eq!(lanes("cvt.rp.f32.s32", "rr", &[&[big, s(-33_554_433)]]), [f(33_554_436.0), f(-33_554_432.0)]);
    assert_eq!(lanes("cvt.rz.f32.u32", "rr", &[&[big]]), [f(33_554_432.0)]);
    assert_eq!(lanes("cvt.rm.f32.s64", "rd", &[&[l(-(1 << 40) - 1)]]), [f(-1_099_511_758_848.0)]);
    assert_eq!(lanes("cvt.rp.f64.s64", "dd", &[&[l((1 << 60) + 1)]]), [g((1u64 << 60) as f64 + 256.0)]);
    assert_eq!(lanes("cvt.rz.f64.u64", "dd", &[&[u64::MAX]]), [g(18_446_744_073_709_549_568.0)]);
    assert_eq!(lanes("cvt.rm.f64.u64", "dd", &[&[(1 << 60) + 255]]), [g((1u64 << 60) as f64)]);
    assert_eq!(lanes("cvt.rz.bf16x2.f32", "rrr", &[&[f(1.0 + 0.0078)], &[f(-1.999)]]), [0x3f80_bfff]);
    assert_eq!(lanes("cvt.rz.f16x2.f32", "rrr", &[&[f(1.9999)], &[f(-1.9999)]]), [0x3fff_bfff]);
    assert_eq!(lanes("cvt.rn.relu.bf16x2.f32", "rrr", &[&[f(-3.0)], &[f(1.0)]]), [0x3f80]);
    assert_eq!(lanes("cvt.rn.relu.f16x2.f32", "rrr", &[&[f(1.0)], &[f(-3.0)]]), [0x3c00_0000]);
}

#[test]
fn comparisons_into_registers() {
    assert_eq!(lanes("set.lt.u32.f32", "rrr", &[&[f(1.0), f(3.0)], &[f(2.0)]]), [0xffff_ffff, 0]);
    assert_eq!(lanes("set.ge.f32.s32", "rrr", &[&[s(-1), 3], &[2]]), [0, f(1.0)]);
    assert_eq!(lanes("set.eq.f16.f16", "hhh", &[&[0x3c00, 0x4000], &[0x3c00]]), [0x3c00, 0]);
    assert_eq!(lanes("set.ne.bf16.bf16", "hhh", &[&[0x3f80, 0x4000], &[0x3f80]]), [0, 0x3f80]);
    assert_eq!(lanes("set.gt.s32.u64", "rdd", &[&[5], &[4]]), [0xffff_ffff]);
    assert_eq!(lanes("set.lt.f16x2.f16x2", "rrr", &[&[0x3c00_4000], &[0x4000_3c00]]), [0x3c00_0000]);
    assert_eq!(lanes("set.neu.bf16x2.bf16x2", "rrr", &[&[0x7fff_3f80], &[0x3f80_3f80]]), [0x3f80_0000]);
    assert_eq!(lanes("set.num.u32.f16x2", "rrr", &[&[0x7fff_3c00], &[0x3c00_3c00]]), [0xffff]);
    for (cmp, expect) in [("eq", 0), ("ne", 1), ("lt", 1), ("le", 1), ("gt", 0), ("ge", 0), ("equ", 0), ("ltu", 1), ("leu", 1), ("gtu", 0), ("geu", 0), ("nan", 0)] {
        assert_eq!(lanes(&format!("setp.{cmp}.f16x2"), "prr", &[&[0x3c00], &[0x4000]]), [expect], "{cmp}");
        assert_eq!(lanes(&format!("set.{cmp}.bf16x2.bf16x2"), "rrr", &[&[0x3f80_0000], &[0x4000_0000]])[0] >> 16, expect * 0x3f80, "{cmp}");
    }
    assert_eq!(lanes("slct.u32.s32", "rrrr", &[&[1], &[2], &[0, s(-1)]]), [1, 2]);
    assert_eq!(lanes("slct.u64.s32", "dddr", &[&[1], &[2], &[0, s(-1)]]), [1, 2]);
    assert_eq!(lanes("slct.f32.f32", "rrrr", &[&[1], &[2], &[f(0.0), f(-1.0), NAN]]), [1, 2, 2]);
}

#[test]
fn more_of_halves() {
    let (one, two, nan) = (0x3c00, 0x4000, 0x7fff);
    assert_eq!(lanes("ex2.approx.f16", "hh", &[&[one]]), [two]);
    assert_eq!(lanes("ex2.approx.f16x2", "rr", &[&[0x3c00_0000]]), [0x4000_3c00]);
    assert_eq!(lanes("ex2.approx.ftz.bf16", "hh", &[&[0x3f80]]), [0x4000]);
    assert_eq!(lanes("tanh.approx.f16", "hh", &[&[0]]), [0]);
    assert_eq!(lanes("tanh.approx.bf16x2", "rr", &[&[0x4280_0000]]), [0x3f80_0000]);
    assert_eq!(lanes("fma.rn.relu.f16", "hhhh", &[&[one], &[two], &[0xc400, one]]), [0, 0x4200]);
    assert_eq!(lanes("fma.rn.relu.bf16x2", "rrrr", &[&[0x3f80_3f80], &[0x4000_4000], &[0xc080_3f80]]), [0x4040]);
    assert_eq!(lanes("max.NaN.f16", "hhh", &[&[one, nan], &[two]]), [two, nan]);
    assert_eq!(lanes("min.NaN.f16", "hhh", &[&[one, nan], &[two]]), [one, nan]);
    assert_eq!(lanes("max.NaN.bf16", "hhh", &[&[0x3f80, nan], &[0x4000]]), [0x4000, nan]);
    assert_eq!(lanes("min.NaN.bf16x2", "rrr", &[&[0x3f80_7fff], &[0x4000_4000]]), [0x3f80_7fff]);
}
