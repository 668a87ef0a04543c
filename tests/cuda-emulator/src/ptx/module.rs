//! What a PTX text says: variables and functions, names resolved within each function.

use std::collections::HashMap;

/// A whole PTX text.
#[derive(Default, Debug)]
pub struct Module {
    /// `.version`, as major * 10 + minor.
    pub version: u32,
    /// The number of `.target sm_NN`.
    pub target: u32,
    /// `.global`, `.const` and module-wide `.shared` variables.
    pub variables: Vec<Variable>,
    /// Kernels and device functions that have a body.
    pub functions: HashMap<String, Function>,
}

/// State spaces in which variables and accesses lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Space {
    /// Device memory.
    Global,
    /// The block's memory.
    Shared,
    /// The thread's memory.
    Local,
    /// Constant memory.
    Const,
    /// Arguments of the kernel or of a call.
    Param,
    /// Any of global, shared, local and const, told apart by the address.
    Generic,
}

/// One declared variable.
#[derive(Clone, Debug)]
pub struct Variable {
    /// Its name in the text.
    pub name: String,
    /// Where it lies.
    pub space: Space,
    /// Alignment in bytes.
    pub align: u64,
    /// Size in bytes; 0 for `extern .shared` arrays, whose size the launch gives.
    pub bytes: u64,
    /// First bytes of its value; the rest is zero.
    pub value: Vec<u8>,
    /// Line of the declaration.
    pub line: u32,
}

/// Width class of a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Width {
    /// One bit.
    Pred,
    /// 16 bits.
    B16,
    /// 32 bits.
    B32,
    /// 64 bits.
    B64,
}

/// Index of a register in its function's `registers`.
pub type Register = usize;

/// One operand of an instruction.
#[derive(Clone, Debug, PartialEq)]
pub enum Operand {
    /// A register; `!p` if negated.
    Register {
        /// Which.
        register: Register,
        /// Whether it is negated.
        negated: bool,
    },
    /// `d|p`: two destinations.
    Pair(Register, Register),
    /// `_`: a result nobody wants.
    Sink,
    /// An integer constant.
    Int(u64),
    /// An f32 constant's bits.
    F32(u32),
    /// An f64 constant's bits.
    F64(u64),
    /// `%tid.x` and its like.
    Special(String),
    /// A variable's, label's or function's name, plus an offset.
    Name(String, i64),
    /// `[base+offset]`.
    Address(Box<Operand>, i64),
    /// `{a, b, ...}`.
    List(Vec<Operand>),
    /// `(a, b, ...)` of a call.
    Arguments(Vec<Operand>),
}

/// One instruction.
#[derive(Clone, Debug)]
pub struct Instruction {
    /// Line of the text.
    pub line: u32,
    /// `@p` or `@!p`: the predicate and whether it is negated.
    pub guard: Option<(Register, bool)>,
    /// Opcode and modifiers, as written.
    pub opcode: String,
    /// Operands, as written.
    pub operands: Vec<Operand>,
}

/// A kernel or a device function.
#[derive(Clone, Default, Debug)]
pub struct Function {
    /// Name in the text.
    pub name: String,
    /// Whether the host can launch it.
    pub is_kernel: bool,
    /// Parameters in order; for a device function its results come first, counted by `results`.
    pub parameters: Vec<Parameter>,
    /// How many of `parameters` are results.
    pub results: usize,
    /// Width of every register.
    pub registers: Vec<Width>,
    /// Name of every register, for messages.
    pub register_names: Vec<String>,
    /// Shared, local and parameter variables declared in the body.
    pub variables: Vec<Variable>,
    /// The instructions.
    pub body: Vec<Instruction>,
    /// Labels: index of the instruction that follows.
    pub labels: HashMap<String, usize>,
    /// Lists of labels declared by `.branchtargets`.
    pub targets: HashMap<String, Vec<String>>,
    /// `.maxntid` or `.reqntid`, if given.
    pub max_threads: Option<[u32; 3]>,
    /// Whether it was `.reqntid`.
    pub exact_threads: bool,
}

/// One parameter.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name in the text.
    pub name: String,
    /// Size in bytes.
    pub bytes: u64,
    /// Alignment in bytes.
    pub align: u64,
}

/// Bytes of a fundamental type named without its dot.
#[must_use]
pub fn type_bytes(name: &str) -> Option<u64> {
    Some(match name {
        "b8" | "u8" | "s8" => 1,
        "b16" | "u16" | "s16" | "f16" | "bf16" => 2,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "tf32" => 4,
        "b64" | "u64" | "s64" | "f64" => 8,
        _ => return None,
    })
}
