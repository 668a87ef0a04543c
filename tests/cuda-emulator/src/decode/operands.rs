//! The kinds of operands that handlers want, and how the text's operands become registers.

use super::kernel::Decoder;
use crate::exec::program::{Initial, LaneMask, Special};
use crate::isa::Found;
use crate::isa::copies::ADDRESS64_SECOND;
use crate::isa::memory::ADDRESS64;
use crate::ptx::PtxError;
use crate::ptx::module::{Operand, Space, Width};

/// What a handler wants at one place. Every register that it takes fills the next entry of `Code::r`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg {
    /// A destination.
    D(Width),
    /// A source: register, constant, special register or address of a variable.
    S(Width),
    /// A destination predicate.
    DPred,
    /// One or two destination predicates, `p|q`: two entries.
    DPreds,
    /// A destination with or without a predicate, `d|p`: two entries.
    DWithPred(Width),
    /// A source predicate.
    Pred,
    /// A source predicate, or its negation: bit 0 of `small[1]`.
    PredOrNot,
    /// A constant, into `imm`.
    Imm,
    /// Registers in braces.
    List(u8, Width),
    /// Destinations in braces.
    DList(u8, Width),
    /// `[base+offset]`: the base, with the offset in `imm`.
    Memory(Space),
    /// A second one; its offset is added by an instruction before, and so is the first's.
    Memory2(Space),
    /// A label, into `target`.
    Target,
    /// A list of labels, into `imm` as its number.
    Targets,
    /// The number of threads that a barrier waits for: must be the block's, and is checked when it runs.
    BlockSize,
    /// No operand, but an empty entry.
    NoResult,
    /// An operand that the handler knows already.
    Ignored,
}

/// A register an instruction uses: entry of `Code::r`, which register, and whether it is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Entry of `Code::r`.
    pub entry: usize,
    /// Index among the decoder's registers.
    pub register: usize,
    /// Whether it is a destination.
    pub written: bool,
}

/// What the operands of one instruction came to.
#[derive(Default, Debug)]
pub struct Bound {
    /// Registers.
    pub slots: Vec<Slot>,
    /// `Code::imm`, if an operand gave one.
    pub imm: Option<i64>,
    /// Bits for `Code::small[1]`.
    pub flags: u8,
    /// A label to jump to.
    pub target: Option<String>,
    /// A list of labels to jump to.
    pub targets: Option<String>,
    /// Whether a parameter access is one of a call's variables, which lie in local memory.
    pub call_variable: bool,
    /// Entries used so far.
    entries: usize,
}

impl Bound {
    fn push(&mut self, register: usize, written: bool) {
        self.slots.push(Slot { entry: self.entries, register, written });
        self.entries += 1;
    }
}

impl Decoder<'_> {
    /// Gives every operand its place.
    ///
    /// # Errors
    /// An operand that does not fit.
    pub fn bind(&mut self, found: &Found, operands: &[Operand], line: u32) -> Result<Bound, PtxError> {
        let mut bound = Bound::default();
        let mut rest = operands.iter();
        for &arg in found.args {
            if arg == Arg::NoResult {
                bound.entries += 1;
                continue;
            }
            let Some(operand) = rest.next() else { return Err(PtxError::new(line, "an operand is missing")) };
            self.one(arg, operand, &mut bound)
                .ok_or_else(|| PtxError::new(line, format!("operand {operand:?} where {arg:?} is wanted")))?;
        }
        match rest.next() {
            Some(operand) => Err(PtxError::new(line, format!("operand {operand:?} is one too many"))),
            None => Ok(bound),
        }
    }

    fn one(&mut self, arg: Arg, operand: &Operand, bound: &mut Bound) -> Option<()> {
        let second = |r: &usize, width: Width, this: &Self| (this.widths[*r] == width).then_some(*r);
        match (arg, operand) {
            (Arg::D(width), _) => {
                let register = self.destination(operand, width)?;
                bound.push(register, true);
            }
            (Arg::S(width), _) => {
                let register = self.source(operand, width)?;
                bound.push(register, false);
            }
            (Arg::DPred, _) => {
                let register = self.destination(operand, Width::Pred)?;
                bound.push(register, true);
            }
            (Arg::DPreds, Operand::Pair(p, q)) => {
                bound.push(second(p, Width::Pred, self)?, true);
                bound.push(second(q, Width::Pred, self)?, true);
            }
            (Arg::DPreds, _) => {
                let register = self.destination(operand, Width::Pred)?;
                bound.push(register, true);
                bound.entries += 1;
            }
            (Arg::DWithPred(width), Operand::Pair(d, p)) => {
                bound.push(second(d, width, self)?, true);
                bound.push(second(p, Width::Pred, self)?, true);
            }
            (Arg::DWithPred(width), _) => {
                let register = self.destination(operand, width)?;
                bound.push(register, true);
                bound.entries += 1;
            }
            (Arg::Pred | Arg::PredOrNot, Operand::Register { register, negated }) => {
                if self.widths[*register] != Width::Pred || *negated && arg == Arg::Pred {
                    return None;
                }
                bound.flags |= u8::from(*negated);
                bound.push(*register, false);
            }
            (Arg::Imm, Operand::Int(value)) => bound.imm = Some(*value as i64),
            (Arg::List(n, width), Operand::List(list)) if list.len() == n as usize => {
                for operand in list {
                    let register = self.source(operand, width)?;
                    bound.push(register, false);
                }
            }
            (Arg::DList(n, width), Operand::List(list)) if list.len() == n as usize => {
                for operand in list {
                    let register = self.destination(operand, width)?;
                    bound.push(register, true);
                }
            }
            // A list of one may stand without braces.
            (Arg::List(1, width), Operand::Register { .. }) => self.one(Arg::S(width), operand, bound)?,
            (Arg::DList(1, width), Operand::Register { .. }) => self.one(Arg::D(width), operand, bound)?,
            (Arg::Memory(_), Operand::Address(base, offset)) => {
                let wide = self.base(base, bound)?;
                bound.flags |= if wide { ADDRESS64 } else { 0 };
                bound.imm = Some(*offset);
            }
            (Arg::Memory2(_), Operand::Address(base, 0)) => {
                let wide = self.base(base, bound)?;
                bound.flags |= if wide { ADDRESS64_SECOND } else { 0 };
            }
            (Arg::Target, Operand::Name(name, 0)) => bound.target = Some(name.clone()),
            (Arg::Targets, Operand::Name(name, 0)) => bound.targets = Some(name.clone()),
            (Arg::BlockSize, Operand::Int(count)) => bound.flags = u8::try_from(count.div_ceil(32)).ok()?,
            (Arg::Ignored, _) => {}
            _ => return None,
        }
        Some(())
    }

    /// The register with a memory operand's base; whether it has 64 bits.
    fn base(&mut self, base: &Operand, bound: &mut Bound) -> Option<bool> {
        let register = match base {
            Operand::Name(name, 0) => {
                let (space, address) = self.symbols.get(name).copied()?;
                bound.call_variable = space == Space::Local && self.is_call_variable(name);
                self.initial(Initial::Const64(address))
            }
            Operand::Int(address) => self.initial(Initial::Const64(*address)),
            Operand::Register { register, negated: false } => *register,
            _ => return None,
        };
        bound.push(register, false);
        match self.widths[register] {
            Width::B64 => Some(true),
            Width::B32 => Some(false),
            _ => None,
        }
    }

    fn destination(&mut self, operand: &Operand, width: Width) -> Option<usize> {
        match operand {
            Operand::Register { register, negated: false } if self.widths[*register] == width => Some(*register),
            Operand::Sink => {
                self.widths.push(width);
                Some(self.widths.len() - 1)
            }
            _ => None,
        }
    }

    fn source(&mut self, operand: &Operand, width: Width) -> Option<usize> {
        let constant = |bits: u64| match width {
            Width::B16 => Some(Initial::Const32(bits as u32 & 0xffff)),
            Width::B32 => Some(Initial::Const32(bits as u32)),
            Width::B64 => Some(Initial::Const64(bits)),
            Width::Pred => None,
        };
        let initial = match operand {
            Operand::Register { register, negated: false } if self.widths[*register] == width => {
                return Some(*register);
            }
            Operand::Int(bits) => constant(*bits)?,
            Operand::F32(bits) if width == Width::B32 => constant(u64::from(*bits))?,
            Operand::F64(bits) if width == Width::B64 => constant(*bits)?,
            Operand::F64(bits) if width == Width::B32 => constant(u64::from((f64::from_bits(*bits) as f32).to_bits()))?,
            Operand::F32(bits) if width == Width::B64 => constant(f64::from(f32::from_bits(*bits)).to_bits())?,
            Operand::Special(name) if width == Width::B32 || width == Width::B16 => self.special(name)?,
            Operand::Name(name, offset) => {
                let (_, address) = self.symbols.get(name).copied()?;
                constant(address.wrapping_add(*offset as u64))?
            }
            _ => return None,
        };
        Some(self.initial(initial))
    }

    fn special(&self, name: &str) -> Option<Initial> {
        let axis = |rest: &str| ["x", "y", "z"].iter().position(|a| *a == rest).map(|a| a as u8);
        let special = match name.split_once('.') {
            Some(("tid", rest)) => Special::Tid(axis(rest)?),
            Some(("ntid", rest)) => Special::Ntid(axis(rest)?),
            Some(("ctaid", rest)) => Special::Ctaid(axis(rest)?),
            Some(("nctaid", rest)) => Special::Nctaid(axis(rest)?),
            Some(_) => return None,
            None => match name {
                "laneid" => Special::LaneId,
                "warpid" => Special::WarpId,
                "nwarpid" => Special::WarpCount,
                "lanemask_eq" => Special::LaneMask(LaneMask::Eq),
                "lanemask_lt" => Special::LaneMask(LaneMask::Lt),
                "lanemask_le" => Special::LaneMask(LaneMask::Le),
                "lanemask_gt" => Special::LaneMask(LaneMask::Gt),
                "lanemask_ge" => Special::LaneMask(LaneMask::Ge),
                "dynamic_smem_size" => Special::DynamicShared,
                "total_smem_size" => Special::TotalShared,
                "smid" | "gridid" => return Some(Initial::Const32(0)),
                "nsmid" => return Some(Initial::Const32(1)),
                _ => return None,
            },
        };
        Some(Initial::Special(special))
    }
}
