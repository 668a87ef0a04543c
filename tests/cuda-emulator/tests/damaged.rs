//! Damaged PTX: whatever is cut, doubled or replaced, reading gives a program or an error with a line, never a panic.
#![allow(missing_docs)]

use cuda_emulator::decode::kernel::decode;
use cuda_emulator::ptx::parser::parse;
use std::collections::HashMap;
use std::path::Path;

/// xorshift64*.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// Pieces that stand in PTX, and some that do not.
const PIECES: [&str; 24] = [
    "", " ", ";", ",", "{", "}", "[", "]", "(", ")", "@", "!", "|", "+", "-", "%r1", ".u32", ".reg", "99999999999999999999", "0f", "ret;", "\"", "L:", "\u{e9}",
];

fn damaged(text: &str, random: &mut Random) -> String {
    let words: Vec<&str> = text.split_inclusive([' ', '\n', '\t']).collect();
    let mut out: Vec<&str> = words.clone();
    for _ in 0..=random.below(4) {
        let at = random.below(out.len());
        match random.below(4) {
            0 => out[at] = PIECES[random.below(PIECES.len())],
            1 => out[at] = words[random.below(words.len())],
            2 => out.insert(at, words[random.below(words.len())]),
            _ => {
                let end = (at + 1 + random.below(8)).min(out.len());
                out.drain(at..end);
            }
        }
        if out.is_empty() {
            break;
        }
    }
    let mut text = out.concat();
    // Now and then a letter, too, or the end is missing.
    let cut = random.below(text.len() + 1);
    if random.below(3) == 0 && text.is_char_boundary(cut) {
        text.truncate(cut);
    }
    text
}

#[test]
fn reading_does_not_panic() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gpu/ptx");
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let (mut read, mut refused) = (0, 0);
    for name in ["relu.sm80.ptx", "residual.sm75.ptx", "dropout.sm80.ptx", "pool.sm75.ptx"] {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        for _ in 0..400 {
            let text = damaged(&text, &mut random);
            let lines = text.lines().count() as u32 + 1;
            let Ok(module) = parse(&text).inspect_err(|error| assert!((1..=lines).contains(&error.line), "{error}")) else {
                refused += 1;
                continue;
            };
            let mut names: Vec<_> = module.functions.values().filter(|f| f.is_kernel).map(|f| f.name.clone()).collect();
            names.sort();
            for kernel in names {
                match decode(&module, &kernel, &HashMap::new(), &text.as_str().into()) {
                    Ok(_) => read += 1,
                    Err(error) => {
                        assert!((1..=lines).contains(&error.line), "{error}");
                        refused += 1;
                    }
                }
            }
        }
    }
    assert!(read > 100 && refused > 100, "{read} read, {refused} refused");
}
