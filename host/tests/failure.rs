//! A step that fails between perturb and update leaves everything as it was, to the bit.
#![allow(clippy::unwrap_used)]

use smoothout::optimizer::Update;
use smoothout_host::device::{Batch, Device, DeviceError, Outcome, Part, Step};
use smoothout_host::options::{DeviceName, MethodName, Options, RenewalName, Strength};
use smoothout_host::train::{Setup, device};

const PARTS: [Part; 5] = [Part::Weights, Part::Statistics, Part::First, Part::Second, Part::Average];

/// Bits of everything that a device remembers.
fn bits(device: &dyn Device) -> Vec<Vec<u32>> {
    PARTS.map(|part| device.read(part).unwrap().iter().map(|v| v.to_bits()).collect()).into()
}

#[derive(Clone)]
struct Case {
    options: Options,
    /// Two images of 64 pixels a ghost batch, four ghost batches.
    images: Vec<f32>,
    labels: Vec<u32>,
}

impl Case {
    fn new(options: Options) -> Self {
        let options = Options { batch: Some(8), ghost: Some(2), ..options };
        let images = (0..8 * 64u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 8) as f32 / (1 << 23) as f32 - 1.0);
        Self { options, images: images.collect(), labels: (0..8).collect() }
    }

    fn step(&self, setup: &mut Setup, device: &mut dyn Device, time: u64) -> Result<Outcome, DeviceError> {
        let config = self.options.clone().resolve();
        let batch = Batch { images: &self.images, labels: &self.labels };
        let update = Update {
            optimizer: setup.optimizer,
            rate: config.learning_rate,
            weight_decay: config.weight_decay,
            gradient_scale: 1.0,
            time: time + 1,
        };
        let clip = setup.clip;
        let step = Step { batches: &[batch], ghosts: 4, first: time, strength: config.strength.value().unwrap(), update, clip };
        device.step(&mut setup.stepper, &step)
    }

    /// One good step, the failing step, then one good step; without `failing` the good ones alone.
    fn bits_after(&self, failing: Option<&dyn Fn(&mut Case)>, expected: &str) -> Vec<Vec<u32>> {
        let config = self.options.clone().resolve();
        let mut setup = Setup::new(&config).unwrap();
        let mut device = device(&config, &setup).unwrap();
        self.step(&mut setup, &mut *device, 0).unwrap();
        if let Some(damage) = failing {
            let mut damaged = self.clone();
            damage(&mut damaged);
            let before = bits(&*device);
            let error = damaged.step(&mut setup, &mut *device, 1).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            assert_eq!(bits(&*device), before, "{expected}");
        }
        self.step(&mut setup, &mut *device, 1).unwrap();
        bits(&*device)
    }
}

#[test]
fn nothing_is_left_of_a_step_that_failed() {
    let method = |method, strength| Options { method: Some(method), strength: Some(Strength::Value(strength)), ..Options::default() };
    let methods = [
        Options::default(),
        method(MethodName::Smoothout, 0.05),
        method(MethodName::Ada, 0.3),
        method(MethodName::Sam, 0.05),
        Options { draws: Some(2), antithetic: Some(true), renewal: Some(RenewalName::Step), ..method(MethodName::Ada, 0.3) },
        Options { denoise: Some(false), ..method(MethodName::Smoothout, 0.05) },
    ];
    // The damage is in the last of four ghost batches: three gradients are there, and running statistics moved.
    type Damage = (&'static str, fn(&mut Case));
    let damages: [Damage; 3] = [
        ("label", |case| case.labels[7] = 10),
        ("the loss of ghost batch 3 is NaN", |case| case.images[7 * 64 + 5] = f32::NAN),
        ("the loss of ghost batch 3 is", |case| case.images[6 * 64..].fill(f32::MAX)),
    ];
    for name in [DeviceName::Cpu, DeviceName::Portable] {
        for options in &methods {
            let case = Case::new(Options { device: Some(name), ..options.clone() });
            let good = case.bits_after(None, "");
            for (expected, damage) in &damages {
                assert_eq!(case.bits_after(Some(damage), expected), good, "{name:?} {options:?} {expected}");
            }
        }
    }
}

/// Noise, or SAM's ascent, so strong that the loss at the perturbed point alone is not finite.
#[test]
fn failures_at_the_perturbed_point() {
    for name in [DeviceName::Cpu, DeviceName::Portable] {
        for method in [MethodName::Smoothout, MethodName::Ada, MethodName::Sam] {
            let given = Options { method: Some(method), strength: Some(Strength::Value(3e38)), device: Some(name), ..Options::default() };
            let case = Case::new(given);
            let config = case.options.clone().resolve();
            let mut setup = Setup::new(&config).unwrap();
            let mut device = device(&config, &setup).unwrap();
            let before = bits(&*device);
            let error = case.step(&mut setup, &mut *device, 0).unwrap_err().to_string();
            assert!(error.contains("the loss of ghost batch 0 is"), "{error}");
            assert_eq!(bits(&*device), before, "{name:?} {method:?}");
        }
    }
}
