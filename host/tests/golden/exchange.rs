//! Checkpoints go both ways: a state_dict saved by PyTorch loads here, and ours has its names and shapes.

use super::file::folder;
use super::values::{START, filled};
use super::devices;
use smoothout_host::checkpoint::Checkpoint;
use smoothout_host::device::Part;
use smoothout_host::net::NetName;
use smoothout_host::train::{load_network, network_tensors};
use std::collections::BTreeMap;

#[test]
fn a_state_dict_of_pytorch_loads() {
    let net = NetName::Digits.build(44, 10).expect("a small network");
    let (want, _) = filled(devices()[0], &net, 2, 0, START);
    let state = Checkpoint::load(&folder().join("state_dict.safetensors")).expect("committed");
    for name in devices() {
        let (mut device, _) = filled(name, &net, 2, 0, START);
        for part in [Part::Weights, Part::Statistics] {
            let zeros = vec![0.0; device.read(part).expect("reads").len()];
            device.write(part, &zeros).expect("as long");
        }
        load_network(&mut *device, &state).expect("PyTorch's names and shapes");
        for part in [Part::Weights, Part::Statistics] {
            assert_eq!(device.read(part).expect("reads"), want.read(part).expect("reads"), "{name:?} {part:?}");
        }
    }
}

#[test]
fn our_names_and_shapes_are_those_of_the_state_dict() {
    let net = NetName::Digits.build(44, 10).expect("a small network");
    let (device, _) = filled(devices()[0], &net, 2, 0, START);
    let ours: BTreeMap<_, _> = [Part::Weights, Part::Statistics]
        .iter()
        .flat_map(|part| network_tensors(device.plan(), *part))
        .map(|(name, shape, _)| (name, shape))
        .collect();
    let state = Checkpoint::load(&folder().join("state_dict.safetensors")).expect("committed");
    // PyTorch counts batches; nothing here needs that.
    let theirs = state.tensors().iter().filter(|(name, _)| !name.ends_with("num_batches_tracked"));
    let theirs: BTreeMap<_, _> =
        theirs.map(|(name, tensor)| (name.clone(), tensor.shape().to_vec())).collect();
    assert_eq!(ours, theirs);
}
