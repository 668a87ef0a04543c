//! Every committed PTX file of the CUDA backend is read and decoded whole.
#![allow(missing_docs)]

use cuda_emulator::decode::kernel::decode;
use cuda_emulator::ptx::parser::parse;
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
