//! Picks the memory map of the board, and turns the noise's reference vectors into bytes.

use std::path::{Path, PathBuf};
use std::{env, error::Error, fs};

const BOARDS: [&str; 5] = ["microbit", "mps2", "an505", "an547", "virt"];
const VECTORS: &str = "../../core/src/noise/vectors/theta.txt";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target = env::var("TARGET")?;
    println!("cargo:rustc-check-cfg=cfg(soft_float)");
    if env::var("CARGO_CFG_TARGET_OS")? == "none" {
        memory_map(&out)?;
        if !target.contains("eabihf") && !target.contains("riscv32imaf") {
            println!("cargo:rustc-cfg=soft_float");
        }
    }
    noise_vectors(&out)
}

fn memory_map(out: &Path) -> Result<(), Box<dyn Error>> {
    let chosen = |board: &&&str| env::var_os(format!("CARGO_FEATURE_{}", board.to_uppercase())).is_some();
    let boards: Vec<_> = BOARDS.iter().filter(chosen).collect();
    let [board] = boards[..] else {
        return Err(format!("choose one board by a feature: {BOARDS:?}").into());
    };
    let map = format!("boards/{board}.x");
    println!("cargo:rerun-if-changed={map}");
    fs::copy(map, out.join("memory.x"))?;
    println!("cargo:rustc-link-search={}", out.display());
    println!("cargo:rustc-link-arg-bins=-Tlink.x");
    println!("cargo:rustc-link-arg-bins=--nmagic");
    if env::var_os("CARGO_FEATURE_MESSAGES").is_some() {
        println!("cargo:rustc-link-arg-bin=messages=-Tdefmt.x");
    }
    Ok(())
}

/// Little-endian f32 bits, in the file's order.
fn noise_vectors(out: &Path) -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed={VECTORS}");
    let mut bytes = Vec::new();
    let text = fs::read_to_string(VECTORS)?;
    let values = |line: &&str| line.len() == 8 || line.as_bytes().get(8) == Some(&b' ');
    for line in text.lines().filter(|line| !line.starts_with(['#', 'U', 'G', 'D'])).filter(values) {
        for value in line.split(' ') {
            bytes.extend(u32::from_str_radix(value, 16)?.to_le_bytes());
        }
    }
    Ok(fs::write(out.join("theta.bin"), bytes)?)
}
