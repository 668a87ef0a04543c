//! Gradients of single layers against central differences in f64, and that gradients of inputs are added.

use super::uniform;
use crate::layers::{
    AvgPool2d, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d, global_avg_pool, relu,
    softmax_cross_entropy,
};
use crate::noise::Address;
use crate::shape::Shape;
use std::vec;
use std::vec::Vec;

/// What gradients of inputs are added to.
const BEFORE: f64 = 2.0;

/// The layer's `forward` as a scalar: the sum of its outputs, each times `dy`.
fn scalar(dy: &[f64], forward: impl FnOnce(&mut [f64])) -> f64 {
    let mut y = vec![f64::NAN; dy.len()];
    forward(&mut y);
    y.iter().zip(dy).map(|(y, dy)| y * dy).sum()
}

/// Compares `analytic` with central differences of `function` at `point`.
fn check(what: &str, point: &[f64], analytic: &[f64], function: impl Fn(&[f64]) -> f64) {
    assert_eq!(point.len(), analytic.len(), "{what}");
    let largest = analytic.iter().fold(1.0f64, |m, g| m.max(g.abs()));
    let mut moved = point.to_vec();
    for (i, gradient) in analytic.iter().enumerate() {
        let h = 1e-5;
        moved[i] = point[i] + h;
        let above = function(&moved);
        moved[i] = point[i] - h;
        let below = function(&moved);
        moved[i] = point[i];
        let numeric = (above - below) / (2.0 * h);
        // Written so that a NaN fails.
        assert!(
            (numeric - gradient).abs() < 1e-7 * largest,
            "{what} {i}: {numeric} {gradient}"
        );
    }
}

/// The gradient that `backward` added to an input of `len` values.
fn added(len: usize, backward: impl FnOnce(&mut [f64])) -> Vec<f64> {
    let mut dx = vec![BEFORE; len];
    backward(&mut dx);
    dx.iter().map(|dx| dx - BEFORE).collect()
}

#[test]
fn convolution() {
    let conv = |out_channels, kernel, stride, padding, groups| Conv2d {
        out_channels,
        kernel,
        stride,
        padding,
        groups,
        bias: true,
    };
    let cases = [
        (Shape::new(3, 6, 4), conv(2, [3, 3], [1, 1], [1, 1], 1)),
        (Shape::new(4, 7, 8), conv(6, [3, 2], [2, 3], [1, 2], 2)),
        (Shape::new(3, 5, 6), conv(6, [3, 3], [2, 1], [2, 0], 3)),
        (Shape::new(5, 5, 3), conv(5, [1, 3], [1, 2], [0, 1], 5)),
        (Shape::new(2, 6, 5), conv(3, [1, 1], [3, 2], [0, 0], 1)),
        (Shape::new(2, 2, 3), conv(2, [5, 6], [2, 2], [3, 4], 1)),
        (Shape::new(1, 4, 1), conv(1, [2, 1], [3, 1], [2, 3], 1)),
    ];
    for (input, conv) in cases {
        let batch = 2;
        let output = conv.output(input).expect("fits");
        let row_len: usize = conv.weight_dims(input.channels)[1..].iter().product();
        let x = uniform(batch * input.len(), 1);
        let w = uniform(conv.out_channels * row_len, 2);
        let b = uniform(conv.out_channels, 3);
        let dy = uniform(batch * output.len(), 4);
        let forward = |x: &[f64], w: &[f64], b: &[f64]| {
            scalar(&dy, |y| conv.forward(input, batch, x, w, Some(b), y))
        };
        let dx = added(x.len(), |dx| conv.input_gradient(input, batch, &w, &dy, dx));
        let mut dw = vec![f64::NAN; w.len()];
        for (row, dw) in dw.chunks_exact_mut(row_len).enumerate() {
            conv.weight_gradient_row(input, batch, &x, &dy, row, dw);
        }
        let db: Vec<f64> = (0..conv.out_channels)
            .map(|row| conv.bias_gradient_row(input, batch, &dy, row))
            .collect();
        check(&std::format!("{conv:?} x"), &x, &dx, |x| forward(x, &w, &b));
        check(&std::format!("{conv:?} w"), &w, &dw, |w| forward(&x, w, &b));
        check(&std::format!("{conv:?} b"), &b, &db, |b| forward(&x, &w, b));
    }
}

#[test]
fn linear() {
    // More inputs than a block of the kernel (32), and with the large batch more terms than one of its runs (64).
    for (inputs, outputs, batch) in [(11, 7, 3), (35, 3, 70), (3, 70, 2)] {
        let (input, linear) = (Shape::flat(inputs), Linear::new(outputs));
        let x = uniform(batch * inputs, 1);
        let w = uniform(outputs * inputs, 2);
        let b = uniform(outputs, 3);
        let dy = uniform(batch * outputs, 4);
        let forward = |x: &[f64], w: &[f64], b: &[f64]| {
            scalar(&dy, |y| linear.forward(input, batch, x, w, Some(b), y))
        };
        let dx = added(x.len(), |dx| {
            linear.input_gradient(input, batch, &w, &dy, dx)
        });
        let mut dw = vec![f64::NAN; w.len()];
        for (row, dw) in dw.chunks_exact_mut(inputs).enumerate() {
            linear.weight_gradient_row(input, batch, &x, &dy, row, dw);
        }
        let db: Vec<f64> = (0..outputs)
            .map(|row| linear.bias_gradient_row(batch, &dy, row))
            .collect();
        check("x", &x, &dx, |x| forward(x, &w, &b));
        check("w", &w, &dw, |w| forward(&x, w, &b));
        check("b", &b, &db, |b| forward(&x, &w, b));
    }
}

#[test]
fn batch_norm() {
    let norm = BatchNorm::default();
    for (shape, batch) in [(Shape::new(3, 3, 5), 2), (Shape::flat(4), 5)] {
        let channels = shape.channels;
        let x = uniform(batch * shape.len(), 1);
        let (scale, shift) = (uniform(channels, 2), uniform(channels, 3));
        let dy = uniform(batch * shape.len(), 4);
        let running_mean = uniform(channels, 5);
        let running_variance: Vec<f64> = uniform::<f64>(channels, 6)
            .iter()
            .map(|v| v + 1.5)
            .collect();
        for train in [true, false] {
            let (mut mean, mut variance) = (running_mean.clone(), running_variance.clone());
            let forward =
                |x: &[f64], scale: &[f64], shift: &[f64], mean: &mut [f64], var: &mut [f64]| {
                    scalar(&dy, |y| {
                        if train {
                            norm.forward_train(shape, batch, x, scale, shift, y, mean, var);
                        } else {
                            norm.forward_eval(shape, batch, x, scale, shift, mean, var, y);
                        }
                    })
                };
            forward(&x, &scale, &shift, &mut mean, &mut variance);
            let (mut dscale, mut dshift) = (vec![f64::NAN; channels], vec![f64::NAN; channels]);
            let mut backward = |dx: Option<&mut [f64]>| {
                let (ds, dt) = (&mut dscale, &mut dshift);
                if train {
                    norm.backward_train(
                        shape, batch, &x, &scale, &mean, &variance, &dy, dx, ds, dt,
                    );
                } else {
                    norm.backward_eval(shape, batch, &x, &scale, &mean, &variance, &dy, dx, ds, dt);
                }
            };
            backward(None);
            let dx = added(x.len(), |dx| backward(Some(dx)));
            let at = |x: &[f64], scale: &[f64], shift: &[f64]| {
                forward(x, scale, shift, &mut mean.clone(), &mut variance.clone())
            };
            check("x", &x, &dx, |x| at(x, &scale, &shift));
            check("scale", &scale, &dscale, |scale| at(&x, scale, &shift));
            check("shift", &shift, &dshift, |shift| at(&x, &scale, shift));
        }
    }
}

#[test]
fn pooling() {
    let windows = [
        ([2, 2], [2, 2], [0, 0]),
        ([3, 2], [2, 3], [1, 1]),
        ([3, 3], [1, 1], [1, 0]),
        ([2, 3], [3, 2], [0, 1]),
    ];
    let (input, batch) = (Shape::new(3, 7, 6), 2);
    // Random values are apart by far more than the step of the differences, so no maximum changes its place.
    let x = uniform(batch * input.len(), 1);
    for (kernel, stride, padding) in windows {
        let max = MaxPool2d {
            kernel,
            stride,
            padding,
        };
        let average = AvgPool2d {
            kernel,
            stride,
            padding,
        };
        let output = max.output(input).expect("fits");
        assert_eq!(average.output(input), Ok(output));
        let dy = uniform(batch * output.len(), 2);
        let dx = added(x.len(), |dx| max.backward(input, batch, &x, &dy, dx));
        check("max", &x, &dx, |x| {
            scalar(&dy, |y| max.forward(input, batch, x, y))
        });
        let dx = added(x.len(), |dx| average.backward(input, batch, &dy, dx));
        check("average", &x, &dx, |x| {
            scalar(&dy, |y| average.forward(input, batch, x, y))
        });
    }
    let dy = uniform(batch * input.channels, 3);
    let dx = added(x.len(), |dx| {
        global_avg_pool::backward(input, batch, &dy, dx)
    });
    check("global average", &x, &dx, |x| {
        scalar(&dy, |y| global_avg_pool::forward(input, batch, x, y))
    });
}

#[test]
fn relu_and_dropout() {
    let (batch, image) = (3, 140);
    let x = uniform(batch * image, 1);
    let dy = uniform(batch * image, 2);
    let mut y = vec![f64::NAN; x.len()];
    relu::forward(&x, &mut y);
    let dx = added(x.len(), |dx| relu::backward(&y, &dy, dx));
    check("relu", &x, &dx, |x| scalar(&dy, |y| relu::forward(x, y)));

    let address = Address {
        seed: 1,
        step: 2,
        draw: 3,
    };
    let dropout = Dropout { probability: 0.3 };
    let dx = added(x.len(), |dx| dropout.backward(address, 4, batch, &dy, dx));
    check("dropout", &x, &dx, |x| {
        scalar(&dy, |y| dropout.forward(address, 4, batch, x, y))
    });
}

#[test]
fn cross_entropy() {
    let (classes, labels) = (5, [4, 0, 2, 2]);
    let logits: Vec<f64> = uniform::<f64>(labels.len() * classes, 1)
        .iter()
        .map(|z| 3.0 * z)
        .collect();
    let mut gradient = vec![f64::NAN; logits.len()];
    softmax_cross_entropy(classes, &logits, &labels, &mut gradient).expect("labels are classes");
    check("logits", &logits, &gradient, |logits| {
        let loss = softmax_cross_entropy(classes, logits, &labels, &mut []);
        loss.expect("labels are classes").mean
    });
}
