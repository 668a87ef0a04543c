//! What a launch did, counted.

use crate::exec::program::{Class, Program};
use crate::memory::races::Access;
use std::fmt::Write;

/// Traffic of one kind of memory access.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// Warp-wide instructions.
    pub requests: u64,
    /// Bytes that lanes asked for.
    pub bytes: u64,
    /// 32-byte sectors touched, each once a request.
    pub sectors: u64,
    /// Bytes of the words touched, each word once a launch: what a cache that held everything would move. Words are told
    /// apart by the records of the race check: 0 where that is off. Two host threads that meet at a word may both count
    /// it; one thread counts exactly.
    pub distinct: u64,
}

/// Counts of one host thread; added up at the end of a launch.
#[derive(Clone, Default, Debug)]
pub struct Counts {
    /// How often each instruction was issued, and for how many lanes.
    pub issued: Vec<(u64, u64)>,
    /// Loads from global (and constant) memory.
    pub loads: Traffic,
    /// Stores to global memory.
    pub stores: Traffic,
    /// Atomic operations on global memory.
    pub atomics: Traffic,
    /// Warp-wide shared memory accesses.
    pub shared_requests: u64,
    /// Bytes that lanes asked for in shared memory.
    pub shared_bytes: u64,
    /// Passes through the 32 banks that conflicts cost beyond those that the bytes need.
    pub bank_conflicts: u64,
    /// Barriers passed by blocks.
    pub barriers: u64,
    /// Multiplications and additions of tensor-core instructions.
    pub matrix_flops: u64,
}

impl Counts {
    /// Counts for a program with `instructions` instructions.
    #[must_use]
    pub fn new(instructions: usize) -> Self {
        Counts { issued: vec![(0, 0); instructions], ..Counts::default() }
    }

    /// Where accesses of this kind are counted.
    pub fn traffic(&mut self, access: Access) -> &mut Traffic {
        match access {
            Access::Read | Access::OrderedRead => &mut self.loads,
            Access::Write => &mut self.stores,
            Access::Atomic => &mut self.atomics,
        }
    }

    /// Adds another thread's counts.
    pub fn add(&mut self, other: &Counts) {
        for (a, b) in self.issued.iter_mut().zip(&other.issued) {
            a.0 += b.0;
            a.1 += b.1;
        }
        for (a, b) in [
            (&mut self.loads, other.loads),
            (&mut self.stores, other.stores),
            (&mut self.atomics, other.atomics),
        ] {
            a.requests += b.requests;
            a.bytes += b.bytes;
            a.sectors += b.sectors;
            a.distinct += b.distinct;
        }
        self.shared_requests += other.shared_requests;
        self.shared_bytes += other.shared_bytes;
        self.bank_conflicts += other.bank_conflicts;
        self.barriers += other.barriers;
        self.matrix_flops += other.matrix_flops;
    }

    /// One line of JSON for a launch.
    #[must_use]
    pub fn json(&self, program: &Program, grid: [u32; 3], block: [u32; 3], shared: u64) -> String {
        let mut classes = [(0u64, 0u64); Class::ALL.len()];
        let mut float_operations = 0;
        for (code, &(issued, lanes)) in program.code.iter().zip(&self.issued) {
            classes[code.class as usize].0 += issued;
            classes[code.class as usize].1 += lanes;
            float_operations += lanes * u64::from(code.flops);
        }
        let traffic = |t: Traffic| {
            let Traffic { requests, bytes, sectors, distinct } = t;
            format!(
                r#"{{"requests":{requests},"bytes":{bytes},"sectors":{sectors},"sector_bytes":{},"distinct_bytes":{distinct}}}"#,
                32 * sectors
            )
        };
        let mut out = String::new();
        let _ = write!(
            out,
            r#"{{"kernel":"{}","grid":{grid:?},"block":{block:?},"shared_memory":{shared},"warp_instructions":{{"#,
            program.name
        );
        let listed = |pick: fn(&(u64, u64)) -> u64| {
            let all = Class::ALL.iter().map(|(class, name)| format!(r#""{name}":{}"#, pick(&classes[*class as usize])));
            all.collect::<Vec<_>>().join(",")
        };
        let _ = write!(out, "{}}},\"thread_instructions\":{{{}}},", listed(|c| c.0), listed(|c| c.1));
        let _ = write!(
            out,
            r#""global_load":{},"global_store":{},"global_atomic":{},"shared":{{"requests":{},"bytes":{},"bank_conflicts":{}}},"barriers":{},"matrix_flops":{},"f32_flops":{float_operations},"contractible":{},"live_registers":{}}}"#,
            traffic(self.loads),
            traffic(self.stores),
            traffic(self.atomics),
            self.shared_requests,
            self.shared_bytes,
            self.bank_conflicts,
            self.barriers,
            self.matrix_flops,
            program.contractible.len(),
            program.live_registers,
        );
        out
    }
}
