//! Loads, stores, atomics and moves against the meaning that the PTX specification gives them; and their counts.
#![allow(missing_docs)]

mod support;
use cuda_emulator::exec::fault::Kind;
use support::{Device, f, kernel_ok, l, lanes, module, try_lanes};

/// Runs `body` with one block of `threads`, buffer `a` given and buffer `o` of `out` words; gives `o`.
fn run(body: &str, threads: u32, a: &[u32], out: usize) -> Vec<u32> {
    let mut device = Device::new();
    let (a, o) = (device.buffer(a), device.empty(out));
    let head = "ld.param.u64 %d1, [a]; ld.param.u64 %d2, [o]; mov.u32 %r1, %tid.x; mul.wide.u32 %d3, %r1, 4; add.u64 %d4, %d1, %d3; add.u64 %d5, %d2, %d3;";
    let program = kernel_ok(".u64 a, .u64 o", &format!("{head}\n{body}"));
    device.launch(&program, 1, threads, 0, &[a, o]).unwrap_or_else(|fault| panic!("{fault}"));
    device.read(o, out)
}

#[test]
fn widths_and_signs() {
    let a = [0x8081_8283u32, 0xffff_fffe];
    let out = run(
        "ld.global.u8 %r2, [%d1]; ld.global.s8 %r3, [%d1+1]; ld.global.u16 %r4, [%d1+2]; ld.global.s16 %r5, [%d1];
         ld.global.s32 %d6, [%d1+4]; ld.global.b64 %d7, [%d1]; ld.global.u8 %h1, [%d1+3]; cvt.u32.u16 %r6, %h1;
         cvt.u32.u64 %r7, %d6; shr.u64 %d8, %d6, 32; cvt.u32.u64 %r8, %d8; cvt.u32.u64 %r9, %d7;
         st.global.v4.u32 [%d2], {%r2, %r3, %r4, %r5}; st.global.v4.u32 [%d2+16], {%r6, %r7, %r8, %r9};",
        1,
        &a,
        8,
    );
    assert_eq!(out, [0x83, 0xffff_ff82, 0x8081, 0xffff_8283, 0x80, 0xffff_fffe, 0xffff_ffff, 0x8081_8283]);
}

#[test]
fn narrow_stores_change_only_their_bytes() {
    let out = run(
        "mov.u32 %r2, 0x11223344; st.global.u32 [%d2], %r2; mov.u32 %r3, 0xabcd; st.global.u16 [%d2+2], %r3; mov.u16 %h1, 0x77;
         st.global.u8 [%d2], %h1; mov.u64 %d9, 0x0102030405060708; st.global.u64 [%d2+8], %d9; st.global.u32 [%d2+4], %d9;",
        1,
        &[0],
        4,
    );
    assert_eq!(out, [0xabcd_3377, 0x0506_0708, 0x0506_0708, 0x0102_0304]);
}

#[test]
fn vectors_go_lane_by_lane() {
    let a: Vec<u32> = (0..128).collect();
    let out = run(
        "mul.wide.u32 %d6, %r1, 16; add.u64 %d7, %d1, %d6; add.u64 %d8, %d2, %d6; ld.global.v4.f32 {%f1, %f2, %f3, %f4}, [%d7];
         st.global.v4.f32 [%d8], {%f4, %f3, %f2, %f1};",
        32,
        &a,
        128,
    );
    assert_eq!(out[..8], [3, 2, 1, 0, 7, 6, 5, 4]);
    let out = run(
        "mul.wide.u32 %d6, %r1, 8; add.u64 %d7, %d1, %d6; add.u64 %d8, %d2, %d6; ld.global.nc.v2.u32 {%r2, %r3}, [%d7];
         st.global.cs.v2.u32 [%d8], {%r3, %r2};",
        20,
        &a,
        40,
    );
    assert_eq!(out[36..], [37, 36, 39, 38]);
    let out = run("ld.global.v2.u64 {%d6, %d7}, [%d1]; st.global.v2.u64 [%d2], {%d7, %d6};", 1, &a, 4);
    assert_eq!(out, [2, 3, 0, 1]);
}

#[test]
fn shared_local_and_generic_memory() {
    let program = module(
        ".version 7.0 .target sm_75 .address_size 64
         .visible .entry k(.param .u64 o) {
         .reg .b32 %r<20>; .reg .b64 %d<20>; .shared .align 4 .b8 s[256]; .local .align 8 .b8 stack[16]; .reg .pred %p<4>;
         ld.param.u64 %d1, [o]; mov.u32 %r1, %tid.x; mul.wide.u32 %d2, %r1, 4; add.u64 %d1, %d1, %d2;
         mov.u32 %r2, s; shl.b32 %r3, %r1, 2; add.u32 %r4, %r2, %r3; mul.lo.u32 %r5, %r1, 3; st.shared.u32 [%r4], %r5;
         bar.sync 0;
         xor.b32 %r6, %r1, 63; shl.b32 %r6, %r6, 2; add.u32 %r6, %r6, %r2; ld.shared.u32 %r7, [%r6];
         mov.u64 %d3, stack; st.local.u32 [%d3+8], %r7; cvta.local.u64 %d4, %d3; ld.u32 %r8, [%d4+8];
         cvt.u64.u32 %d5, %r6; cvta.shared.u64 %d6, %d5; ld.u32 %r9, [%d6];
         isspacep.shared %p1, %d6; isspacep.local %p2, %d4; isspacep.global %p3, %d1;
         and.pred %p1, %p1, %p2; and.pred %p1, %p1, %p3; selp.u32 %r10, 1000, 0, %p1;
         add.u32 %r8, %r8, %r9; add.u32 %r8, %r8, %r10; cvta.to.shared.u64 %d7, %d6; sub.u64 %d7, %d7, %d5; cvt.u32.u64 %r11, %d7;
         add.u32 %r8, %r8, %r11; st.u32 [%d1], %r8; ret; }",
    )
    .unwrap();
    let mut device = Device::new();
    let o = device.empty(64);
    device.launch(&program, 1, 64, 0, &[o]).unwrap();
    let expect: Vec<u32> = (0..64).map(|t| (t ^ 63) * 3 * 2 + 1000).collect();
    assert_eq!(device.read(o, 64), expect);
}

#[test]
fn parameters_constants_and_variables() {
    let text = ".version 7.0 .target sm_75 .address_size 64 .const .align 4 .b8 table[8] = {1, 0, 0, 0, 2};
         .global .align 4 .u32 start = 7;
         .visible .entry k(.param .u8 b, .param .u16 h, .param .u64 o, .param .f32 x, .param .align 4 .b8 s[8]) {
         .reg .b32 %r<9>; .reg .b64 %d<9>; .reg .f32 %f<3>;
         ld.param.u8 %r1, [b]; ld.param.u16 %r2, [h]; ld.param.u64 %d1, [o]; ld.param.f32 %f1, [x]; ld.param.u32 %r3, [s+4];
         mov.b64 %d2, s; ld.param.u32 %r4, [%d2];
         st.global.v4.u32 [%d1], {%r1, %r2, %r3, %r4}; st.global.f32 [%d1+16], %f1; ret; }";
    let program = module(text).unwrap();
    let offsets: Vec<u64> = program.parameters.iter().map(|p| p.0).collect();
    assert_eq!(offsets, [0, 2, 8, 16, 20], "each at a multiple of its alignment");
    let mut device = Device::new();
    let o = device.empty(5);
    device.launch(&program, 1, 1, 0, &[5, 600, o, f(1.5), 0x0000_0009_0000_0008]).unwrap();
    assert_eq!(device.read(o, 5), [5, 600, 9, 8, 1.5f32.to_bits()]);
}

#[test]
fn moves_pack_and_unpack() {
    assert_eq!(lanes("mov.b64 %d1, {%r2, %r3}; // $\n", "drr", &[&[1], &[2]]), [1 | 2 << 32]);
    assert_eq!(lanes("mov.b64 {%r7, %r8}, %d2; sub.u32 %r1, %r8, %r7; // $\n", "rd", &[&[5 | 9 << 32]]), [4]);
    assert_eq!(lanes("mov.b32 %r1, {%h2, %h3}; // $\n", "rhh", &[&[0x1234], &[0x5678]]), [0x5678_1234]);
    assert_eq!(lanes("mov.b32 {%h7, %h1}, %r2; // $\n", "hr", &[&[0x5678_1234]]), [0x5678]);
    assert_eq!(lanes("mov.b64 {%h7, %h8, %h9, %h1}, %d2; // $\n", "hd", &[&[0x1111_2222_3333_4444]]), [0x1111]);
    assert_eq!(lanes("mov.b64 %d1, {%h2, %h2, %h2, %h3}; // $\n", "dhh", &[&[1], &[2]]), [0x0002_0001_0001_0001]);
    assert_eq!(lanes("mov.u64", "dd", &[&[l(-1)]]), [u64::MAX]);
    assert_eq!(lanes("mov.f32 %f7, 0f3FC00000; mov.b32 %r1, %f7; // $\n", "rr", &[&[0]]), [f(1.5)]);
    assert_eq!(lanes("mov.u32 %r1, %laneid; // $\n", "rr", &[&[0, 0, 0]]), [0, 1, 2]);
    assert_eq!(lanes("mov.u32 %r1, %lanemask_lt; // $\n", "rr", &[&[0, 0, 0]]), [0, 1, 3]);
    assert_eq!(lanes("mov.u32 %r1, %lanemask_ge; // $\n", "rr", &[&[0, 0]]), [0xffff_ffff, 0xffff_fffe]);
    assert_eq!(lanes("mov.u32 %r1, %ntid.x; // $\n", "rr", &[&[0]]), [32]);
    assert_eq!(lanes("mov.pred %p9, -1; selp.u32 %r1, 1, 0, %p9; // $\n", "rr", &[&[0]]), [1]);
    assert!(try_lanes("mov.u32 %r1, %tid; // $\n", "rr", &[&[0]]).is_err());
    assert!(try_lanes("mov.u32 %r1, %d2; // $\n", "rd", &[&[0]]).is_err(), "widths must fit");
}

#[test]
fn atomics_return_the_old_value() {
    let old = |op: &str, t: &str, a: u32, b: u32| {
        run(&format!("mov.u32 %r2, {b}; atom.global.{op}.{t} %r3, [%d1], %r2; ld.global.u32 %r4, [%d1]; st.global.v2.u32 [%d2], {{%r3, %r4}};"), 1, &[a], 2)
    };
    assert_eq!(old("add", "u32", 5, 3), [5, 8]);
    assert_eq!(old("min", "s32", 5, u32::MAX), [5, u32::MAX]);
    assert_eq!(old("min", "u32", 5, u32::MAX), [5, 5]);
    assert_eq!(old("max", "s32", 5, u32::MAX), [5, 5]);
    assert_eq!(old("max", "u32", 5, 9), [5, 9]);
    assert_eq!(old("and", "b32", 6, 3), [6, 2]);
    assert_eq!(old("or", "b32", 6, 3), [6, 7]);
    assert_eq!(old("xor", "b32", 6, 3), [6, 5]);
    assert_eq!(old("exch", "b32", 6, 3), [6, 3]);
    assert_eq!(old("inc", "u32", 6, 7), [6, 7]);
    assert_eq!(old("inc", "u32", 7, 7), [7, 0]);
    assert_eq!(old("dec", "u32", 0, 7), [0, 7]);
    assert_eq!(old("dec", "u32", 9, 7), [9, 7]);
    assert_eq!(old("dec", "u32", 3, 7), [3, 2]);
    let cas = "mov.u32 %r2, 5; mov.u32 %r3, 9; atom.global.cas.b32 %r4, [%d1], %r2, %r3; ld.global.u32 %r5, [%d1]; st.global.v2.u32 [%d2], {%r4, %r5};";
    assert_eq!(run(cas, 1, &[5], 2), [5, 9]);
    assert_eq!(run(cas, 1, &[6], 2), [6, 6]);
}

#[test]
fn every_lane_of_an_atomic_counts() {
    let out = run("atom.global.add.u32 %r2, [%d1], 1; st.global.u32 [%d5], %r2; ", 32, &[100], 32);
    assert_eq!(out, (100..132).collect::<Vec<u32>>(), "lanes one after the other");
    let out = run("red.global.add.f32 [%d1], 0f3F800000; bar.sync 0; ld.global.u32 %r2, [%d1]; st.global.u32 [%d5], %r2;", 64, &[0], 64);
    assert_eq!(out[63], 64f32.to_bits());
    let out = run("red.relaxed.gpu.global.add.u64 [%d1], 3; red.add.u64 [%d1], 1; bar.sync 0; ld.global.u64 %d6, [%d1]; st.global.u64 [%d2], %d6;", 1, &[0, 0], 2);
    assert_eq!(out, [4, 0]);
    let out = run("atom.global.add.f64 %g1, [%d1], 0d3FF0000000000000; bar.sync 0; ld.global.v2.u32 {%r2, %r3}, [%d1]; st.global.v2.u32 [%d2], {%r2, %r3};", 32, &[0, 0], 2).clone();
    assert_eq!(u64::from(out[1]) << 32 | u64::from(out[0]), 32f64.to_bits());
}

#[test]
fn blocks_add_up_by_atomics() {
    let program = kernel_ok(".u64 o", "ld.param.u64 %d1, [o]; atom.global.add.u32 _, [%d1], 1;");
    let mut device = Device::new();
    device.workers = 4;
    let o = device.buffer(&[0]);
    device.launch(&program, 100, 96, 0, &[o]).unwrap();
    assert_eq!(device.read(o, 1), [9600]);
}

const COPY: &str = "mov.u32 %r2, %dynamic_smem_size; shl.b32 %r3, %r1, 4; add.u32 %r4, %r3, 1024; mul.wide.u32 %d6, %r1, 16; add.u64 %d7, %d1, %d6;";

#[test]
fn copies_arrive_when_they_are_waited_for() {
    let mut device = Device::new();
    let a = device.buffer(&(0..128).collect::<Vec<u32>>());
    let head = "ld.param.u64 %d1, [a]; ld.param.u64 %d2, [o]; mov.u32 %r1, %tid.x;";
    let body = "cp.async.cg.shared.global [%r4], [%d7], 16; cp.async.commit_group;
        cp.async.ca.shared.global [%r4+512], [%d7+4], 4, 2; cp.async.commit_group; cp.async.wait_group 1; bar.sync 0;
        xor.b32 %r5, %r4, 496; ld.shared.u32 %r6, [%r5+12]; cp.async.wait_all; bar.sync 0; ld.shared.u32 %r7, [%r4+512];
        mul.wide.u32 %d8, %r1, 8; add.u64 %d8, %d2, %d8; st.global.v2.u32 [%d8], {%r6, %r7};";
    let program = kernel_ok(".u64 a, .u64 o", &format!("{head}{COPY}{body}"));
    let o = device.empty(64);
    device.launch(&program, 1, 32, 2048, &[a, o]).unwrap_or_else(|fault| panic!("{fault}"));
    let out = device.read(o, 64);
    for t in 0..32u32 {
        assert_eq!(out[2 * t as usize], (t ^ 31) * 4 + 3);
        assert_eq!(out[2 * t as usize + 1], (t * 4 + 1) & 0xffff, "two bytes, the rest zero");
    }
    // Read before the wait.
    let early = "cp.async.cg.shared.global [%r4], [%d7], 16; cp.async.commit_group; ld.shared.u32 %r6, [%r4]; cp.async.wait_all;";
    let program = kernel_ok(".u64 a, .u64 o", &format!("{head}{COPY}{early}"));
    let fault = device.launch(&program, 1, 32, 2048, &[a, o]).unwrap_err();
    assert!(matches!(fault.kind, Kind::AsyncCopy | Kind::UninitialisedMemory), "{fault}");
    // Waited for, but read by another thread without a barrier.
    let unordered = "cp.async.cg.shared.global [%r4], [%d7], 16; cp.async.wait_all; xor.b32 %r5, %r4, 16; ld.shared.u32 %r6, [%r5];";
    let program = kernel_ok(".u64 a, .u64 o", &format!("{head}{COPY}{unordered}"));
    assert_eq!(device.launch(&program, 1, 32, 2048, &[a, o]).unwrap_err().kind, Kind::Race);
}

#[test]
fn traffic_is_counted() {
    let mut device = Device::new();
    let a = device.buffer(&[1; 2048]);
    let o = device.empty(2048);
    let body = "ld.param.u64 %d1, [a]; ld.param.u64 %d2, [o]; mov.u32 %r1, %tid.x; mul.wide.u32 %d3, %r1, 4; add.u64 %d4, %d1, %d3; add.u64 %d5, %d2, %d3;
        ld.global.f32 %f1, [%d4]; st.global.f32 [%d5], %f1; mul.wide.u32 %d6, %r1, 128; add.u64 %d7, %d1, %d6; ld.global.f32 %f2, [%d7];
        add.f32 %f3, %f1, %f2; shl.b32 %r2, %r1, 3; add.u32 %r2, %r2, 1024; st.shared.f32 [%r2], %f3; bar.sync 0; ld.shared.f32 %f4, [1024];";
    let program = kernel_ok(".u64 a, .u64 o", body);
    let counts = device.launch(&program, 2, 32, 256, &[a, o]);
    assert!(counts.is_err(), "two blocks write the same words");
    let counts = device.launch(&program, 1, 32, 256, &[a, o]).unwrap();
    assert_eq!((counts.loads.requests, counts.loads.bytes, counts.loads.sectors), (2, 256, 4 + 32));
    assert_eq!((counts.stores.requests, counts.stores.bytes, counts.stores.sectors), (1, 128, 4));
    assert_eq!((counts.shared_requests, counts.shared_bytes, counts.bank_conflicts), (2, 256, 1));
    assert_eq!(counts.barriers, 1);
    let json = counts.json(&program, [1; 3], [32, 1, 1], 256);
    assert!(json.contains(r#""f32_flops":32"#) && json.contains(r#""bank_conflicts":1"#), "{json}");
    assert!(json.contains(r#""kernel":"k","grid":[1, 1, 1],"block":[32, 1, 1]"#), "{json}");
}
