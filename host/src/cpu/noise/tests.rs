use super::super::testing::{values, with_threads};
use super::*;
use smoothout::noise::Address;

const DISTRIBUTIONS: [Distribution; 3] = [
    Distribution::Uniform,
    Distribution::Gaussian,
    Distribution::Dropout,
];
const SCALINGS: [Scaling; 3] = [Scaling::Constant, Scaling::PerWeight, Scaling::PerFilter];

/// Single weights, rows smaller and larger than vectors and blocks, rows and tensors larger than the buffer and a task.
const SHAPES: [(usize, usize); 14] = [
    (1, 1),
    (10, 1),
    (40_001, 1),
    (7, 9),
    (64, 25),
    (16, 27),
    (3, 31),
    (5, 128),
    (9, 131),
    (50, 784),
    (70, 512),
    (4, 9216),
    (2, 20_011),
    (1, 70_000),
];

fn expected(noise: &Noise, key: Key, (rows, row_len): (usize, usize), clean: &[f32]) -> Vec<f32> {
    let mut theta = vec![f32::NAN; clean.len()];
    noise.fill(key, rows, row_len, clean, &mut theta);
    clean
        .iter()
        .zip(&theta)
        .map(|(w, theta)| w + theta)
        .collect()
}

fn assert_same(got: &[f32], want: &[f32], context: &str) {
    let difference = got
        .iter()
        .zip(want)
        .position(|(got, want)| got.to_bits() != want.to_bits());
    assert_eq!((difference, got.len()), (None, want.len()), "{context}");
}

#[test]
fn bits_are_those_of_the_contract() {
    let key = Address {
        seed: 7,
        step: 5,
        draw: 1,
    }
    .tensor(3);
    for (distribution, scaling) in DISTRIBUTIONS.iter().flat_map(|d| SCALINGS.map(|s| (*d, s))) {
        let Ok(noise) = Noise::new(distribution, scaling, 0.15) else {
            panic!("a valid strength")
        };
        for shape in SHAPES {
            let filters = Filters {
                rows: shape.0,
                row_len: shape.1,
            };
            let mut clean = values(shape.0 * shape.1, 1, 0.0);
            // A filter of zeros, and both zeros.
            clean[..shape.1].fill(0.0);
            clean[shape.1 / 2] = -0.0;
            for noise in [noise, noise.negated()] {
                let once = expected(&noise, key, shape, &clean);
                let twice = expected(&noise, key, shape, &once);
                for isa in Isa::available() {
                    for (threads, stride) in [(1, shape.1), (2, shape.1), (3, shape.1 + 5)] {
                        let context = format!("{noise:?} {shape:?} {} {stride}", isa.name());
                        let mut shadow = vec![77.0; shape.0 * stride];
                        let rows = |shadow: &[f32]| -> Vec<f32> {
                            shadow
                                .chunks(stride)
                                .flat_map(|row| &row[..shape.1])
                                .copied()
                                .collect()
                        };
                        with_threads(threads, || {
                            perturb(isa, &noise, key, filters, &clean, &mut shadow, stride)
                        });
                        assert_same(&rows(&shadow), &once, &context);
                        with_threads(threads, || {
                            perturb_again(isa, &noise, key, filters, &mut shadow, stride)
                        });
                        assert_same(&rows(&shadow), &twice, &context);
                        let mut gaps = shadow.chunks(stride).flat_map(|row| &row[shape.1..]);
                        assert!(gaps.all(|&gap| gap == 77.0), "{context}");
                    }
                }
            }
        }
    }
}

#[test]
fn gaussian_units_are_those_of_the_contract_in_centre_and_tail() {
    struct Prepare<'a>(&'a mut [u32]);
    impl super::super::simd::Kernel for Prepare<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: super::super::simd::Simd>(self, s: S) {
            for words in self.0.chunks_exact_mut(S::LANES) {
                // SAFETY: a chunk of LANES words.
                unsafe {
                    s.store_i(
                        words.as_mut_ptr(),
                        Gaussian.prepare(s, s.load_i(words.as_ptr())),
                    )
                }
            }
        }
    }
    let ends = [
        0u32,
        1,
        2,
        0x7fff_ffff,
        0x7fff_fffe,
        0x8000_0000,
        0x8000_0001,
        u32::MAX,
    ];
    let spread = (0..1u32 << 20).map(|k| k.wrapping_mul(0x9e37_79b9));
    // The tail's border is at m = 0.075 * 2^32.
    let border = (0..1u32 << 16).map(|k| 322_122_547 - (1 << 15) + k);
    let draws: Vec<u32> = ends
        .into_iter()
        .chain(ends)
        .chain(spread)
        .chain(border)
        .collect();
    assert_eq!(draws.len() % 16, 0);
    for isa in Isa::available() {
        let mut units = draws.clone();
        isa.run(Prepare(&mut units));
        for (&draw, &unit) in draws.iter().zip(&units) {
            assert_eq!(
                unit,
                smoothout::noise::gaussian::unit(draw).to_bits(),
                "{} {draw}",
                isa.name()
            );
        }
    }
}

#[test]
fn squares_of_extreme_integers_are_exact() {
    struct Sum<'a>(&'a [i16], usize);
    impl super::super::simd::Kernel for Sum<'_> {
        type Output = f32;
        #[inline(always)]
        fn run<S: super::super::simd::Simd>(self, s: S) -> f32 {
            let mut sum = units::Squares::default();
            // SAFETY: there is a vector's length behind the elements.
            unsafe {
                Uniform.add_squares(s, self.0.as_ptr().cast(), 0, [].as_ptr(), self.1, &mut sum)
            };
            Uniform.norm(sum)
        }
    }
    for k in [i16::MIN, i16::MAX, 0, -1] {
        for len in [1usize, 31, 32, 33, 8000] {
            let halves = vec![k; len + 32];
            let odd = 2 * i64::from(k) + 1;
            let want = (((odd * odd) as u64 * len as u64) as f32).sqrt() / 65536.0;
            for isa in Isa::available() {
                assert_eq!(isa.run(Sum(&halves, len)), want, "{} {k} {len}", isa.name());
            }
        }
    }
}
