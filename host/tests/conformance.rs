//! The host's devices under core's conformance suite.

use smoothout::conformance::{BATCH, Backend, CASES, Drive, Memory, Support, Task, Training, run};
use smoothout::network::Network;
use smoothout::optimizer::Update;
use smoothout::plan::{Plan, Purpose};
use smoothout::step::{Method, Stepper};
use smoothout_host::device::{Batch, Device, DeviceError, Keeps, Part, Step};
use smoothout_host::net::Net;
use smoothout_host::options::DeviceName;
use smoothout_host::train::device_of;

/// A device as a backend.
struct Host(DeviceName);

struct Begun<'t> {
    device: Box<dyn Device>,
    stepper: Stepper,
    task: &'t Task<'t>,
    steps: u64,
}

impl Training for Begun<'_> {
    type Error = DeviceError;

    fn step(&mut self, images: &[f32], labels: &[u32]) -> Result<f32, DeviceError> {
        let recipe = self.task.recipe;
        let step = Step {
            batches: &[Batch { images, labels }],
            ghosts: 1,
            first: self.steps,
            strength: recipe.strength,
            update: Update {
                optimizer: recipe.optimizer,
                rate: recipe.rate,
                weight_decay: recipe.weight_decay,
                gradient_scale: 1.0,
                time: self.steps + 1,
            },
            clip: recipe.clip,
        };
        self.steps += 1;
        Ok(self.device.step(&mut self.stepper, &step)?.loss)
    }

    fn evaluate(&mut self, images: &[f32], labels: &[u32]) -> Result<(f32, usize), DeviceError> {
        let evaluation = self.device.evaluate(Batch { images, labels }, None)?;
        Ok(((evaluation.loss / labels.len() as f64) as f32, evaluation.correct))
    }

    fn read(&mut self, parameters: &mut [f32], statistics: &mut [f32]) -> Result<(), DeviceError> {
        parameters.copy_from_slice(&self.device.read(Part::Weights)?);
        statistics.copy_from_slice(&self.device.read(Part::Statistics)?);
        Ok(())
    }
}

impl Backend for Host {
    type Error = DeviceError;

    fn train(&mut self, task: &Task<'_>, drive: Drive<'_, DeviceError>) -> Result<Support, DeviceError> {
        let unknown = match task.recipe.method {
            Method::Sam { .. } => true,
            Method::SmoothOut(method) => !method.denoise,
            Method::Sgd => false,
        };
        if self.0 == DeviceName::Micro && unknown {
            return Ok(Support::Unsupported);
        }
        let mut net: Net = Network::new(task.network.input());
        for node in task.network.nodes() {
            net.push_from(format_args!("{}", node.name), node.layer, node.input).expect("fits");
        }
        let plan = Plan::new(&net, BATCH, Purpose::Training).expect("the suite has planned it before");
        let keeps = Keeps { moments: task.recipe.optimizer.moments(), average: false };
        let mut device = device_of(self.0, Box::new(plan), task.parameters.to_vec(), keeps)?;
        device.write(Part::Statistics, task.statistics)?;
        let stepper = Stepper::new(task.recipe.method, task.recipe.seed).expect("valid");
        drive(&mut Begun { device, stepper, task, steps: 0 })?;
        Ok(Support::Done)
    }
}

/// Plans and sessions for any network of the program take more stack than a test's thread has.
fn conforms(device: DeviceName, unsupported: usize) {
    let thread = std::thread::Builder::new().stack_size(64 << 20);
    let suite = thread.spawn(move || suite(device, unsupported)).expect("a thread");
    suite.join().expect("the suite passes");
}

fn suite(device: DeviceName, unsupported: usize) {
    let mut memory = Box::new(Memory::new());
    let mut failed = Vec::new();
    let summary = run(&mut Host(device), &mut memory, |finding| {
        failed.extend(finding.ok().filter(|f| !f.passes()).map(|f| f.to_string()));
    });
    println!("{device:?}: {summary:?}");
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!((summary.cases, summary.unsupported), (CASES.len() - unsupported, unsupported));
}

#[test]
fn the_portable_device_conforms() {
    conforms(DeviceName::Portable, 0);
}

#[test]
fn the_cpu_device_conforms() {
    conforms(DeviceName::Cpu, 0);
}

/// Sessions know neither SAM nor noise that stays.
#[test]
fn the_micro_device_conforms() {
    conforms(DeviceName::Micro, 2);
}
