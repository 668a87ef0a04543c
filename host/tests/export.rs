//! What `export` writes is what was trained: to the bit, or within a bound where batch norms are folded or weights
//! int8.
#![allow(clippy::unwrap_used)]

use smoothout::micro::{Model, ModelFile, Weights};
use smoothout::network::Layer;
use smoothout::plan::{Plan, Purpose, Role};
use smoothout_host::device::{Batch, Keeps, Part};
use smoothout_host::export::{Export, ExportError, Loaded, rust_source};
use smoothout_host::net::{Net, NetName, NetPlan, NormInit, initial_parameters, initial_statistics};
use smoothout_host::options::DeviceName;
use smoothout_host::train::device_of;

/// A network with weights and statistics that are nowhere 0 or 1.
fn network(name: NetName) -> (Box<Net>, Box<NetPlan>, Vec<f32>, Vec<f32>) {
    let net = Box::new(name.build(8, 10).unwrap());
    let plan: Box<NetPlan> = Box::new(Plan::new(&net, 2, Purpose::Training).unwrap());
    let wave = |i: usize| 0.05 * (i as f32 * 0.7).sin();
    let mut parameters = initial_parameters(name, &plan, NormInit::Uniform, 3);
    parameters.iter_mut().enumerate().for_each(|(i, value)| *value += wave(i));
    let mut statistics = initial_statistics(&plan);
    statistics.iter_mut().enumerate().for_each(|(i, value)| *value += 4.0 * wave(i));
    (net, plan, parameters, statistics)
}

fn logits(net: &Net, parameters: &[f32], statistics: &[f32]) -> Vec<f32> {
    let plan: Box<NetPlan> = Box::new(Plan::new(net, 2, Purpose::Training).unwrap());
    let images: Vec<f32> = (0..2 * plan.input().len()).map(|i| (i as f32 * 0.31).cos()).collect();
    let keeps = Keeps { moments: 0, average: false };
    let mut device = device_of(DeviceName::Portable, plan, parameters.to_vec(), keeps).expect("a device");
    device.write(Part::Statistics, statistics).unwrap();
    device.gradient(Batch { images: &images, labels: &[0, 9] }, None).unwrap().logits
}

/// ‖a - b‖ / ‖b‖.
fn distance(a: &[f32], b: &[f32]) -> f64 {
    let square = |sum: f64, value: f64| sum + value * value;
    let difference = a.iter().zip(b).map(|(a, b)| f64::from(*a) - f64::from(*b)).fold(0.0, square);
    (difference / b.iter().map(|b| f64::from(*b)).fold(0.0, square)).sqrt()
}

/// Every network of the program that is small enough for a test comes back to the bit.
#[test]
fn f32_is_exact() {
    for name in [NetName::Digits, NetName::C1, NetName::Resnet, NetName::F1] {
        let (net, plan, parameters, statistics) = network(name);
        let mut export = Export::new(&net, &plan, &parameters, &statistics);
        if name == NetName::Resnet {
            export.freeze("layer1").unwrap();
            export.freeze("conv1").unwrap();
        }
        let loaded = Loaded::new(&export.bytes(false).unwrap()).unwrap();
        assert_eq!(loaded.net, net);
        assert_eq!(loaded.parameters, parameters);
        assert_eq!(loaded.statistics, statistics);
        let frozen = |layer: &&str| name == NetName::Resnet && (layer.starts_with("layer1.") || *layer == "conv1");
        let with_parameters = plan.layers().iter().enumerate().filter(|(_, l)| l.weight.is_some());
        let trained = with_parameters.filter(|(_, l)| !frozen(&l.name.as_str())).map(|(index, _)| index);
        assert_eq!(loaded.trained, trained.collect::<Vec<_>>());
    }
}

/// C1's first two batch norms stand behind poolings.
#[test]
fn folding_keeps_the_logits() {
    for (name, norms) in [(NetName::Digits, 2), (NetName::C1, 2), (NetName::Resnet, 9)] {
        let (net, plan, parameters, statistics) = network(name);
        let mut export = Export::new(&net, &plan, &parameters, &statistics);
        assert!(matches!(export.fold(), Err(ExportError::NothingToFold)));
        export.freeze("all").unwrap();
        let folded = export.fold().unwrap();
        let loaded = Loaded::new(&export.bytes(false).unwrap()).unwrap();
        assert_eq!(loaded.net.nodes().len(), net.nodes().len() - folded);
        let all = logits(&loaded.net, &loaded.parameters, &loaded.statistics);
        let error = distance(&all, &logits(&net, &parameters, &statistics));
        println!("{name:?}: the logits are {error:e} off");
        assert!(error < 2e-6 && folded == norms, "{name:?}: {error}");
    }
}

/// Only pairs that are both frozen are folded, and only where nobody else reads the first.
#[test]
fn folding_leaves_what_is_trained() {
    let (net, plan, parameters, statistics) = network(NetName::Digits);
    let mut export = Export::new(&net, &plan, &parameters, &statistics);
    export.freeze("features.0").unwrap();
    export.freeze("features.5").unwrap();
    assert!(matches!(export.fold(), Err(ExportError::NothingToFold)));
    export.freeze("features.1").unwrap();
    assert_eq!(export.fold().unwrap(), 1);
    let loaded = Loaded::new(&export.bytes(false).unwrap()).unwrap();
    assert!(matches!(loaded.net.nodes()[0].layer, Layer::Conv2d(conv) if conv.bias));
    assert!(matches!(loaded.net.nodes()[4].layer, Layer::BatchNorm(_)));
    assert_eq!(loaded.statistics, statistics[16..]);
}

/// int8 is off by half a scale at most, and is where it was asked for and nowhere else.
#[test]
fn int8_keeps_its_bound() {
    let (net, plan, parameters, statistics) = network(NetName::Digits);
    let mut export = Export::new(&net, &plan, &parameters, &statistics);
    assert!(matches!(export.bytes(true), Err(ExportError::NothingToQuantize)));
    export.freeze("features").unwrap();
    let (plain, bytes) = (export.bytes(false).unwrap(), export.bytes(true).unwrap());
    // Two convolutions of 72 and 1152 weights in 8 and 16 filters.
    assert_eq!(plain.len() - bytes.len(), 3 * (72 + 1152) - 4 * (8 + 16));
    let file = ModelFile::new(&bytes).unwrap();
    let loaded = Loaded::new(&bytes).unwrap();
    for (layer, tensor) in plan.layers().iter().flat_map(|l| l.tensors().map(move |t| (l, t))) {
        let (exact, values) = (&parameters[tensor.range()], &loaded.parameters[tensor.range()]);
        if let Weights::Int8 { .. } = file.tensor(tensor) {
            assert!(tensor.role == Role::Weight && matches!(layer.layer, Layer::Conv2d(_)));
            for (exact, values) in exact.chunks(tensor.row_len).zip(values.chunks(tensor.row_len)) {
                let scale = exact.iter().fold(0.0, |m: f32, v| m.max(v.abs())) / 127.0;
                let worst = exact.iter().zip(values).fold(0.0, |m: f32, (a, b)| m.max((a - b).abs()));
                assert!(worst <= 0.5001 * scale && worst > 0.1 * scale, "{worst} {scale}");
            }
        } else {
            assert_eq!(exact, values);
            assert!(!matches!((layer.layer, tensor.role), (Layer::Conv2d(_), Role::Weight)));
        }
    }
    let error = distance(
        &logits(&loaded.net, &loaded.parameters, &loaded.statistics),
        &logits(&net, &parameters, &statistics),
    );
    println!("int8: the logits are {error:e} off");
    assert!(error < 1e-2);
}

/// Filters of zeros and of the smallest numbers.
#[test]
fn int8_of_tiny_filters() {
    let (net, plan, mut parameters, statistics) = network(NetName::Digits);
    parameters[..9].fill(0.0);
    parameters[9..18].fill(f32::from_bits(1));
    parameters[18..27].fill(-f32::from_bits(190));
    let mut export = Export::new(&net, &plan, &parameters, &statistics);
    export.freeze("all").unwrap();
    let loaded = Loaded::new(&export.bytes(true).unwrap()).unwrap();
    assert_eq!(loaded.parameters[..9], [0.0; 9]);
    let largest = loaded.parameters[9..27].iter().fold(0.0, |m: f32, v| m.max(v.abs()));
    assert!(largest < f32::MIN_POSITIVE);
}

#[test]
fn what_cannot_be_is_refused() {
    let (net, plan, mut parameters, statistics) = network(NetName::Digits);
    let mut export = Export::new(&net, &plan, &parameters, &statistics);
    let error = export.freeze("feature").unwrap_err().to_string();
    assert!(error.contains("feature,") && error.contains("features.0, features.1"), "{error}");
    assert!(export.freeze("features.2").is_err(), "a layer without parameters");
    parameters[100] = f32::NAN;
    let export = Export::new(&net, &plan, &parameters, &statistics);
    let error = export.bytes(false).unwrap_err().to_string();
    assert_eq!(error, "value 12 of tensor 3 of the model is NaN");
}

/// The Rust source compiles and holds the file's bytes.
#[test]
fn rust_source_holds_the_file() {
    let (net, plan, parameters, statistics) = network(NetName::Digits);
    let bytes = Export::new(&net, &plan, &parameters, &statistics).bytes(false).unwrap();
    let source = rust_source(&bytes).unwrap();
    let (_, numbers) = source.split_once("Words([\n").unwrap();
    let numbers = numbers.split([',', ']', ' ', '\n']).filter_map(|n| n.parse::<u8>().ok());
    assert_eq!(numbers.collect::<Vec<_>>(), bytes);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.rs");
    std::fs::write(&path, source).unwrap();
    let compiler = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let output = std::process::Command::new(compiler)
        .args(["--edition=2024", "--crate-type=lib", "--emit=metadata", "-Dwarnings", "--out-dir"])
        .arg(folder.path())
        .arg(&path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
