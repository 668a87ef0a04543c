//! The program's export: what is written measures as what was trained, and bad input gets one clear line.
#![allow(clippy::unwrap_used)]

mod common;

use common::{run, stderr, succeed};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

/// Loss and accuracy on the test set.
fn measure(folder: &Path, arguments: &str) -> [f64; 2] {
    let output = succeed(folder, &format!("--json evaluate --data digits {arguments}"));
    let line: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    ["loss", "accuracy"].map(|name| line[name].as_f64().unwrap())
}

#[test]
fn a_model_measures_as_its_checkpoint() {
    let top = TempDir::new().unwrap();
    let folder = top.path();
    succeed(folder, "--quiet train --net digits --data digits --epochs 2 --out run");
    let checkpoint = "--checkpoint run/best.safetensors";
    succeed(folder, &format!("export {checkpoint} --out plain.smo"));
    let frozen = "--freeze features --fold --int8 --rust small.rs";
    let output = succeed(folder, &format!("export {checkpoint} {frozen} --out small.smo"));
    let text = String::from_utf8(output.stdout).unwrap();
    let bytes = |name: &str| fs::read(folder.join(name)).unwrap().len();
    assert!(text.starts_with(&format!("small.smo: {} bytes of flash; 8 layers", bytes("small.smo"))), "{text}");
    assert!(text.contains("1898 parameters, 650 of them trained") && !text.contains(" -"), "{text}");
    assert!(2 * bytes("small.smo") < bytes("plain.smo") + 1000 && bytes("small.rs") > bytes("small.smo"));
    for device in ["portable", "micro"] {
        let trained = measure(folder, &format!("{checkpoint} --device {device}"));
        assert!(trained[1] > 0.7, "{trained:?}");
        assert_eq!(measure(folder, &format!("--checkpoint plain.smo --device {device}")), trained);
        let small = measure(folder, &format!("--checkpoint small.smo --device {device}"));
        // Two images of 360 for int8.
        let [loss, accuracy] = [small[0] / trained[0] - 1.0, small[1] - trained[1]];
        assert!(loss.abs() < 0.02 && accuracy.abs() < 0.006, "{small:?} {trained:?}");
    }

    // One line, a code, and nothing written.
    let whole = fs::read(folder.join("plain.smo")).unwrap();
    fs::write(folder.join("short.smo"), &whole[..2000]).unwrap();
    let mut turned = whole.clone();
    turned[3000] ^= 1;
    fs::write(folder.join("turned.smo"), turned).unwrap();
    let exported = format!("export {checkpoint} --out none.smo");
    for (arguments, expected) in [
        (format!("{exported} --freeze feature"), "no layer with parameters is called feature"),
        (format!("{exported} --int8"), "none can be int8"),
        (format!("{exported} --fold"), "none can be folded"),
        ("export --checkpoint run/best.safetensors --net c1 --out none.smo".into(), "features."),
        ("evaluate --data digits --checkpoint short.smo".into(), "short.smo: the model has 2000 bytes"),
        ("evaluate --data digits --checkpoint turned.smo".into(), "turned.smo: the model is damaged"),
        (format!("export {checkpoint} --out nowhere/none.smo"), "nowhere/none.smo"),
    ] {
        let output = run(folder, &arguments);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments}: {text}");
        assert!(text.contains(expected) && text.trim_end().lines().count() == 1, "{arguments}: {text}");
        assert!(output.stdout.is_empty() && !folder.join("none.smo").exists(), "{arguments}");
    }
}
