//! Kernels in f32 are within 2e-6 (relative, Euclidean) of f64, also where sums are long.

use super::uniform;
use crate::layers::{BatchNorm, Conv2d, Linear, global_avg_pool, softmax_cross_entropy};
use crate::real::Real;
use crate::shape::Shape;
use std::vec;
use std::vec::Vec;

/// Results of a layer's kernels, by name.
type Results<T> = Vec<(&'static str, Vec<T>)>;

fn compare(what: &str, single: &Results<f32>, double: &Results<f64>) {
    for ((name, got), (_, exact)) in single.iter().zip(double) {
        assert_eq!(got.len(), exact.len());
        let errors = got
            .iter()
            .zip(exact)
            .map(|(g, e)| (f64::from(*g) - e).powi(2));
        let norm: f64 = exact.iter().map(|e| e * e).sum();
        let error = (errors.sum::<f64>() / norm).sqrt();
        assert!(error < 2e-6, "{what} {name}: {error:.2e}");
    }
}

fn convolution<T: Real>(conv: Conv2d, input: Shape, batch: usize) -> Results<T> {
    let output = conv.output(input).expect("fits");
    let row_len = conv.weight_dims(input.channels)[1..].iter().product();
    let x: Vec<T> = uniform(batch * input.len(), 1);
    let w: Vec<T> = uniform(output.channels * row_len, 2);
    let dy: Vec<T> = uniform(batch * output.len(), 3);
    let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
    conv.forward(input, batch, &x, &w, None, &mut y);
    conv.input_gradient(input, batch, &w, &dy, &mut dx);
    let (mut dw, mut db) = (vec![T::ZERO; w.len()], Vec::new());
    for (row, dw) in dw.chunks_exact_mut(row_len).enumerate() {
        conv.weight_gradient_row(input, batch, &x, &dy, row, dw);
        db.push(conv.bias_gradient_row(input, batch, &dy, row));
    }
    vec![("y", y), ("dx", dx), ("dw", dw), ("db", db)]
}

#[test]
fn convolutions_with_long_sums() {
    let cases = [
        (
            "many pixels",
            Conv2d::new(2, 3).padding(1),
            Shape::new(2, 96, 160),
            3,
        ),
        (
            "many inputs",
            Conv2d::new(2, 3).padding(1),
            Shape::new(1024, 3, 4),
            1,
        ),
        (
            "many outputs",
            Conv2d::new(1024, 3).padding(1),
            Shape::new(2, 3, 4),
            1,
        ),
        ("points", Conv2d::new(2048, 1), Shape::new(2, 3, 3), 1),
        (
            "many images",
            Conv2d::new(2, 3).padding(1),
            Shape::new(2, 3, 3),
            4096,
        ),
        (
            "large filters",
            Conv2d::new(3, 31).stride(2).padding(15),
            Shape::new(2, 40, 40),
            1,
        ),
    ];
    for (what, conv, input, batch) in cases {
        compare(
            what,
            &convolution(conv, input, batch),
            &convolution(conv, input, batch),
        );
    }
}

fn linear<T: Real>(inputs: usize, outputs: usize, batch: usize) -> Results<T> {
    let (input, linear) = (Shape::flat(inputs), Linear::new(outputs));
    let x: Vec<T> = uniform(batch * inputs, 1);
    let w: Vec<T> = uniform(outputs * inputs, 2);
    let dy: Vec<T> = uniform(batch * outputs, 3);
    let (mut y, mut dx) = (vec![T::ZERO; dy.len()], vec![T::ZERO; x.len()]);
    linear.forward(input, batch, &x, &w, None, &mut y);
    linear.input_gradient(input, batch, &w, &dy, &mut dx);
    let (mut dw, mut db) = (vec![T::ZERO; w.len()], Vec::new());
    for (row, dw) in dw.chunks_exact_mut(inputs).enumerate() {
        linear.weight_gradient_row(input, batch, &x, &dy, row, dw);
        db.push(linear.bias_gradient_row(batch, &dy, row));
    }
    vec![("y", y), ("dx", dx), ("dw", dw), ("db", db)]
}

#[test]
fn linear_layers_with_long_sums() {
    for (what, inputs, outputs, batch) in [
        ("many inputs", 16384, 6, 3),
        ("many outputs", 40, 16384, 3),
        ("many images", 40, 6, 16384),
    ] {
        compare(
            what,
            &linear(inputs, outputs, batch),
            &linear(inputs, outputs, batch),
        );
    }
}

fn batch_norm<T: Real>(shape: Shape, batch: usize) -> Results<T> {
    let (norm, channels) = (BatchNorm::default(), shape.channels);
    let half = T::from_f32(0.5);
    let x: Vec<T> = uniform::<T>(batch * shape.len(), 1)
        .iter()
        .map(|x| *x + half)
        .collect();
    let (scale, shift): (Vec<T>, Vec<T>) = (uniform(channels, 2), uniform(channels, 3));
    let dy: Vec<T> = uniform(x.len(), 4);
    let zeros = |len| vec![T::ZERO; len];
    let (mut y, mut dx, mut saved) = (zeros(x.len()), zeros(x.len()), zeros(2 * channels));
    let (mut dscale, mut dshift) = (zeros(channels), zeros(channels));
    let (mean, variance) = saved.split_at_mut(channels);
    norm.forward_train(shape, batch, &x, &scale, &shift, &mut y, mean, variance);
    norm.backward_train(
        shape,
        batch,
        &x,
        &scale,
        mean,
        variance,
        &dy,
        Some(&mut dx),
        &mut dscale,
        &mut dshift,
    );
    let mut running = zeros(2 * channels);
    norm.update_running(batch * shape.pixels(), &saved, &mut running);
    vec![
        ("y", y),
        ("dx", dx),
        ("dscale", dscale),
        ("dshift", dshift),
        ("running", running),
    ]
}

#[test]
fn batch_norms_with_long_sums() {
    for (shape, batch) in [
        (Shape::new(6, 96, 160), 4),
        (Shape::new(6, 4, 4), 64),
        (Shape::flat(6), 16384),
    ] {
        let what = std::format!("{batch} of {shape}");
        compare(&what, &batch_norm(shape, batch), &batch_norm(shape, batch));
    }
}

fn mean_and_loss<T: Real>() -> Results<T> {
    let input = Shape::new(3, 200, 300);
    let mut means = vec![T::ZERO; 6];
    global_avg_pool::forward(input, 2, &uniform::<T>(2 * input.len(), 1), &mut means);
    let labels: Vec<u32> = (0..16384).map(|i| i % 10).collect();
    let logits: Vec<T> = uniform(labels.len() * 10, 2);
    let mut gradient = vec![T::ZERO; logits.len()];
    let loss =
        softmax_cross_entropy(10, &logits, &labels, &mut gradient).expect("labels are classes");
    vec![
        ("means", means),
        ("loss", vec![loss.mean]),
        ("dlogits", gradient),
    ]
}

#[test]
fn global_averages_and_losses_with_long_sums() {
    compare("", &mean_and_loss(), &mean_and_loss());
}
