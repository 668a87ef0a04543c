//! Warp-wide opcodes and the order of instructions against the meaning that the PTX specification gives them.
#![allow(missing_docs)]

mod support;
use cuda_emulator::exec::fault::Kind;
use support::{Device, kernel_ok, lanes, module};

const FULL: u64 = 0xffff_ffff;

fn iota() -> Vec<u64> {
    (0..32).map(|i| i * 10).collect()
}

/// `shfl.sync`, lane by lane, from the specification's pseudo-code.
fn shuffle(mode: &str, lane: u64, b: u64, c: u64) -> (u64, bool) {
    let (bval, cval, mask) = (b as i64 & 31, c as i64 & 31, c as i64 >> 8 & 31);
    let lane = lane as i64;
    let max_lane = (lane & mask) | (cval & !mask);
    let min_lane = lane & mask;
    let (j, p) = match mode {
        "up" => (lane - bval, lane - bval >= max_lane),
        "down" => (lane + bval, lane + bval <= max_lane),
        "bfly" => (lane ^ bval, lane ^ bval <= max_lane),
        _ => (min_lane | (bval & !mask), (min_lane | (bval & !mask)) <= max_lane),
    };
    (if p { j } else { lane } as u64, p)
}

#[test]
fn shuffles() {
    let a = iota();
    for mode in ["up", "down", "bfly", "idx"] {
        for (b, c) in [(1, if mode == "up" { 0 } else { 31 }), (5, 0x1c07), (16, 31), (3, 0x1000), (40, 0)] {
            let text = format!("shfl.sync.{mode}.b32 %r1|%p9, %r2, {b}, {c}, -1; // $\n");
            let expect: Vec<u64> = (0..32).map(|lane| shuffle(mode, lane, b, c).0 * 10).collect();
            assert_eq!(lanes(&text, "rr", &[&a]), expect, "{mode} {b} {c}");
            let text = format!("shfl.sync.{mode}.b32 %r8|%p1, %r2, {b}, {c}, -1; // $\n");
            let expect: Vec<u64> = (0..32).map(|lane| shuffle(mode, lane, b, c).1.into()).collect();
            assert_eq!(lanes(&text, "pr", &[&a]), expect, "{mode} {b} {c}");
        }
    }
}

#[test]
fn votes() {
    let odd: Vec<u64> = (0..32).map(|i| i & 1).collect();
    let (none, all) = (vec![0; 32], vec![1; 32]);
    let vote = |mode: &str, p: &[u64]| lanes(&format!("vote.sync.{mode}.pred $, -1"), "pp", &[p])[0];
    assert_eq!([vote("all", &odd), vote("any", &odd), vote("uni", &odd)], [0, 1, 0]);
    assert_eq!([vote("all", &all), vote("any", &all), vote("uni", &all)], [1, 1, 1]);
    assert_eq!([vote("all", &none), vote("any", &none), vote("uni", &none)], [0, 0, 1]);
    assert_eq!(lanes("vote.sync.ballot.b32 $, -1", "rp", &[&odd])[3], 0xaaaa_aaaa);
    assert_eq!(lanes("vote.sync.ballot.b32 %r1, !%p2, -1; // $\n", "rp", &[&odd])[3], 0x5555_5555);
}

#[test]
fn matches_reductions_and_masks() {
    let a: Vec<u64> = (0..32).map(|i| i % 4).collect();
    assert_eq!(lanes("match.any.sync.b32 $, -1", "rr", &[&a])[..4], [0x1111_1111, 0x2222_2222, 0x4444_4444, 0x8888_8888]);
    assert_eq!(lanes("match.any.sync.b64 $, -1", "rd", &[&a])[0], 0x1111_1111);
    assert_eq!(lanes("match.all.sync.b32 %r1|%p9, %r2, -1; // $\n", "rr", &[&a])[0], 0);
    assert_eq!(lanes("match.all.sync.b32 %r1|%p9, %r2, -1; // $\n", "rr", &[&[7; 32]])[0], FULL);
    assert_eq!(lanes("match.all.sync.b64 %r1|%p9, %d2, -1; // $\n", "rd", &[&[7 << 40; 32]])[0], FULL);
    assert_eq!(lanes("match.all.sync.b64 %r1|%p9, %d2, -1; // $\n", "rd", &[&(0..32).map(|i| i << 40).collect::<Vec<_>>()])[0], 0);
    let b: Vec<u64> = (0..32).map(|i| u64::from((i as u32).wrapping_sub(3))).collect();
    let redux = |what: &str| lanes(&format!("redux.sync.{what} $, -1"), "rr", &[&b])[0];
    assert_eq!(redux("add.u32"), 496 - 96);
    assert_eq!(redux("min.u32"), 0);
    assert_eq!(redux("max.u32"), FULL);
    assert_eq!(redux("min.s32"), 0xffff_fffd);
    assert_eq!(redux("max.s32"), 28);
    assert_eq!(redux("or.b32"), FULL);
    assert_eq!(redux("and.b32"), 0);
    assert_eq!(redux("xor.b32"), b.iter().fold(0, |x, y| x ^ y));
    assert_eq!(lanes("setp.lt.u32 %p9, %r2, 7; @%p9 activemask.b32 %r1; @!%p9 mov.u32 %r1, 0; // $\n", "rr", &[&(0..32).collect::<Vec<_>>()])[..8], [0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0x7f, 0]);
}

#[test]
fn lanes_part_and_meet_again() {
    // Each lane goes round its loop as often as its number says, then all vote together.
    let text = "mov.u32 %r1, 0; mov.u32 %r7, %r2; L: setp.eq.u32 %p3, %r7, 0; @%p3 bra D; add.u32 %r1, %r1, %r7; sub.u32 %r7, %r7, 1;
        and.b32 %r8, %r7, 1; setp.ne.u32 %p4, %r8, 0; @%p4 bra L; add.u32 %r1, %r1, 1000; bra L;
        D: vote.sync.ballot.b32 %r9, %p3, -1; setp.ne.u32 %p5, %r9, -1; @%p5 trap; // $\n";
    let n: Vec<u64> = (0..32).collect();
    let expect: Vec<u64> = n.iter().map(|&n| n * (n + 1) / 2 + n.div_ceil(2) * 1000).collect();
    assert_eq!(lanes(text, "rr", &[&n]), expect);
}

#[test]
fn nested_branches_and_early_ends() {
    let program = kernel_ok(
        ".u64 o",
        "ld.param.u64 %d1, [o]; mov.u32 %r1, %tid.x; mul.wide.u32 %d2, %r1, 4; add.u64 %d1, %d1, %d2; mov.u32 %r2, 0; st.global.u32 [%d1], %r2;
         setp.ge.u32 %p1, %r1, 40; @%p1 ret; and.b32 %r3, %r1, 1; setp.eq.u32 %p2, %r3, 0; @%p2 bra EVEN;
         add.u32 %r2, %r2, 1; setp.lt.u32 %p3, %r1, 20; @%p3 bra SMALL; add.u32 %r2, %r2, 10; @!%p3 exit; SMALL: add.u32 %r2, %r2, 100; bra JOIN;
         EVEN: add.u32 %r2, %r2, 1000; JOIN: activemask.b32 %r4; st.global.u32 [%d1], %r4;",
    );
    let mut device = Device::new();
    let o = device.empty(64);
    device.launch(&program, 1, 64, 0, &[o]).unwrap();
    let out = device.read(o, 64);
    for t in 0..64u32 {
        let first_warp = 0x5555_5555 | (0..20).filter(|t| t % 2 == 1).fold(0, |m, t| m | 1 << t);
        let expect = match t {
            0..32 if t % 2 == 0 || t < 20 => first_warp,
            32..40 if t % 2 == 0 => 0b0101_0101,
            _ => 0,
        };
        assert_eq!(out[t as usize], expect, "thread {t}");
    }
}

#[test]
fn jump_tables() {
    let text = "brx.idx %r2, T; A: mov.u32 %r1, 10; bra E; B: mov.u32 %r1, 20; bra E; C: mov.u32 %r1, 30; E: vote.sync.ballot.b32 %r9, %p9, -1;
        T: .branchtargets A, B, C; // $\n";
    let text = text.replace("vote.sync.ballot.b32 %r9, %p9, -1;", "activemask.b32 %r9; add.u32 %r1, %r1, %r9;");
    let out = lanes(&text, "rr", &[&[0, 1, 2, 2, 1, 0, 1]]);
    let all = 0xffff_ffffu32;
    let expect: Vec<u64> = [10u32, 20, 30, 30, 20, 10, 20].iter().map(|x| u64::from(x.wrapping_add(all))).collect();
    assert_eq!(out, expect, "all lanes meet behind the table");
}

#[test]
fn device_functions() {
    let text = ".version 7.0 .target sm_75 .address_size 64
        .func (.param .b32 result) twice(.param .b32 x) { .reg .b32 %r<4>; .reg .pred %p<2>; ld.param.u32 %r1, [x]; setp.gt.u32 %p1, %r1, 5; @%p1 bra L;
          add.u32 %r1, %r1, 100; st.param.b32 [result+0], %r1; ret; L: add.u32 %r1, %r1, %r1; st.param.b32 [result+0], %r1; ret; }
        .visible .entry k(.param .u64 o) { .reg .b32 %r<9>; .reg .b64 %d<4>; ld.param.u64 %d1, [o]; mov.u32 %r1, %tid.x; mul.wide.u32 %d2, %r1, 4; add.u64 %d1, %d1, %d2;
          { .param .b32 p0; st.param.b32 [p0+0], %r1; .param .b32 q0; call.uni (q0), twice, (p0); ld.param.b32 %r2, [q0+0]; }
          { .param .b32 p0; st.param.b32 [p0+0], %r2; .param .b32 q0; call.uni (q0), twice, (p0); ld.param.b32 %r3, [q0+0]; }
          st.global.u32 [%d1], %r3; ret; }";
    let program = module(text).unwrap();
    let mut device = Device::new();
    let o = device.empty(32);
    device.launch(&program, 1, 32, 0, &[o]).unwrap();
    let twice = |x: u32| if x > 5 { 2 * x } else { x + 100 };
    assert_eq!(device.read(o, 32), (0..32).map(|t| twice(twice(t))).collect::<Vec<_>>());
    let endless = text.replace("add.u32 %r1, %r1, 100;", "call.uni (result), twice, (x);");
    assert!(module(&endless).err().unwrap().to_string().contains("too deep"));
}

#[test]
fn barriers_reduce() {
    let program = kernel_ok(
        ".u64 o",
        "ld.param.u64 %d1, [o]; mov.u32 %r1, %tid.x; mul.wide.u32 %d2, %r1, 16; add.u64 %d1, %d1, %d2; setp.lt.u32 %p1, %r1, 40;
         bar.red.popc.u32 %r2, 0, %p1; bar.red.and.pred %p2, 0, %p1; bar.red.or.pred %p3, 0, !%p1; barrier.sync 1; bar.sync 0, 64;
         selp.u32 %r3, 1, 0, %p2; selp.u32 %r4, 1, 0, %p3; st.global.v4.u32 [%d1], {%r2, %r3, %r4, %r1};",
    );
    let mut device = Device::new();
    let o = device.empty(256);
    let counts = device.launch(&program, 1, 64, 0, &[o]).unwrap();
    assert_eq!(device.read(o, 256)[4 * 63..], [40, 0, 1, 63]);
    assert_eq!(counts.barriers, 5);
    let partial = kernel_ok("", "bar.sync 0, 32;");
    assert_eq!(device.launch(&partial, 1, 64, 0, &[]).unwrap_err().kind, Kind::IllegalInstruction);
}

#[test]
fn hints_and_clocks_change_nothing_else() {
    let text = "mov.u32 %r7, %clock; mov.u64 %d7, %clock64; nanosleep.u32 100; prefetch.global.L2 [%d38]; ld.volatile.global.u32 %r8, [%d37]; ld.relaxed.gpu.global.L1::no_allocate.u32 %r9, [%d37];
        ld.acquire.gpu.global.u32 %r10, [%d37]; add.u32 %r1, %r8, %r9; sub.u32 %r1, %r1, %r10; mov.u32 %r11, %clock; setp.le.u32 %p9, %r11, %r7; @%p9 trap; // $\n";
    assert_eq!(lanes(text, "rr", &[&[5, 6]]), [5, 6]);
}

#[test]
fn special_registers_of_three_axes() {
    let program = module(
        ".version 7.0 .target sm_75 .address_size 64 .visible .entry k(.param .u64 o) { .reg .b32 %r<20>; .reg .b64 %d<4>; ld.param.u64 %d1, [o];
         mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mov.u32 %r4, %nctaid.x; mad.lo.u32 %r5, %r2, %r3, %r1; mul.wide.u32 %d2, %r5, 16; add.u64 %d1, %d1, %d2;
         mov.u32 %r6, %warpid; mov.u32 %r7, %nwarpid; mov.u32 %r8, %tid.y; add.u32 %r4, %r4, %r8; st.global.v4.u32 [%d1], {%r4, %r6, %r7, %r2}; ret; }",
    )
    .unwrap();
    let mut device = Device::new();
    let o = device.empty(4 * 3 * 40);
    device.launch(&program, 3, 40, 0, &[o]).unwrap();
    assert_eq!(device.read(o, 480)[476..], [3, 1, 2, 2]);
}
