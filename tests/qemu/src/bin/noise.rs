//! The noise, to the bit: every distribution and scaling against core's committed reference vectors, and then what sessions
//! add to weights and biases, which they make in other ways, against the same.
#![cfg_attr(target_os = "none", no_std, no_main)]

use smoothout::layers::Linear;
use smoothout::micro::{Config, Counters, Session, SessionError, Slices};
use smoothout::network::{Layer, Name, Network, Node};
use smoothout::noise::{Address, Distribution, Noise, NoiseError, Scaling};
use smoothout::plan::{Plan, Purpose};
use smoothout::shape::Shape;
use smoothout::step::{Method, SmoothOut};
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
    vectors().map_err(|_| "the strength is refused")?;
    sessions().map_err(|_| "a session is refused")
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

/// Neurons and inputs of the linear layers whose weights sessions perturb: filters within a block of the stream and across
/// blocks, and one that is perturbed in parts.
const LAYERS: [(usize, usize); 3] = [(3, 50), (2, 150), (1, 257)];

fn sessions() -> Result<(), SessionError> {
    for (distribution, name) in DISTRIBUTIONS {
        for (scaling, scaled) in SCALINGS {
            let mut counts = [0; 3];
            for (rows, row_len) in LAYERS {
                let method = SmoothOut { distribution, scaling, ..SmoothOut::constant() };
                counts.iter_mut().zip(session(method, rows, row_len)?).for_each(|(all, of_layer)| *all += of_layer);
            }
            let [all, wrong, left] = counts;
            say!(name, ", ", scaled, ", in sessions: ", all, " weights with their biases, of which differ: ", wrong,
                "; weights that noise is left in: ", left);
        }
    }
    Ok(())
}

/// Sums of a weight and its neuron's bias at the evaluation point: how many were compared with the reference, how many
/// differ, and how many weights are not clean after the steps. The sums are the logits of images with a single 1.
fn session(method: SmoothOut, rows: usize, row_len: usize) -> Result<[u32; 3], SessionError> {
    let missing = SessionError::Unsupported { what: "this layer" };
    let mut network = Network::<1>::new(Shape::flat(row_len));
    let layer = Layer::Linear(Linear::new(rows));
    network.push_node(Node { name: Name::new(), layer, input: network.last() }).map_err(|_| missing)?;
    let plan = Plan::new(&network, 1, Purpose::Training).map_err(|_| missing)?;
    let (mut values, mut theta, mut image, mut arena) = ([0.0; 310], [0.0; 310], [0.0; 257], [0.0; 900]);
    fill(&mut values);
    let parameters = values.get(..plan.parameters()).unwrap_or_default();
    let (weights, biases) = parameters.split_at_checked(rows * row_len).unwrap_or_default();
    let noise = Noise::new(method.distribution, method.scaling, STRENGTH).map_err(|_| missing)?;
    // Without draws of its own a step has draw 0.
    let address = Address { draw: 0, ..ADDRESS };
    let (of_weights, of_biases) = theta.split_at_mut_checked(weights.len()).unwrap_or_default();
    noise.fill(address.tensor(0), rows, row_len, weights, of_weights);
    noise.fill(address.tensor(1), rows, 1, biases, of_biases);
    let model = Slices { parameters, statistics: &[] };
    let method = Method::SmoothOut(method);
    let config = Config { seed: ADDRESS.seed, strength: STRENGTH, ..Config::new(method, 0.01) };
    let mut session = Session::<1>::new(&plan, &model, config, &mut arena)?;
    session.set_counters(Counters { batches: ADDRESS.step, updates: 0 });
    let image = image.get_mut(..row_len).unwrap_or_default();
    let (mut all, mut wrong) = (0, 0);
    // Of long filters every seventh weight, so that the slow cores take seconds.
    for column in (0..row_len).step_by(if row_len > 50 { 7 } else { 1 }) {
        image.fill(0.0);
        image.iter_mut().skip(column).take(1).for_each(|pixel| *pixel = 1.0);
        session.begin(image, &[0])?;
        while session.pass_logits().is_none() {
            session.advance(image, &[0])?;
        }
        let column_of = |values: &[f32], row: usize| values.get(row * row_len + column).copied().unwrap_or(f32::NAN);
        for (row, logit) in session.pass_logits().unwrap_or_default().iter().enumerate() {
            let weight = column_of(weights, row) + column_of(of_weights, row);
            let bias = biases.iter().zip(&*of_biases).nth(row).map_or(f32::NAN, |(b, theta)| b + theta);
            all += 1;
            wrong += u32::from(logit.to_bits() != (bias + weight).to_bits());
        }
        session.abort();
    }
    let moved = session.weights().iter().zip(parameters).filter(|(now, then)| now.to_bits() != then.to_bits());
    Ok([all, wrong, moved.count() as u32])
}

/// The weights of the reference vectors.
fn fill(weights: &mut [f32]) {
    let mut s = 12345u32;
    for weight in weights {
        s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        *weight = (s >> 8) as f32 / 16_777_216.0 - 0.5;
    }
}
