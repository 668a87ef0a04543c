//! The instructions, one file a class: which opcodes there are, what operands they take, what they do.

pub mod atomic;
pub mod bits;
pub mod compare;
pub mod control;
pub mod convert;
pub mod copies;
pub mod float;
pub mod half;
pub mod integer;
pub mod matrix;
pub mod memory;
pub mod moves;
pub mod rounding;
pub mod simd;
pub mod warp;

use crate::decode::operands::Arg;
use crate::exec::program::{Class, Flow, Handler};
use crate::ptx::module::{Operand, Width};

/// An opcode with its modifiers, cut at the dots.
pub struct Opcode<'a> {
    /// Before the first dot.
    pub base: &'a str,
    /// Everything after, in order, without `ftz` and `sat`.
    pub rest: Vec<&'a str>,
    /// `.ftz`: subnormal f32 inputs and results count as zero.
    pub ftz: bool,
    /// `.sat`: results are clamped.
    pub sat: bool,
    /// The operands, for opcodes that come in several forms.
    pub operands: &'a [Operand],
    /// Widths of the function's registers.
    pub registers: &'a [Width],
}

impl<'a> Opcode<'a> {
    /// Cuts an opcode.
    #[must_use]
    pub fn new(text: &'a str, operands: &'a [Operand], registers: &'a [Width]) -> Self {
        let mut parts = text.split('.');
        let base = parts.next().unwrap_or_default();
        let mut opcode = Opcode { base, rest: Vec::new(), ftz: false, sat: false, operands, registers };
        for part in parts {
            match part {
                "ftz" => opcode.ftz = true,
                "sat" => opcode.sat = true,
                _ => opcode.rest.push(part),
            }
        }
        opcode
    }

    /// Width of operand `index` if it is a register, or the first of a list that is one.
    #[must_use]
    pub fn width(&self, index: usize) -> Option<Width> {
        fn of(operand: &Operand, registers: &[Width]) -> Option<Width> {
            match operand {
                Operand::Register { register, .. } => registers.get(*register).copied(),
                Operand::List(list) => list.iter().find_map(|o| of(o, registers)),
                _ => None,
            }
        }
        of(self.operands.get(index)?, self.registers)
    }

    /// Base and modifiers when there is neither `ftz` nor `sat`.
    #[must_use]
    pub fn plain(&self) -> Option<(&'a str, &[&'a str])> {
        (!self.ftz && !self.sat).then_some((self.base, self.rest.as_slice()))
    }
}

/// What an opcode is carried out by.
pub struct Found {
    /// The handler.
    pub run: Handler,
    /// The operands it wants, in the order of the text; their registers are its `r`.
    pub args: &'static [Arg],
    /// Its class.
    pub class: Class,
    /// Floating-point operations of a lane.
    pub flops: u8,
    /// What it does to the order.
    pub flow: Flow,
    /// `Code::imm`, unless an operand sets it.
    pub imm: i64,
    /// Least compute capability, as 10 * major + minor.
    pub needs: u32,
    /// `Code::small`.
    pub small: [u8; 2],
}

impl Found {
    /// A plain instruction.
    #[must_use]
    pub fn new(class: Class, (run, args): (Handler, &'static [Arg])) -> Self {
        Found { run, args, class, flops: 0, flow: Flow::Next, imm: 0, needs: 0, small: [0; 2] }
    }

    /// With a count of floating-point operations.
    #[must_use]
    pub fn flops(self, flops: u8) -> Self {
        Found { flops, ..self }
    }

    /// With numbers for the handler.
    #[must_use]
    pub fn with(self, imm: i64, small: [u8; 2]) -> Self {
        Found { imm, small, ..self }
    }
}

/// Every class's search, in the order in which they are asked.
pub const SEARCHES: &[fn(&Opcode<'_>) -> Option<Found>] =
    &[
        integer::find,
        simd::find,
        bits::find,
        float::find,
        half::find,
        compare::find,
        convert::find,
        moves::find,
        control::find,
        memory::find,
        copies::find,
        atomic::find,
        warp::find,
        matrix::find,
    ];
