#![allow(clippy::unwrap_used)]

use super::super::testing::{blocked, distance, image_of, values, with_threads};
use super::*;
use crate::cpu::layout::Blocked;

const fn conv(
    channels: [usize; 2],
    input: [usize; 2],
    kernel: [usize; 2],
    stride: [usize; 2],
    padding: [usize; 2],
    groups: usize,
) -> ConvShape {
    let [in_channels, out_channels] = channels;
    ConvShape {
        in_channels,
        input,
        out_channels,
        kernel,
        stride,
        padding,
        groups,
    }
}

/// Images and shape: odd channels, kernels that are not square, strides larger than the kernel,
/// padding larger than half the kernel, rows shorter than a register tile, groups.
const CASES: [(usize, ConvShape); 22] = [
    (1, conv([1, 1], [1, 1], [1, 1], [1, 1], [0, 0], 1)),
    (16, conv([3, 5], [7, 9], [3, 3], [1, 1], [1, 1], 1)),
    (17, conv([5, 17], [8, 8], [3, 3], [1, 1], [1, 1], 1)),
    (40, conv([17, 3], [5, 4], [3, 3], [2, 2], [1, 1], 1)),
    (2, conv([3, 4], [9, 32], [5, 5], [1, 1], [2, 2], 1)),
    (16, conv([64, 64], [6, 15], [5, 5], [1, 1], [2, 2], 1)),
    (33, conv([16, 32], [8, 8], [1, 1], [2, 2], [0, 0], 1)),
    (3, conv([16, 32], [7, 9], [1, 1], [3, 2], [0, 0], 1)),
    (5, conv([3, 9], [31, 35], [11, 11], [4, 4], [2, 2], 1)),
    (17, conv([3, 7], [12, 11], [7, 7], [2, 2], [3, 3], 1)),
    (16, conv([5, 3], [6, 10], [1, 7], [1, 2], [0, 3], 1)),
    (7, conv([3, 5], [10, 6], [5, 2], [3, 1], [1, 0], 1)),
    (16, conv([3, 5], [9, 9], [2, 3], [4, 3], [0, 1], 1)),
    (16, conv([8, 8], [9, 7], [3, 3], [1, 1], [1, 1], 8)),
    (17, conv([6, 12], [7, 7], [3, 3], [2, 2], [1, 1], 6)),
    (18, conv([12, 8], [5, 6], [3, 3], [1, 1], [1, 1], 4)),
    (16, conv([2, 3], [3, 2], [3, 3], [1, 1], [3, 2], 1)),
    (2, conv([70, 130], [4, 4], [3, 3], [1, 1], [1, 1], 1)),
    (1, conv([3, 70], [13, 13], [3, 3], [1, 1], [0, 0], 1)),
    (600, conv([2, 3], [12, 12], [3, 3], [1, 1], [1, 1], 1)),
    (40, conv([300, 2], [2, 3], [1, 1], [1, 1], [1, 1], 1)),
    (1, conv([1, 2], [1, 300], [1, 3], [1, 1], [0, 1], 1)),
];

/// The three results of a convolution, by plain loops in f64, NCHW.
struct Reference {
    output: Vec<f64>,
    input_gradient: Vec<f64>,
    weight_gradient: Vec<f64>,
    bias_gradient: Vec<f64>,
}

fn reference(
    images: usize,
    s: &ConvShape,
    input: &[f32],
    weights: &[f32],
    bias: &[f32],
    gradient: &[f32],
) -> Reference {
    let [height, width] = s.input;
    let [rows, cols] = s.output();
    let (ins, outs) = (s.in_channels / s.groups, s.out_channels / s.groups);
    let mut r = Reference {
        output: vec![0.0; gradient.len()],
        input_gradient: vec![0.0; input.len()],
        weight_gradient: vec![0.0; weights.len()],
        bias_gradient: vec![0.0; bias.len()],
    };
    for n in 0..images {
        for (o, bias) in bias.iter().enumerate() {
            for y in 0..rows {
                for x in 0..cols {
                    let out = ((n * s.out_channels + o) * rows + y) * cols + x;
                    let dy = f64::from(gradient[out]);
                    r.output[out] = f64::from(*bias);
                    r.bias_gradient[o] += dy;
                    for c in 0..ins {
                        for ky in 0..s.kernel[0] {
                            for kx in 0..s.kernel[1] {
                                let i = (y * s.stride[0] + ky).wrapping_sub(s.padding[0]);
                                let j = (x * s.stride[1] + kx).wrapping_sub(s.padding[1]);
                                if i >= height || j >= width {
                                    continue;
                                }
                                let channel = o / outs * ins + c;
                                let at = ((n * s.in_channels + channel) * height + i) * width + j;
                                let w = ((o * ins + c) * s.kernel[0] + ky) * s.kernel[1] + kx;
                                r.output[out] += f64::from(weights[w]) * f64::from(input[at]);
                                r.input_gradient[at] += f64::from(weights[w]) * dy;
                                r.weight_gradient[w] += dy * f64::from(input[at]);
                            }
                        }
                    }
                }
            }
        }
    }
    r
}

/// What the kernels make of the same, still blocked.
#[derive(Clone, Debug, PartialEq)]
struct Results {
    output: Vec<f32>,
    input_gradient: Vec<f32>,
    weight_gradient: Vec<f32>,
    bias_gradient: Vec<f32>,
}

struct Case {
    images: usize,
    shape: ConvShape,
    input: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    gradient: Vec<f32>,
}

impl Case {
    fn new(images: usize, shape: ConvShape) -> Self {
        let mut case = Self {
            images,
            shape,
            input: vec![],
            weights: values(shape.weights(), 2, 0.1),
            bias: values(shape.out_channels, 3, 0.0),
            gradient: vec![],
        };
        case.input = values(images * case.input_shape().image_len(), 1, 0.3);
        case.gradient = values(images * case.output_shape().image_len(), 4, 0.2);
        case
    }

    fn input_shape(&self) -> Blocked {
        let [height, width] = self.shape.input;
        Blocked {
            images: self.images,
            channels: self.shape.in_channels,
            height,
            width,
        }
    }

    fn output_shape(&self) -> Blocked {
        let [height, width] = self.shape.output();
        Blocked {
            images: self.images,
            channels: self.shape.out_channels,
            height,
            width,
        }
    }

    /// Runs the three kernels; with `before`, the gradients are added to it.
    fn run(&self, isa: Isa, threads: usize, bias: bool, deliver: Deliver, before: f32) -> Results {
        let conv = Conv::new(self.shape);
        let (input, output) = (self.input_shape(), self.output_shape());
        let mut workspace = Workspace::new(conv.workspace(input.blocks()), threads);
        let x = blocked(&input, &self.input, 7.0);
        let dy = blocked(&output, &self.gradient, 0.0);
        let fill = if deliver.accumulate { before } else { f32::NAN };
        let mut r = Results {
            output: vec![f32::NAN; output.len()],
            input_gradient: vec![fill; input.len()],
            weight_gradient: vec![fill; self.weights.len()],
            bias_gradient: vec![fill; self.bias.len()],
        };
        with_threads(threads, || {
            let w = &mut workspace;
            let b = bias.then_some(&self.bias[..]);
            conv.forward(isa, &x, &self.weights, b, &mut r.output, w);
            let add = deliver.accumulate;
            conv.input_gradient(isa, &dy, &self.weights, &mut r.input_gradient, add, w);
            let db = bias.then_some(&mut r.bias_gradient[..]);
            conv.weight_gradient(isa, &x, &dy, &mut r.weight_gradient, db, deliver, w);
        });
        r
    }
}

/// The images' values of a blocked activation, NCHW.
fn images(shape: &Blocked, blocked: &[f32]) -> Vec<f32> {
    let mut all = vec![0.0; shape.images * shape.image_len()];
    for (k, value) in blocked.iter().enumerate() {
        let image = image_of(shape, k);
        if image < shape.images {
            all[image * shape.image_len() + k / 16 % shape.image_len()] = *value;
        }
    }
    all
}

fn assert_near(case: &Case, what: &str, got: &[f32], want: &[f64]) {
    let distance = distance(got, want);
    // The sum over many more terms than any layer's weights have may lose a little more.
    assert!(
        distance < 2e-6,
        "{what}: {distance:e}, {} images, {:?}",
        case.images,
        case.shape
    );
}

#[test]
fn agrees_with_plain_loops_in_f64() {
    for (n, shape) in CASES {
        let case = Case::new(n, shape);
        let want = reference(
            n,
            &shape,
            &case.input,
            &case.weights,
            &case.bias,
            &case.gradient,
        );
        for isa in Isa::available() {
            let got = case.run(isa, 1, true, Deliver::OVERWRITE, 0.0);
            let name = |what| format!("{what} on {}", isa.name());
            let output = images(&case.output_shape(), &got.output);
            let input_gradient = images(&case.input_shape(), &got.input_gradient);
            assert_near(&case, &name("output"), &output, &want.output);
            assert_near(
                &case,
                &name("input gradient"),
                &input_gradient,
                &want.input_gradient,
            );
            assert_near(
                &case,
                &name("weight gradient"),
                &got.weight_gradient,
                &want.weight_gradient,
            );
            assert_near(
                &case,
                &name("bias gradient"),
                &got.bias_gradient,
                &want.bias_gradient,
            );
        }
    }
}

#[test]
fn gradients_are_scaled_and_added() {
    for (n, shape) in [CASES[2], CASES[3], CASES[9], CASES[14], CASES[19]] {
        let case = Case::new(n, shape);
        let mut want = reference(
            n,
            &shape,
            &case.input,
            &case.weights,
            &case.bias,
            &case.gradient,
        );
        want.input_gradient.iter_mut().for_each(|g| *g += 2.5);
        want.weight_gradient
            .iter_mut()
            .for_each(|g| *g = 2.5 + 0.5 * *g);
        want.bias_gradient
            .iter_mut()
            .for_each(|g| *g = 2.5 + 0.5 * *g);
        for isa in Isa::available() {
            let deliver = Deliver {
                scale: 0.5,
                accumulate: true,
            };
            let got = case.run(isa, 2, true, deliver, 2.5);
            let input_gradient = images(&case.input_shape(), &got.input_gradient);
            assert_near(
                &case,
                "input gradient",
                &input_gradient,
                &want.input_gradient,
            );
            assert_near(
                &case,
                "weight gradient",
                &got.weight_gradient,
                &want.weight_gradient,
            );
            assert_near(
                &case,
                "bias gradient",
                &got.bias_gradient,
                &want.bias_gradient,
            );
        }
    }
}

#[test]
fn without_bias_the_output_is_the_bare_sum() {
    let case = Case::new(17, CASES[3].1);
    let none = vec![0.0; case.bias.len()];
    let want = reference(
        17,
        &case.shape,
        &case.input,
        &case.weights,
        &none,
        &case.gradient,
    );
    for isa in Isa::available() {
        let got = case.run(isa, 1, false, Deliver::OVERWRITE, 0.0);
        assert_near(
            &case,
            "output",
            &images(&case.output_shape(), &got.output),
            &want.output,
        );
        assert!(got.bias_gradient.iter().all(|g| g.is_nan()));
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for (n, shape) in CASES {
        let case = Case::new(n, shape);
        for isa in Isa::available() {
            let one = case.run(isa, 1, true, Deliver::OVERWRITE, 0.0);
            for threads in [2, 3] {
                assert_eq!(
                    one,
                    case.run(isa, threads, true, Deliver::OVERWRITE, 0.0),
                    "{shape:?}"
                );
            }
        }
    }
}

#[test]
fn unused_lanes_of_the_input_gradient_are_zero() {
    let case = Case::new(17, CASES[3].1);
    for isa in Isa::available() {
        let got = case.run(isa, 1, true, Deliver::OVERWRITE, 0.0);
        for (k, value) in got.input_gradient.iter().enumerate() {
            assert!(image_of(&case.input_shape(), k) < 17 || *value == 0.0);
        }
    }
}
