//! Runs PTX in the tests: whole kernels, or one instruction on given lane values.
#![allow(dead_code, missing_docs)]

use cuda_emulator::counts::Counts;
use cuda_emulator::decode::kernel::decode;
use cuda_emulator::exec::fault::Fault;
use cuda_emulator::exec::launch::{Launch, Races};
use cuda_emulator::exec::program::Program;
use cuda_emulator::memory::arena::Arena;
use cuda_emulator::ptx::PtxError;
use cuda_emulator::ptx::parser::parse;
use std::collections::HashMap;

/// A device with buffers of u32 words.
pub struct Device {
    pub arena: Arena,
    launches: u32,
    pub races: Races,
    pub workers: usize,
}

impl Device {
    pub fn new() -> Self {
        Device { arena: Arena::new(0, 1 << 28), launches: 0, races: Races::All, workers: 1 }
    }

    pub fn empty(&self, words: usize) -> u64 {
        self.arena.allocate(words as u64 * 4, true).unwrap()
    }

    pub fn buffer(&self, words: &[u32]) -> u64 {
        let at = self.empty(words.len());
        // SAFETY: a fresh buffer of this size.
        unsafe {
            let to = self.arena.region.data.add((at - self.arena.region.start) as usize);
            std::ptr::copy_nonoverlapping(words.as_ptr().cast(), to, words.len() * 4);
        }
        self.arena.region.initialise(at, words.len() as u64 * 4);
        at
    }

    pub fn read(&self, at: u64, words: usize) -> Vec<u32> {
        assert_eq!(self.arena.region.first_refused(at, words as u64 * 4, true), None, "unwritten results");
        // SAFETY: the range was checked.
        unsafe {
            let from = self.arena.region.data.add((at - self.arena.region.start) as usize);
            std::slice::from_raw_parts(from.cast::<u32>(), words).to_vec()
        }
    }

    pub fn launch(
        &mut self,
        program: &Program,
        grid: u32,
        block: u32,
        dynamic: u64,
        arguments: &[u64],
    ) -> Result<Counts, Box<Fault>> {
        self.launches += 1;
        let mut launch = Launch::new(program, &self.arena, [grid, 1, 1], [block, 1, 1], dynamic);
        for (&(at, bytes), value) in program.parameters.iter().zip(arguments) {
            launch.parameters[at as usize..(at + bytes) as usize].copy_from_slice(&value.to_le_bytes()[..bytes as usize]);
        }
        launch.number = self.launches;
        launch.races = self.races;
        launch.jumps = 100_000;
        launch.run(program, self.workers)
    }
}

/// Decodes kernel `k` of a whole module.
pub fn module(text: &str) -> Result<Program, PtxError> {
    decode(&parse(text)?, "k", &HashMap::new(), &text.into())
}

/// Decodes a kernel `k` with these parameters (`.u64 a, .u32 b`) and this body; registers `%p %h %r %d %f %g` are there.
pub fn kernel(parameters: &str, body: &str) -> Result<Program, PtxError> {
    let parameters = parameters.split(", ").filter(|p| !p.is_empty()).map(|p| format!(".param {p}"));
    let parameters = parameters.collect::<Vec<_>>().join(", ");
    module(&format!(
        ".version 7.0\n.target sm_80\n.address_size 64\n.visible .entry k({parameters})\n{{\n\
         .reg .pred %p<40>; .reg .b16 %h<40>; .reg .b32 %r<80>; .reg .b64 %d<40>; .reg .f32 %f<40>; .reg .f64 %g<40>;\n{body}\nret;\n}}\n"
    ))
}

pub fn kernel_ok(parameters: &str, body: &str) -> Program {
    kernel(parameters, body).unwrap_or_else(|error| panic!("{error}"))
}

/// One instruction on lane values. `kinds` has a letter for each operand, destination first: `h` 16, `r` 32, `d` 64 bits,
/// `p` a predicate. The operands follow the opcode, or stand where `$` is. Missing lanes repeat the last value.
pub fn lanes(instruction: &str, kinds: &str, inputs: &[&[u64]]) -> Vec<u64> {
    try_lanes(instruction, kinds, inputs).unwrap_or_else(|error| panic!("{instruction}: {error}"))
}

pub fn try_lanes(instruction: &str, kinds: &str, inputs: &[&[u64]]) -> Result<Vec<u64>, String> {
    let count = inputs.iter().map(|i| i.len()).max().unwrap_or(1);
    let mut body = String::from("mov.u32 %r79, %tid.x; mul.wide.u32 %d39, %r79, 8; ld.param.u64 %d38, [out]; add.u64 %d38, %d38, %d39;\n");
    let mut operands = Vec::new();
    for (index, kind) in kinds.chars().enumerate() {
        let name = format!("%{kind}{}", index + 1);
        if index > 0 {
            let load = match kind {
                'h' => format!("ld.global.u16 {name}, [%d37];"),
                'r' => format!("ld.global.u32 {name}, [%d37];"),
                'd' => format!("ld.global.u64 {name}, [%d37];"),
                _ => format!("ld.global.u32 %r78, [%d37]; setp.ne.u32 {name}, %r78, 0;"),
            };
            body += &format!("ld.param.u64 %d37, [in{index}]; add.u64 %d37, %d37, %d39; {load}\n");
        }
        operands.push(name);
    }
    let list = operands.join(", ");
    let text = if instruction.contains('$') { instruction.replace('$', &list) } else { format!("{instruction} {list}") };
    body += &format!("{text};\n");
    body += &match kinds.chars().next().unwrap() {
        'h' => "cvt.u64.u16 %d36, %h1; st.global.u64 [%d38], %d36;".to_string(),
        'r' => "cvt.u64.u32 %d36, %r1; st.global.u64 [%d38], %d36;".to_string(),
        'd' => "st.global.u64 [%d38], %d1;".to_string(),
        _ => "selp.u64 %d36, 1, 0, %p1; st.global.u64 [%d38], %d36;".to_string(),
    };
    let parameters: Vec<String> = (1..kinds.len()).map(|i| format!(".u64 in{i}")).collect();
    let parameters = std::iter::once(".u64 out".to_string()).chain(parameters).collect::<Vec<_>>().join(", ");
    let program = kernel(&parameters, &body).map_err(|error| error.to_string())?;
    let mut device = Device::new();
    let mut arguments = vec![device.empty(64)];
    for input in inputs {
        let all: Vec<u32> = (0..32)
            .flat_map(|i| {
                let value = input[i.min(input.len() - 1)];
                [value as u32, (value >> 32) as u32]
            })
            .collect();
        arguments.push(device.buffer(&all));
    }
    device.launch(&program, 1, 32, 0, &arguments).map_err(|fault| fault.to_string())?;
    let out = device.read(arguments[0], 64);
    Ok((0..count).map(|i| u64::from(out[2 * i]) | u64::from(out[2 * i + 1]) << 32).collect())
}

pub fn f(x: f32) -> u64 {
    x.to_bits().into()
}

pub fn g(x: f64) -> u64 {
    x.to_bits()
}

/// 32-bit two's complement.
pub fn s(x: i32) -> u64 {
    (x as u32).into()
}

/// 64-bit two's complement.
pub fn l(x: i64) -> u64 {
    x as u64
}
