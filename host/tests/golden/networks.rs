//! f1, c1 and resnet44 whole: no farther from float64 than twice PyTorch's own f32.

use super::devices;
use super::file::{Case, Golden};
use super::values::{distance, filled, sketch};
use smoothout::noise::Address;
use smoothout_host::device::{Batch, Part};
use smoothout_host::net::NetName;
use smoothout_host::options::DeviceName;
use smoothout_host::train::network_tensors;

/// Largest distance of a whole, in PyTorch's own.
const WHOLE: f64 = 2.0;

/// Relative distance of an f32 that is right but for its rounding and that of the last operation before it.
/// PyTorch's single loss can be nearer by luck.
const ROUNDING: f64 = 1.2e-7;

/// Largest distance of a single tensor, in PyTorch's own. Both are single draws of rounding errors.
const TENSOR: f64 = 4.0;

/// Squares of distances from float64, ours and PyTorch's, and of the norm.
#[derive(Default)]
struct Sum {
    ours: f64,
    pytorchs: f64,
    norm: f64,
}

impl Sum {
    fn of(golden: &Golden, case: &str, what: &str, values: &[f32]) -> Self {
        let pytorch = golden.get(case, &format!("pytorch/{what}"));
        let ours = distance(&sketch(values), &golden.get(case, what));
        Self { ours: ours * ours, pytorchs: pytorch[1].powi(2), norm: pytorch[0].powi(2) }
    }

    fn add(&mut self, other: &Self) {
        self.ours += other.ours;
        self.pytorchs += other.pytorchs;
        self.norm += other.norm;
    }

    /// Our distance in PyTorch's, or in that of rounding where PyTorch's is smaller.
    fn ratio(&self) -> f64 {
        (self.ours / self.pytorchs.max(ROUNDING * ROUNDING * self.norm)).sqrt()
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [ours, pytorchs] = [self.ours, self.pytorchs].map(|d| (d / self.norm).sqrt());
        write!(f, "{ours:.2e} from float64, PyTorch's f32 {pytorchs:.2e}")
    }
}

/// Compares every case on a device; every distance is printed.
fn compare(device_name: DeviceName) {
    let golden = Golden::load("networks");
    let mut far = false;
    for case in &golden.cases {
        let (name, images) = (case.text("name"), case.count("batch"));
        let mut net = match case.text("net") {
            "f1" => NetName::F1,
            "c1" => NetName::C1,
            "resnet44" => NetName::Resnet,
            other => panic!("network {other}"),
        }
        .build(44, 10)
        .expect("a network of the paper");
        net.set_dropout(0.0);
        let (mut device, mut stream) = filled(device_name, &net, images, 0, case.count("start") as u32);
        let (images, labels) = stream.batch(device.plan(), images);
        let training =
            (case.text("mode") == "train").then_some(Address { seed: 1, step: 0, draw: 0 });
        let batch = Batch { images: &images, labels: &labels };
        let result = device.gradient(batch, training).expect("possible");
        let statistics = device.read(Part::Statistics).expect("reads");
        let mut check = |what: &str, sum: &Sum, bound: f64| {
            let near = sum.ratio() <= bound;
            println!("{} {name} on {device_name:?}: {what} {sum}", if near { "near" } else { "FAR " });
            far |= !near;
        };
        let logits = Sum::of(&golden, name, "logits", &result.logits);
        check("logits", &logits, WHOLE);
        let mut loss = Sum::of(&golden, name, "loss", &[result.loss]);
        // A single number, which PyTorch's f32 can hit by luck: it is asked to be as near as the logits that it is of.
        loss.pytorchs = loss.pytorchs.max(logits.pytorchs / logits.norm * loss.norm);
        check("loss", &loss, WHOLE);
        for (part, values) in [(Part::Weights, &result.gradient), (Part::Statistics, &statistics)] {
            let tensors: Vec<_> = network_tensors(device.plan(), part)
                .into_iter()
                .map(|(what, _, range)| (Sum::of(&golden, name, &what, &values[range]), what))
                .collect();
            let mut whole = Sum::default();
            tensors.iter().for_each(|(tensor, _)| whole.add(tensor));
            check(&format!("{part:?}"), &whole, WHOLE);
            for (mut tensor, what) in tensors {
                if tensor.norm < 1e-18 * whole.norm {
                    // A bias before batch norm: its true gradient is zero, so it is held against the whole gradient.
                    (tensor.norm, tensor.pytorchs) = (whole.norm, whole.pytorchs);
                }
                check(&what, &tensor, TENSOR);
            }
        }
    }
    assert!(!far, "see above");
}

#[test]
fn networks_are_near_float64() {
    devices().into_iter().for_each(compare);
}
