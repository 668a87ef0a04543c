//! What forward passes compute, against their definitions written out another way or by hand.

use super::uniform;
use crate::layers::{
    AvgPool2d, BatchNorm, Conv2d, Dropout, Label, Loss, MaxPool2d, global_avg_pool, relu,
    softmax_cross_entropy,
};
use crate::noise::Address;
use crate::shape::Shape;
use std::vec;
use std::vec::Vec;

/// The batch with `padding` values `fill` on all sides of each channel, and its shape.
fn padded(
    x: &[f64],
    input: Shape,
    batch: usize,
    [ph, pw]: [usize; 2],
    fill: f64,
) -> (Vec<f64>, Shape) {
    let shape = Shape::new(input.channels, input.height + 2 * ph, input.width + 2 * pw);
    let mut out = vec![fill; batch * shape.len()];
    for (plane, x) in x.chunks_exact(input.pixels()).enumerate() {
        for (row, x) in x.chunks_exact(input.width).enumerate() {
            let start = plane * shape.pixels() + (row + ph) * shape.width + pw;
            out[start..start + input.width].copy_from_slice(x);
        }
    }
    (out, shape)
}

/// The values of the window at (row, column) of a plane.
fn window(
    plane: &[f64],
    width: usize,
    [kh, kw]: [usize; 2],
    row: usize,
    column: usize,
) -> Vec<f64> {
    (row..row + kh)
        .flat_map(|r| plane[r * width + column..][..kw].to_vec())
        .collect()
}

fn close(got: &[f64], wanted: &[f64]) {
    assert_eq!(got.len(), wanted.len());
    for (i, (g, w)) in got.iter().zip(wanted).enumerate() {
        assert!((g - w).abs() < 1e-12, "{i}: {g} {w}");
    }
}

#[test]
fn convolution_is_its_definition_on_the_padded_image() {
    let (input, batch) = (Shape::new(4, 7, 6), 2);
    let conv = Conv2d {
        out_channels: 6,
        kernel: [3, 2],
        stride: [2, 3],
        padding: [1, 2],
        groups: 2,
        bias: true,
    };
    let output = conv.output(input).expect("fits");
    let x = uniform(batch * input.len(), 1);
    let w = uniform(6 * 2 * 6, 2);
    let b = uniform(6, 3);
    let (p, shape) = padded(&x, input, batch, conv.padding, 0.0);
    let mut wanted = Vec::new();
    for n in 0..batch {
        for o in 0..6 {
            for oh in 0..output.height {
                for ow in 0..output.width {
                    let mut sum: f64 = b[o];
                    for c in 0..2 {
                        let channel = n * 4 + if o < 3 { c } else { 2 + c };
                        let plane = &p[channel * shape.pixels()..];
                        let values = window(plane, shape.width, [3, 2], 2 * oh, 3 * ow);
                        let filter: &[f64] = &w[(o * 2 + c) * 6..];
                        sum += values.iter().zip(filter).map(|(x, w)| x * w).sum::<f64>();
                    }
                    wanted.push(sum);
                }
            }
        }
    }
    let mut y = vec![f64::NAN; wanted.len()];
    conv.forward(input, batch, &x, &w, Some(&b), &mut y);
    close(&y, &wanted);
}

#[test]
fn pools_are_their_definitions_on_the_padded_image() {
    let (input, batch) = (Shape::new(3, 8, 7), 2);
    let (kernel, stride, padding) = ([3, 2], [2, 3], [1, 1]);
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
    let x: Vec<f64> = uniform(batch * input.len(), 1);
    let each = |fill: f64, reduce: &dyn Fn(&[f64]) -> f64| {
        let (p, shape) = padded(&x, input, batch, padding, fill);
        let mut wanted = Vec::new();
        for plane in p.chunks_exact(shape.pixels()) {
            for oh in 0..output.height {
                for ow in 0..output.width {
                    let values = window(plane, shape.width, kernel, 2 * oh, 3 * ow);
                    wanted.push(reduce(&values));
                }
            }
        }
        wanted
    };
    let mut y = vec![f64::NAN; batch * output.len()];
    max.forward(input, batch, &x, &mut y);
    close(
        &y,
        &each(f64::NEG_INFINITY, &|v| {
            v.iter().copied().fold(f64::NEG_INFINITY, f64::max)
        }),
    );
    average.forward(input, batch, &x, &mut y);
    close(&y, &each(0.0, &|v| v.iter().sum::<f64>() / 6.0));

    let mut y = vec![f64::NAN; batch * 3];
    global_avg_pool::forward(input, batch, &x, &mut y);
    let wanted: Vec<f64> = x
        .chunks_exact(56)
        .map(|p| p.iter().sum::<f64>() / 56.0)
        .collect();
    close(&y, &wanted);
}

#[test]
fn the_first_of_equal_maxima_gets_the_gradient() {
    let input = Shape::new(1, 2, 4);
    let pool = MaxPool2d::new(2, 2);
    // Left window: equal values in the second row and column; right window: all are equal.
    let x = [1.0f32, 5.0, 3.0, 3.0, 5.0, 5.0, 3.0, 3.0];
    let mut y = [0.0; 2];
    pool.forward(input, 1, &x, &mut y);
    assert_eq!(y, [5.0, 3.0]);
    let mut dx = [0.0; 8];
    pool.backward(input, 1, &x, &[1.0, 2.0], &mut dx);
    assert_eq!(dx, [0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn a_window_of_minus_infinity_gives_its_first_pixel_the_gradient() {
    let (input, pool) = (Shape::new(1, 2, 2), MaxPool2d::new(3, 2).padding(1));
    let x = [f32::NEG_INFINITY; 4];
    let (mut y, mut dx) = ([0.0], [0.0; 4]);
    pool.forward(input, 1, &x, &mut y);
    pool.backward(input, 1, &x, &[1.0], &mut dx);
    assert_eq!((y, dx), ([f32::NEG_INFINITY], [1.0, 0.0, 0.0, 0.0]));
}

#[test]
fn not_a_number_passes_through_pools_and_relu() {
    let input = Shape::new(1, 2, 4);
    let pool = MaxPool2d::new(2, 2);
    for place in [0, 1, 4, 5] {
        let mut x = [1.0f32; 8];
        x[place] = f32::NAN;
        let (mut y, mut dx) = ([0.0; 2], [0.0; 8]);
        pool.forward(input, 1, &x, &mut y);
        assert!(y[0].is_nan() && y[1] == 1.0, "{place}: {y:?}");
        pool.backward(input, 1, &x, &[3.0, 0.0], &mut dx);
        assert_eq!(dx[place], 3.0);
        AvgPool2d::new(2, 2).forward(input, 1, &x, &mut y);
        assert!(y[0].is_nan() && y[1] == 1.0, "{place}: {y:?}");
    }
    let mut y = [0.0f32; 3];
    relu::forward(&[f32::NAN, -1.0, 2.0], &mut y);
    assert!(y[0].is_nan());
    assert_eq!(y[1..], [0.0, 2.0]);
}

#[test]
fn batch_norm_by_hand() {
    let norm = BatchNorm {
        eps: 0.75,
        momentum: 0.25,
    };
    // Two images of two channels of two pixels. Channel 0: 1 2 3 4, variance 1.25; channel 1: four sevens.
    let (shape, x) = (
        Shape::new(2, 1, 2),
        [1.0f64, 2.0, 7.0, 7.0, 3.0, 4.0, 7.0, 7.0],
    );
    let (scale, shift) = ([2.0, 1.0], [10.0, -1.0]);
    let (mut mean, mut variance, mut y) = ([f64::NAN; 2], [f64::NAN; 2], [f64::NAN; 8]);
    norm.forward_train(
        shape,
        2,
        &x,
        &scale,
        &shift,
        &mut y,
        &mut mean,
        &mut variance,
    );
    assert_eq!((mean, variance), ([2.5, 7.0], [1.25, 0.0]));
    let r = 2.0 / 2f64.sqrt();
    let wanted = [-1.5 * r, -0.5 * r, 0.5 * r, 1.5 * r].map(|v| 10.0 + v);
    close(
        &y,
        &[
            wanted[0], wanted[1], -1.0, -1.0, wanted[2], wanted[3], -1.0, -1.0,
        ],
    );

    // The unbiased variance is 5/3.
    let mut running = [0.0, 3.0, 1.0, 1.0];
    norm.update_running(
        4,
        &[mean[0], mean[1], variance[0], variance[1]],
        &mut running,
    );
    close(&running, &[0.625, 4.0, 0.75 + 0.25 * 5.0 / 3.0, 0.75]);

    norm.forward_eval(
        shape,
        2,
        &x,
        &scale,
        &shift,
        &[1.0, 7.0],
        &[0.25, 3.25],
        &mut y,
    );
    close(&y, &[10.0, 12.0, -1.0, -1.0, 14.0, 16.0, -1.0, -1.0]);
}

#[test]
fn tiny_variances_reach_the_running_statistics() {
    // Far below eps: nothing of it may be lost, and it may not turn negative.
    let norm = BatchNorm {
        eps: 1e-5,
        momentum: 1.0,
    };
    for (x, wanted) in [([0.0f32, 2e-6], 2e-12f32), ([0.3, 0.3], 0.0)] {
        let (mut mean, mut variance, mut y) = ([0.0], [0.0], [0.0; 2]);
        norm.forward_train(
            Shape::flat(1),
            2,
            &x,
            &[1.0],
            &[0.0],
            &mut y,
            &mut mean,
            &mut variance,
        );
        let mut running = [0.0, 1.0];
        norm.update_running(2, &[mean[0], variance[0]], &mut running);
        assert!(
            (running[1] - wanted).abs() <= 1e-6 * wanted,
            "{} {wanted}",
            running[1]
        );
    }
}

#[test]
fn dropout_zeroes_or_scales_each_image_by_its_own_mask() {
    let address = Address {
        seed: 1,
        step: 2,
        draw: 3,
    };
    let (x, dropout) = ([1.5f32; 2 * 300], Dropout { probability: 0.25 });
    let mut y = [f32::NAN; 2 * 300];
    dropout.forward(address, 4, 2, &x, &mut y);
    assert!(y.iter().all(|y| *y == 0.0 || (*y - 2.0).abs() < 1e-6));
    assert!(y[..300] != y[300..]);
    let mut again = y;
    dropout.forward(address, 4, 2, &x, &mut again);
    assert!(again == y);
    dropout.forward(address, 5, 2, &x, &mut again);
    assert!(again != y);
}

#[test]
fn cross_entropy_by_hand() {
    // Odds 1 : 2 : 5 and 3 : 3 : 2; the second image's first of two largest logits is class 0.
    let logits = [1.0f64, 2.0, 5.0, 3.0, 3.0, 2.0].map(f64::ln);
    let mut gradient = [f64::NAN; 6];
    let loss =
        softmax_cross_entropy(3, &logits, &[2, 1], &mut gradient).expect("labels are classes");
    let wanted = -((5.0f64 / 8.0).ln() + (3.0f64 / 8.0).ln()) / 2.0;
    assert!((loss.mean - wanted).abs() < 1e-12 && loss.correct == 1);
    close(
        &gradient,
        &[1.0, 2.0, -3.0, 3.0, -5.0, 2.0].map(|v| v / 16.0),
    );

    // Logits whose exponentials do not fit f32.
    let loss = softmax_cross_entropy(2, &[1000.0f32, 0.0], &[0], &mut []);
    let certain = Loss {
        mean: 0.0,
        correct: 1,
    };
    assert_eq!(loss, Ok(certain));
    let loss = softmax_cross_entropy(2, &[1000.0f32, 0.0], &[1], &mut []);
    let wrong = Loss {
        mean: 1000.0,
        correct: 0,
    };
    assert_eq!(loss, Ok(wrong));
}

#[test]
fn a_label_that_is_no_class_is_named() {
    let error = softmax_cross_entropy(3, &[0.0f32; 9], &[0, 3, 1], &mut []);
    let wanted = Label {
        image: 1,
        label: 3,
        classes: 3,
    };
    assert_eq!(error, Err(wanted));
    assert_eq!(
        std::format!("{wanted}"),
        "image 1 of the batch has label 3, there are 3 classes"
    );
}
