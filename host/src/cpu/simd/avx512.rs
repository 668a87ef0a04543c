//! AVX-512: 16 lanes.

use super::avx2::Avx2;
use super::{Simd, intrinsics, pointer_intrinsics, shifts, transpose};
use std::arch::x86_64::*;

/// Proof that the processor has AVX-512 F, BW, DQ and VL, AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx512(());

impl Avx512 {
    /// The token, where the processor has the instructions.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("fma"))
        .then_some(Self(()))
    }
}

impl Simd for Avx512 {
    const LANES: usize = 16;
    const REGISTERS: usize = 32;
    type F = __m512;
    type I = __m512i;
    type M = __mmask16;
    type Eight = Avx2;

    pointer_intrinsics! {
        load(p: *const f32) -> __m512 = _mm512_loadu_ps(p);
        store(p: *mut f32, a: __m512) = _mm512_storeu_ps(p, a);
        load_first(p: *const f32, n: usize) -> __m512 = _mm512_maskz_loadu_ps(first(n), p);
        store_first(p: *mut f32, n: usize, a: __m512) = _mm512_mask_storeu_ps(p, first(n), a);
        load_i(p: *const u32) -> __m512i = _mm512_loadu_si512(p.cast());
        store_i(p: *mut u32, a: __m512i) = _mm512_storeu_si512(p.cast(), a);
        load_halves(p: *const i16) -> __m512i = _mm512_cvtepi16_epi32(_mm256_loadu_si256(p.cast()));
        load_bytes(p: *const u8) -> __m512i = _mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()));
        store_bytes(p: *mut u8, a: __m512i) = _mm_storeu_si128(p.cast(), _mm512_cvtepi32_epi8(a));
    }

    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: every x86-64 processor has the instruction, and it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) };
    }

    intrinsics! {
        splat(x: f32) -> __m512 = _mm512_set1_ps(x);
        splat_i(x: u32) -> __m512i = _mm512_set1_epi32(x as i32);
        add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        sqrt(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
        mul_add(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        max(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        abs(a: __m512) -> __m512 = _mm512_abs_ps(a);
        gt(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(a, b);
        select(m: __mmask16, a: __m512, b: __m512) -> __m512 = _mm512_mask_blend_ps(m, b, a);
        select_i(m: __mmask16, a: __m512i, b: __m512i) -> __m512i = _mm512_mask_blend_epi32(m, b, a);
        add_i(a: __m512i, b: __m512i) -> __m512i = _mm512_add_epi32(a, b);
        sub_i(a: __m512i, b: __m512i) -> __m512i = _mm512_sub_epi32(a, b);
        and_i(a: __m512i, b: __m512i) -> __m512i = _mm512_and_si512(a, b);
        or_i(a: __m512i, b: __m512i) -> __m512i = _mm512_or_si512(a, b);
        xor_i(a: __m512i, b: __m512i) -> __m512i = _mm512_xor_si512(a, b);
        eq_i(a: __m512i, b: __m512i) -> __mmask16 = _mm512_cmpeq_epi32_mask(a, b);
        gt_i(a: __m512i, b: __m512i) -> __mmask16 = _mm512_cmpgt_epi32_mask(a, b);
        dot_halves(a: __m512i, b: __m512i) -> __m512i = _mm512_madd_epi16(a, b);
        to_float(a: __m512i) -> __m512 = _mm512_cvtepi32_ps(a);
        bits(a: __m512) -> __m512i = _mm512_castps_si512(a);
        with_bits(a: __m512i) -> __m512 = _mm512_castsi512_ps(a);
    }

    #[inline(always)]
    fn eight(self) -> Avx2 {
        Avx2::of(self)
    }

    shifts! { __m512i; shl = _mm512_sll_epi32; shr = _mm512_srl_epi32; sar = _mm512_sra_epi32; }

    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        // SAFETY: `self` exists, so the processor has the instructions.
        unsafe {
            let a = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            let a = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let a = _mm_add_ps(a, _mm_movehl_ps(a, a));
            _mm_cvtss_f32(_mm_add_ss(a, _mm_shuffle_ps::<1>(a, a)))
        }
    }

    #[inline(always)]
    unsafe fn transpose(
        self,
        source: *const f32,
        source_stride: usize,
        target: *mut f32,
        target_stride: usize,
    ) {
        // SAFETY: the caller's promise; `self` exists, so the processor has the instructions.
        unsafe { transpose::avx512(source, source_stride, target, target_stride) }
    }
}

/// The first `n` lanes.
#[inline(always)]
fn first(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as __mmask16
}
