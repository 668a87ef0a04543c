use super::*;
use std::{format, string::String, vec, vec::Vec};

const DISTRIBUTIONS: [Distribution; 3] =
    [Distribution::Uniform, Distribution::Gaussian, Distribution::Dropout];
const SCALINGS: [Scaling; 3] = [Scaling::Constant, Scaling::PerWeight, Scaling::PerFilter];

fn address(seed: u64, step: u64, draw: u32) -> Address {
    Address { seed, step, draw }
}

/// Weights of the reference vectors: s = s * 1664525 + 1013904223 mod 2^32 from 12345, w = (s >> 8) / 2^24 - 1/2.
fn weights(len: usize) -> Vec<f32> {
    let mut s = 12345u32;
    let mut next = || {
        s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (s >> 8) as f32 / 16_777_216.0 - 0.5
    };
    (0..len).map(|_| next()).collect()
}

/// (tensor, rows, row_len) of the reference vectors.
const TENSORS: [(u32, usize, usize); 4] = [(0, 3, 50), (1, 7, 1), (2, 2, 150), (9, 1, 257)];

#[test]
fn bits_are_those_of_the_committed_vectors() {
    let mut text = String::from(
        "# theta as f32 bits: seed 1234567890123456789, step 42, draw 3, strength 0.15\n\
         # made by the test of this folder with SMOOTHOUT_OVERWRITE=1, checked by tests/noise/reference.py\n",
    );
    for distribution in DISTRIBUTIONS {
        for scaling in SCALINGS {
            let noise = Noise::new(distribution, scaling, 0.15).expect("valid");
            for (tensor, rows, row_len) in TENSORS {
                let clean = weights(rows * row_len);
                let mut theta = vec![0.0; clean.len()];
                let key = address(1_234_567_890_123_456_789, 42, 3).tensor(tensor);
                noise.fill(key, rows, row_len, &clean, &mut theta);
                text += &format!("{distribution:?} {scaling:?} {tensor} {rows} {row_len}\n");
                for line in theta.chunks(8) {
                    let words: Vec<String> =
                        line.iter().map(|t| format!("{:08x}", t.to_bits())).collect();
                    text += &(words.join(" ") + "\n");
                }
            }
        }
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/noise/vectors/theta.txt");
    if std::env::var_os("SMOOTHOUT_OVERWRITE").is_some() {
        std::fs::write(path, &text).expect("writable");
    }
    let committed = std::fs::read_to_string(path).expect("committed");
    assert!(committed == text, "the noise's bits have changed");
}

#[test]
fn a_filter_alone_has_the_same_bits() {
    let (rows, row_len) = (9, 77);
    let clean = weights(rows * row_len);
    let key = address(5, 6, 7).tensor(8);
    for distribution in DISTRIBUTIONS {
        for scaling in SCALINGS {
            let noise = Noise::new(distribution, scaling, 0.3).expect("valid");
            let mut whole = vec![0.0; clean.len()];
            noise.fill(key, rows, row_len, &clean, &mut whole);
            let mut negative = vec![0.0; clean.len()];
            noise.negated().fill(key, rows, row_len, &clean, &mut negative);
            assert!(whole.iter().zip(&negative).all(|(a, b)| *a == -*b));
            for row in (0..rows).rev() {
                let start = row * row_len;
                let clean = &clean[start..start + row_len];
                let scale = noise.scale(key, start, clean);
                noise.for_each(key, start, scale, clean, |i, theta| {
                    assert_eq!(theta.to_bits(), whole[start + i].to_bits());
                });
            }
        }
    }
}

fn filled(distribution: Distribution, len: usize, at: Address) -> Vec<f32> {
    let noise = Noise::new(distribution, Scaling::Constant, 1.0).expect("valid");
    let mut theta = vec![0.0; len];
    noise.fill(at.tensor(0), 1, len, &vec![1.0; len], &mut theta);
    theta
}

/// Largest distance between the sample's and the given distribution function.
fn kolmogorov_smirnov(mut sample: Vec<f32>, cdf: impl Fn(f64) -> f64) -> f64 {
    sample.sort_by(f32::total_cmp);
    let n = sample.len() as f64;
    let distance = |(i, x): (usize, &f32)| {
        let p = cdf(f64::from(*x));
        (p - i as f64 / n).abs().max(((i + 1) as f64 / n - p).abs())
    };
    sample.iter().enumerate().map(distance).fold(0.0, f64::max)
}

fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x * core::f64::consts::FRAC_1_SQRT_2)
}

/// Bound of the Kolmogorov-Smirnov distance at a level of 1e-4.
fn bound(n: usize) -> f64 {
    2.23 / (n as f64).sqrt()
}

#[test]
fn uniform_noise_is_uniform() {
    let n = 1 << 20;
    let sample = filled(Distribution::Uniform, n, address(1, 2, 0));
    assert!(sample.iter().all(|u| *u != 0.0 && u.abs() < 1.0));
    let mean = sample.iter().map(|u| f64::from(*u)).sum::<f64>() / n as f64;
    let variance = sample.iter().map(|u| f64::from(*u).powi(2)).sum::<f64>() / n as f64;
    assert!(mean.abs() < 4.0 / (3.0 * n as f64).sqrt(), "{mean}");
    assert!((variance - 1.0 / 3.0).abs() < 4.0 * (4.0 / 45.0 / n as f64).sqrt(), "{variance}");
    let distance = kolmogorov_smirnov(sample, |x| (x + 1.0) / 2.0);
    assert!(distance < bound(n), "{distance}");
}

#[test]
fn gaussian_noise_is_gaussian_into_its_tails() {
    let n = 1 << 21;
    let sample = filled(Distribution::Gaussian, n, address(3, 4, 0));
    for limit in [2.0f32, 3.0, 4.0, 4.5] {
        let expected = n as f64 * normal_cdf(-f64::from(limit));
        for sign in [1.0, -1.0] {
            let count = sample.iter().filter(|z| sign * **z > limit).count() as f64;
            assert!((count - expected).abs() < 4.5 * expected.sqrt(), "{limit} {count} {expected}");
        }
    }
    let distance = kolmogorov_smirnov(sample, normal_cdf);
    assert!(distance < bound(n), "{distance}");
}

#[test]
fn the_inverse_normal_is_accurate_and_symmetric() {
    let mut worst = 0.0f64;
    for m in (0..0x8000_0000u64).step_by(65_537 * 7).chain(0..3000).chain(0x7fff_f000..0x8000_0000) {
        let z = f64::from(gaussian::unit(m as u32));
        assert_eq!(-z, f64::from(gaussian::unit(m as u32 | 0x8000_0000)));
        let p = (2 * m + 1) as f64 / 8_589_934_592.0;
        // One Newton step from z in f64 gives the exact deviate to far more digits than f32 has.
        let density = (-0.5 * z * z).exp() / (2.0 * core::f64::consts::PI).sqrt();
        let exact = z + (normal_cdf(-z) - p) / density;
        worst = worst.max((z - exact).abs() / exact.abs().max(1e-3));
    }
    assert!(worst < 2e-6, "{worst}");
}

#[test]
fn filter_noise_has_the_filters_norm() {
    let (rows, row_len) = (8, 300);
    let clean = weights(rows * row_len);
    let length = |v: &[f32]| v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    for distribution in DISTRIBUTIONS {
        let noise = Noise::new(distribution, Scaling::PerFilter, 0.2).expect("valid");
        let mut theta = vec![0.0; clean.len()];
        noise.fill(address(1, 1, 1).tensor(3), rows, row_len, &clean, &mut theta);
        for (t, w) in theta.chunks(row_len).zip(clean.chunks(row_len)) {
            let ratio = length(t) / length(w);
            assert!((ratio / f64::from(0.2f32) - 1.0).abs() < 1e-5, "{distribution:?} {ratio}");
        }
    }
    let noise = Noise::new(Distribution::Uniform, Scaling::PerFilter, 0.2).expect("valid");
    let mut theta = vec![0.0; clean.len()];
    noise.fill(address(1, 1, 1).tensor(3), clean.len(), 1, &clean, &mut theta);
    for (t, w) in theta.iter().zip(&clean) {
        let ratio = t.abs() / w.abs();
        assert!(ratio <= 0.2001 && ratio > 0.18, "{ratio}"); // |n| >= 2^-16 against 1e-6
    }
    noise.fill(address(1, 1, 1).tensor(3), 4, 10, &[0.0; 40], &mut theta[..40]);
    assert!(theta[..40].iter().all(|t| *t == 0.0));
}

#[test]
fn dropout_drops_with_its_probability() {
    let n = 1 << 18;
    for p in [0.0f32, 0.1, 0.5, 1.0] {
        let noise = Noise::new(Distribution::Dropout, Scaling::Constant, p).expect("valid");
        let clean = weights(n);
        let mut theta = vec![9.0; n];
        noise.fill(address(8, 8, 8).tensor(0), 1, n, &clean, &mut theta);
        assert!(theta.iter().zip(&clean).all(|(t, w)| *t == 0.0 || t == &-w));
        let dropped = theta.iter().filter(|t| **t != 0.0).count() as f64;
        let deviation = (n as f64 * f64::from(p * (1.0 - p))).sqrt();
        assert!((dropped - n as f64 * f64::from(p)).abs() <= 4.5 * deviation + 1.0, "{p} {dropped}");
    }
}

#[test]
fn streams_are_independent() {
    let n = 1 << 16;
    let reference = filled(Distribution::Uniform, n, address(1, 1, 1));
    let noise = Noise::new(Distribution::Uniform, Scaling::Constant, 1.0).expect("valid");
    let mut neighbours: Vec<Vec<f32>> = [(2, 1, 1), (1, 2, 1), (1, 1, 2), (0, 0, 0)]
        .into_iter()
        .map(|(seed, step, draw)| filled(Distribution::Uniform, n, address(seed, step, draw)))
        .collect();
    let mut tensor = vec![0.0; n];
    noise.fill(address(1, 1, 1).tensor(1), 1, n, &vec![1.0; n], &mut tensor);
    neighbours.push(tensor);
    for lag in [1, 2, BLOCK, 2 * BLOCK] {
        let mut shifted = reference.clone();
        shifted.rotate_left(lag);
        neighbours.push(shifted);
    }
    for other in &neighbours {
        let product: f64 = reference.iter().zip(other).map(|(a, b)| f64::from(a * b)).sum();
        let correlation = product * 3.0 / n as f64;
        assert!(correlation.abs() < 4.5 / (n as f64).sqrt(), "{correlation}");
    }
    let mut blocks: Vec<Vec<u32>> = reference
        .chunks(BLOCK)
        .chain(neighbours.iter().take(5).flat_map(|s| s.chunks(BLOCK)))
        .map(|b| b.iter().map(|x| x.to_bits()).collect())
        .collect();
    let all = blocks.len();
    blocks.sort();
    blocks.dedup();
    assert_eq!(blocks.len(), all);
}

#[test]
fn impossible_noise_is_refused() {
    for value in [-0.1, f32::NAN, f32::INFINITY] {
        assert!(matches!(
            Noise::new(Distribution::Uniform, Scaling::Constant, value),
            Err(NoiseError::Strength { .. })
        ));
    }
    assert_eq!(
        Noise::new(Distribution::Dropout, Scaling::Constant, 1.5),
        Err(NoiseError::Probability { value: 1.5 })
    );
}
