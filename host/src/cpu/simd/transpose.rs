//! Transposition of tiles of 16 x 16 32-bit values.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Edge of a tile.
pub(crate) const TILE: usize = 16;

/// `target[j * target_stride + i] = source[i * source_stride + j]` for i, j < 16.
///
/// # Safety
/// Rows i of 16 values at `source + i * source_stride` are valid for reads, those at
/// `target + i * target_stride` for writes, and the two do not overlap.
#[inline(always)]
pub(super) unsafe fn plain(
    source: *const f32,
    source_stride: usize,
    target: *mut f32,
    target_stride: usize,
) {
    for j in 0..TILE {
        for i in 0..TILE {
            // SAFETY: the caller's promise.
            unsafe { *target.add(j * target_stride + i) = *source.add(i * source_stride + j) };
        }
    }
}

/// As [`plain`], four tiles of 8 x 8.
///
/// # Safety
/// As [`plain`]; the processor has AVX2.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn avx2(
    source: *const f32,
    source_stride: usize,
    target: *mut f32,
    target_stride: usize,
) {
    for (i, j) in [(0, 0), (0, 8), (8, 0), (8, 8)] {
        // SAFETY: the caller's promise; rows i..i+8 and columns j..j+8 are in the tile.
        unsafe {
            let source = source.add(i * source_stride + j);
            let target = target.add(j * target_stride + i);
            // Row k holds columns 0..4 of source rows k and k + 4, or columns 4..8.
            let mut low = [_mm256_setzero_ps(); 4];
            let mut high = low;
            for k in 0..4 {
                let (a, b) = (
                    source.add(k * source_stride),
                    source.add((k + 4) * source_stride),
                );
                low[k] = _mm256_insertf128_ps::<1>(
                    _mm256_castps128_ps256(_mm_loadu_ps(a)),
                    _mm_loadu_ps(b),
                );
                high[k] = _mm256_insertf128_ps::<1>(
                    _mm256_castps128_ps256(_mm_loadu_ps(a.add(4))),
                    _mm_loadu_ps(b.add(4)),
                );
            }
            for (first, [a, b, c, d]) in [(0, low), (4, high)] {
                let (ab, cd) = (_mm256_unpacklo_ps(a, b), _mm256_unpacklo_ps(c, d));
                let (ab_high, cd_high) = (_mm256_unpackhi_ps(a, b), _mm256_unpackhi_ps(c, d));
                let columns = [
                    _mm256_shuffle_ps::<0x44>(ab, cd),
                    _mm256_shuffle_ps::<0xee>(ab, cd),
                    _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
                    _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
                ];
                for (k, column) in columns.into_iter().enumerate() {
                    _mm256_storeu_ps(target.add((first + k) * target_stride), column);
                }
            }
        }
    }
}

/// As [`plain`].
///
/// # Safety
/// As [`plain`]; the processor has AVX-512 F and DQ.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(super) unsafe fn avx512(
    source: *const f32,
    source_stride: usize,
    target: *mut f32,
    target_stride: usize,
) {
    for first in [0, 4, 8, 12] {
        // SAFETY: the caller's promise; columns first..first + 4 are in the tile.
        unsafe {
            // Quarter q of row k holds these four columns of source row 4q + k: joining quarters
            // while loading leaves the shuffle port only two rounds of unpacking.
            let mut rows = [_mm512_setzero_ps(); 4];
            for (k, row) in rows.iter_mut().enumerate() {
                let at = |q: usize| _mm_loadu_ps(source.add((4 * q + k) * source_stride + first));
                *row = _mm512_castps128_ps512(at(0));
                *row = _mm512_insertf32x4::<1>(*row, at(1));
                *row = _mm512_insertf32x4::<2>(*row, at(2));
                *row = _mm512_insertf32x4::<3>(*row, at(3));
            }
            let [a, b, c, d] = rows;
            let (ab, cd) = (_mm512_unpacklo_ps(a, b), _mm512_unpacklo_ps(c, d));
            let (ab_high, cd_high) = (_mm512_unpackhi_ps(a, b), _mm512_unpackhi_ps(c, d));
            let columns = [
                _mm512_shuffle_ps::<0x44>(ab, cd),
                _mm512_shuffle_ps::<0xee>(ab, cd),
                _mm512_shuffle_ps::<0x44>(ab_high, cd_high),
                _mm512_shuffle_ps::<0xee>(ab_high, cd_high),
            ];
            for (k, column) in columns.into_iter().enumerate() {
                _mm512_storeu_ps(target.add((first + k) * target_stride), column);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Isa, Kernel, Simd};
    use super::TILE;

    struct Transpose<'a>(&'a [f32], usize, &'a mut [f32], usize);

    impl Kernel for Transpose<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            let Self(source, from, target, to) = self;
            assert!(source.len() >= TILE * from && target.len() >= TILE * to);
            // SAFETY: 16 rows of at least 16 values, just checked.
            unsafe { s.transpose(source.as_ptr(), from, target.as_mut_ptr(), to) }
        }
    }

    #[test]
    fn rows_become_columns() {
        for (from, to) in [(16, 16), (19, 16), (16, 23)] {
            let source: Vec<f32> = (0..TILE * from).map(|k| k as f32).collect();
            for isa in Isa::available() {
                let mut target = vec![-1.0; TILE * to];
                isa.run(Transpose(&source, from, &mut target, to));
                for (j, row) in target.chunks(to).enumerate() {
                    for (i, &value) in row.iter().enumerate() {
                        let want = if i < TILE { source[i * from + j] } else { -1.0 };
                        assert_eq!(value, want, "{} {from} {to} {i} {j}", isa.name());
                    }
                }
            }
        }
    }
}
