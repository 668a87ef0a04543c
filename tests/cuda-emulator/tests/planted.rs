//! Faults planted in the CUDA backend's own kernels: lines that keep a kernel right are taken out or changed, and each is
//! missed. Leaks, failing driver calls and too little memory are planted in tests/driver.rs and gpu/tests/failures.rs.
#![allow(missing_docs)]

mod support;
use cuda_emulator::decode::kernel::decode;
use cuda_emulator::exec::fault::{Fault, Kind};
use cuda_emulator::exec::program::Program;
use cuda_emulator::ptx::parser::parse;
use std::collections::HashMap;
use std::path::Path;
use support::Device;

/// The PTX of one kernel of the backend, with the head of its file.
fn kernel(file: &str, name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gpu/ptx").join(file);
    let text = std::fs::read_to_string(&path).unwrap();
    let mut parts = text.split(".visible .entry ");
    let head = parts.next().unwrap();
    let body = parts.find(|part| part.starts_with(&format!("{name}("))).unwrap_or_else(|| panic!("{name} in {file}"));
    format!("{head}.visible .entry {body}")
}

fn program(text: &str, name: &str) -> Program {
    let module = parse(text).unwrap_or_else(|error| panic!("{error}"));
    decode(&module, name, &HashMap::new(), &text.into()).unwrap_or_else(|error| panic!("{error}"))
}

/// The numbers of the lines in which `what` stands.
fn lines(text: &str, what: &str) -> Vec<usize> {
    text.lines().enumerate().filter(|(_, line)| line.contains(what)).map(|(number, _)| number).collect()
}

/// The text with line `number` put through `change`.
fn with(text: &str, number: usize, change: impl Fn(&str) -> String) -> String {
    let changed = |(k, line): (usize, &str)| if k == number { change(line) } else { line.to_string() };
    text.lines().enumerate().map(changed).collect::<Vec<_>>().join("\n")
}

fn without(text: &str, number: usize) -> String {
    with(text, number, |_| String::new())
}

/// The instruction with two registers of its list number `list` exchanged.
fn exchanged(line: &str, list: usize, [i, j]: [usize; 2]) -> String {
    let mut parts: Vec<String> = line.split('{').map(String::from).collect();
    let (registers, rest) = parts[list + 1].split_once('}').unwrap();
    let mut registers: Vec<&str> = registers.split(',').collect();
    registers.swap(i, j);
    parts[list + 1] = format!("{}}}{rest}", registers.join(","));
    parts.join("{")
}

const IMAGES: usize = 32;
const INPUTS: usize = 48;
const OUTPUTS: usize = 40;

/// Whole numbers that are exact in every precision, as are sums of their products in f32.
fn value(seed: usize, i: usize) -> f32 {
    ((i * 7 + i / 11 + seed * 5) % 13) as f32 - 6.0
}

fn bits(seed: usize, count: usize) -> Vec<u32> {
    (0..count).map(|i| value(seed, i).to_bits()).collect()
}

/// Runs a linear layer's forward kernel; whether its results are right.
fn linear(text: &str, name: &str) -> Result<bool, Box<Fault>> {
    let mut device = Device::new();
    let (x, weight) = (device.buffer(&bits(1, IMAGES * INPUTS)), device.buffer(&bits(2, OUTPUTS * INPUTS)));
    let (bias, y) = (device.buffer(&bits(3, OUTPUTS)), device.buffer(&[0; IMAGES * OUTPUTS]));
    // Images of a draw, its pitch, the part of k and its pitch, ReLU, pieces of 16 bytes on both sides.
    let sizes = [IMAGES, 0, INPUTS, 0, 0, 3, IMAGES, INPUTS, OUTPUTS].map(|size| size as u64);
    device.launch(&program(text, name), 1, 128, 0, &[&[x, weight, bias, y], &sizes[..]].concat())?;
    let out = device.read(y, IMAGES * OUTPUTS);
    Ok((0..IMAGES * OUTPUTS).all(|at| {
        let (n, o) = (at / OUTPUTS, at % OUTPUTS);
        let sum: f32 = (0..INPUTS).map(|i| value(1, n * INPUTS + i) * value(2, o * INPUTS + i)).sum();
        f32::from_bits(out[at]) == sum + value(3, o)
    }))
}

const PRODUCTS: [(&str, &str); 3] = [
    ("linear.sm75.ptx", "linear_forward_f32_32"),
    ("linear.sm80.ptx", "linear_forward_tf32_32"),
    ("linear.sm80.ptx", "linear_forward_bf16_32"),
];

#[test]
fn a_missing_barrier() {
    for (file, name) in PRODUCTS {
        let text = kernel(file, name);
        assert!(linear(&text, name).unwrap_or_else(|fault| panic!("{fault}")), "{name} as it is");
        let barriers = lines(&text, "bar.sync");
        assert!(barriers.len() >= 2, "{name}");
        for number in barriers {
            let fault = linear(&without(&text, number), name).expect_err(name);
            let found = matches!(fault.kind, Kind::Race | Kind::UninitialisedMemory | Kind::AsyncCopy);
            assert!(found, "{name} without line {}: {fault}", number + 1);
        }
    }
    let text = kernel("update.sm75.ptx", "squares");
    let run = |text: &str| {
        let mut device = Device::new();
        let (values, partial) = (device.buffer(&bits(1, 1000)), device.empty(2));
        device.launch(&program(text, "squares"), 1, 256, 0, &[values, partial, 1000])?;
        let words = device.read(partial, 2);
        Ok::<_, Box<Fault>>(f64::from_bits(u64::from(words[0]) | u64::from(words[1]) << 32))
    };
    let expect: f64 = (0..1000).map(|i| f64::from(value(1, i)).powi(2)).sum();
    assert_eq!(run(&text).unwrap(), expect);
    for number in lines(&text, "bar.sync") {
        let fault = run(&without(&text, number)).unwrap_err();
        assert!(matches!(fault.kind, Kind::Race | Kind::UninitialisedMemory), "{fault}");
    }
}

#[test]
fn a_missing_wait_for_copies() {
    for (file, name) in &PRODUCTS[1..] {
        let text = kernel(file, name);
        let waits = lines(&text, "cp.async.wait_");
        assert!(!waits.is_empty(), "{name}");
        for number in waits {
            let fault = linear(&without(&text, number), name).expect_err(name);
            assert!(matches!(fault.kind, Kind::AsyncCopy | Kind::UninitialisedMemory), "{name}: {fault}");
        }
    }
}

/// Registers of A or B in each other's place, or one product less.
#[test]
fn a_wrong_fragment() {
    for (file, name) in &PRODUCTS[1..] {
        let text = kernel(file, name);
        let products = lines(&text, "mma.sync");
        assert!(products.len() >= 8, "{name}");
        for number in products {
            let wrong = |text: &str, what: &str| {
                let right = linear(text, name).unwrap_or_else(|fault| panic!("{fault}"));
                assert!(!right, "{name} line {}: {what} was not seen", number + 1);
            };
            wrong(&without(&text, number), "a product less");
            for pair in [[0, 1], [0, 2], [1, 3]] {
                wrong(&with(&text, number, |line| exchanged(line, 1, pair)), "A");
            }
            wrong(&with(&text, number, |line| exchanged(line, 2, [0, 1])), "B");
            wrong(&with(&text, number, |line| exchanged(line, 3, [0, 1])), "C");
        }
    }
}

/// The test for the last element lets one more through.
#[test]
fn an_index_past_the_end() {
    let text = kernel("update.sm75.ptx", "add_scaled");
    let run = |text: &str| {
        let mut device = Device::new();
        let (from, to) = (device.buffer(&bits(1, 100)), device.buffer(&bits(2, 100)));
        let result = device.launch(&program(text, "add_scaled"), 1, 256, 0, &[from, to, 100, 2f32.to_bits().into()]);
        result.map(|_| device.read(to, 100))
    };
    let expect: Vec<u32> = (0..100).map(|i| (value(2, i) + 2.0 * value(1, i)).to_bits()).collect();
    assert_eq!(run(&text).unwrap(), expect);
    let guards = lines(&text, "setp.ge.s32");
    assert_eq!(guards.len(), 1);
    let fault = run(&with(&text, guards[0], |line| line.replace("setp.ge", "setp.gt"))).unwrap_err();
    assert_eq!((fault.kind, fault.thread), (Kind::OutOfBounds, Some([100, 0, 0])), "{fault}");
}
