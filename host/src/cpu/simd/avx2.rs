//! AVX2 with FMA: 8 lanes.

use super::avx512::Avx512;
use super::{Simd, intrinsics, pointer_intrinsics, shifts, transpose};
use std::arch::x86_64::*;

/// Proof that the processor has AVX2 and FMA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Avx2(());

impl Avx2 {
    /// The token, where the processor has the instructions.
    pub(super) fn detect() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
    }
}

impl Avx2 {
    /// The token, where there is the one of AVX-512.
    #[inline(always)]
    pub(super) fn of(_: Avx512) -> Self {
        Self(())
    }
}

impl Simd for Avx2 {
    const LANES: usize = 8;
    const REGISTERS: usize = 16;
    type F = __m256;
    type I = __m256i;
    type M = __m256;
    type Eight = Self;

    pointer_intrinsics! {
        load(p: *const f32) -> __m256 = _mm256_loadu_ps(p);
        store(p: *mut f32, a: __m256) = _mm256_storeu_ps(p, a);
        load_first(p: *const f32, n: usize) -> __m256 = _mm256_maskload_ps(p, first(n));
        store_first(p: *mut f32, n: usize, a: __m256) = _mm256_maskstore_ps(p, first(n), a);
        load_i(p: *const u32) -> __m256i = _mm256_loadu_si256(p.cast());
        store_i(p: *mut u32, a: __m256i) = _mm256_storeu_si256(p.cast(), a);
        load_halves(p: *const i16) -> __m256i = _mm256_cvtepi16_epi32(_mm_loadu_si128(p.cast()));
        load_bytes(p: *const u8) -> __m256i = _mm256_cvtepu8_epi32(_mm_loadl_epi64(p.cast()));
        store_bytes(p: *mut u8, a: __m256i) = _mm_storel_epi64(p.cast(), lowest_bytes(a));
    }

    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        // SAFETY: every x86-64 processor has the instruction, and it never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T1>(p.cast()) };
    }

    intrinsics! {
        splat(x: f32) -> __m256 = _mm256_set1_ps(x);
        splat_i(x: u32) -> __m256i = _mm256_set1_epi32(x as i32);
        add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        sqrt(a: __m256) -> __m256 = _mm256_sqrt_ps(a);
        mul_add(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        max(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        abs(a: __m256) -> __m256 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        gt(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_GT_OQ>(a, b);
        select(m: __m256, a: __m256, b: __m256) -> __m256 = _mm256_blendv_ps(b, a, m);
        select_i(m: __m256, a: __m256i, b: __m256i) -> __m256i =
            _mm256_blendv_epi8(b, a, _mm256_castps_si256(m));
        add_i(a: __m256i, b: __m256i) -> __m256i = _mm256_add_epi32(a, b);
        sub_i(a: __m256i, b: __m256i) -> __m256i = _mm256_sub_epi32(a, b);
        and_i(a: __m256i, b: __m256i) -> __m256i = _mm256_and_si256(a, b);
        or_i(a: __m256i, b: __m256i) -> __m256i = _mm256_or_si256(a, b);
        xor_i(a: __m256i, b: __m256i) -> __m256i = _mm256_xor_si256(a, b);
        eq_i(a: __m256i, b: __m256i) -> __m256 = _mm256_castsi256_ps(_mm256_cmpeq_epi32(a, b));
        gt_i(a: __m256i, b: __m256i) -> __m256 = _mm256_castsi256_ps(_mm256_cmpgt_epi32(a, b));
        dot_halves(a: __m256i, b: __m256i) -> __m256i = _mm256_madd_epi16(a, b);
        to_float(a: __m256i) -> __m256 = _mm256_cvtepi32_ps(a);
        bits(a: __m256) -> __m256i = _mm256_castps_si256(a);
        with_bits(a: __m256i) -> __m256 = _mm256_castsi256_ps(a);
    }

    #[inline(always)]
    fn eight(self) -> Self {
        self
    }

    shifts! { __m256i; shl = _mm256_sll_epi32; shr = _mm256_srl_epi32; sar = _mm256_sra_epi32; }

    #[inline(always)]
    fn sum(self, a: __m256) -> f32 {
        // SAFETY: `self` exists, so the processor has the instructions.
        unsafe {
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
        unsafe { transpose::avx2(source, source_stride, target, target_stride) }
    }
}

/// The lowest byte of each lane, in the lower half of the result.
#[target_feature(enable = "avx2")]
fn lowest_bytes(a: __m256i) -> __m128i {
    let first = _mm256_setr_epi8(
        0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, //
        0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1,
    );
    let bytes = _mm256_shuffle_epi8(a, first);
    _mm_unpacklo_epi32(
        _mm256_castsi256_si128(bytes),
        _mm256_extracti128_si256::<1>(bytes),
    )
}

/// All bits of the first `n` lanes.
#[target_feature(enable = "avx2")]
fn first(n: usize) -> __m256i {
    let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    _mm256_cmpgt_epi32(_mm256_set1_epi32(n as i32), lanes)
}
