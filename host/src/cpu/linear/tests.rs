#![allow(clippy::unwrap_used)]

use super::super::testing::{blocked, distance, image_of, values, with_threads};
use super::*;
use crate::cpu::layout::Blocked;

/// Images, inputs, outputs.
const CASES: [[usize; 3]; 9] = [
    [1, 1, 1],
    [16, 17, 5],
    [17, 100, 10],
    [40, 784, 65],
    [3, 3136, 12],
    [130, 9, 300],
    [256, 192, 10],
    [2000, 31, 3],
    [33, 64, 129],
];

struct Case {
    shape: [usize; 3],
    input: Vec<f32>,
    weights: Vec<f32>,
    bias: Vec<f32>,
    gradient: Vec<f32>,
}

#[derive(Debug, PartialEq)]
struct Results<T> {
    output: Vec<T>,
    input_gradient: Vec<T>,
    weight_gradient: Vec<T>,
    bias_gradient: Vec<T>,
}

fn flat(images: usize, channels: usize) -> Blocked {
    Blocked {
        images,
        channels,
        height: 1,
        width: 1,
    }
}

impl Case {
    fn new([n, k, o]: [usize; 3]) -> Self {
        Self {
            shape: [n, k, o],
            input: values(n * k, 1, 0.3),
            weights: values(o * k, 2, 0.1),
            bias: values(o, 3, 0.0),
            gradient: values(n * o, 4, 0.2),
        }
    }

    /// Plain loops in f64.
    fn reference(&self) -> Results<f64> {
        let [images, inputs, outputs] = self.shape;
        let mut r = Results {
            output: vec![0.0; images * outputs],
            input_gradient: vec![0.0; images * inputs],
            weight_gradient: vec![0.0; self.weights.len()],
            bias_gradient: vec![0.0; outputs],
        };
        for n in 0..images {
            for o in 0..outputs {
                let dy = f64::from(self.gradient[n * outputs + o]);
                r.bias_gradient[o] += dy;
                r.output[n * outputs + o] = f64::from(self.bias[o]);
                for k in 0..inputs {
                    let (w, x) = (self.weights[o * inputs + k], self.input[n * inputs + k]);
                    r.output[n * outputs + o] += f64::from(w) * f64::from(x);
                    r.input_gradient[n * inputs + k] += f64::from(w) * dy;
                    r.weight_gradient[o * inputs + k] += f64::from(x) * dy;
                }
            }
        }
        r
    }

    /// The kernels; gradients are added to `before` where `deliver` says so.
    fn run(&self, isa: Isa, threads: usize, deliver: Deliver, before: f32) -> Results<f32> {
        let [n, k, o] = self.shape;
        let layer = Linear::new(k, o);
        let mut workspace = Workspace::new(layer.workspace(), threads);
        let x = blocked(&flat(n, k), &self.input, 7.0);
        let dy = blocked(&flat(n, o), &self.gradient, 0.0);
        let fill = if deliver.accumulate { before } else { f32::NAN };
        let mut r = Results {
            output: vec![f32::NAN; dy.len()],
            input_gradient: vec![fill; x.len()],
            weight_gradient: vec![fill; self.weights.len()],
            bias_gradient: vec![fill; o],
        };
        with_threads(threads, || {
            layer.forward(isa, &x, &self.weights, Some(&self.bias), &mut r.output);
            let add = deliver.accumulate;
            layer.input_gradient(isa, &dy, &self.weights, &mut r.input_gradient, add);
            let (dw, db) = (&mut r.weight_gradient, Some(&mut r.bias_gradient[..]));
            layer.weight_gradient(isa, &x, &dy, dw, db, deliver, &mut workspace);
        });
        r
    }

    fn assert_near(&self, what: &str, isa: Isa, got: &[f32], want: &[f64]) {
        let distance = distance(got, want);
        assert!(
            distance < 2e-6,
            "{what} on {}: {distance:e}, {:?}",
            isa.name(),
            self.shape
        );
    }
}

/// The images' values of a blocked activation, row by row.
fn images(shape: &Blocked, blocked: &[f32]) -> Vec<f32> {
    let mut all = vec![0.0; shape.images * shape.channels];
    for (k, value) in blocked.iter().enumerate() {
        let image = image_of(shape, k);
        if image < shape.images {
            all[image * shape.channels + k / IMAGES % shape.channels] = *value;
        }
    }
    all
}

#[test]
fn agrees_with_plain_loops_in_f64() {
    for shape @ [n, k, o] in CASES {
        let case = Case::new(shape);
        let mut want = case.reference();
        for isa in Isa::available() {
            let got = case.run(isa, 1, Deliver::OVERWRITE, 0.0);
            case.assert_near(
                "output",
                isa,
                &images(&flat(n, o), &got.output),
                &want.output,
            );
            let input_gradient = images(&flat(n, k), &got.input_gradient);
            case.assert_near("input gradient", isa, &input_gradient, &want.input_gradient);
            case.assert_near(
                "weight gradient",
                isa,
                &got.weight_gradient,
                &want.weight_gradient,
            );
            case.assert_near(
                "bias gradient",
                isa,
                &got.bias_gradient,
                &want.bias_gradient,
            );
        }
        want.input_gradient.iter_mut().for_each(|g| *g += 2.5);
        want.weight_gradient
            .iter_mut()
            .for_each(|g| *g = 2.5 + 0.5 * *g);
        want.bias_gradient
            .iter_mut()
            .for_each(|g| *g = 2.5 + 0.5 * *g);
        for isa in Isa::available() {
            let got = case.run(
                isa,
                2,
                Deliver {
                    scale: 0.5,
                    accumulate: true,
                },
                2.5,
            );
            let input_gradient = images(&flat(n, k), &got.input_gradient);
            case.assert_near(
                "added input gradient",
                isa,
                &input_gradient,
                &want.input_gradient,
            );
            case.assert_near(
                "added weight gradient",
                isa,
                &got.weight_gradient,
                &want.weight_gradient,
            );
            case.assert_near(
                "added bias gradient",
                isa,
                &got.bias_gradient,
                &want.bias_gradient,
            );
        }
    }
}

#[test]
fn without_bias_the_output_is_the_bare_product() {
    let mut case = Case::new([17, 30, 9]);
    case.bias.fill(0.0);
    let want = case.reference();
    let x = blocked(&flat(17, 30), &case.input, 7.0);
    let mut y = vec![f32::NAN; flat(17, 9).len()];
    for isa in Isa::available() {
        Linear::new(30, 9).forward(isa, &x, &case.weights, None, &mut y);
        case.assert_near("output", isa, &images(&flat(17, 9), &y), &want.output);
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for shape in CASES {
        let case = Case::new(shape);
        for isa in Isa::available() {
            let one = case.run(isa, 1, Deliver::OVERWRITE, 0.0);
            for threads in [2, 3] {
                assert_eq!(
                    one,
                    case.run(isa, threads, Deliver::OVERWRITE, 0.0),
                    "{shape:?}"
                );
            }
        }
    }
}
