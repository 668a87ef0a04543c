//! The noise, to the bit: every distribution and scaling against core's committed reference vectors.
#![cfg_attr(target_os = "none", no_std, no_main)]

use smoothout::noise::{Address, Distribution, Noise, NoiseError, Scaling};
use smoothout_qemu::hash::Fnv;
use smoothout_qemu::{Hex, image, say};

smoothout_qemu::panics_do_not_link!();
image!(run);

/// θ of all cases as little-endian f32 bits, made by build.rs.
static EXPECTED: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/theta.bin"));

const ADDRESS: Address = Address { seed: 1_234_567_890_123_456_789, step: 42, draw: 3 };
const STRENGTH: f32 = 0.15;
/// (tensor, rows, row_len)
const TENSORS: [(u32, usize, usize); 4] = [(0, 3, 50), (1, 7, 1), (2, 2, 150), (9, 1, 257)];
const DISTRIBUTIONS: [(Distribution, &str); 3] = [
    (Distribution::Uniform, "uniform"),
    (Distribution::Gaussian, "Gaussian"),
    (Distribution::Dropout, "dropout"),
];
const SCALINGS: [(Scaling, &str); 3] = [
    (Scaling::Constant, "constant"),
    (Scaling::PerWeight, "per weight"),
    (Scaling::PerFilter, "per filter"),
];

fn run() -> Result<(), &'static str> {
    vectors().map_err(|_| "the strength is refused")
}

fn vectors() -> Result<(), NoiseError> {
    let mut expected = EXPECTED.as_chunks().0.iter().map(|bytes| u32::from_le_bytes(*bytes));
    let mut wrong = 0u32;
    for (distribution, name) in DISTRIBUTIONS {
        for (scaling, scaled) in SCALINGS {
            let noise = Noise::new(distribution, scaling, STRENGTH)?;
            let (mut hash, mut values) = (Fnv::default(), 0u32);
            for (tensor, rows, row_len) in TENSORS {
                let (mut weights, mut theta) = ([0.0; 300], [0.0; 300]);
                fill(&mut weights);
                noise.fill(ADDRESS.tensor(tensor), rows, row_len, &weights, &mut theta);
                for value in theta.iter().take(rows * row_len) {
                    hash.push(*value);
                    values += 1;
                    wrong += u32::from(expected.next() != Some(value.to_bits()));
                }
            }
            say!(name, ", ", scaled, ": ", values, " values, hash ", Hex(hash.value()));
        }
    }
    say!("values that differ from the committed ones: ", wrong);
    say!("committed values that were not made: ", expected.count());
    Ok(())
}

/// The weights of the reference vectors.
fn fill(weights: &mut [f32]) {
    let mut s = 12345u32;
    for weight in weights {
        s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *weight = (s >> 8) as f32 / 16_777_216.0 - 0.5;
    }
}
