//! Kernels of styles that the backend's own do not have (styles/styles.cu), compiled by NVRTC, against what they must give.
#![allow(missing_docs)]

mod support;
use cuda_emulator::decode::kernel::decode;
use cuda_emulator::exec::program::Program;
use cuda_emulator::ptx::parser::parse;
use std::collections::HashMap;
use support::Device;

const SM75: &str = include_str!("styles/styles.sm75.ptx");
const SM80: &str = include_str!("styles/styles.sm80.ptx");

/// A kernel of either file, with a device that holds the module's variables, which begin as zeros.
fn kernels(name: &str) -> Vec<(Device, Program)> {
    let one = |text: &str| {
        let (device, module) = (Device::new(), parse(text).unwrap());
        let addresses: HashMap<String, u64> =
            module.variables.iter().map(|v| (v.name.clone(), device.buffer(&vec![0; v.bytes.div_ceil(4) as usize]))).collect();
        let program = decode(&module, name, &addresses, &text.into()).unwrap_or_else(|error| panic!("{error}"));
        (device, program)
    };
    let both = [SM75, SM80].into_iter().filter(|text| text.contains(&format!(".entry {name}(")));
    both.map(one).collect()
}

fn run(device: &mut Device, program: &Program, grid: u32, block: u32, arguments: &[u64]) {
    device.launch(program, grid, block, 0, arguments).unwrap_or_else(|fault| panic!("{fault}"));
}

/// Numerical Recipes' generator.
fn numbers(seed: u32, count: usize) -> Vec<u32> {
    let mut state = seed.wrapping_mul(12345);
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state ^ state >> 15
    };
    (0..count).map(|_| next()).collect()
}

/// In (0.05, 4.05).
fn floats(seed: u32, count: usize) -> Vec<f32> {
    numbers(seed, count).iter().map(|n| (n >> 8) as f32 / 4_194_304.0 + 0.05).collect()
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

#[test]
fn sums_by_shuffles_and_atomics() {
    for (mut device, program) in kernels("reduce") {
        let values: Vec<f32> = (0..10_003).map(|i| (i % 17) as f32).collect();
        let (x, out) = (device.buffer(&bits(&values)), device.buffer(&[0]));
        run(&mut device, &program, 7, 256, &[x, out, 10_003]);
        assert_eq!(f32::from_bits(device.read(out, 1)[0]), values.iter().sum::<f32>());
    }
}

#[test]
fn one_atomic_a_warp() {
    for (mut device, program) in kernels("compact") {
        device.workers = 2;
        let values: Vec<u32> = numbers(1, 5000).iter().map(|n| n % 1000).collect();
        let (x, out, count) = (device.buffer(&values), device.buffer(&[0; 5000]), device.buffer(&[0]));
        run(&mut device, &program, 7, 96, &[x, out, count, 5000]);
        let mut expect: Vec<u32> = values.into_iter().filter(|v| v % 3 == 0).collect();
        let found = device.read(count, 1)[0] as usize;
        let mut found = device.read(out, found);
        expect.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expect);
    }
}

#[test]
fn tiles_with_padding() {
    for (mut device, program) in kernels("transpose") {
        let (from, to) = (device.buffer(&numbers(2, 29 * 31)), device.buffer(&[0; 29 * 31]));
        run(&mut device, &program, 1, 256, &[from, to, 29, 31]);
        let (values, out) = (numbers(2, 29 * 31), device.read(to, 29 * 31));
        assert!((0..29 * 31).all(|i| out[i] == values[i % 31 * 29 + i / 31]));
    }
}

#[test]
fn switches_loops_calls_and_local_arrays() {
    for (mut device, program) in kernels("branches") {
        let out = device.buffer(&[77; 64]);
        run(&mut device, &program, 1, 64, &[out, 3]);
        let fibonacci = |n: i32| (0..n).fold((0, 1), |(a, b), _| (b, a + b)).0;
        for (t, &word) in (0i32..).zip(&device.read(out, 64)) {
            let result = match t % 8 {
                0 => 5,
                1 => t * t,
                2 => fibonacci(t % 20),
                3 => (0..t.min(21)).filter(|i| *i != 7).sum(),
                4 => 9,
                5 => 10,
                6 => {
                    assert_eq!(word, 77);
                    continue;
                }
                _ => ((t * 3) & 15) * t,
            };
            // The sum and the difference.
            assert_eq!(word as i32, 2 * result, "thread {t}");
        }
    }
}

fn bytes(x: u32) -> [u8; 4] {
    x.to_le_bytes()
}

#[test]
fn integer_intrinsics() {
    for (mut device, program) in kernels("integers") {
        let (mut xs, mut ys) = (numbers(3, 128), numbers(4, 128));
        (xs[..4]).copy_from_slice(&[0, 1, 1 << 31, u32::MAX]);
        (ys[..4]).copy_from_slice(&[1, u32::MAX, 3, 1 << 31]);
        let (a, b, out) = (device.buffer(&xs), device.buffer(&ys), device.empty(16 * 128));
        run(&mut device, &program, 1, 128, &[a, b, out]);
        let out = device.read(out, 16 * 128);
        for (i, (&x, &y)) in xs.iter().zip(&ys).enumerate() {
            let (sx, sy) = (x as i32, y as i32);
            let (bx, by) = (bytes(x), bytes(y));
            let third = (3..32).filter(|k| x >> k & 1 == 1).nth(1);
            let expect = [
                x.count_ones(),
                x.leading_zeros(),
                x.reverse_bits(),
                u32::from_le_bytes([bx[0], by[0], bx[1], by[1]]),
                ((u64::from(y) << 32 | u64::from(x)) << (y & 31) >> 32) as u32,
                if x == 0 { 0 } else { x.trailing_zeros() + 1 },
                ((u64::from(x) * u64::from(y)) >> 32) as u32,
                ((i64::from(sx) * i64::from(sy)) >> 32) as u32,
                x / (y | 1),
                sx.wrapping_rem((y | 1) as i32) as u32,
                (sx >> (y & 31)) as u32,
                u32::from_le_bytes(std::array::from_fn(|k| bx[k].abs_diff(by[k]))),
                (0..4).fold(7i32, |sum, k| sum + i32::from(bx[k] as i8) * i32::from(by[k] as i8)) as u32,
                x.abs_diff(y).wrapping_add(3),
                sx.min(sy) as u32,
                third.map_or(u32::MAX, |k| k as u32),
            ];
            assert_eq!(out[16 * i..16 * i + 16], expect, "{x:#x} {y:#x}");
        }
    }
}

#[test]
fn wide_integers_and_doubles() {
    for (mut device, program) in kernels("wide") {
        let (xs, ys) = (numbers(5, 128), numbers(6, 128));
        let (a, b, out) = (device.buffer(&xs), device.buffer(&ys), device.empty(16 * 64));
        run(&mut device, &program, 1, 64, &[a, b, out]);
        let pair = |words: &[u32], i: usize| u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32;
        let out = device.read(out, 16 * 64);
        for i in 0..64 {
            let (x, y) = (pair(&xs, i), pair(&ys, i) | 1);
            let expect = [
                x / y,
                (x as i64).wrapping_rem(y as i64) as u64,
                ((u128::from(x) * u128::from(y)) >> 64) as u64,
                x.wrapping_mul(y),
                u64::from(x.count_ones() + x.leading_zeros()),
                (x as i64 >> (y & 63)) as u64,
                (x as f64).to_bits(),
                ((x as f64).sqrt() / y as f64).to_bits(),
            ];
            let found: Vec<u64> = (0..8).map(|k| pair(&out, 8 * i + k)).collect();
            assert_eq!(found, expect, "{x:#x} {y:#x}");
        }
    }
}

#[test]
fn mathematical_functions() {
    for (mut device, program) in kernels("functions") {
        let values = floats(7, 128);
        let (x, out) = (device.buffer(&bits(&values)), device.empty(8 * 128));
        run(&mut device, &program, 1, 128, &[x, out, 128]);
        let out = device.read(out, 8 * 128);
        for (i, &v) in values.iter().enumerate() {
            let x = f64::from(v);
            let expect = [x.exp(), x.ln(), f64::from(1000.0 * v).sin(), x.powf(f64::from(1.7f32)), x.sqrt(), 1.0 / x, x.tanh(), x.exp()];
            for (k, expect) in expect.into_iter().enumerate() {
                // The CUDA manual's largest errors are a few units in the last place.
                let found = f64::from(f32::from_bits(out[128 * k + i]));
                assert!((found - expect).abs() <= 4.0 * f64::from(f32::EPSILON) * expect.abs().max(0.05), "{k}: {v} gives {found}, not {expect}");
            }
        }
    }
}

#[test]
fn a_lock_over_the_grid() {
    for text in [SM75, SM80] {
        let (mut device, module) = (Device::new(), parse(text).unwrap());
        device.workers = 2;
        let addresses: HashMap<String, u64> = module.variables.iter().map(|v| (v.name.clone(), device.buffer(&[0]))).collect();
        let mut launch = |name: &str, grid: u32, arguments: &[u64]| {
            let program = decode(&module, name, &addresses, &text.into()).unwrap_or_else(|error| panic!("{error}"));
            run(&mut device, &program, grid, 1, arguments);
        };
        launch("locked", 100, &[]);
        let out = addresses["held"];
        // The lock is free again, and its word takes the result.
        launch("what_was_guarded", 1, &[out]);
        assert_eq!(device.read(out, 1), [4950]);
    }
}

#[test]
fn a_sort_in_shared_memory() {
    for (mut device, program) in kernels("sort") {
        let mut values = numbers(8, 256);
        let x = device.buffer(&values);
        run(&mut device, &program, 1, 256, &[x]);
        values.sort_unstable_by_key(|v| *v as i32);
        assert_eq!(device.read(x, 256), values);
    }
}

/// Copies in the background, `ldmatrix` and `mma`, on whole numbers that halves hold exactly.
#[test]
fn a_product_on_tensor_cores() {
    let kernels = kernels("product");
    assert_eq!(kernels.len(), 1, "compute_80 alone has it");
    for (mut device, program) in kernels {
        let whole = |seed: u32, i: usize| (numbers(seed, 256)[i] % 9) as i32 - 4;
        let half = |v: i32| [0u32, 0x3c00, 0x4000, 0x4200, 0x4400][v.unsigned_abs() as usize] | if v < 0 { 0x8000 } else { 0 };
        let words = |seed: u32, count: usize| (0..count / 2).map(|i| half(whole(seed, 2 * i)) | half(whole(seed, 2 * i + 1)) << 16).collect::<Vec<_>>();
        let (a, b, c) = (device.buffer(&words(9, 256)), device.buffer(&words(10, 128)), device.empty(128));
        run(&mut device, &program, 1, 32, &[a, b, c]);
        for (at, &word) in device.read(c, 128).iter().enumerate() {
            let sum: i32 = (0..16).map(|k| whole(9, at / 8 * 16 + k) * whole(10, at % 8 * 16 + k)).sum();
            assert_eq!(f32::from_bits(word), sum as f32, "number {at}");
        }
    }
}
