//! Numbers that Rust and Python make alike, bit for bit; see tests/golden/values.py.

use smoothout::plan::Role;
use smoothout_host::device::{Device, Keeps, Part};
use smoothout_host::net::{Net, NetPlan};
use smoothout_host::options::DeviceName;
use smoothout_host::train::device_of;
use smoothout::plan::{Plan, Purpose};

/// The 32-bit LCG that weights and inputs come from.
pub struct Stream(u32);

impl Stream {
    pub const fn new(start: u32) -> Self {
        Self(start)
    }

    /// u in [0, 1).
    pub fn uniform(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 8) as f32 / 16_777_216.0
    }

    /// (2u - 1) * scale.
    pub fn symmetric(&mut self, scale: f32) -> f32 {
        (2.0 * self.uniform() - 1.0) * scale
    }

    /// As many of these.
    pub fn list(&mut self, count: usize, scale: f32) -> Vec<f32> {
        (0..count).map(|_| self.symmetric(scale)).collect()
    }

    /// Images and labels.
    pub fn batch(&mut self, plan: &NetPlan, images: usize) -> (Vec<f32>, Vec<u32>) {
        let values = self.list(images * plan.input().len(), 1.0);
        (values, (0..images).map(|i| ((7 * i + 3) % plan.classes()) as u32).collect())
    }

    /// Parameters and running statistics, layer by layer.
    fn fill(&mut self, plan: &NetPlan) -> (Vec<f32>, Vec<f32>) {
        let (mut parameters, mut statistics) = (vec![], vec![]);
        for layer in plan.layers() {
            for tensor in layer.tensors() {
                parameters.extend((0..tensor.len()).map(|_| match tensor.role {
                    Role::Weight => self.symmetric((6.0 / tensor.row_len as f32).sqrt()),
                    Role::NormScale => 0.25 + 0.5 * self.uniform(),
                    Role::Bias | Role::NormShift => self.symmetric(0.1),
                }));
            }
            if layer.statistics.is_some() {
                let channels = layer.output_shape.channels;
                statistics.extend((0..channels).map(|_| self.symmetric(0.5)));
                statistics.extend((0..channels).map(|_| 0.5 + self.uniform()));
            }
        }
        (parameters, statistics)
    }
}

/// Where a stream begins unless a case says otherwise.
pub const START: u32 = 12345;

/// A device with the network for at most `batch` images, and the stream that its numbers were taken from.
pub fn filled(name: DeviceName, net: &Net, batch: usize, moments: usize, start: u32) -> (Box<dyn Device>, Stream) {
    #[cfg(feature = "cuda")]
    if matches!(name, DeviceName::Cuda(..)) {
        keep_open();
    }
    let plan = Box::new(Plan::new(net, batch, Purpose::Training).expect("plans"));
    let mut stream = Stream::new(start);
    let (parameters, statistics) = stream.fill(&plan);
    let mut device = device_of(name, plan, parameters, Keeps { moments, average: false }).expect("a device");
    device.write(Part::Statistics, &statistics).expect("as long");
    (device, stream)
}

/// Keeps the GPU open to the end: each device would load all kernels anew.
#[cfg(feature = "cuda")]
fn keep_open() {
    use smoothout_gpu::{Gpu, Selector};
    use std::sync::{Arc, OnceLock};
    static OPEN: OnceLock<Arc<Gpu>> = OnceLock::new();
    OPEN.get_or_init(|| Gpu::shared(&Selector::default()).expect("a device"));
}

/// Projections of a [`sketch`].
const PROJECTIONS: usize = 64;

/// 64 projections on random signs: distances of sketches are those of the tensors within 9 % (one standard deviation).
/// Tensors of at most 64 values are kept as they are.
pub fn sketch(values: &[f32]) -> Vec<f64> {
    if values.len() <= PROJECTIONS {
        return values.iter().copied().map(f64::from).collect();
    }
    let mut sums = [0.0; PROJECTIONS];
    for (i, value) in values.iter().enumerate() {
        // SplitMix64's first output for seed i: one sign a bit.
        let mut z = (i as u64).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        let value = f64::from(*value);
        for (j, sum) in sums.iter_mut().enumerate() {
            *sum += if z >> j & 1 == 1 { value } else { -value };
        }
    }
    sums.map(|sum| sum / (PROJECTIONS as f64).sqrt()).to_vec()
}

/// |a - b|.
pub fn distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len());
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

/// |a|.
pub fn norm(a: &[f64]) -> f64 {
    a.iter().map(|a| a * a).sum::<f64>().sqrt()
}

/// These values in f64.
pub fn wide(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}
