//! A kernel as the interpreter runs it.

use super::fault::Fault;
use super::machine::Machine;
use crate::decode::defined::Tracked;
use std::sync::Arc;

/// One 32-bit register of a warp: a value for each lane. A 64-bit register takes two rows.
#[derive(Clone, Copy)]
#[repr(align(64))]
pub struct Row(pub [u32; 32]);

/// Result of one instruction.
pub type Step = Result<(), Box<Fault>>;

/// Carries out one instruction for the lanes of a mask.
pub type Handler = fn(&mut Machine<'_>, &Code, u32) -> Step;

/// No guard, or no register.
pub const NONE: u16 = u16::MAX;

/// What an instruction does to the order of instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The next one follows.
    Next,
    /// The lanes of the mask go on at `target`.
    Branch,
    /// Every lane goes on at one of `Program::tables[imm]`, chosen by register `r[1]`.
    Table,
    /// The lanes of the mask end.
    Exit,
    /// The warp waits for the block.
    Barrier,
}

/// One decoded instruction.
#[derive(Clone, Copy)]
pub struct Code {
    /// What it does; not called for `Branch` and `Exit`.
    pub run: Handler,
    /// A number the handler knows the meaning of.
    pub imm: i64,
    /// Registers: the destination first, as a rule.
    pub r: [u16; 16],
    /// Where `Branch` goes.
    pub target: u32,
    /// Where lanes that part here meet again; `u32::MAX` for never.
    pub join: u32,
    /// Line of the PTX text.
    pub line: u32,
    /// Its place among the shapes of addresses that are kept; copies have two.
    pub pattern: u16,
    /// Predicate register under which it is done, or `NONE`.
    pub guard: u16,
    /// Whether the guard is negated.
    pub guard_not: bool,
    /// Whether the guard may be unwritten (see `decode/defined.rs`).
    pub guard_tracked: bool,
    /// What comes next.
    pub flow: Flow,
    /// Class, for the counts.
    pub class: Class,
    /// Two more small numbers for the handler.
    pub small: [u8; 2],
    /// Floating-point operations a lane does with it, tensor cores aside.
    pub flops: u8,
}

/// Classes of instructions that are counted apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)]
pub enum Class {
    Integer,
    Float32,
    Float64,
    Half,
    Special,
    Convert,
    Compare,
    Move,
    Control,
    Barrier,
    Warp,
    Global,
    Shared,
    Local,
    Constant,
    Atomic,
    Matrix,
    Copy,
}

impl Class {
    /// Every class with its name in reports.
    pub const ALL: [(Class, &'static str); 18] = [
        (Class::Integer, "integer"),
        (Class::Float32, "f32"),
        (Class::Float64, "f64"),
        (Class::Half, "f16"),
        (Class::Special, "special_function"),
        (Class::Convert, "convert"),
        (Class::Compare, "compare"),
        (Class::Move, "move"),
        (Class::Control, "control"),
        (Class::Barrier, "barrier"),
        (Class::Warp, "warp"),
        (Class::Global, "global"),
        (Class::Shared, "shared"),
        (Class::Local, "local"),
        (Class::Constant, "constant"),
        (Class::Atomic, "atomic"),
        (Class::Matrix, "matrix"),
        (Class::Copy, "async_copy"),
    ];
}

/// What a row holds when a warp starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Initial {
    /// The same 32-bit value in every lane.
    Const32(u32),
    /// The same 64-bit value in every lane.
    Const64(u64),
    /// A special register.
    Special(Special),
}

/// Special registers whose values do not change while a warp runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum Special {
    Tid(u8),
    Ntid(u8),
    Ctaid(u8),
    Nctaid(u8),
    LaneId,
    WarpId,
    WarpCount,
    LaneMask(LaneMask),
    DynamicShared,
    TotalShared,
}

/// `%lanemask_*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum LaneMask {
    Eq,
    Lt,
    Le,
    Gt,
    Ge,
}

/// A kernel, ready to run.
pub struct Program {
    /// Name in the PTX.
    pub name: String,
    /// The PTX it came from, for messages.
    pub text: Arc<str>,
    /// The instructions.
    pub code: Vec<Code>,
    /// Jump tables of `brx.idx`.
    pub tables: Vec<Vec<u32>>,
    /// Rows and predicates of a warp.
    pub rows: usize,
    /// Predicates of a warp.
    pub predicates: usize,
    /// Rows with a value from the start.
    pub initial: Vec<(u16, Initial)>,
    /// Size and place of each parameter.
    pub parameters: Vec<(u64, u64)>,
    /// Bytes of all parameters.
    pub parameter_bytes: u64,
    /// Bytes of static shared memory.
    pub shared_bytes: u64,
    /// Address (an offset) of the dynamic shared memory within the block's.
    pub dynamic_shared: u64,
    /// Bytes of local memory of a thread.
    pub local_bytes: u64,
    /// `.maxntid` or `.reqntid`.
    pub max_threads: Option<[u32; 3]>,
    /// Whether it was `.reqntid`.
    pub exact_threads: bool,
    /// How many shapes of addresses are kept.
    pub patterns: usize,
    /// Registers whose writing is followed while the kernel runs.
    pub tracked_registers: usize,
    /// The instructions that touch them.
    pub tracked: Vec<Tracked>,
    /// For each instruction its index in `tracked`, or `u32::MAX`.
    pub tracked_at: Vec<u32>,
    /// Whether any instruction orders memory between blocks.
    pub fences: bool,
    /// Lines of additions that ptxas may fuse with a multiplication, which the emulator does not.
    pub contractible: Vec<u32>,
    /// Most 32-bit registers that are live at once, and predicates do not count: a guess at what ptxas would need.
    pub live_registers: usize,
}
