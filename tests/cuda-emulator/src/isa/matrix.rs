//! `mma.sync` and `ldmatrix`.
//!
//! The order of a tensor core's sum is not documented. Here: starting from C, in ascending k, one fused multiply-add at
//! a time, each rounded to nearest in f32. tf32 operands lose their low 13 bits, as the hardware ignores them.

use super::half::{from_bf16, from_f16};
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

/// The elements of one register.
#[inline(always)]
fn elements<const TYPE: u8>(register: u32) -> [f32; 2] {
    match TYPE {
        TF32 => [f32::from_bits(register & !0x1fff), 0.0],
        F16 => [from_f16(register as u16), from_f16((register >> 16) as u16)],
        _ => [from_bf16(register as u16), from_bf16((register >> 16) as u16)],
    }
}

/// D (16x8) = A (16xK) B (Kx8) + C. Lane `4 g + t` holds, in a register of A for row `g` (odd ones: `g + 8`), the columns
/// from `t` (tf32) or `2 t` (two halves), every second register `K / 2` further on; of B the same columns as rows, of
/// column `g`; of C and D the columns `2 t` and `2 t + 1` of rows `g` and `g + 8`.
fn mma<const K: usize, const A: usize, const B: usize, const TYPE: u8>(
    m: &mut Machine<'_>,
    c: &Code,
    mask: u32,
) -> Step {
    if mask != ALL {
        return Err(m.fault(Kind::WrongMask, None, format!("mma.sync by lanes {mask:#010x} only")));
    }
    let width = if TYPE == TF32 { 1 } else { 2 };
    let mut a = [[0f32; K]; 16];
    for register in 0..A {
        let source = m.get::<u32>(c.r[4 + register]);
        for lane in 0..32 {
            let (row, column) = (lane / 4 + register % 2 * 8, lane % 4 * width + register / 2 * (4 * width));
            let values = elements::<TYPE>(source[lane]);
            a[row][column..column + width].copy_from_slice(&values[..width]);
        }
    }
    let mut b = [[0f32; 8]; K];
    for register in 0..B {
        let source = m.get::<u32>(c.r[4 + A + register]);
        for lane in 0..32 {
            let (row, column) = (lane % 4 * width + register * (4 * width), lane / 4);
            let values = elements::<TYPE>(source[lane]);
            for k in 0..width {
                b[row + k][column] = values[k];
            }
        }
    }
    let mut d = [[0f32; 8]; 16];
    let place = |register: usize, lane: usize| (lane / 4 + register / 2 * 8, lane % 4 * 2 + register % 2);
    for register in 0..4 {
        let source = m.get::<u32>(c.r[4 + A + B + register]);
        for lane in 0..32 {
            let (row, column) = place(register, lane);
            d[row][column] = f32::from_bits(source[lane]);
        }
    }
    for (d, a) in d.iter_mut().zip(&a) {
        for (a, b) in a.iter().zip(&b) {
            for n in 0..8 {
                d[n] = a.mul_add(b[n], d[n]);
            }
        }
    }
    for register in 0..4 {
        let out: [u32; 32] = std::array::from_fn(|lane| {
            let (row, column) = place(register, lane);
            d[row][column].to_bits()
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
