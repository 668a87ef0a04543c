//! Tensor-core opcodes. The tables of which lane holds which element are written down here element by element from the
//! figures of the PTX specification, and share nothing with the emulator's own arithmetic or with any kernel.
#![allow(missing_docs)]

mod support;
use cuda_emulator::exec::fault::Kind;
use support::{Device, kernel_ok};

/// (row, column) of each register's elements, for lanes 0 to 31; one entry an element.
type Fragment = Vec<Vec<(usize, usize)>>;

/// The figures list, for each lane, row `groupID = lane >> 2` and column by `threadID_in_group = lane % 4`.
fn fragment(elements: usize, place: impl Fn(usize, usize, usize) -> (usize, usize)) -> Fragment {
    (0..32).map(|lane| (0..elements).map(|i| place(i, lane >> 2, lane % 4)).collect()).collect()
}

/// `mma.m16n8k16`, f16 and bf16: A has a0 to a7.
fn a_k16() -> Fragment {
    fragment(8, |i, group, thread| {
        let row = if matches!(i, 0 | 1 | 4 | 5) { group } else { group + 8 };
        let column = if i < 4 { thread * 2 + (i & 1) } else { thread * 2 + (i & 1) + 8 };
        (row, column)
    })
}

fn b_k16() -> Fragment {
    fragment(4, |i, group, thread| (if i < 2 { thread * 2 + (i & 1) } else { thread * 2 + (i & 1) + 8 }, group))
}

/// `mma.m16n8k8`, f16 and bf16.
fn a_k8() -> Fragment {
    fragment(4, |i, group, thread| (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1)))
}

fn b_k8() -> Fragment {
    fragment(2, |i, group, thread| (thread * 2 + i, group))
}

/// `mma.m16n8k8`, tf32.
fn a_tf32_k8() -> Fragment {
    fragment(4, |i, group, thread| {
        (if i == 0 || i == 2 { group } else { group + 8 }, if i < 2 { thread } else { thread + 4 })
    })
}

fn b_tf32_k8() -> Fragment {
    fragment(2, |i, group, thread| (if i == 0 { thread } else { thread + 4 }, group))
}

/// `mma.m16n8k4`, tf32.
fn a_tf32_k4() -> Fragment {
    fragment(2, |i, group, thread| (if i == 0 { group } else { group + 8 }, thread))
}

fn b_tf32_k4() -> Fragment {
    fragment(1, |_, group, thread| (thread, group))
}

/// `mma.m16n8k32`, s8 and u8: A has a0 to a15, four to a register.
fn a_bytes_k32() -> Fragment {
    fragment(16, |i, group, thread| {
        let row = if matches!(i, 0..4 | 8..12) { group } else { group + 8 };
        let column = if i < 8 { thread * 4 + (i & 3) } else { thread * 4 + (i & 3) + 16 };
        (row, column)
    })
}

fn b_bytes_k32() -> Fragment {
    fragment(8, |i, group, thread| (if i < 4 { thread * 4 + (i & 3) } else { thread * 4 + (i & 3) + 16 }, group))
}

/// `mma.m16n8k16`, s8 and u8.
fn a_bytes_k16() -> Fragment {
    fragment(8, |i, group, thread| (if i < 4 { group } else { group + 8 }, thread * 4 + (i & 3)))
}

fn b_bytes_k16() -> Fragment {
    fragment(4, |i, group, thread| (thread * 4 + i, group))
}

/// C and D of every m16n8 shape.
fn c_m16n8() -> Fragment {
    fragment(4, |i, group, thread| (if i < 2 { group } else { group + 8 }, thread * 2 + (i & 1)))
}

/// Some lanes spelled out as the figures show them, so that the formulas above are not taken on trust alone.
#[test]
fn the_tables_are_the_figures() {
    assert_eq!(a_k16()[0], [(0, 0), (0, 1), (8, 0), (8, 1), (0, 8), (0, 9), (8, 8), (8, 9)]);
    assert_eq!(a_k16()[31], [(7, 6), (7, 7), (15, 6), (15, 7), (7, 14), (7, 15), (15, 14), (15, 15)]);
    assert_eq!(b_k16()[5], [(2, 1), (3, 1), (10, 1), (11, 1)]);
    assert_eq!(a_k8()[6], [(1, 4), (1, 5), (9, 4), (9, 5)]);
    assert_eq!(b_k8()[6], [(4, 1), (5, 1)]);
    assert_eq!(a_tf32_k8()[6], [(1, 2), (9, 2), (1, 6), (9, 6)]);
    assert_eq!(b_tf32_k8()[6], [(2, 1), (6, 1)]);
    assert_eq!(a_tf32_k4()[30], [(7, 2), (15, 2)]);
    assert_eq!(b_tf32_k4()[30], [(2, 7)]);
    assert_eq!(a_bytes_k32()[6][..5], [(1, 8), (1, 9), (1, 10), (1, 11), (9, 8)]);
    assert_eq!(a_bytes_k32()[6][7..], [(9, 11), (1, 24), (1, 25), (1, 26), (1, 27), (9, 24), (9, 25), (9, 26), (9, 27)]);
    assert_eq!(b_bytes_k32()[6], [(8, 1), (9, 1), (10, 1), (11, 1), (24, 1), (25, 1), (26, 1), (27, 1)]);
    assert_eq!(a_bytes_k16()[30], [(7, 8), (7, 9), (7, 10), (7, 11), (15, 8), (15, 9), (15, 10), (15, 11)]);
    assert_eq!(b_bytes_k16()[30], [(8, 7), (9, 7), (10, 7), (11, 7)]);
    assert_eq!(c_m16n8()[9], [(2, 2), (2, 3), (10, 2), (10, 3)]);
}

#[derive(Clone, Copy, PartialEq)]
enum Type {
    F16,
    Bf16,
    Tf32,
    Byte,
}

impl Type {
    /// Elements in a register.
    fn per(self) -> usize {
        match self {
            Type::Tf32 => 1,
            Type::Byte => 4,
            _ => 2,
        }
    }
}

/// Small whole numbers, exact in every type.
fn value(seed: usize, row: usize, column: usize) -> f32 {
    ((row * 7 + column * 13 + seed * 5) % 11) as f32 - 5.0
}

fn half(x: f32, t: Type) -> u32 {
    match t {
        Type::Bf16 => x.to_bits() >> 16,
        // Whole numbers to 5: written down.
        _ => {
            let sign = if x < 0.0 { 0x8000 } else { 0 };
            sign | [0, 0x3c00, 0x4000, 0x4200, 0x4400, 0x4500][x.abs() as usize]
        }
    }
}

fn registers(fragment: &Fragment, t: Type, of: impl Fn(usize, usize) -> f32) -> Vec<u32> {
    let mut out = Vec::new();
    for lane in fragment {
        let values: Vec<f32> = lane.iter().map(|&(row, column)| of(row, column)).collect();
        if t == Type::Tf32 {
            out.extend(values.iter().map(|v| v.to_bits()));
        } else if t == Type::Byte {
            out.extend(values.chunks(4).map(|v| u32::from_le_bytes(std::array::from_fn(|i| v[i] as i32 as u8))));
        } else {
            out.extend(values.chunks(2).map(|v| half(v[0], t) | half(v[1], t) << 16));
        }
    }
    out
}

/// Loads `n` registers of each lane into `%r{first}` and on.
fn load(parameter: &str, n: usize, first: usize) -> String {
    let mut out = format!("ld.param.u64 %d2, [{parameter}]; mul.wide.u32 %d3, %r79, {}; add.u64 %d2, %d2, %d3;", 4 * n);
    for i in 0..n {
        out += &format!("ld.global.u32 %r{}, [%d2+{}];", first + i, 4 * i);
    }
    out
}

fn check(opcode: &str, t: Type, k: usize, a: &Fragment, b: &Fragment) {
    let list = |first: usize, n: usize| (first..first + n).map(|i| format!("%r{i}")).collect::<Vec<_>>().join(",");
    let per = t.per();
    let (na, nb) = (a[0].len() / per, b[0].len() / per);
    let moves: String = (0..4).map(|i| format!("mov.b32 %f{}, %r{};", 20 + i, 20 + i)).collect();
    let body = format!(
        "mov.u32 %r79, %tid.x; {} {} {} {moves} {opcode} {{%f1,%f2,%f3,%f4}}, {{{}}}, {{{}}}, {{%f20,%f21,%f22,%f23}};
         ld.param.u64 %d1, [o]; mul.wide.u32 %d4, %r79, 16; add.u64 %d1, %d1, %d4; st.global.v4.f32 [%d1], {{%f1,%f2,%f3,%f4}};",
        load("a", na, 1),
        load("b", nb, 10),
        load("c", 4, 20),
        list(1, na),
        list(10, nb),
    );
    let program = kernel_ok(".u64 a, .u64 b, .u64 c, .u64 o", &body);
    let mut device = Device::new();
    let a = device.buffer(&registers(a, t, |row, column| value(1, row, column)));
    let b = device.buffer(&registers(b, t, |row, column| value(2, row, column)));
    let c = device.buffer(&registers(&c_m16n8(), Type::Tf32, |row, column| value(3, row, column) * 100.0));
    let o = device.empty(128);
    let counts = device.launch(&program, 1, 32, 0, &[a, b, c, o]).unwrap();
    assert_eq!(counts.matrix_flops, 2 * 16 * 8 * k as u64);
    let out = device.read(o, 128);
    for (lane, places) in c_m16n8().iter().enumerate() {
        for (i, &(row, column)) in places.iter().enumerate() {
            let sum: f32 = (0..k).map(|x| value(1, row, x) * value(2, x, column)).sum();
            let expect = sum + value(3, row, column) * 100.0;
            assert_eq!(f32::from_bits(out[lane * 4 + i]), expect, "{opcode} lane {lane} d{i}");
        }
    }
}

#[test]
fn products_of_matrices() {
    let (f16, bf16, tf32) = (Type::F16, Type::Bf16, Type::Tf32);
    check("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32", f16, 16, &a_k16(), &b_k16());
    check("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", bf16, 16, &a_k16(), &b_k16());
    check("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32", f16, 8, &a_k8(), &b_k8());
    check("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32", bf16, 8, &a_k8(), &b_k8());
    check("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32", tf32, 8, &a_tf32_k8(), &b_tf32_k8());
    check("mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32", tf32, 4, &a_tf32_k4(), &b_tf32_k4());
}

/// f16 sums: C and D have two registers, of rows `group` and `group + 8`.
#[test]
fn sums_of_halves() {
    let cases = [
        ("mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16", 16, a_k16(), b_k16(), "{%r1,%r2,%r3,%r4}", "{%r10,%r11}"),
        ("mma.sync.aligned.m16n8k8.row.col.f16.f16.f16.f16", 8, a_k8(), b_k8(), "{%r1,%r2}", "{%r10}"),
    ];
    for (opcode, k, a, b, of_a, of_b) in cases {
        let body = format!(
            "mov.u32 %r79, %tid.x; {} {} {} {opcode} {{%r20,%r21}}, {of_a}, {of_b}, {{%r20,%r21}};
             ld.param.u64 %d1, [o]; mul.wide.u32 %d4, %r79, 8; add.u64 %d1, %d1, %d4; st.global.v2.u32 [%d1], {{%r20,%r21}};",
            load("a", a[0].len() / 2, 1),
            load("b", b[0].len() / 2, 10),
            load("c", 2, 20),
        );
        let program = kernel_ok(".u64 a, .u64 b, .u64 c, .u64 o", &body);
        let mut device = Device::new();
        // Products of whole numbers from -1 to 1 and sums of them: few enough to be written down as halves.
        let small = |seed, row, column| (value(seed, row, column) / 4.0).trunc();
        let of = |fragment: &Fragment, seed| registers(fragment, Type::F16, |row, column| small(seed, row, column));
        let places = c_m16n8();
        let arguments = [device.buffer(&of(&a, 1)), device.buffer(&of(&b, 2)), device.buffer(&of(&places, 3)), device.empty(64)];
        device.launch(&program, 1, 32, 0, &arguments).unwrap();
        let expect = registers(&places, Type::F16, |row, column| {
            let sum = small(3, row, column) + (0..k).map(|x| small(1, row, x) * small(2, x, column)).sum::<f32>();
            assert!(sum.abs() < 6.0);
            sum
        });
        let positive = |half: u32| if half == 0x8000 { 0 } else { half };
        let same = |word: &u32| positive(word & 0xffff) | positive(word >> 16) << 16;
        assert!(device.read(arguments[3], 64).iter().map(same).eq(expect.iter().map(same)), "{opcode}");
    }
}

/// Products of bytes, with and without sign; sums wrap.
#[test]
fn sums_of_bytes() {
    for (t, k, a, b) in [("s8", 32, a_bytes_k32(), b_bytes_k32()), ("u8", 32, a_bytes_k32(), b_bytes_k32()), ("s8", 16, a_bytes_k16(), b_bytes_k16()), ("u8", 16, a_bytes_k16(), b_bytes_k16())] {
        let list = |first: usize, n: usize| (first..first + n).map(|i| format!("%r{i}")).collect::<Vec<_>>().join(",");
        let (na, nb) = (a[0].len() / 4, b[0].len() / 4);
        let body = format!(
            "mov.u32 %r79, %tid.x; {} {} {} mma.sync.aligned.m16n8k{k}.row.col.s32.{t}.{t}.s32 {{%r20,%r21,%r22,%r23}}, {{{}}}, {{{}}}, {{%r20,%r21,%r22,%r23}};
             ld.param.u64 %d1, [o]; mul.wide.u32 %d4, %r79, 16; add.u64 %d1, %d1, %d4; st.global.v4.u32 [%d1], {{%r20,%r21,%r22,%r23}};",
            load("a", na, 1),
            load("b", nb, 10),
            load("c", 4, 20),
            list(1, na),
            list(10, nb),
        );
        let program = kernel_ok(".u64 a, .u64 b, .u64 c, .u64 o", &body);
        let mut device = Device::new();
        let of = |fragment: &Fragment, seed| registers(fragment, Type::Byte, |row, column| value(seed, row, column));
        let start = i32::MAX - 20;
        let arguments = [device.buffer(&of(&a, 1)), device.buffer(&of(&b, 2)), device.buffer(&[start as u32; 128]), device.empty(128)];
        device.launch(&program, 1, 32, 0, &arguments).unwrap();
        let out = device.read(arguments[3], 128);
        let byte = |seed, row, column| {
            let byte = value(seed, row, column) as i32 as u8;
            if t == "s8" { i32::from(byte as i8) } else { i32::from(byte) }
        };
        for (lane, places) in c_m16n8().iter().enumerate() {
            for (i, &(row, column)) in places.iter().enumerate() {
                let sum: i32 = (0..k).map(|x| byte(1, row, x) * byte(2, x, column)).sum();
                assert_eq!(out[lane * 4 + i] as i32, start.wrapping_add(sum), "{t} k{k} lane {lane} d{i}");
            }
        }
    }
}

#[test]
fn tf32_operands_lose_their_low_bits_and_sums_are_f32() {
    let body = "mov.f32 %f1, 0f3F801FFF; mov.b32 %r1, %f1; mov.u32 %r2, 0; mov.f32 %f2, 0f3F800000; mov.b32 %r3, %f2; mov.f32 %f9, 0f00000000;
        mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f4,%f5,%f6,%f7}, {%r1,%r2}, {%r3}, {%f9,%f9,%f9,%f9};
        ld.param.u64 %d1, [o]; mov.u32 %r9, %tid.x; mul.wide.u32 %d2, %r9, 4; add.u64 %d1, %d1, %d2; st.global.f32 [%d1], %f4;";
    let program = kernel_ok(".u64 o", body);
    let mut device = Device::new();
    let o = device.empty(32);
    device.launch(&program, 1, 32, 0, &[o]).unwrap();
    assert_eq!(device.read(o, 32), [4f32.to_bits(); 32]);
}

#[test]
fn a_matrix_needs_the_whole_warp() {
    let body = "mov.u32 %r9, %tid.x; mov.u32 %r1, 0; mov.f32 %f1, 0f00000000; setp.lt.u32 %p1, %r9, 16;
        @%p1 mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f1,%f1,%f1,%f1}, {%r1,%r1}, {%r1}, {%f1,%f1,%f1,%f1};";
    let fault = Device::new().launch(&kernel_ok("", body), 1, 32, 0, &[]).unwrap_err();
    assert_eq!(fault.kind, Kind::WrongMask);
    let old = ".version 7.0 .target sm_75 .address_size 64 .visible .entry k() { .reg .b32 %r<2>; .reg .f32 %f<2>;
        mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f1,%f1,%f1,%f1}, {%r1,%r1}, {%r1}, {%f1,%f1,%f1,%f1}; ret; }";
    assert!(support::module(old).err().unwrap().to_string().contains("sm_80"));
}

/// `ldmatrix`: each lane gets elements 2 (lane % 4) and the next, of row lane / 4 of each matrix.
#[test]
fn ldmatrix_spreads_rows() {
    for (n, trans) in [(1, false), (2, false), (4, false), (1, true), (2, true), (4, true)] {
        let list = (1..=n).map(|i| format!("%r{i}")).collect::<Vec<_>>().join(",");
        let stores: String = (0..n).map(|i| format!("st.global.u32 [%d1+{}], %r{};", 4 * i, i + 1)).collect();
        // Shared memory holds its own 16-bit index, except that matrix rows lie 32 bytes apart.
        let body = format!(
            "mov.u32 %r10, %tid.x; mul.lo.u32 %r11, %r10, 32; add.u32 %r12, %r11, 1024; mov.u32 %r13, 0; mul.lo.u32 %r14, %r10, 8;
             add.u32 %r15, %r14, 1; shl.b32 %r15, %r15, 16; or.b32 %r14, %r14, %r15; st.shared.u32 [%r12], %r14; add.u32 %r14, %r14, 0x00020002;
             st.shared.u32 [%r12+4], %r14; add.u32 %r14, %r14, 0x00020002; st.shared.u32 [%r12+8], %r14; add.u32 %r14, %r14, 0x00020002; st.shared.u32 [%r12+12], %r14;
             bar.sync 0; ldmatrix.sync.aligned.m8n8.x{n}{}.shared.b16 {{{list}}}, [%r12];
             ld.param.u64 %d1, [o]; mul.wide.u32 %d2, %r10, {}; add.u64 %d1, %d1, %d2; {stores}",
            if trans { ".trans" } else { "" },
            4 * n
        );
        let mut device = Device::new();
        let o = device.empty(32 * n);
        device.launch(&kernel_ok(".u64 o", &body), 1, 32, 1024, &[o]).unwrap_or_else(|fault| panic!("{fault}"));
        let out = device.read(o, 32 * n);
        for lane in 0..32 {
            for matrix in 0..n {
                let element = |row: usize, column: usize| ((matrix * 8 + row) * 8 + column) as u32;
                let (line, first) = (lane / 4, lane % 4 * 2);
                let expect = if trans {
                    element(first, line) | element(first + 1, line) << 16
                } else {
                    element(line, first) | element(line, first + 1) << 16
                };
                assert_eq!(out[lane * n + matrix], expect, "x{n} trans {trans} lane {lane} matrix {matrix}");
            }
        }
    }
}
