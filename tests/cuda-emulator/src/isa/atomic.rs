//! `atom` and `red`. Lanes go one after the other, in the order of their numbers.

use super::memory::{ADDRESS64, space};
use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::access::Places;
use crate::exec::lanes::Lane;
use crate::exec::machine::{Machine, lanes_of};
use crate::exec::program::{Class, Code, Handler, NONE, Step};
use crate::memory::races::Access;
use crate::ptx::module::{Space, Width};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};

/// The atomic opcodes.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    let (base, rest) = op.plain()?;
    let reduces = base == "red";
    if !reduces && base != "atom" {
        return None;
    }
    let (mut place, mut what, mut kind) = (Space::Generic, None, None);
    for &modifier in rest {
        match modifier {
            "relaxed" | "acquire" | "release" | "acq_rel" | "cta" | "gpu" | "sys" => {}
            "add" | "min" | "max" | "and" | "or" | "xor" | "inc" | "dec" if what.is_none() => what = Some(modifier),
            "exch" | "cas" if what.is_none() && !reduces => what = Some(modifier),
            "noftz" => {}
            _ if kind.is_none() && what.is_some() => kind = Some(modifier),
            _ => place = space(modifier).map(|s| s.0).filter(|s| matches!(s, Space::Global | Space::Shared))?,
        }
    }
    let (what, kind) = (what?, kind?);
    let run = handler(what, kind)?;
    let wide = matches!(kind, "u64" | "s64" | "b64" | "f64");
    let args: &[Arg] = match (reduces, what == "cas", wide) {
        (false, false, false) => &[Arg::D(Width::B32), Arg::Memory(Space::Generic), Arg::S(Width::B32)],
        (false, false, true) => &[Arg::D(Width::B64), Arg::Memory(Space::Generic), Arg::S(Width::B64)],
        (false, true, false) => {
            &[Arg::D(Width::B32), Arg::Memory(Space::Generic), Arg::S(Width::B32), Arg::S(Width::B32)]
        }
        (false, true, true) => {
            &[Arg::D(Width::B64), Arg::Memory(Space::Generic), Arg::S(Width::B64), Arg::S(Width::B64)]
        }
        (true, _, false) => &[Arg::NoResult, Arg::Memory(Space::Generic), Arg::S(Width::B32)],
        (true, _, true) => &[Arg::NoResult, Arg::Memory(Space::Generic), Arg::S(Width::B64)],
    };
    let space = match place {
        Space::Global => 0,
        Space::Shared => 1,
        _ => 2,
    };
    Some(Found::new(Class::Atomic, (run, args)).with(0, [space, 0]))
}

/// `inc`: 0 after the bound; `dec`: the bound after 0 or when above it.
fn handler(what: &str, kind: &str) -> Option<Handler> {
    macro_rules! op {
        ($t:ty, |$old:ident, $b:ident, $c:ident| $e:expr) => {{
            fn run(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
                fn new($old: $t, $b: $t, $c: $t) -> $t {
                    let _ = (&$b, &$c);
                    $e
                }
                atomic::<$t>(m, c, mask, new)
            }
            Some(run as Handler)
        }};
    }
    match (what, kind) {
        ("add", "u32" | "s32") => op!(u32, |old, b, _c| old.wrapping_add(b)),
        ("add", "u64" | "s64") => op!(u64, |old, b, _c| old.wrapping_add(b)),
        ("add", "f32") => op!(f32, |old, b, _c| old + b),
        ("add", "f64") => op!(f64, |old, b, _c| old + b),
        ("min", "u32") => op!(u32, |old, b, _c| old.min(b)),
        ("min", "s32") => op!(i32, |old, b, _c| old.min(b)),
        ("min", "u64") => op!(u64, |old, b, _c| old.min(b)),
        ("min", "s64") => op!(i64, |old, b, _c| old.min(b)),
        ("max", "u32") => op!(u32, |old, b, _c| old.max(b)),
        ("max", "s32") => op!(i32, |old, b, _c| old.max(b)),
        ("max", "u64") => op!(u64, |old, b, _c| old.max(b)),
        ("max", "s64") => op!(i64, |old, b, _c| old.max(b)),
        ("and", "b32") => op!(u32, |old, b, _c| old & b),
        ("or", "b32") => op!(u32, |old, b, _c| old | b),
        ("xor", "b32") => op!(u32, |old, b, _c| old ^ b),
        ("and", "b64") => op!(u64, |old, b, _c| old & b),
        ("or", "b64") => op!(u64, |old, b, _c| old | b),
        ("xor", "b64") => op!(u64, |old, b, _c| old ^ b),
        ("inc", "u32") => op!(u32, |old, b, _c| if old >= b { 0 } else { old + 1 }),
        ("dec", "u32") => op!(u32, |old, b, _c| if old == 0 || old > b { b } else { old - 1 }),
        ("exch", "b32") => op!(u32, |_old, b, _c| b),
        ("exch", "b64") => op!(u64, |_old, b, _c| b),
        ("cas", "b32") => op!(u32, |old, b, c| if old == b { c } else { old }),
        ("cas", "b64") => op!(u64, |old, b, c| if old == b { c } else { old }),
        _ => None,
    }
}

/// A word of memory that is changed in one step.
trait Word: crate::exec::lanes::Raw {
    /// # Safety
    /// `at` is valid and aligned.
    unsafe fn update(at: *mut u8, new: impl Fn(Self) -> Self) -> Self;
    const BYTES: u64;
}

macro_rules! word {
    ($t:ty, $atomic:ty, $bytes:literal) => {
        impl Word for $t {
            const BYTES: u64 = $bytes;
            unsafe fn update(at: *mut u8, new: impl Fn(Self) -> Self) -> Self {
                // SAFETY: the caller's.
                let word = unsafe { <$atomic>::from_ptr(at.cast()) };
                match word.fetch_update(SeqCst, SeqCst, |old| Some(new(old))) {
                    Ok(old) | Err(old) => old,
                }
            }
        }
    };
}

word!(u32, AtomicU32, 4);
word!(u64, AtomicU64, 8);

#[inline(always)]
fn atomic<T: Lane>(m: &mut Machine<'_>, c: &Code, mask: u32, new: fn(T, T, T) -> T) -> Step
where
    T::Raw: Word,
{
    let a = m.addresses(c, c.r[1], c.small[1] & ADDRESS64 != 0);
    let space = match c.small[0] {
        0 => Space::Global,
        1 => Space::Shared,
        _ => Space::Generic,
    };
    let _turn = if space == Space::Shared { None } else { m.take_turn(&a, mask) };
    let places = m.places(space, &a, mask, T::Raw::BYTES, Access::Atomic)?;
    let b = *m.get::<T::Raw>(c.r[2]);
    let other = if c.r[3] == NONE { b } else { *m.get::<T::Raw>(c.r[3]) };
    let mut out = [T::Raw::default(); 32];
    for lane in lanes_of(mask) {
        let at = match &places {
            // SAFETY: a run has all 32 lanes.
            Places::Run(start) => unsafe { start.add(lane * T::Raw::BYTES as usize) },
            Places::Each(each) => each[lane],
        };
        // SAFETY: the place was found accessible and aligned.
        out[lane] = unsafe { T::Raw::update(at, |old| new(T::of(old), T::of(b[lane]), T::of(other[lane])).raw()) };
    }
    if c.r[0] != NONE {
        m.put(c.r[0], mask, &out);
    }
    Ok(())
}
