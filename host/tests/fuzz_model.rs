//! Damaged model files: every bit, every length, and random damage under a valid checksum. Each is refused with a typed
//! error, or is a model that runs.
//!
//! `SMOOTHOUT_FUZZ_SECONDS` (default 2) is the time for the random part.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{Config, TestRunner};
use smoothout::layers::{BatchNorm, Conv2d, Dropout, Linear, MaxPool2d};
use smoothout::micro::crc::Crc32;
use smoothout::micro::{Model, ModelError, ModelFile};
use smoothout::network::{Layer, Network};
use smoothout::plan::{Plan, Purpose};
use smoothout::portable::{Mode, NetworkPass};
use smoothout::shape::Shape;
use smoothout_host::export::Export;
use smoothout_host::net::{LAYERS, Net, NetPlan, initial_statistics};
use std::cell::Cell;
use std::collections::HashSet;
use std::time::{Duration, Instant};

/// Capacity of the plans made from damaged files.
const N: usize = 16;

/// A small model with every part that a file can have: groups, a residual sum, frozen int8 weights, statistics.
fn model() -> Vec<u8> {
    let mut net: Box<Net> = Box::new(Network::<LAYERS>::new(Shape::new(2, 5, 4)));
    net.push(format_args!("first"), Layer::Conv2d(Conv2d::new(4, 3).padding(1).groups(2))).unwrap();
    let norm = net.push(format_args!("norm"), Layer::BatchNorm(BatchNorm::default())).unwrap();
    net.push(format_args!("second"), Layer::Conv2d(Conv2d::new(4, 1).with_bias())).unwrap();
    net.push(format_args!("sum"), Layer::Add(norm)).unwrap();
    net.push(format_args!("relu"), Layer::Relu).unwrap();
    net.push(format_args!("pool"), Layer::MaxPool2d(MaxPool2d::new(2, 2))).unwrap();
    net.push(format_args!("dropout"), Layer::Dropout(Dropout { probability: 0.25 })).unwrap();
    net.push(format_args!("mean"), Layer::GlobalAvgPool).unwrap();
    net.push(format_args!("flat"), Layer::Flatten).unwrap();
    net.push(format_args!("last"), Layer::Linear(Linear::new(3))).unwrap();
    let plan: Box<NetPlan> = Box::new(Plan::new(&net, 2, Purpose::Training).unwrap());
    let parameters: Vec<f32> = (0..plan.parameters()).map(|i| (i as f32).sin()).collect();
    let mut export = Export::new(&net, &plan, &parameters, &initial_statistics(&plan));
    export.freeze("second").unwrap();
    export.bytes(true).unwrap()
}

/// Reads a file as a firmware does and runs it; whether it was accepted. Nothing may panic.
fn accepted(bytes: &[u8]) -> Result<(), ModelError> {
    let file = ModelFile::new(bytes)?;
    for record in file.records() {
        assert!(record.name.len() <= 32);
    }
    assert_eq!(file.records().count(), file.layers());
    file.trained::<N>()?;
    let plan = file.plan::<N>(2, Purpose::Training)?;
    assert_eq!(plan.tensors().count(), file.tensors());
    let mut parameters = vec![0.0; plan.parameters()];
    for tensor in plan.tensors() {
        let weights = file.tensor(tensor);
        assert_eq!(weights.len(), tensor.len());
        for (row, values) in parameters[tensor.range()].chunks_mut(tensor.row_len).enumerate() {
            weights.read(row, row * tensor.row_len, values);
        }
    }
    assert!(parameters.iter().all(|value| !value.is_nan()));
    let mut statistics = vec![0.0; plan.statistics()];
    assert_eq!(file.statistics().len(), statistics.len());
    file.statistics().read(0, 0, &mut statistics);
    // A stride or padding that still fits may ask for much more memory than a test should take.
    if plan.workspace() < 100_000 && plan.input().len() < 10_000 {
        let mut workspace = vec![0.0; plan.workspace()];
        let images = vec![0.5; plan.input().len()];
        let mut pass = NetworkPass::new(&plan, &mut workspace).unwrap();
        pass.forward(&parameters, &statistics, &images, Mode::Evaluate).unwrap();
        assert_eq!(pass.logits().len(), plan.classes());
    }
    Ok(())
}

fn seal(bytes: &mut [u8]) {
    if let Some((contents, crc)) = bytes.split_last_chunk_mut::<4>() {
        let words = contents.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word));
        *crc = words.fold(Crc32::new(), Crc32::word).value().to_le_bytes();
    }
}

#[test]
fn every_turned_bit_is_refused() {
    let good = model();
    accepted(&good).unwrap();
    for (byte, bit) in (0..good.len()).flat_map(|byte| (0..8).map(move |bit| (byte, bit))) {
        let mut bytes = good.clone();
        bytes[byte] ^= 1 << bit;
        let error = ModelFile::new(&bytes).unwrap_err();
        let expected = match byte {
            0..4 => matches!(error, ModelError::Magic { .. }),
            4..8 => matches!(error, ModelError::Version { known: 1, .. }),
            8..12 => matches!(error, ModelError::Length { given, .. } if given == good.len()),
            _ => matches!(error, ModelError::Checksum { .. }),
        };
        assert!(expected, "bit {bit} of byte {byte}: {error}");
    }
}

#[test]
fn every_other_length_is_refused() {
    let good = model();
    for len in 0..good.len() {
        let error = ModelFile::new(&good[..len]).unwrap_err();
        let expected = if (4..40).contains(&len) { 40 } else { good.len() };
        match error {
            ModelError::Length { stated, given } => {
                assert!(given == len && (stated == expected || len < 40), "{len}: {error}");
            }
            _ => panic!("{len}: {error}"),
        }
    }
    for more in 1..9 {
        let bytes = [&good[..], &vec![0; more]].concat();
        let expected = ModelError::Length { stated: good.len(), given: bytes.len() };
        assert_eq!(ModelFile::new(&bytes).unwrap_err(), expected);
        // The length within a partition is known from the header.
        let len = ModelFile::file_len(&bytes).unwrap();
        accepted(&bytes[..len]).unwrap();
    }
}

/// A newer version, and each kind of contradiction under a valid checksum, is named.
#[test]
fn what_is_at_fault_is_named() {
    let good = model();
    let refused = |at: usize, value: u32| {
        let mut bytes = good.clone();
        bytes[at..at + 4].copy_from_slice(&value.to_le_bytes());
        seal(&mut bytes);
        accepted(&bytes).unwrap_err()
    };
    let word = |at: usize| u32::from_le_bytes(*good[at..].first_chunk().unwrap());
    let header = |what, value| ModelError::Header { what, value };
    assert_eq!(refused(4, 2), ModelError::Version { found: 2, known: 1 });
    assert_eq!(refused(12, 9), header("the number of layers", 9));
    assert_eq!(
        refused(12, 11),
        ModelError::Layer { layer: 10, what: "the table of layers ends within it", value: 0 }
    );
    assert!(matches!(refused(16, 6), ModelError::Tensor { tensor: 0, what: "its data begin at", .. }));
    assert_eq!(refused(16, u32::MAX), header("the number of tensors", u32::MAX));
    assert_eq!(refused(20, 6), header("the number of running statistics", 6));
    assert!(matches!(refused(24, 0), ModelError::Plan(_)));
    let what = "its layer needs other values of a row than";
    assert_eq!(refused(24, 6), ModelError::Tensor { tensor: 0, what, value: 9 });
    assert_eq!(refused(36, word(36) + 2), header("the length of the table of layers", word(36) + 2));
    assert_eq!(refused(36, u32::MAX), header("the length of the table of layers", u32::MAX));
    // The first layer's kind, its flags, its source, and the end of its name.
    let kind = |kind: u8| u32::from_le_bytes([kind, good[41], good[42], good[43]]);
    assert_eq!(refused(40, kind(11)), ModelError::Layer { layer: 0, what: "unknown kind", value: 11 });
    assert!(matches!(refused(40, word(40) | 0x400), ModelError::Layer { layer: 0, what: "unknown flags", .. }));
    assert!(matches!(refused(44, 5), ModelError::Plan(_)));
    let name = 40 + 8 + 32;
    assert_eq!(&good[name..name + 5], b"first");
    assert!(matches!(refused(name + 4, word(name + 4) | 0xFF00), ModelError::Layer { layer: 0, .. }));
    let what = "a name that is no text, of length";
    assert_eq!(refused(name, u32::MAX), ModelError::Layer { layer: 0, what, value: 5 });
    // The first tensor's line: only a frozen convolution or linear layer can be int8.
    let table = 40 + word(36) as usize;
    assert_eq!(refused(table, 1), ModelError::Tensor { tensor: 0, what: "encoding", value: 1 });
    assert_eq!(refused(table + 12, 4), ModelError::Tensor { tensor: 0, what: "its data begin at", value: 4 });
    // The first weight, and the last running variance.
    let first = word(table + 12) as usize;
    assert!(matches!(refused(first, f32::NAN.to_bits()), ModelError::Value { tensor: 0, index: 0, .. }));
    assert!(matches!(refused(first, f32::INFINITY.to_bits()), ModelError::Value { tensor: 0, index: 0, .. }));
    let variance = ModelError::Value { tensor: 7, index: 7, value: -1.0 };
    assert_eq!(refused(good.len() - 8, (-1.0f32).to_bits()), variance);
    let small = ModelFile::new(&good).unwrap().network::<9>().unwrap_err();
    assert_eq!(small, ModelError::Capacity { layers: 10, capacity: 9 });
}

/// Words set, bits turned, parts cut, doubled or moved; half of them under a valid checksum and length.
#[derive(Debug, Clone)]
enum Damage {
    Word(Index, u32),
    Add(Index, i8),
    Flip(Index, u8),
    Remove(Index, usize),
    Insert(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    let word = prop_oneof![any::<u32>(), 0u32..20, Just(u32::MAX), Just(0x8000_0000), Just(0x3FFF_FFFF)];
    prop_oneof![
        3 => (any::<Index>(), word).prop_map(|(i, w)| Damage::Word(i, w)),
        3 => (any::<Index>(), any::<i8>()).prop_map(|(i, n)| Damage::Add(i, n)),
        3 => (any::<Index>(), 0u8..8).prop_map(|(i, b)| Damage::Flip(i, b)),
        1 => (any::<Index>(), 1usize..20).prop_map(|(i, n)| Damage::Remove(i, n)),
        1 => (any::<Index>(), prop::collection::vec(any::<u8>(), 1..20)).prop_map(|(i, v)| Damage::Insert(i, v)),
    ]
}

fn apply(bytes: &mut Vec<u8>, damage: &Damage) {
    // Half of the damage is done to the head, where the structure is.
    let place = |i: &Index, len: usize| if i.index(2) == 0 { i.index(len.min(400)) } else { i.index(len) };
    let len = bytes.len().max(1);
    match damage {
        Damage::Word(i, word) => {
            let at = place(i, len) / 4 * 4;
            bytes.iter_mut().skip(at).zip(word.to_le_bytes()).for_each(|(to, byte)| *to = byte);
        }
        Damage::Add(i, n) => {
            if let Some(byte) = bytes.get_mut(place(i, len)) {
                *byte = byte.wrapping_add_signed(*n);
            }
        }
        Damage::Flip(i, bit) => {
            if let Some(byte) = bytes.get_mut(place(i, len)) {
                *byte ^= 1 << bit;
            }
        }
        Damage::Remove(i, n) => {
            let at = place(i, len);
            bytes.drain(at.min(bytes.len())..(at + n).min(bytes.len()));
        }
        Damage::Insert(i, new) => {
            let at = place(i, len).min(bytes.len());
            bytes.splice(at..at, new.iter().copied());
        }
    }
}

#[test]
fn random_damage() {
    let good = model();
    let start = good.clone();
    let damaged = (prop::collection::vec(damage(), 0..4), any::<bool>()).prop_map(move |(all, sealed)| {
        let mut bytes = start.clone();
        all.iter().for_each(|d| apply(&mut bytes, d));
        if sealed && bytes.len() >= 12 {
            bytes.truncate(bytes.len() / 4 * 4);
            let len = bytes.len() as u32;
            bytes[8..12].copy_from_slice(&len.to_le_bytes());
            seal(&mut bytes);
        }
        bytes
    });
    let files = prop_oneof![20 => damaged, 1 => prop::collection::vec(any::<u8>(), 0..300)];
    let seconds = std::env::var("SMOOTHOUT_FUZZ_SECONDS").map_or(2.0, |s| s.parse().unwrap());
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    let (count, valid) = (Cell::new(0u64), Cell::new(0u64));
    let mut kinds = HashSet::new();
    while Instant::now() < end {
        let config = Config { cases: 500, failure_persistence: None, ..Config::default() };
        let seen = std::cell::RefCell::new(&mut kinds);
        TestRunner::new(config)
            .run(&files, |bytes| {
                count.set(count.get() + 1);
                match accepted(&bytes) {
                    Ok(()) => valid.set(valid.get() + 1),
                    Err(error) => {
                        assert!(!error.to_string().is_empty());
                        seen.borrow_mut().insert(std::mem::discriminant(&error));
                    }
                }
                Ok(())
            })
            .unwrap();
    }
    let (count, valid) = (count.get(), valid.get());
    println!("{count} files, {valid} of them accepted, {} kinds of errors", kinds.len());
    // A reader that refuses, or takes, everything was not tested.
    assert!(valid > 0 && valid < count && kinds.len() >= 8, "{valid} of {count}, {} kinds", kinds.len());
}
