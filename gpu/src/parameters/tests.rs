//! The noise of the kernels is core's to the bit.

use super::*;
use crate::device::Selector;
use crate::noise::Series;
use crate::packing::Packing;
use crate::precision::Precision;
use smoothout::backend::{Backend, Draw, Selection};
use smoothout::layers::{BatchNorm, Conv2d, Linear};
use smoothout::network::{Layer, Network};
use smoothout::noise::{Address, Distribution, Noise, Scaling};
use smoothout::plan::{Plan, Purpose};
use smoothout::portable;
use smoothout::shape::Shape;

/// Filters shorter and longer than a block of 128, and one longer than a warp makes at once.
fn tensors() -> Vec<Tensor> {
    let mut network: Network<8> = Network::new(Shape::new(3, 8, 8));
    network.push(format_args!("conv"), Layer::Conv2d(Conv2d::new(5, 3).with_bias())).expect("fits");
    network.push(format_args!("norm"), Layer::BatchNorm(BatchNorm::default())).expect("fits");
    network.push(format_args!("wide"), Layer::Conv2d(Conv2d::new(129, 5))).expect("fits");
    network.push(format_args!("flat"), Layer::Flatten).expect("fits");
    network.push(format_args!("hidden"), Layer::Linear(Linear::new(3))).expect("fits");
    network.push(format_args!("last"), Layer::Linear(Linear::new(2))).expect("fits");
    let plan = Plan::new(&network, 2, Purpose::Training).expect("a plan");
    let mut tensors: Vec<Tensor> = plan.tensors().copied().collect();
    // A filter of 5000 values, as networks of a reasonable size for a test have none.
    let last = tensors.last().expect("tensors").range().end;
    tensors.push(Tensor { offset: last, rows: 1, row_len: 5000, index: tensors.len() as u32, ..tensors[1] });
    tensors.last_mut().expect("tensors").role = smoothout::plan::Role::Weight;
    tensors
}

fn weights(count: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) * [0.01, 1e-33, 3e-8, 700.0][i / 7 % 4]).collect()
}

fn expected(tensors: &[Tensor], weights: &mut [f32], draws: &[Draw]) -> Vec<f32> {
    let mut shadow = vec![0.0; weights.len()];
    let memory = portable::Memory {
        weights,
        shadow: &mut shadow,
        scales: &mut [],
        gradient: &mut [],
        first: &mut [],
        second: &mut [],
        average: &mut [],
    };
    let strategy = portable::Strategy::Shadow;
    let mut parameters = portable::Parameters::new(tensors, memory, strategy).expect("lengths fit");
    for (i, draw) in draws.iter().enumerate() {
        let base = if i == 0 { Base::Clean } else { Base::Perturbed };
        parameters.perturb(draw, base).expect("shadow");
    }
    parameters.point().to_vec()
}

#[test]
fn noise_is_cores_to_the_bit() {
    let gpu = Arc::new(Gpu::open(&Selector::default()).expect("a device"));
    let tensors = tensors();
    let count = tensors.last().expect("tensors").range().end;
    let mut clean = weights(count);
    let parameters = Parameters::new(&gpu, &tensors, &clean, Keeps::default(), 2).expect("memory");
    let mut compared = 0;
    for distribution in [Distribution::Uniform, Distribution::Gaussian, Distribution::Dropout] {
        for scaling in [Scaling::Constant, Scaling::PerWeight, Scaling::PerFilter] {
            for (strength, norms) in [(0.3, true), (1e-34, false)] {
                let noise = Noise::new(distribution, scaling, strength).expect("valid");
                let selection = Selection { norms, biases: !norms || scaling != Scaling::Constant, weights: true };
                let address = Address { seed: 0xfeed_beef_0000_0001, step: 1 << 40, draw: 7 };
                let draws = [
                    Draw { noise, selection, address },
                    Draw { noise: noise.negated(), selection, address: Address { draw: 8, ..address } },
                ];
                for many in [&draws[..1], &draws[..]] {
                    for (i, draw) in many.iter().enumerate() {
                        let base = if i == 0 { Base::Clean } else { Base::Perturbed };
                        parameters.perturb(&Draws::one(draw), base, None).expect("launches");
                    }
                    let point = parameters.read_copy(0).expect("reads");
                    let core = expected(&tensors, &mut clean, many);
                    for (i, (a, b)) in point.iter().zip(&core).enumerate() {
                        assert_eq!(a.to_bits(), b.to_bits(), "{noise:?} {} draws, element {i}: {a:e} {b:e}", many.len());
                    }
                    compared += core.len();
                }
            }
        }
    }
    assert_eq!(compared, 36 * count);
    assert_eq!(parameters.weights.to_vec(&gpu).expect("reads"), clean);
}

/// Many draws of one launch are those that launches of their own make, in the plan's order and packed.
#[test]
fn draws_of_one_launch_are_those_of_many() {
    let gpu = Arc::new(Gpu::open(&Selector::default()).expect("a device"));
    let tensors = tensors();
    let count = tensors.last().expect("tensors").range().end;
    let clean = weights(count);
    let most = 6;
    let all = Parameters::new(&gpu, &tensors, &clean, Keeps::default(), most).expect("memory");
    let alone = Parameters::new(&gpu, &tensors, &clean, Keeps::default(), 1).expect("memory");
    let selection = Selection { norms: true, ..Selection::default() };
    for (many, pairs, first) in [(1, false, 5), (3, false, 7), (2, true, 4), (4, true, 3)] {
        for (distribution, precision) in [(Distribution::Uniform, gpu.best_precision()), (Distribution::Gaussian, Precision::F32)] {
            let noise = Noise::new(distribution, Scaling::PerFilter, 0.3).expect("valid");
            let address = Address { seed: 77, step: 5, draw: 0 };
            let series = Series { many, pairs };
            let draws = Draws { draw: Draw { noise, selection, address }, series, first, count: most };
            let (packing, _) = Packing::new(&gpu, precision, &tensors).expect("memory");
            let room = || Buffer::<f32>::zeroed(&gpu, most * packing.len()).expect("memory");
            let (straight, detour) = (room(), room());
            let packed = |both| {
                Some(Packed { to: straight.pointer(), pitch: packing.len(), tf32: precision == Precision::Tf32, both })
            };
            all.perturb(&draws, Base::Clean, packed(true)).expect("launches");
            let (from, step) = (all.copy(0), pitch(count));
            // SAFETY: copies and packed weights of as many draws.
            unsafe { packing.pack(&gpu, (from, step), most, detour.pointer()).expect("launches") };
            assert_eq!(straight.to_vec(&gpu).expect("reads"), detour.to_vec(&gpu).expect("reads"), "{many} {pairs}");
            for number in 0..most as u32 {
                // As core's stepper numbers them.
                let (ghost, m) = ((first + number) / many, (first + number) % many);
                let draw = ghost * many + if pairs { m / 2 } else { m };
                let noise = if pairs && m % 2 == 1 { noise.negated() } else { noise };
                let draw = Draw { noise, selection, address: Address { draw, ..address } };
                alone.perturb(&Draws::one(&draw), Base::Clean, None).expect("launches");
                let (a, b) = (all.read_copy(number as usize).expect("reads"), alone.read_copy(0).expect("reads"));
                assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()), "{many} {pairs} {distribution:?}: {number}");
            }
        }
    }
    let too_many = Draws { count: 2, ..Draws::one(&Draw { noise: Noise::new(Distribution::Uniform, Scaling::Constant, 0.1).expect("valid"), selection, address: Address { seed: 1, step: 1, draw: 1 } }) };
    assert!(matches!(alone.perturb(&too_many, Base::Clean, None), Err(GpuError::Length { .. })));
}
