//! Every committed PTX file of the CUDA backend is read and decoded whole.
#![allow(missing_docs)]

use cuda_emulator::decode::kernel::decode;
use cuda_emulator::ptx::parser::parse;
use std::collections::HashMap;
use std::path::Path;

#[test]
fn the_backends_kernels_are_decoded() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gpu/ptx");
    let mut kernels = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "ptx") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let module = parse(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let addresses = module.variables.iter().map(|v| (v.name.clone(), 0x7f00_0000_0000)).collect();
        for function in module.functions.values().filter(|f| f.is_kernel) {
            let program = decode(&module, &function.name, &addresses, &text.as_str().into())
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            assert!(program.code.len() > 1, "{}: {} is empty", path.display(), function.name);
            kernels += 1;
        }
    }
    assert!(kernels > 0, "no kernel in {}", folder.display());
}

/// The bits of the noise are a contract: no sum of these kernels may be left for ptxas to fuse with a product.
#[test]
fn nothing_in_the_noise_can_be_fused() {
    for arch in ["sm75", "sm80"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../gpu/ptx/noise.{arch}.ptx"));
        let text = std::fs::read_to_string(&path).unwrap();
        let module = parse(&text).unwrap();
        for function in module.functions.values().filter(|f| f.is_kernel) {
            let program = decode(&module, &function.name, &HashMap::new(), &text.as_str().into()).unwrap();
            assert_eq!(program.contractible, [0u32; 0], "{}: {}", path.display(), function.name);
        }
    }
}

#[test]
fn products_and_sums_without_a_rounding_can_be_fused() {
    let text = |mul: &str, add: &str| {
        format!(
            ".version 7.0 .target sm_75 .address_size 64 .visible .entry k() {{ .reg .f32 %f<4>; mov.f32 %f1, 0f00000000;
             {mul} %f2, %f1, %f1;
             {add} %f3, %f1, %f2;
             ret; }}"
        )
    };
    for (mul, add, lines) in [
        ("mul.f32", "add.f32", vec![3]),
        ("mul.ftz.f32", "sub.ftz.f32", vec![3]),
        ("mul.rn.f32", "add.f32", vec![]),
        ("mul.f32", "add.rn.f32", vec![]),
    ] {
        let text = text(mul, add);
        let program = decode(&parse(&text).unwrap(), "k", &HashMap::new(), &text.as_str().into()).unwrap();
        assert_eq!(program.contractible, lines, "{mul} {add}");
    }
}
