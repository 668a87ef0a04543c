//! Plain Rust: 8 lanes, which every compiler turns into the vectors that its processor has.

use super::{Simd, transpose};
use std::array::from_fn;

/// Needs no instructions.
#[derive(Clone, Copy)]
pub(super) struct Portable;

const LANES: usize = 8;
type F = [f32; LANES];
type I = [u32; LANES];
type M = [bool; LANES];

/// Methods that treat every lane alike; the closure sees the lane's number.
macro_rules! lanes {
    ($($name:ident ( $($arg:ident : $kind:ty),* ) -> $ret:ty = $body:expr;)*) => {
        $(#[inline(always)]
        fn $name(self, $($arg: $kind),*) -> $ret {
            from_fn($body)
        })*
    };
}

impl Simd for Portable {
    const LANES: usize = LANES;
    const REGISTERS: usize = 8;
    type F = F;
    type I = I;
    type M = M;
    type Eight = Self;

    #[inline(always)]
    unsafe fn load(self, p: *const f32) -> F {
        // SAFETY: the caller's promise; the read may be unaligned.
        unsafe { p.cast::<F>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(self, p: *mut f32, a: F) {
        // SAFETY: the caller's promise; the write may be unaligned.
        unsafe { p.cast::<F>().write_unaligned(a) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> F {
        // SAFETY: the caller's promise.
        from_fn(|j| if j < n { unsafe { *p.add(j) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, a: F) {
        for (j, lane) in a.into_iter().enumerate().take(n) {
            // SAFETY: the caller's promise.
            unsafe { *p.add(j) = lane };
        }
    }
    #[inline(always)]
    unsafe fn load_i(self, p: *const u32) -> I {
        // SAFETY: the caller's promise; the read may be unaligned.
        unsafe { p.cast::<I>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store_i(self, p: *mut u32, a: I) {
        // SAFETY: the caller's promise; the write may be unaligned.
        unsafe { p.cast::<I>().write_unaligned(a) }
    }
    #[inline(always)]
    unsafe fn load_halves(self, p: *const i16) -> I {
        // SAFETY: the caller's promise; the read may be unaligned.
        unsafe { p.cast::<[i16; LANES]>().read_unaligned() }.map(|half| i32::from(half) as u32)
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8) -> I {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[u8; LANES]>().read() }.map(u32::from)
    }
    #[inline(always)]
    unsafe fn store_bytes(self, p: *mut u8, a: I) {
        // SAFETY: the caller's promise.
        unsafe { p.cast::<[u8; LANES]>().write(a.map(|lane| lane as u8)) }
    }
    #[inline(always)]
    fn splat(self, x: f32) -> F {
        [x; LANES]
    }
    #[inline(always)]
    fn splat_i(self, x: u32) -> I {
        [x; LANES]
    }

    #[inline(always)]
    fn eight(self) -> Self {
        self
    }

    lanes! {
        add(a: F, b: F) -> F = |j| a[j] + b[j];
        sub(a: F, b: F) -> F = |j| a[j] - b[j];
        mul(a: F, b: F) -> F = |j| a[j] * b[j];
        div(a: F, b: F) -> F = |j| a[j] / b[j];
        sqrt(a: F) -> F = |j| a[j].sqrt();
        // `f32::mul_add` would be a call of a software routine here.
        mul_add(a: F, b: F, c: F) -> F = |j| a[j] * b[j] + c[j];
        max(a: F, b: F) -> F = |j| if a[j] > b[j] { a[j] } else { b[j] };
        abs(a: F) -> F = |j| a[j].abs();
        gt(a: F, b: F) -> M = |j| a[j] > b[j];
        select(m: M, a: F, b: F) -> F = |j| if m[j] { a[j] } else { b[j] };
        select_i(m: M, a: I, b: I) -> I = |j| if m[j] { a[j] } else { b[j] };
        add_i(a: I, b: I) -> I = |j| a[j].wrapping_add(b[j]);
        sub_i(a: I, b: I) -> I = |j| a[j].wrapping_sub(b[j]);
        and_i(a: I, b: I) -> I = |j| a[j] & b[j];
        or_i(a: I, b: I) -> I = |j| a[j] | b[j];
        xor_i(a: I, b: I) -> I = |j| a[j] ^ b[j];
        eq_i(a: I, b: I) -> M = |j| a[j] == b[j];
        gt_i(a: I, b: I) -> M = |j| a[j] as i32 > b[j] as i32;
        dot_halves(a: I, b: I) -> I = |j| {
            let half = |word: u32, shift: u32| i32::from((word >> shift) as i16);
            let product = |shift| half(a[j], shift) * half(b[j], shift);
            product(0).wrapping_add(product(16)) as u32
        };
        to_float(a: I) -> F = |j| a[j] as i32 as f32;
        bits(a: F) -> I = |j| a[j].to_bits();
        with_bits(a: I) -> F = |j| f32::from_bits(a[j]);
    }

    #[inline(always)]
    fn shl<const N: u32>(self, a: I) -> I {
        from_fn(|j| a[j] << N)
    }
    #[inline(always)]
    fn shr<const N: u32>(self, a: I) -> I {
        from_fn(|j| a[j] >> N)
    }
    #[inline(always)]
    fn sar<const N: u32>(self, a: I) -> I {
        from_fn(|j| (a[j] as i32 >> N) as u32)
    }
    #[inline(always)]
    fn sum(self, a: F) -> f32 {
        ((a[0] + a[4]) + (a[2] + a[6])) + ((a[1] + a[5]) + (a[3] + a[7]))
    }

    #[inline(always)]
    unsafe fn transpose(
        self,
        source: *const f32,
        source_stride: usize,
        target: *mut f32,
        target_stride: usize,
    ) {
        // SAFETY: the caller's promise.
        unsafe { transpose::plain(source, source_stride, target, target_stride) }
    }
}
