#![allow(clippy::unwrap_used)]

use super::*;

/// Every operation on two vectors, as the bits of its result's lanes.
struct Operations<'a> {
    a: &'a [f32; 16],
    b: &'a [f32; 16],
}

impl Kernel for Operations<'_> {
    type Output = Vec<Vec<u32>>;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> Self::Output {
        let mut out = Vec::new();
        for start in (0..16).step_by(S::LANES) {
            // SAFETY: LANES divides 16, the length of both arrays.
            let (a, b) = unsafe {
                (
                    s.load(self.a.as_ptr().add(start)),
                    s.load(self.b.as_ptr().add(start)),
                )
            };
            let (i, j) = (s.bits(a), s.bits(b));
            let results = [
                s.bits(s.add(a, b)),
                s.bits(s.sub(a, b)),
                s.bits(s.mul(a, b)),
                s.bits(s.div(a, b)),
                s.bits(s.sqrt(s.abs(a))),
                s.bits(s.max(a, b)),
                s.bits(s.select(s.gt(a, b), a, b)),
                s.select_i(s.gt_i(i, j), i, j),
                s.select_i(s.eq_i(i, j), s.splat_i(1), s.splat_i(2)),
                s.add_i(i, j),
                s.sub_i(i, j),
                s.and_i(i, j),
                s.or_i(i, j),
                s.xor_i(i, j),
                s.shl::<5>(i),
                s.shr::<5>(i),
                s.sar::<5>(i),
                s.rotl::<7, 25>(i),
                s.dot_halves(i, j),
                s.bits(s.to_float(i)),
                s.bits(s.with_bits(i)),
                s.bits(s.splat(3.5)),
            ];
            out.resize(results.len(), Vec::new());
            for (lanes, result) in out.iter_mut().zip(results) {
                let mut stored = [0u32; 16];
                // SAFETY: 16 lanes of room.
                unsafe { s.store_i(stored.as_mut_ptr(), result) };
                lanes.extend_from_slice(&stored[..S::LANES]);
            }
        }
        out
    }
}

fn dot(a: u32, b: u32) -> u32 {
    let half = |word: u32, shift: u32| i64::from((word >> shift) as i16);
    (half(a, 0) * half(b, 0) + half(a, 16) * half(b, 16)) as u32
}

/// What the operations mean, lane by lane.
fn expected(a: f32, b: f32) -> Vec<u32> {
    let (i, j) = (a.to_bits(), b.to_bits());
    vec![
        (a + b).to_bits(),
        (a - b).to_bits(),
        (a * b).to_bits(),
        (a / b).to_bits(),
        a.abs().sqrt().to_bits(),
        if a > b { i } else { j },
        if a > b { i } else { j },
        if (i as i32) > j as i32 { i } else { j },
        if i == j { 1 } else { 2 },
        i.wrapping_add(j),
        i.wrapping_sub(j),
        i & j,
        i | j,
        i ^ j,
        i << 5,
        i >> 5,
        ((i as i32) >> 5) as u32,
        i.rotate_left(7),
        dot(i, j),
        (i as i32 as f32).to_bits(),
        i,
        3.5f32.to_bits(),
    ]
}

#[test]
fn every_instruction_set_means_the_same() {
    let a: [f32; 16] = std::array::from_fn(|j| (j as f32 - 7.3) * 1.7f32.powi(j as i32));
    let mut b: [f32; 16] = std::array::from_fn(|j| 3.1 - (j * j) as f32 / 9.0);
    b[5] = a[5];
    for isa in Isa::available() {
        for (op, lanes) in isa.run(Operations { a: &a, b: &b }).iter().enumerate() {
            for lane in 0..16 {
                let want = expected(a[lane], b[lane])[op];
                assert_eq!(
                    lanes[lane],
                    want,
                    "{} operation {op} lane {lane}",
                    isa.name()
                );
            }
        }
    }
}

#[test]
fn maximum_with_nan_is_the_second_operand() {
    let (a, b) = ([f32::NAN; 16], [1.0; 16]);
    for isa in Isa::available() {
        assert_eq!(
            f32::from_bits(isa.run(Operations { a: &a, b: &b })[5][0]),
            1.0
        );
        assert!(f32::from_bits(isa.run(Operations { a: &b, b: &a })[5][0]).is_nan());
    }
}

struct Sum<'a>(&'a [f32; 16]);

impl Kernel for Sum<'_> {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        // SAFETY: at most 16 lanes.
        let a = unsafe { s.load(self.0.as_ptr()) };
        s.sum(s.mul_add(a, s.splat(2.0), s.splat(1.0)))
    }
}

#[test]
fn sum_adds_all_lanes() {
    let a: [f32; 16] = std::array::from_fn(|j| j as f32);
    for isa in Isa::available() {
        let want = if isa.name() == "avx512" { 256.0 } else { 64.0 };
        assert_eq!(isa.run(Sum(&a)), want, "{}", isa.name());
    }
}

#[test]
fn the_environment_names_only_what_exists() {
    let all = Isa::available();
    assert_eq!(all.last(), Some(&Isa::PORTABLE));
    assert!(all.contains(&Isa::detect()));
}

struct Bytes<'a>(&'a [u8; 16], &'a mut [u8; 16]);

impl Kernel for Bytes<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for lane in (0..16).step_by(S::LANES) {
            // SAFETY: LANES divides 16, the length of both arrays.
            unsafe {
                let bytes = s.load_bytes(self.0.as_ptr().add(lane));
                let doubled = s.add_i(bytes, s.add_i(bytes, s.splat_i(0xabc00)));
                s.store_bytes(self.1.as_mut_ptr().add(lane), doubled);
            }
        }
    }
}

#[test]
fn bytes_are_widened_and_cut() {
    let source: [u8; 16] = std::array::from_fn(|j| (j * 17) as u8);
    for isa in Isa::available() {
        let mut target = [1; 16];
        isa.run(Bytes(&source, &mut target));
        assert_eq!(
            target,
            source.map(|byte| byte.wrapping_mul(2)),
            "{}",
            isa.name()
        );
    }
}

struct Parts<'a>(&'a [f32; 16], &'a mut [f32; 16], usize);

impl Kernel for Parts<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let n = self.2.min(S::LANES);
        // SAFETY: at most 16 lanes.
        unsafe {
            let whole = s.add(s.load_first(self.0.as_ptr(), n), s.splat(1.0));
            s.store(self.1.as_mut_ptr(), whole);
            s.store_first(self.1.as_mut_ptr(), n / 2, s.splat(7.0));
        }
    }
}

#[test]
fn parts_of_vectors_leave_the_rest_alone() {
    let source: [f32; 16] = std::array::from_fn(|j| j as f32 + 1.0);
    for isa in Isa::available() {
        let lanes = if isa.name() == "avx512" { 16 } else { 8 };
        for n in 0..=lanes {
            let mut target = [3.0; 16];
            isa.run(Parts(&source, &mut target, n));
            for (j, &got) in target.iter().enumerate() {
                let loaded = if j < n { source[j] } else { 0.0 };
                let want = if j < n / 2 { 7.0 } else { loaded + 1.0 };
                assert_eq!(
                    got,
                    if j < lanes { want } else { 3.0 },
                    "{} {n} {j}",
                    isa.name()
                );
            }
        }
    }
}

struct Halves<'a>(&'a [i16; 17], &'a mut [u32; 16]);

impl Kernel for Halves<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for lane in (0..16).step_by(S::LANES) {
            // SAFETY: LANES divides 16, and one place more is left.
            unsafe {
                let halves = s.load_halves(self.0.as_ptr().add(1 + lane));
                s.store_i(self.1.as_mut_ptr().add(lane), halves);
            }
        }
        assert_eq!(S::Eight::LANES, 8);
        let eight = s.eight();
        // SAFETY: 16 places.
        unsafe { eight.store_i(self.1.as_mut_ptr(), eight.load_i(self.1.as_ptr())) };
    }
}

#[test]
fn halves_keep_their_sign() {
    let source: [i16; 17] = std::array::from_fn(|j| (j as i16 - 8) * 4000);
    for isa in Isa::available() {
        let mut target = [0; 16];
        isa.run(Halves(&source, &mut target));
        let want: [u32; 16] = std::array::from_fn(|j| i32::from(source[j + 1]) as u32);
        assert_eq!(target, want, "{}", isa.name());
    }
}
