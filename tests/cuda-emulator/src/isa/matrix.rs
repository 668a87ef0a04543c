//! `mma.sync` and `ldmatrix`.
//!
//! The order of a tensor core's sum is not documented. Here: starting from C, in ascending k, one fused multiply-add at
//! a time, each rounded to nearest in f32; f16 sums are rounded once, at the end. tf32 operands lose their low 13 bits, as the hardware ignores them.

use super::half::{from_bf16, from_f16, to_f16};
use super::memory::ADDRESS64;
use super::{Found, Opcode};
use crate::decode::operands::Arg;
use crate::exec::access::Places;
use crate::exec::fault::Kind;
use crate::exec::lanes::ALL;
use crate::exec::machine::Machine;
use crate::exec::program::{Class, Code, Handler, Step};
use crate::memory::races::Access;
use crate::ptx::module::Space;
use crate::ptx::module::Width::B32;

const TF32: u8 = 0;
const F16: u8 = 1;
const BF16: u8 = 2;
/// f16 with sums in f16.
const F16_SUMS: u8 = 3;
const S8: u8 = 4;
const U8: u8 = 5;

/// The matrix opcodes.
#[must_use]
pub fn find(op: &Opcode<'_>) -> Option<Found> {
    let (base, rest) = op.plain()?;
    match (base, rest) {
        ("mma", ["sync", "aligned", shape, "row", "col", "f32", a, b, "f32"]) if a == b => {
            let (run, args, k, needs): (Handler, &[Arg], i64, u32) = match (*shape, *a) {
                ("m16n8k8", "tf32") => (mma::<8, 4, 2, TF32>, FOUR_TWO, 8, 80),
                ("m16n8k4", "tf32") => (mma::<4, 2, 1, TF32>, TWO_ONE, 4, 80),
                ("m16n8k16", "f16") => (mma::<16, 4, 2, F16>, FOUR_TWO, 16, 80),
                ("m16n8k16", "bf16") => (mma::<16, 4, 2, BF16>, FOUR_TWO, 16, 80),
                ("m16n8k8", "f16") => (mma::<8, 2, 1, F16>, TWO_ONE, 8, 75),
                ("m16n8k8", "bf16") => (mma::<8, 2, 1, BF16>, TWO_ONE, 8, 80),
                _ => return None,
            };
            Some(Found { needs, ..Found::new(Class::Matrix, (run, args)).with(16 * 8 * k * 2, [0; 2]) })
        }
        ("mma", ["sync", "aligned", shape, "row", "col", "f16", "f16", "f16", "f16"]) => {
            let (run, args, k, needs): (Handler, &[Arg], i64, u32) = match *shape {
                "m16n8k16" => (mma::<16, 4, 2, F16_SUMS>, HALF_FOUR_TWO, 16, 80),
                "m16n8k8" => (mma::<8, 2, 1, F16_SUMS>, HALF_TWO_ONE, 8, 75),
                _ => return None,
            };
            Some(Found { needs, ..Found::new(Class::Matrix, (run, args)).with(16 * 8 * k * 2, [0; 2]) })
        }
        ("mma", ["sync", "aligned", shape, "row", "col", "s32", a, b, "s32"]) if a == b => {
            let (run, args, k): (Handler, &[Arg], i64) = match (*shape, *a) {
                ("m16n8k32", "s8") => (mma::<32, 4, 2, S8>, FOUR_TWO, 32),
                ("m16n8k32", "u8") => (mma::<32, 4, 2, U8>, FOUR_TWO, 32),
                ("m16n8k16", "s8") => (mma::<16, 2, 1, S8>, TWO_ONE, 16),
                ("m16n8k16", "u8") => (mma::<16, 2, 1, U8>, TWO_ONE, 16),
                _ => return None,
            };
            Some(Found { needs: 80, ..Found::new(Class::Matrix, (run, args)).with(16 * 8 * k * 2, [0; 2]) })
        }
        ("ldmatrix", ["sync", "aligned", "m8n8", count, rest @ ..]) => {
            let (trans, rest) = rest.strip_prefix(&["trans"]).map_or((false, rest), |rest| (true, rest));
            let space: u8 = match rest {
                ["shared" | "shared::cta", "b16"] => 0,
                ["b16"] => 1,
                _ => return None,
            };
            let (n, args): (i64, &[Arg]) = match *count {
                "x1" => (1, &[Arg::DList(1, B32), Arg::Memory(Space::Generic)]),
                "x2" => (2, &[Arg::DList(2, B32), Arg::Memory(Space::Generic)]),
                "x4" => (4, &[Arg::DList(4, B32), Arg::Memory(Space::Generic)]),
                _ => return None,
            };
            let run: Handler = match (n, trans) {
                (1, false) => ldmatrix::<1, false>,
                (2, false) => ldmatrix::<2, false>,
                (_, false) => ldmatrix::<4, false>,
                (1, true) => ldmatrix::<1, true>,
                (2, true) => ldmatrix::<2, true>,
                (_, true) => ldmatrix::<4, true>,
            };
            Some(Found { needs: 75, ..Found::new(Class::Shared, (run, args)).with(0, [space, 0]) })
        }
        _ => None,
    }
}

const FOUR_TWO: &[Arg] = &[Arg::DList(4, B32), Arg::List(4, B32), Arg::List(2, B32), Arg::List(4, B32)];
const TWO_ONE: &[Arg] = &[Arg::DList(4, B32), Arg::List(2, B32), Arg::List(1, B32), Arg::List(4, B32)];

const HALF_FOUR_TWO: &[Arg] = &[Arg::DList(2, B32), Arg::List(4, B32), Arg::List(2, B32), Arg::List(2, B32)];
const HALF_TWO_ONE: &[Arg] = &[Arg::DList(2, B32), Arg::List(2, B32), Arg::List(1, B32), Arg::List(2, B32)];

/// The elements of one register.
#[inline(always)]
fn elements<const TYPE: u8>(register: u32) -> [f32; 4] {
    let bytes = register.to_le_bytes();
    match TYPE {
        TF32 => [f32::from_bits(register & !0x1fff), 0.0, 0.0, 0.0],
        F16 | F16_SUMS => [from_f16(register as u16), from_f16((register >> 16) as u16), 0.0, 0.0],
        BF16 => [from_bf16(register as u16), from_bf16((register >> 16) as u16), 0.0, 0.0],
        S8 => bytes.map(|byte| f32::from(byte as i8)),
        _ => bytes.map(f32::from),
    }
}

/// D (16x8) = A (16xK) B (Kx8) + C. Lane `4 g + t` holds, in a register of A for row `g` (odd ones: `g + 8`), the columns
/// from `t` (tf32), `2 t` (two halves) or `4 t` (four bytes), every second register `K / 2` further on; of B the same columns
/// as rows, of column `g`; of C and D the columns `2 t` and `2 t + 1` of rows `g` and `g + 8`, as halves in one register.
/// Sums of bytes are exact in f32, and wrap when they are added to C.
fn mma<const K: usize, const A: usize, const B: usize, const TYPE: u8>(
    m: &mut Machine<'_>,
    c: &Code,
    mask: u32,
) -> Step {
    if mask != ALL {
        return Err(m.fault(Kind::WrongMask, None, format!("mma.sync by lanes {mask:#010x} only")));
    }
    let width = match TYPE {
        TF32 => 1,
        S8 | U8 => 4,
        _ => 2,
    };
    // Registers of C and D, and values in each.
    let (sums, of_sum) = if TYPE == F16_SUMS { (2, 2) } else { (4, 1) };
    let integers = matches!(TYPE, S8 | U8);
    let mut a = [[0f32; K]; 16];
    for register in 0..A {
        let source = m.get::<u32>(c.r[sums + register]);
        for lane in 0..32 {
            let (row, column) = (lane / 4 + register % 2 * 8, lane % 4 * width + register / 2 * (4 * width));
            let values = elements::<TYPE>(source[lane]);
            a[row][column..column + width].copy_from_slice(&values[..width]);
        }
    }
    let mut b = [[0f32; 8]; K];
    for register in 0..B {
        let source = m.get::<u32>(c.r[sums + A + register]);
        for lane in 0..32 {
            let (row, column) = (lane % 4 * width + register * (4 * width), lane / 4);
            let values = elements::<TYPE>(source[lane]);
            for k in 0..width {
                b[row + k][column] = values[k];
            }
        }
    }
    let mut d = [[0f32; 8]; 16];
    // Of value `k` of the four that a lane has.
    let place = |k: usize, lane: usize| (lane / 4 + k / 2 * 8, lane % 4 * 2 + k % 2);
    let of_c: [[u32; 32]; 4] = std::array::from_fn(|k| *m.get::<u32>(c.r[sums + A + B + k / of_sum]));
    for k in (0..4).filter(|_| !integers) {
        for lane in 0..32 {
            let (row, column) = place(k, lane);
            let bits = of_c[k][lane];
            d[row][column] = if of_sum == 2 { from_f16((bits >> (k % 2 * 16)) as u16) } else { f32::from_bits(bits) };
        }
    }
    for (d, a) in d.iter_mut().zip(&a) {
        for (a, b) in a.iter().zip(&b) {
            for n in 0..8 {
                d[n] = a.mul_add(b[n], d[n]);
            }
        }
    }
    let value = |k: usize, lane: usize| {
        let (row, column) = place(k, lane);
        d[row][column]
    };
    for register in 0..sums {
        let out: [u32; 32] = std::array::from_fn(|lane| match TYPE {
            F16_SUMS => {
                let half = |k: usize| u32::from(to_f16(f64::from(value(2 * register + k, lane))));
                half(0) | half(1) << 16
            }
            S8 | U8 => of_c[register][lane].wrapping_add(value(register, lane) as i32 as u32),
            _ => value(register, lane).to_bits(),
        });
        m.put(c.r[register], ALL, &out);
    }
    m.counts.matrix_flops += c.imm as u64;
    Ok(())
}

/// N matrices of 8 rows of 16 bytes; lane `8 i + r` gives the address of row `r` of matrix `i`. Lane `4 r + c` gets, of
/// each, elements `2 c` and `2 c + 1` of row `r` (transposed: of column `r`).
fn ldmatrix<const N: usize, const TRANS: bool>(m: &mut Machine<'_>, c: &Code, mask: u32) -> Step {
    if mask != ALL {
        return Err(m.fault(Kind::WrongMask, None, format!("ldmatrix by lanes {mask:#010x} only")));
    }
    let addresses = m.addresses(c, c.r[N], c.small[1] & ADDRESS64 != 0);
    let rows = (u64::MAX >> (64 - 8 * N)) as u32;
    let space = if c.small[0] == 0 { Space::Shared } else { Space::Generic };
    let places = m.places(space, &addresses, rows, 16, Access::Read)?;
    for matrix in 0..N {
        let mut values = [[0u16; 8]; 8];
        for (row, value) in values.iter_mut().enumerate() {
            let lane = matrix * 8 + row;
            let from = match &places {
                // SAFETY: a run has all 32 lanes.
                Places::Run(start) => unsafe { start.add(lane * 16) },
                Places::Each(each) => each[lane],
            };
            // SAFETY: the place was found accessible for 16 bytes.
            *value = unsafe { from.cast::<[u16; 8]>().read_unaligned() };
        }
        let out: [u32; 32] = std::array::from_fn(|lane| {
            let (r, k) = (lane / 4, lane % 4 * 2);
            let (low, high) = if TRANS { (values[k][r], values[k + 1][r]) } else { (values[r][k], values[r][k + 1]) };
            u32::from(low) | u32::from(high) << 16
        });
        m.put(c.r[matrix], ALL, &out);
    }
    Ok(())
}
