//! Loads and stores.

use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::access::{LOCAL_WINDOW, Places, WINDOW};
use crate::exec::fault::Kind;
use crate::exec::lanes::ALL;
use crate::exec::launch::Races;
use crate::exec::machine::{Machine, lanes_of};
use crate::exec::program::{Class, Code, Handler, Step};
use crate::memory::races::Access;
use crate::ptx::module::{Space, Width, type_bytes};

/// Bit of `small[1]`: the value is sign-extended.
const SIGNED: u8 = 8;
/// Bit of `small[1]`: the registers have 64 bits.
const WIDE: u8 = 16;
/// Bit of `small[1]`: the load is ordered with atomics.
const ORDERED: u8 = 64;
/// Bit of `small[1]`: the address register has 64 bits.
pub const ADDRESS64: u8 = 32;

/// `ld`, `st`, `prefetch`.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    let (base, rest) = op.plain()?;
    match base {
        "ld" | "ldu" => transfer(op, rest, true),
        "st" => transfer(op, rest, false),
        "prefetch" if matches!(rest, ["global", "L1" | "L2"] | ["L1" | "L2"]) => Some(Found::new(Class::Global, (prefetch as Handler, &[Arg::Memory(Space::Generic)]))),
        _ => None,
    }
}

/// Class and space of a state space's name.
#[must_use]
pub fn space(name: &str) -> Option<(Space, Class)> {
    Some(match name {
        "global" => (Space::Global, Class::Global),
        "shared" | "shared::cta" => (Space::Shared, Class::Shared),
        "local" => (Space::Local, Class::Local),
        "const" => (Space::Const, Class::Constant),
        "param" | "param::entry" | "param::func" => (Space::Param, Class::Constant),
        _ => return None,
    })
}

/// Modifiers of caching and ordering: without effect here. Accesses with an order are done one by one all the same.
#[must_use]
pub fn is_hint(name: &str, loads: bool) -> bool {
    match name {
        "weak" | "relaxed" | "volatile" | "cta" | "gpu" | "sys" => true,
        "ca" | "lu" | "cv" | "nc" | "acquire" => loads,
        "wb" | "wt" | "release" => !loads,
        "cg" | "cs" => true,
        "L1::evict_normal" | "L1::evict_unchanged" | "L1::evict_first" | "L1::evict_last" | "L1::no_allocate" => true,
        "L2::64B" | "L2::128B" | "L2::256B" => loads,
        _ => false,
    }
}

fn transfer(op: &Opcode<'_>, rest: &[&str], loads: bool) -> Option<Found> {
    let (&t, modifiers) = rest.split_last()?;
    let bytes = type_bytes(t)?;
    let (mut place, mut lanes) = ((Space::Generic, Class::Global), 1u8);
    for &modifier in modifiers {
        match modifier {
            "v2" => lanes = 2,
            "v4" => lanes = 4,
            _ if is_hint(modifier, loads) => {}
            _ => place = space(modifier)?,
        }
    }
    if u64::from(lanes) * bytes > 16 {
        return None;
    }
    let width = op.width(usize::from(!loads)).unwrap_or(if bytes == 8 { Width::B64 } else { Width::B32 });
    let wide = width == Width::B64;
    if width == Width::Pred || bytes == 8 && !wide || bytes == 4 && width == Width::B16 {
        return None;
    }
    let ordered = modifiers.iter().any(|m| matches!(*m, "volatile" | "relaxed" | "acquire"));
    let mut flags = lanes | if ordered && loads { ORDERED } else { 0 };
    flags |= if t.starts_with('s') { SIGNED } else { 0 } | if wide { WIDE } else { 0 };
    let run: Handler = match (loads, place.0) {
        (true, Space::Global) => load::<0>,
        (true, Space::Shared) => load::<1>,
        (true, Space::Local) => load::<2>,
        (true, Space::Const) => load::<3>,
        (true, Space::Param) => load::<4>,
        (true, Space::Generic) => load::<5>,
        (false, Space::Global) => store::<0>,
        (false, Space::Shared) => store::<1>,
        (false, Space::Local) => store::<2>,
        (false, Space::Generic) => store::<5>,
        // Of a call's arguments; the decoder has put them into local memory.
        (false, Space::Param) => store::<2>,
        _ => return None,
    };
    let memory = match place.0 {
        Space::Global => Arg::Memory(Space::Global),
        Space::Shared => Arg::Memory(Space::Shared),
        Space::Local => Arg::Memory(Space::Local),
        Space::Const => Arg::Memory(Space::Const),
        Space::Param => Arg::Memory(Space::Param),
        Space::Generic => Arg::Memory(Space::Generic),
    };
    let args = arguments(loads, lanes, width, memory)?;
    Some(Found::new(place.1, (run, args)).with(0, [bytes as u8, flags]))
}

/// Handler of a load from local memory: for the results of inlined calls.
#[must_use]
pub fn local_load() -> Handler {
    load::<2>
}

fn arguments(loads: bool, lanes: u8, width: Width, memory: Arg) -> Option<&'static [Arg]> {
    macro_rules! each {
        ($($space:ident),+) => {
            match memory {
                $(Arg::Memory(Space::$space) => {
                    macro_rules! widths {
                        ($w:ident) => {
                            match (loads, lanes) {
                                (true, 1) => Some(&[Arg::D(Width::$w), Arg::Memory(Space::$space)] as &[Arg]),
                                (true, 2) => Some(&[Arg::DList(2, Width::$w), Arg::Memory(Space::$space)]),
                                (true, _) => Some(&[Arg::DList(4, Width::$w), Arg::Memory(Space::$space)]),
                                (false, 1) => Some(&[Arg::Memory(Space::$space), Arg::S(Width::$w)]),
                                (false, 2) => Some(&[Arg::Memory(Space::$space), Arg::List(2, Width::$w)]),
                                (false, _) => Some(&[Arg::Memory(Space::$space), Arg::List(4, Width::$w)]),
                            }
                        };
                    }
                    match width {
                        Width::B16 => widths!(B16),
                        Width::B32 => widths!(B32),
                        Width::B64 => widths!(B64),
                        Width::Pred => None,
                    }
                })+
                _ => None,
            }
        };
    }
    each!(Global, Shared, Local, Const, Param, Generic)
}

const fn space_of(code: u8) -> Space {
    match code {
        0 => Space::Global,
        1 => Space::Shared,
        2 => Space::Local,
        3 => Space::Const,
        4 => Space::Param,
        _ => Space::Generic,
    }
}

fn load<const SPACE: u8>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let (bytes, count) = (u64::from(c.small[0]), usize::from(c.small[1] & 7));
    let a = m.addresses(c, c.r[count], c.small[1] & ADDRESS64 != 0);
    let access = if c.small[1] & ORDERED == 0 { Access::Read } else { Access::OrderedRead };
    let places = m.places(space_of(SPACE), &a, mask, bytes * count as u64, access)?;
    // SAFETY: the places were found accessible for bytes * count bytes each.
    unsafe {
        if bytes == 4 && c.small[1] & WIDE == 0 {
            load_words(m, c, mask, count, &places);
        } else {
            load_any(m, c, mask, count, bytes, &places);
        }
    }
    Ok(())
}

/// Words into 32-bit registers.
///
/// # Safety
/// The places hold `count` words for each lane of the mask.
#[inline(always)]
unsafe fn load_words(m: &mut Machine<'_>, c: &Code, mask: u32, count: usize, places: &Places) {
    // SAFETY: the caller's.
    unsafe {
        match (places, count) {
            (Places::Run(from), 1) => {
                let words = from.cast::<[u32; 32]>().read_unaligned();
                m.put(c.r[0], ALL, &words);
            }
            (Places::Run(from), 4) => {
                let words = from.cast::<[[u32; 4]; 32]>().read_unaligned();
                for k in 0..4 {
                    m.put(c.r[k], ALL, &words.map(|w| w[k]));
                }
            }
            (Places::Run(from), _) => {
                for k in 0..count {
                    let word = |i: usize| from.cast::<u32>().add(i * count + k).read_unaligned();
                    m.put(c.r[k], ALL, &std::array::from_fn(word));
                }
            }
            (Places::Each(from), _) => {
                let mut out = [[0u32; 32]; 4];
                for lane in lanes_of(mask) {
                    for (k, row) in out[..count].iter_mut().enumerate() {
                        row[lane] = from[lane].cast::<u32>().add(k).read_unaligned();
                    }
                }
                for (k, row) in out[..count].iter().enumerate() {
                    m.put(c.r[k], mask, row);
                }
            }
        }
    }
}

/// # Safety
/// The places hold `count` elements of `bytes` bytes for each lane of the mask.
unsafe fn load_any(m: &mut Machine<'_>, c: &Code, mask: u32, count: usize, bytes: u64, places: &Places) {
    for k in 0..count {
        let mut out = [0u64; 32];
        for lane in lanes_of(mask) {
            // SAFETY: the caller's.
            out[lane] = unsafe { extended(place(places, lane, bytes * count as u64).add(k * bytes as usize), c) };
        }
        if c.small[1] & WIDE != 0 {
            m.put(c.r[k], mask, &out);
        } else {
            m.put(c.r[k], mask, &out.map(|v| v as u32));
        }
    }
}

/// A lane's place, where each lane has `stride` bytes.
///
/// # Safety
/// `lane` is of the mask for which `places` was made.
#[inline(always)]
pub unsafe fn place(places: &Places, lane: usize, stride: u64) -> *mut u8 {
    match places {
        // SAFETY: a run has all 32 lanes.
        Places::Run(start) => unsafe { start.add(lane * stride as usize) },
        Places::Each(each) => each[lane],
    }
}

/// # Safety
/// `from` holds an element of the instruction's type.
unsafe fn extended(from: *mut u8, c: &Code) -> u64 {
    let signed = c.small[1] & SIGNED != 0;
    // SAFETY: the caller's.
    
    unsafe {
        match c.small[0] {
            1 if signed => i64::from(from.cast::<i8>().read()) as u64,
            1 => u64::from(from.read()),
            2 if signed => i64::from(from.cast::<i16>().read_unaligned()) as u64,
            2 => u64::from(from.cast::<u16>().read_unaligned()),
            4 if signed => i64::from(from.cast::<i32>().read_unaligned()) as u64,
            4 => u64::from(from.cast::<u32>().read_unaligned()),
            _ => from.cast::<u64>().read_unaligned(),
        }
    }
}

fn store<const SPACE: u8>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    let (bytes, count) = (u64::from(c.small[0]), usize::from(c.small[1] & 7));
    let a = m.addresses(c, c.r[0], c.small[1] & ADDRESS64 != 0);
    let places = m.places(space_of(SPACE), &a, mask, bytes * count as u64, Access::Write)?;
    let wide = c.small[1] & WIDE != 0;
    if matches!(SPACE, 0 | 5) && m.several() != 0 {
        one_value(m, c, mask, &a, (count, bytes))?;
    }
    // SAFETY: the places were found accessible for bytes * count bytes each.
    unsafe {
        if let (Places::Run(to), 1, 4, false) = (&places, count, bytes, wide) {
            to.cast::<[u32; 32]>().write_unaligned(*m.get::<u32>(c.r[1]));
            return Ok(());
        }
        for k in 0..count {
            let offset = k * bytes as usize;
            let to = |lane: usize| place(&places, lane, bytes * count as u64).add(offset);
            if bytes == 4 && !wide {
                let source = m.get::<u32>(c.r[1 + k]);
                lanes_of(mask).for_each(|lane| to(lane).cast::<u32>().write_unaligned(source[lane]));
                continue;
            }
            for lane in lanes_of(mask) {
                let value =
                    if wide { m.get::<u64>(c.r[1 + k])[lane] } else { u64::from(m.get::<u32>(c.r[1 + k])[lane]) };
                match bytes {
                    1 => to(lane).write(value as u8),
                    2 => to(lane).cast::<u16>().write_unaligned(value as u16),
                    4 => to(lane).cast::<u32>().write_unaligned(value as u32),
                    _ => to(lane).cast::<u64>().write_unaligned(value),
                }
            }
        }
    }
    Ok(())
}

/// Lanes of a warp that store to one place in one instruction must store one value: else CUDA leaves open which one stays.
#[cold]
fn one_value(m: &Machine<'_>, c: &Code, mask: u32, a: &[u64; 32], (count, bytes): (usize, u64)) -> Step {
    if m.launch.races == Races::Off {
        return Ok(());
    }
    let kept = u64::MAX >> (64 - 8 * bytes.min(8));
    let value = |lane: usize, k: usize| {
        let wide = c.small[1] & WIDE != 0;
        kept & if wide { m.get::<u64>(c.r[1 + k])[lane] } else { u64::from(m.get::<u32>(c.r[1 + k])[lane]) }
    };
    // Generic addresses of local memory are each lane's own.
    let local = |lane: &usize| a[*lane].wrapping_sub(LOCAL_WINDOW) < WINDOW;
    for first in lanes_of(m.several() & mask).filter(|lane| !local(lane)) {
        let differs = |&lane: &usize| a[lane] == a[first] && (0..count).any(|k| value(lane, k) != value(first, k));
        if let Some(lane) = lanes_of(mask).find(differs) {
            let text = format!("lanes {first} and {lane} store different values to address {:#x} in one instruction", a[first]);
            return Err(m.fault(Kind::Race, Some(lane as u32), text));
        }
    }
    Ok(())
}

fn prefetch(_: &mut Machine<'_>, _: &Code, _: u32) -> Step {
    Ok(())
}
