//! Branches, ends, barriers and fences.

use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::fault::Kind;
use crate::exec::machine::{Machine, lanes_of};
use crate::exec::program::{Class, Code, Flow, Handler, Step};
use crate::ptx::module::Width::B32;

/// The opcodes of control.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    let (base, rest) = op.plain()?;
    let flow = |class, args, flow| Some(Found { flow, ..Found::new(class, (nothing as Handler, args)) });
    match (base, rest) {
        ("bra", [] | ["uni"]) => flow(Class::Control, &[Arg::Target], Flow::Branch),
        ("brx", ["idx"] | ["idx", "uni"]) => flow(Class::Control, &[Arg::NoResult, Arg::S(B32), Arg::Targets], Flow::Table),
        ("ret", [] | ["uni"]) | ("exit", []) => flow(Class::Control, &[], Flow::Exit),
        ("bar" | "barrier", ["sync"] | ["sync", "aligned"] | ["cta", "sync"] | ["cta", "sync", "aligned"]) => {
            let args: &[Arg] = if op.operands.len() == 2 { &[Arg::Imm, Arg::BlockSize] } else { &[Arg::Imm] };
            flow(Class::Barrier, args, Flow::Barrier)
        }
        ("bar" | "barrier", ["red", what, rest @ ..] | ["cta", "red", what, rest @ ..]) => {
            let rest = rest.strip_prefix(&["aligned"]).unwrap_or(rest);
            let (kind, args): (u8, &[Arg]) = match (*what, rest) {
                ("popc", ["u32"]) => (1, &[Arg::D(B32), Arg::Imm, Arg::PredOrNot]),
                ("and", ["pred"]) => (2, &[Arg::DPred, Arg::Imm, Arg::PredOrNot]),
                ("or", ["pred"]) => (3, &[Arg::DPred, Arg::Imm, Arg::PredOrNot]),
                _ => return None,
            };
            flow(Class::Barrier, args, Flow::Barrier).map(|f| f.with(0, [kind, 0]))
        }
        ("bar", ["warp", "sync"]) => Some(Found::new(Class::Warp, (warp_sync as Handler, &[Arg::S(B32)]))),
        ("membar", ["cta"]) | ("fence", ["sc" | "acq_rel", "cta"]) => {
            Some(Found::new(Class::Control, (nothing as Handler, &[])))
        }
        ("membar", ["gl" | "sys"]) | ("fence", ["sc" | "acq_rel", "gpu" | "sys"]) => {
            Some(Found::new(Class::Control, (fence as Handler, &[])))
        }
        ("nanosleep", ["u32"]) => Some(Found::new(Class::Control, (nothing as Handler, &[Arg::S(B32)]))),
        ("trap", []) => Some(Found::new(Class::Control, (trap as Handler, &[]))),
        _ => None,
    }
}

fn nothing(_: &mut Machine<'_>, _: &Code, _: u32) -> Step {
    Ok(())
}

fn fence(m: &mut Machine<'_>, _: &Code, _: u32) -> Step {
    m.acquired.fence();
    Ok(())
}

fn trap(m: &mut Machine<'_>, _: &Code, mask: u32) -> Step {
    Err(m.fault(Kind::IllegalInstruction, Some(mask.trailing_zeros()), "trap"))
}

fn warp_sync(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let members = *m.get::<u32>(c.r[0]);
    m.check_members(&members, mask)?;
    m.warp_epoch += 1;
    Ok(())
}

impl Machine<'_> {
    /// Checks the member mask of a warp-wide instruction that the lanes of `mask` carry out: all give the same one,
    /// every lane is in it, and every lane in it that has not ended is here.
    ///
    /// # Errors
    /// The mask is wrong.
    #[inline(always)]
    pub fn check_members(&self, members: &[u32; 32], mask: u32) -> Result<u32, Box<crate::exec::fault::Fault>> {
        let first = members[mask.trailing_zeros() as usize];
        let same = lanes_of(mask).all(|lane| members[lane] == first);
        // A lane that has ended is not waited for, but nothing may be read from it (see `shfl`).
        if same && mask & !first == 0 && first & self.alive & !mask == 0 {
            return Ok(first);
        }
        Err(self.wrong_members(members, mask, same))
    }

    #[cold]
    fn wrong_members(&self, members: &[u32; 32], mask: u32, same: bool) -> Box<crate::exec::fault::Fault> {
        let lane = mask.trailing_zeros();
        let first = members[lane as usize];
        let text = if same {
            format!("member mask {first:#010x}, but the lanes here are {mask:#010x} of {:#010x}", self.alive)
        } else {
            "lanes give different member masks".to_string()
        };
        self.fault(Kind::WrongMask, Some(lane), text)
    }
}
