//! What a kernel can do wrong, and the error code that a real driver gives for it.

use std::fmt;

/// Kinds of faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Access outside every live buffer.
    OutOfBounds,
    /// Address not a multiple of the access's size.
    Misaligned,
    /// Read of memory that was never written.
    UninitialisedMemory,
    /// Use of a register that was never written.
    UninitialisedRegister,
    /// Barrier that not all threads of the block reach.
    DivergentBarrier,
    /// Warp-wide instruction with a mask that does not fit the lanes that are there.
    WrongMask,
    /// Two threads access the same place without an order between them, and one writes.
    Race,
    /// Copy into shared memory read before it was waited for.
    AsyncCopy,
    /// A trap, or an instruction that this compute capability does not have.
    IllegalInstruction,
    /// A kernel that does not end.
    Endless,
}

impl Kind {
    /// The CUDA error that a launch with this fault gives.
    #[must_use]
    pub fn code(self) -> u32 {
        match self {
            Kind::OutOfBounds => 700,
            Kind::Misaligned => 716,
            Kind::IllegalInstruction => 715,
            Kind::Endless => 702,
            _ => 719,
        }
    }

    /// Its name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Kind::OutOfBounds => "out of bounds",
            Kind::Misaligned => "misaligned",
            Kind::UninitialisedMemory => "uninitialised memory",
            Kind::UninitialisedRegister => "uninitialised register",
            Kind::DivergentBarrier => "divergent barrier",
            Kind::WrongMask => "wrong mask",
            Kind::Race => "race",
            Kind::AsyncCopy => "asynchronous copy",
            Kind::IllegalInstruction => "illegal instruction",
            Kind::Endless => "endless",
        }
    }
}

/// One fault, and where it happened.
#[derive(Clone, Debug)]
pub struct Fault {
    /// What kind.
    pub kind: Kind,
    /// What happened.
    pub what: String,
    /// The kernel.
    pub kernel: String,
    /// Line of the PTX.
    pub line: u32,
    /// That line.
    pub source: String,
    /// Block.
    pub block: [u32; 3],
    /// Thread in the block, if it was one.
    pub thread: Option<[u32; 3]>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [x, y, z] = self.block;
        write!(f, "{}: {} in kernel {}, block ({x}, {y}, {z})", self.kind.name(), self.what, self.kernel)?;
        if let Some([x, y, z]) = self.thread {
            write!(f, ", thread ({x}, {y}, {z})")?;
        }
        write!(f, ", PTX line {}: {}", self.line, self.source.trim())
    }
}
