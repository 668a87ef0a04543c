//! Softmax and cross-entropy.

use super::layout::IMAGES;
use super::simd::{Isa, Kernel, Simd};
use rayon::prelude::*;

/// Floats of logits that a task should have at least.
const TASK: usize = 16 * 1024;

/// What a ghost batch's logits are worth.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Loss {
    /// Cross-entropy, the mean over the images.
    pub mean: f64,
    /// Images whose label has the largest logit; of equal ones the first counts.
    pub correct: usize,
}

/// Mean cross-entropy of logits `[ceil(images/16)][classes][16]` against one label an image.
///
/// `losses` receives each image's own loss. `gradient`, where it is wanted, has the logits' layout and receives
/// (softmax - one hot) / images, zero in unused lanes. A logit that is not a number makes its image's loss NaN.
///
/// # Panics
/// A length does not fit, there is no class, or a label is not below `classes`.
pub fn softmax_cross_entropy(
    isa: Isa,
    classes: usize,
    labels: &[u32],
    logits: &[f32],
    losses: &mut [f64],
    gradient: Option<&mut [f32]>,
) -> Loss {
    let images = labels.len();
    let block = classes * IMAGES;
    assert_eq!(logits.len(), images.div_ceil(IMAGES) * block);
    assert_eq!(losses.len(), images);
    assert!(labels.iter().all(|&label| (label as usize) < classes));
    let tasks = (
        labels.par_chunks(IMAGES),
        logits.par_chunks(block),
        losses.par_chunks_mut(IMAGES),
    );
    let per_task = (TASK / block.max(1)).max(1);
    let share = 1.0 / images as f32;
    let correct = match gradient {
        Some(gradient) => {
            assert_eq!(gradient.len(), logits.len());
            let run = |(gradient, (labels, logits, losses))| {
                let kernel = Block::<true> {
                    labels,
                    logits,
                    losses,
                    gradient,
                    share,
                };
                isa.run(kernel)
            };
            let tasks = gradient.par_chunks_mut(block).zip(tasks);
            tasks.with_min_len(per_task).map(run).sum()
        }
        None => {
            let run = |(labels, logits, losses)| {
                let kernel = Block::<false> {
                    labels,
                    logits,
                    losses,
                    gradient: &mut [],
                    share,
                };
                isa.run(kernel)
            };
            tasks.into_par_iter().with_min_len(per_task).map(run).sum()
        }
    };
    Loss {
        mean: losses.iter().sum::<f64>() / images as f64,
        correct,
    }
}

/// Sixteen images at most.
struct Block<'a, const GRADIENT: bool> {
    labels: &'a [u32],
    logits: &'a [f32],
    losses: &'a mut [f64],
    gradient: &'a mut [f32],
    share: f32,
}

impl<const GRADIENT: bool> Kernel for Block<'_, GRADIENT> {
    /// Images whose label has the largest logit.
    type Output = usize;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> usize {
        let Self {
            labels,
            logits,
            losses,
            gradient,
            share,
        } = self;
        let classes = logits.len() / IMAGES;
        let (mut largest, mut sums, mut winners) = ([0.0; IMAGES], [0.0; IMAGES], [0; IMAGES]);
        for lane in (0..IMAGES).step_by(S::LANES) {
            // SAFETY: a row of logits (and of the gradient, where it is wanted) has 16 lanes; LANES divides 16.
            unsafe {
                let row = |class: usize| logits.as_ptr().add(class * IMAGES + lane);
                let (mut top, mut winner) = (s.load(row(0)), s.splat_i(0));
                for class in 1..classes {
                    let x = s.load(row(class));
                    let larger = s.gt(x, top);
                    winner = s.select_i(larger, s.splat_i(class as u32), winner);
                    top = s.select(larger, x, top);
                }
                let mut total = s.splat(0.0);
                // Partial sums of 64 classes keep the rounding errors of a thousand few.
                for first in (0..classes).step_by(64) {
                    let mut sum = s.splat(0.0);
                    for class in first..classes.min(first + 64) {
                        let e = exp(s, s.sub(s.load(row(class)), top));
                        sum = s.add(sum, e);
                        if GRADIENT {
                            s.store(gradient.as_mut_ptr().add(class * IMAGES + lane), e);
                        }
                    }
                    total = s.add(total, sum);
                }
                s.store(largest.as_mut_ptr().add(lane), top);
                s.store(sums.as_mut_ptr().add(lane), total);
                s.store_i(winners.as_mut_ptr().add(lane), winner);
            }
        }
        if GRADIENT {
            let mut factors = [0.0; IMAGES];
            for (factor, sum) in factors.iter_mut().zip(&sums).take(labels.len()) {
                *factor = share / sum;
            }
            for (k, row) in gradient.chunks_exact_mut(S::LANES).enumerate() {
                let lane = k * S::LANES % IMAGES;
                // SAFETY: a row of LANES floats; LANES divides the number of factors.
                unsafe {
                    let factor = s.load(factors.as_ptr().add(lane));
                    let e = s.load(row.as_ptr());
                    // Unused lanes may hold anything, so that zero is chosen rather than multiplied by;
                    // the factor of a broken image is NaN and stays it.
                    let used = s.gt(factor, s.splat(0.0));
                    let zero_or_nan = s.sub(factor, factor);
                    s.store(
                        row.as_mut_ptr(),
                        s.select(used, s.mul(e, factor), zero_or_nan),
                    );
                }
            }
        }
        let mut correct = 0;
        for (image, (&label, loss)) in labels.iter().zip(losses).enumerate() {
            let place = label as usize * IMAGES + image;
            let below = f64::from(largest[image]) - f64::from(logits[place]);
            *loss = f64::from(sums[image]).ln() + below;
            correct += usize::from(winners[image] == label);
            if GRADIENT {
                gradient[place] -= share;
            }
        }
        correct
    }
}

/// e^x for x <= 0, within 2 ulp; 0 where the result would be subnormal; NaN stays NaN.
#[inline(always)]
pub(crate) fn exp<S: Simd>(s: S, x: S::F) -> S::F {
    /// 1.5 * 2^23: adding it rounds to an integer, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, the first with so few bits that its multiples are exact (Cephes).
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// e^r = 1 + r + r² * polynomial(r) for abs(r) <= ln(2) / 2 (Cephes `expf`), highest power first.
    const POLYNOMIAL: [f32; 6] = [
        1.987_569_1e-4,
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        0.166_666_65,
        0.5,
    ];
    /// ln of the smallest normal number, rounded towards zero.
    const SMALLEST: f32 = -87.336_54;

    let shifted = s.mul_add(x, s.splat(std::f32::consts::LOG2_E), s.splat(ROUND));
    let n = s.sub(shifted, s.splat(ROUND));
    let r = s.mul_add(n, s.splat(-LN_2[0]), x);
    let r = s.mul_add(n, s.splat(-LN_2[1]), r);
    let mut p = s.splat(POLYNOMIAL[0]);
    for c in &POLYNOMIAL[1..] {
        p = s.mul_add(p, r, s.splat(*c));
    }
    let mantissa = s.add(s.mul_add(p, s.mul(r, r), r), s.splat(1.0));
    let exponent = s.shl::<23>(s.add_i(s.bits(shifted), s.splat_i(127)));
    let result = s.mul(mantissa, s.with_bits(exponent));
    s.select(s.gt(s.splat(SMALLEST), x), s.splat(0.0), result)
}

#[cfg(test)]
mod tests {
    use super::super::layout::Blocked;
    use super::super::testing::{blocked, distance, image_of, values, with_threads};
    use super::*;

    struct Exp<'a>(&'a mut [f32]);

    impl Kernel for Exp<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd>(self, s: S) {
            for x in self.0.chunks_exact_mut(S::LANES) {
                // SAFETY: a chunk of LANES floats.
                unsafe { s.store(x.as_mut_ptr(), exp(s, s.load(x.as_ptr()))) }
            }
        }
    }

    #[test]
    fn exponential_is_within_two_units_of_the_last_place() {
        let inputs: Vec<f32> = (0..160_000)
            .map(|k| -87.336 * k as f32 / 160_000.0)
            .collect();
        for isa in Isa::available() {
            let mut results = inputs.clone();
            isa.run(Exp(&mut results));
            for (&x, &y) in inputs.iter().zip(&results) {
                let want = f64::from(x).exp();
                let unit = f64::from((want as f32).next_up() - want as f32);
                assert!(
                    (f64::from(y) - want).abs() <= 2.0 * unit,
                    "{} {x} {y}",
                    isa.name()
                );
            }
            let mut special = [f32::NEG_INFINITY, f32::NAN, -1e30, -0.0].repeat(4);
            isa.run(Exp(&mut special));
            assert!(
                special[0] == 0.0 && special[1].is_nan() && special[2] == 0.0 && special[3] == 1.0
            );
        }
    }

    const SIZES: [(usize, usize); 7] = [
        (1, 1),
        (1, 10),
        (5, 3),
        (16, 10),
        (17, 100),
        (129, 10),
        (40, 1000),
    ];

    #[test]
    fn loss_and_gradient_are_those_of_float64() {
        for (images, classes) in SIZES {
            let shape = Blocked {
                images,
                channels: classes,
                height: 1,
                width: 1,
            };
            for spread in [1.0, 60.0] {
                let nchw: Vec<f32> = values(images * classes, 1, 0.0)
                    .iter()
                    .map(|x| spread * x + 300.0)
                    .collect();
                let logits = blocked(&shape, &nchw, 1e30);
                let labels: Vec<u32> = (0..images).map(|i| (i * 7 % classes) as u32).collect();
                let mut want = vec![0.0; shape.len()];
                let (mut total, mut hits) = (0.0, 0);
                for (image, row) in nchw.chunks(classes).enumerate() {
                    let top = row.iter().copied().fold(f32::MIN, f32::max);
                    let e = |c: usize| f64::from(row[c] - top).exp();
                    let sum: f64 = (0..classes).map(e).sum();
                    let label = labels[image] as usize;
                    total += sum.ln() + f64::from(top) - f64::from(row[label]);
                    hits += usize::from(row.iter().position(|&x| x == top) == Some(label));
                    for c in 0..classes {
                        let hot = f64::from(u8::from(c == label));
                        let place = (image / 16 * classes + c) * 16 + image % 16;
                        want[place] = (e(c) / sum - hot) / images as f64;
                    }
                }
                for isa in Isa::available() {
                    let run = |threads| {
                        let mut gradient = vec![f32::NAN; logits.len()];
                        let mut losses = vec![f64::NAN; images];
                        let loss = with_threads(threads, || {
                            softmax_cross_entropy(
                                isa,
                                classes,
                                &labels,
                                &logits,
                                &mut losses,
                                Some(&mut gradient),
                            )
                        });
                        (loss, losses, gradient)
                    };
                    let (loss, losses, gradient) = run(1);
                    let mean = total / images as f64;
                    assert!(
                        (loss.mean - mean).abs() <= 1e-6 * mean.max(0.1),
                        "{images} {classes} {}",
                        isa.name()
                    );
                    assert_eq!(loss.correct, hits);
                    assert!(
                        distance(&gradient, &want) < 2e-6 || classes == 1,
                        "{images} {classes}"
                    );
                    let unused = (0..shape.len()).filter(|&k| image_of(&shape, k) >= images);
                    assert!(unused.map(|k| gradient[k]).all(|g| g == 0.0));
                    assert!(run(2) == (loss, losses.clone(), gradient.clone()));
                    assert!(run(3) == (loss, losses.clone(), gradient));
                    let mut again = vec![0.0; images];
                    let only =
                        softmax_cross_entropy(isa, classes, &labels, &logits, &mut again, None);
                    assert_eq!((only, again), (loss, losses));
                }
            }
        }
    }

    #[test]
    fn first_of_equal_logits_wins_and_nan_shows() {
        let mut logits = [2.0f32; 48];
        for isa in Isa::available() {
            let mut losses = [0.0; 3];
            let loss = softmax_cross_entropy(isa, 3, &[0, 1, 0], &logits, &mut losses, None);
            assert_eq!(loss.correct, 2);
            assert!((loss.mean - 3f64.ln()).abs() < 1e-6);
        }
        for class in 0..3 {
            logits[class * 16 + 1] = f32::NAN;
            for isa in Isa::available() {
                let (mut losses, mut gradient) = ([0.0; 3], [0.0; 48]);
                let loss = softmax_cross_entropy(
                    isa,
                    3,
                    &[0, 1, 0],
                    &logits,
                    &mut losses,
                    Some(&mut gradient),
                );
                assert!(loss.mean.is_nan() && losses[1].is_nan() && !losses[0].is_nan());
                assert!(gradient[1].is_nan() && !gradient[0].is_nan());
            }
            logits[class * 16 + 1] = 2.0;
        }
    }
}
