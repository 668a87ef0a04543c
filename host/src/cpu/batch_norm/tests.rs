#![allow(clippy::unwrap_used)]

use super::super::testing::{ODD_SHAPES, blocked, distance, image_of, values, with_threads};
use super::*;

const EPS: f32 = 1e-5;

/// The layer in f64, over activations in the blocked layout.
struct Naive {
    output: Vec<f64>,
    mean: Vec<f64>,
    inv_std: Vec<f64>,
    variance: Vec<f64>,
}

fn channel_of(shape: &Blocked, k: usize) -> usize {
    k / (shape.pixels() * 16) % shape.channels
}

fn naive(
    layer: &BatchNorm<'_>,
    input: &[f32],
    residual: Option<&[f32]>,
    fixed: Option<Statistics<'_>>,
) -> Naive {
    let shape = &layer.shape;
    let count = (shape.images * shape.pixels()) as f64;
    let used = |k: &usize| image_of(shape, *k) < shape.images;
    let over = |channel: usize, f: &dyn Fn(f64) -> f64| -> f64 {
        (0..input.len())
            .filter(|k| used(k) && channel_of(shape, *k) == channel)
            .map(|k| f(f64::from(input[k])))
            .sum()
    };
    let mut mean: Vec<f64> = (0..shape.channels)
        .map(|c| over(c, &|x| x) / count)
        .collect();
    let biased: Vec<f64> = (0..shape.channels)
        .map(|c| over(c, &|x| (x - mean[c]).powi(2)) / count)
        .collect();
    let mut inv_std: Vec<f64> = biased
        .iter()
        .map(|v| 1.0 / (v + f64::from(EPS)).sqrt())
        .collect();
    if let Some(fixed) = fixed {
        mean = fixed.mean.iter().map(|&x| x.into()).collect();
        inv_std = fixed.inv_std.iter().map(|&x| x.into()).collect();
    }
    let output = (0..input.len())
        .map(|k| {
            let c = channel_of(shape, k);
            let normalised = (f64::from(input[k]) - mean[c]) * inv_std[c];
            let y = normalised * f64::from(layer.gamma[c]) + f64::from(layer.beta[c]);
            let y = y + residual.map_or(0.0, |residual| residual[k].into());
            if layer.relu { y.max(0.0) } else { y }
        })
        .collect();
    let variance = biased.iter().map(|v| v * count / (count - 1.0)).collect();
    Naive {
        output,
        mean,
        inv_std,
        variance,
    }
}

/// Drops unused lanes, which hold anything.
fn used<T: Copy>(shape: &Blocked, all: &[T]) -> Vec<T> {
    (0..all.len())
        .filter(|&k| image_of(shape, k) < shape.images)
        .map(|k| all[k])
        .collect()
}

struct Case {
    shape: Blocked,
    gamma: Vec<f32>,
    beta: Vec<f32>,
    input: Vec<f32>,
    residual: Vec<f32>,
}

impl Case {
    fn new(shape: Blocked, mean: f32) -> Self {
        let len = shape.images * shape.image_len();
        Self {
            gamma: values(shape.channels, 1, 0.7),
            beta: values(shape.channels, 2, 0.1),
            input: blocked(&shape, &values(len, 3, mean), 77.0),
            residual: blocked(&shape, &values(len, 4, 0.0), -55.0),
            shape,
        }
    }

    fn layer(&self, relu: bool) -> BatchNorm<'_> {
        BatchNorm {
            shape: self.shape,
            gamma: &self.gamma,
            beta: &self.beta,
            relu,
        }
    }

    /// Output, mean, inverse deviation and variance.
    fn train(&self, isa: Isa, relu: bool, residual: bool) -> [Vec<f32>; 4] {
        let mut output = vec![f32::NAN; self.shape.len()];
        let [mut mean, mut inv_std, mut variance] =
            [(); 3].map(|()| vec![f32::NAN; self.shape.channels]);
        let statistics = StatisticsMut {
            mean: &mut mean,
            inv_std: &mut inv_std,
            variance: &mut variance,
        };
        let residual = residual.then_some(&self.residual[..]);
        self.layer(relu)
            .train(isa, EPS, &self.input, residual, &mut output, statistics);
        [output, mean, inv_std, variance]
    }
}

const VARIANTS: [(bool, bool); 4] = [(false, false), (true, false), (false, true), (true, true)];

#[test]
fn training_normalises_as_float64_does() {
    for shape in ODD_SHAPES {
        // Means of ten times the spread, and a first value far from the rest.
        for (mean, outlier) in [(0.0, None), (10.0, None), (-10.0, Some(1e3))] {
            let mut case = Case::new(shape, mean);
            if let Some(outlier) = outlier {
                case.input[0] = outlier;
            }
            for isa in Isa::available() {
                for (relu, residual) in VARIANTS {
                    let [output, mean, inv_std, variance] = case.train(isa, relu, residual);
                    let residual = residual.then_some(&case.residual[..]);
                    let want = naive(&case.layer(relu), &case.input, residual, None);
                    let context = format!("{shape:?} {} {relu}", isa.name());
                    let output_error =
                        distance(&used(&shape, &output), &used(&shape, &want.output));
                    assert!(output_error < 2e-6, "{context} {output_error}");
                    for ((&got, want), inv_std) in mean.iter().zip(&want.mean).zip(&want.inv_std) {
                        let size = want.abs() + 1.0 / inv_std;
                        assert!(
                            (f64::from(got) - want).abs() < 2e-7 * size,
                            "{context} {got} {want}"
                        );
                    }
                    assert!(distance(&inv_std, &want.inv_std) < 2e-6, "{context}");
                    if shape.images * shape.pixels() > 1 {
                        assert!(distance(&variance, &want.variance) < 2e-6, "{context}");
                    }
                    assert!(output.iter().all(|y| y.is_finite()), "{context}");
                }
            }
        }
    }
}

#[test]
fn evaluation_uses_the_statistics_it_is_given() {
    for shape in ODD_SHAPES {
        let case = Case::new(shape, 1.0);
        let (mean, inv_std) = (
            values(shape.channels, 8, 1.0),
            values(shape.channels, 9, 1.0),
        );
        let statistics = Statistics {
            mean: &mean,
            inv_std: &inv_std,
        };
        for isa in Isa::available() {
            for (relu, residual) in VARIANTS {
                let residual = residual.then_some(&case.residual[..]);
                let mut output = vec![f32::NAN; shape.len()];
                case.layer(relu)
                    .apply(isa, statistics, &case.input, residual, &mut output);
                let want = naive(&case.layer(relu), &case.input, residual, Some(statistics));
                assert!(
                    distance(&output, &want.output) < 2e-6,
                    "{shape:?} {}",
                    isa.name()
                );
            }
        }
    }
}

struct NaiveGradients {
    input: Vec<f64>,
    residual: Vec<f64>,
    gamma: Vec<f64>,
    beta: Vec<f64>,
}

fn naive_backward(
    case: &Case,
    mode: Mode,
    saved: &Saved<'_>,
    positive: Option<&[f32]>,
    dy: &[f32],
) -> NaiveGradients {
    let shape = &case.shape;
    let count = (shape.images * shape.pixels()) as f64;
    let residual: Vec<f64> = (0..dy.len())
        .map(|k| {
            let on = image_of(shape, k) < shape.images && positive.is_none_or(|y| y[k] > 0.0);
            if on { dy[k].into() } else { 0.0 }
        })
        .collect();
    let mean = |c: usize| f64::from(saved.statistics.mean[c]);
    let inv_std = |c: usize| f64::from(saved.statistics.inv_std[c]);
    let normalised = |k: usize| {
        let c = channel_of(shape, k);
        (f64::from(saved.input[k]) - mean(c)) * inv_std(c)
    };
    let (mut gamma, mut beta) = (vec![0.0; shape.channels], vec![0.0; shape.channels]);
    for (k, g) in residual.iter().enumerate() {
        gamma[channel_of(shape, k)] += g * normalised(k);
        beta[channel_of(shape, k)] += g;
    }
    let input = (0..dy.len())
        .map(|k| {
            let c = channel_of(shape, k);
            let centred = match mode {
                Mode::Train => residual[k] - beta[c] / count - normalised(k) * gamma[c] / count,
                Mode::Eval => residual[k],
            };
            let used = f64::from(u8::from(image_of(shape, k) < shape.images));
            centred * f64::from(case.gamma[c]) * inv_std(c) * used
        })
        .collect();
    NaiveGradients {
        input,
        residual,
        gamma,
        beta,
    }
}

#[test]
fn gradients_are_those_of_float64() {
    for shape in ODD_SHAPES {
        let case = Case::new(shape, 3.0);
        let dy = blocked(
            &shape,
            &values(shape.images * shape.image_len(), 5, 0.2),
            1e3,
        );
        for isa in Isa::available() {
            for (relu, residual) in VARIANTS {
                let [output, mean, inv_std, _] = case.train(isa, relu, residual);
                let statistics = Statistics {
                    mean: &mean,
                    inv_std: &inv_std,
                };
                let saved = Saved {
                    input: &case.input,
                    output: residual.then_some(&output),
                    statistics,
                };
                for mode in [Mode::Train, Mode::Eval] {
                    let want = naive_backward(&case, mode, &saved, relu.then_some(&output), &dy);
                    for accumulate in [false, true] {
                        let before = if accumulate { 3.0 } else { f32::NAN };
                        let mut gradient = dy.clone();
                        let mut to_residual = vec![before; shape.len()];
                        let [mut gamma, mut beta] = [(); 2].map(|()| vec![before; shape.channels]);
                        let deliver = Deliver {
                            scale: 0.25,
                            accumulate,
                        };
                        case.layer(relu).backward(
                            isa,
                            mode,
                            &saved,
                            &mut gradient,
                            residual.then_some(ResidualGradient {
                                gradient: &mut to_residual,
                                accumulate,
                            }),
                            ParameterGradients {
                                gamma: &mut gamma,
                                beta: &mut beta,
                                deliver,
                            },
                        );
                        let context =
                            format!("{shape:?} {} {relu} {residual} {mode:?}", isa.name());
                        let plus = if accumulate { 3.0 } else { 0.0 };
                        let delivered = |sums: &[f64]| -> Vec<f64> {
                            sums.iter().map(|g| 0.25 * g + plus).collect()
                        };
                        // One value or two in a channel: the true gradient is zero or all but zero.
                        let scale: f64 = if shape.images * shape.pixels() > 2 {
                            1.0
                        } else {
                            1e6
                        };
                        assert!(
                            distance(&gradient, &want.input) < 2e-6 * scale || shape.len() == 16,
                            "{context}"
                        );
                        assert!(
                            distance(&gamma, &delivered(&want.gamma)) < 2e-6 * scale,
                            "{context}"
                        );
                        assert!(distance(&beta, &delivered(&want.beta)) < 2e-6, "{context}");
                        let unused =
                            (0..shape.len()).filter(|&k| image_of(&shape, k) >= shape.images);
                        assert!(unused.map(|k| gradient[k]).all(|g| g == 0.0), "{context}");
                        if residual {
                            let want: Vec<f64> = want.residual.iter().map(|g| g + plus).collect();
                            assert!(distance(&to_residual, &want) < 1e-7, "{context}");
                        }
                    }
                }
            }
        }
    }
}

#[test]
fn any_number_of_threads_makes_the_same_bits() {
    for shape in ODD_SHAPES {
        let case = Case::new(shape, 3.0);
        for isa in Isa::available() {
            let run = |threads| {
                with_threads(threads, || {
                    let [output, mean, inv_std, variance] = case.train(isa, true, true);
                    let statistics = Statistics {
                        mean: &mean,
                        inv_std: &inv_std,
                    };
                    let saved = Saved {
                        input: &case.input,
                        output: Some(&output),
                        statistics,
                    };
                    let mut gradient = case.residual.clone();
                    let [mut gamma, mut beta] = [(); 2].map(|()| vec![0.0; shape.channels]);
                    let deliver = Deliver::OVERWRITE;
                    let parameters = ParameterGradients {
                        gamma: &mut gamma,
                        beta: &mut beta,
                        deliver,
                    };
                    case.layer(true).backward(
                        isa,
                        Mode::Train,
                        &saved,
                        &mut gradient,
                        None,
                        parameters,
                    );
                    let all = [output, mean, inv_std, variance, gradient, gamma, beta].concat();
                    all.iter().map(|x| x.to_bits()).collect::<Vec<_>>()
                })
            };
            let one = run(1);
            assert!(one == run(2) && one == run(3), "{shape:?} {}", isa.name());
        }
    }
}

#[test]
fn nan_is_not_hidden() {
    let shape = Blocked {
        images: 16,
        channels: 1,
        height: 2,
        width: 2,
    };
    let mut case = Case::new(shape, 0.0);
    case.input[5] = f32::NAN;
    for isa in Isa::available() {
        let [output, mean, ..] = case.train(isa, true, false);
        assert!(
            mean[0].is_nan() && output.iter().all(|y| y.is_nan()),
            "{}",
            isa.name()
        );
    }
}

#[test]
fn running_statistics_move_by_the_momentum() {
    let mut running = [1.0, 2.0];
    follow(0.1, &[11.0, 2.0], &mut running);
    assert_eq!(running, [2.0, 2.0]);
}
