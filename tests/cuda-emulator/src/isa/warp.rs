//! Instructions in which the lanes of a warp see each other.

use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::fault::Kind;
use crate::exec::machine::{Machine, lanes_of};
use crate::exec::program::{Class, Code, Handler, NONE, Step};
use crate::ptx::module::Width::{B32, B64};

/// `shfl.sync`, `vote.sync`, `match.sync`, `redux.sync`, `activemask`.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    let (base, rest) = op.plain()?;
    let found = |run: Handler, args| Some(Found::new(Class::Warp, (run, args)));
    match (base, rest) {
        ("shfl", ["sync", mode, "b32"]) => {
            let run: Handler = match *mode {
                "up" => shuffle::<0>,
                "down" => shuffle::<1>,
                "bfly" => shuffle::<2>,
                "idx" => shuffle::<3>,
                _ => return None,
            };
            found(run, &[Arg::DWithPred(B32), Arg::S(B32), Arg::S(B32), Arg::S(B32), Arg::S(B32)])
        }
        ("vote", ["sync", mode, "pred"]) => {
            let run: Handler = match *mode {
                "all" => vote::<0>,
                "any" => vote::<1>,
                "uni" => vote::<2>,
                _ => return None,
            };
            found(run, &[Arg::DPred, Arg::PredOrNot, Arg::S(B32)])
        }
        ("vote", ["sync", "ballot", "b32"]) => found(ballot, &[Arg::D(B32), Arg::PredOrNot, Arg::S(B32)]),
        ("activemask", ["b32"]) => found(active_mask, &[Arg::D(B32)]),
        ("match", ["any", "sync", "b32"]) => found(match_any::<u32>, &[Arg::D(B32), Arg::S(B32), Arg::S(B32)]),
        ("match", ["any", "sync", "b64"]) => found(match_any::<u64>, &[Arg::D(B32), Arg::S(B64), Arg::S(B32)]),
        ("match", ["all", "sync", "b64"]) => found(match_all::<u64>, &[Arg::DWithPred(B32), Arg::S(B64), Arg::S(B32)]),
        ("match", ["all", "sync", "b32"]) => found(match_all::<u32>, &[Arg::DWithPred(B32), Arg::S(B32), Arg::S(B32)]),
        ("redux", ["sync", what, kind]) => {
            let run: Handler = match (*what, *kind) {
                ("add", "u32" | "s32") => redux::<0>,
                ("min", "u32") => redux::<1>,
                ("max", "u32") => redux::<2>,
                ("min", "s32") => redux::<3>,
                ("max", "s32") => redux::<4>,
                ("and", "b32") => redux::<5>,
                ("or", "b32") => redux::<6>,
                ("xor", "b32") => redux::<7>,
                _ => return None,
            };
            found(run, &[Arg::D(B32), Arg::S(B32), Arg::S(B32)]).map(|f| Found { needs: 80, ..f })
        }
        _ => None,
    }
}

/// The lane from which a lane takes its value, and whether it is in range, as PTX's pseudo-code has it.
fn source_lane<const MODE: u8>(lane: u32, b: u32, c: u32) -> (u32, bool) {
    let (distance, clamp, segment) = (b & 31, c & 31, c >> 8 & 31);
    let low = lane & segment;
    let high = low | clamp & !segment;
    let (from, inside) = match MODE {
        0 => {
            let from = lane as i32 - distance as i32;
            (from as u32, from >= high as i32)
        }
        1 => (lane + distance, lane + distance <= high),
        2 => (lane ^ distance, lane ^ distance <= high),
        _ => {
            let from = low | distance & !segment;
            (from, from <= high)
        }
    };
    if inside { (from, true) } else { (lane, false) }
}

const MODES: [&str; 4] = ["up", "down", "bfly", "idx"];

/// The mode of a `shfl.sync`.
#[must_use]
pub fn mode(opcode: &str) -> Option<u8> {
    let name = opcode.split('.').nth(2)?;
    MODES.iter().position(|mode| *mode == name).map(|mode| mode as u8)
}

/// The lane from which each lane takes its value in a `shfl.sync` of this mode.
#[must_use]
pub fn sources(m: &Machine<'_>, c: &Code, mode: u8) -> [u32; 32] {
    let (b, clamp) = (m.get::<u32>(c.r[3]), m.get::<u32>(c.r[4]));
    let source = [source_lane::<0>, source_lane::<1>, source_lane::<2>, source_lane::<3>][usize::from(mode & 3)];
    std::array::from_fn(|lane| source(lane as u32, b[lane], clamp[lane]).0 & 31)
}

fn shuffle<const MODE: u8>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    m.check_members(m.get::<u32>(c.r[5]), mask)?;
    let (a, b, clamp) = (m.get::<u32>(c.r[2]), m.get::<u32>(c.r[3]), m.get::<u32>(c.r[4]));
    let (mut out, mut inside) = ([0u32; 32], 0u32);
    for i in 0..32 {
        let (from, yes) = source_lane::<MODE>(i as u32, b[i], clamp[i]);
        out[i] = a[(from & 31) as usize];
        inside |= u32::from(yes) << i;
        if mask >> i & 1 != 0 && mask >> from & 1 == 0 {
            let text = format!("shfl reads lane {from}, which is not one of {mask:#010x}");
            return Err(m.fault(Kind::WrongMask, Some(i as u32), text));
        }
    }
    m.put(c.r[0], mask, &out);
    if c.r[1] != NONE {
        m.set_predicate(c.r[1], mask, inside);
    }
    Ok(())
}

/// The lanes of the mask where the instruction's predicate holds.
fn voters(m: &Machine<'_>, c: &Code, mask: u32) -> u32 {
    (m.predicate(c.r[1]) ^ if c.small[1] & 1 != 0 { u32::MAX } else { 0 }) & mask
}

fn vote<const MODE: u8>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    m.check_members(m.get::<u32>(c.r[2]), mask)?;
    let yes = voters(m, c, mask);
    let result = match MODE {
        0 => yes == mask,
        1 => yes != 0,
        _ => yes == mask || yes == 0,
    };
    m.set_predicate(c.r[0], mask, if result { u32::MAX } else { 0 });
    Ok(())
}

fn ballot(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    m.check_members(m.get::<u32>(c.r[2]), mask)?;
    let yes = voters(m, c, mask);
    m.put(c.r[0], mask, &[yes; 32]);
    Ok(())
}

fn active_mask(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    m.put(c.r[0], mask, &[mask; 32]);
    Ok(())
}

fn match_any<R: crate::exec::lanes::Raw + PartialEq>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    m.check_members(m.get::<u32>(c.r[2]), mask)?;
    let a = *m.get::<R>(c.r[1]);
    let equal = |x: R| lanes_of(mask).filter(|&j| a[j] == x).fold(0u32, |s, j| s | 1 << j);
    m.put(c.r[0], mask, &a.map(equal));
    Ok(())
}

fn match_all<R: crate::exec::lanes::Raw + PartialEq>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    m.check_members(m.get::<u32>(c.r[3]), mask)?;
    let a = *m.get::<R>(c.r[2]);
    let first = a[mask.trailing_zeros() as usize];
    let all = lanes_of(mask).all(|lane| a[lane] == first);
    m.put(c.r[0], mask, &[if all { mask } else { 0 }; 32]);
    if c.r[1] != NONE {
        m.set_predicate(c.r[1], mask, if all { u32::MAX } else { 0 });
    }
    Ok(())
}

fn redux<const WHAT: u8>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    m.check_members(m.get::<u32>(c.r[2]), mask)?;
    let a = m.get::<u32>(c.r[1]);
    let all = lanes_of(mask).map(|lane| a[lane]);
    let result = all.reduce(|x, y| match WHAT {
        0 => x.wrapping_add(y),
        1 => x.min(y),
        2 => x.max(y),
        3 => (x as i32).min(y as i32) as u32,
        4 => (x as i32).max(y as i32) as u32,
        5 => x & y,
        6 => x | y,
        _ => x ^ y,
    });
    m.put(c.r[0], mask, &[result.unwrap_or_default(); 32]);
    Ok(())
}
