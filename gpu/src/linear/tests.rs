use super::*;
use crate::deliver::Deliver;
use crate::memory::Buffer;
use crate::product::testing::{Exact, compare, download, gpu, precisions, rounded, upload, values};

/// All passes of a layer in one precision; `draw_images` of the images see the same parameters.
fn check(gpu: &Gpu, [images, draw_images, inputs, outputs]: [usize; 4], bias: bool, precision: Precision, busy: usize) {
    let linear = Linear { busy, ..Linear::new(inputs, outputs, bias, precision) };
    let what = |pass: &str| format!("{pass} {precision:?} {images} x {inputs} x {outputs}");
    let weights = inputs * outputs;
    let draws = Draws { images: draw_images, pitch: weights + outputs };
    let x = values(1, images * inputs);
    let parameters = values(2, draws.count(images) * draws.pitch);
    let dy = values(3, images * outputs);
    let before = values(4, x.len().max(draws.pitch));
    let of_weight = |n: usize, weight: usize| rounded(precision, parameters[n / draw_images * draws.pitch + weight]);

    let buffers = [&x, &parameters, &dy].map(|values| upload(gpu, values));
    let [x_at, parameters_at, dy_at] = [0, 1, 2].map(|i: usize| buffers[i].pointer());
    let workspace = Buffer::<f32>::zeroed(gpu, linear.workspace(images, draws)).expect("device memory");
    let y = Buffer::<f32>::zeroed(gpu, dy.len()).expect("device memory");
    let bias_at = |start: Pointer| if bias { start.at(weights) } else { Pointer::NULL };
    // SAFETY: all buffers are made for these shapes.
    unsafe {
        let operands = (x_at, parameters_at, bias_at(parameters_at));
        linear
            .forward(gpu, (images, draws), operands.0, operands.1, operands.2, y.pointer(), bias, workspace.pointer())
            .expect("runs");
    }
    let mut exact = vec![Exact::default(); dy.len()];
    let products = |each: &mut dyn FnMut(usize, usize, usize)| {
        for n in 0..images {
            for o in 0..outputs {
                (0..inputs).for_each(|i| each(n, o, i));
            }
        }
    };
    products(&mut |n, o, i| {
        exact[n * outputs + o].add(rounded(precision, x[n * inputs + i]) * of_weight(n, o * inputs + i));
    });
    if bias {
        for (at, exact) in exact.iter_mut().enumerate() {
            exact.add(f64::from(parameters[at / outputs / draw_images * draws.pitch + weights + at % outputs]));
            exact.sum = exact.sum.max(0.0);
        }
    }
    compare(&what("forward"), &download(gpu, &y), exact);

    for accumulate in [false, true] {
        let dx = upload(gpu, &before[..x.len()]);
        // SAFETY: all buffers are made for these shapes.
        unsafe {
            linear
                .input_gradient(gpu, (images, draws), dy_at, parameters_at, dx.pointer(), accumulate, workspace.pointer())
                .expect("runs");
        }
        let mut exact = vec![Exact::default(); x.len()];
        products(&mut |n, o, i| {
            exact[n * inputs + i].add(rounded(precision, dy[n * outputs + o]) * of_weight(n, o * inputs + i));
        });
        if accumulate {
            exact.iter_mut().zip(&before).for_each(|(exact, b)| exact.add(f64::from(*b)));
        }
        compare(&what("data gradient"), &download(gpu, &dx), exact);
    }

    for deliver in [Deliver::OVERWRITE, Deliver { scale: 0.25, accumulate: true }] {
        let gradient = upload(gpu, &before[..draws.pitch]);
        let gradients = Gradients { weight: gradient.pointer(), bias: bias_at(gradient.pointer()), deliver };
        // SAFETY: all buffers are made for these shapes.
        unsafe { linear.weight_gradient(gpu, images, [x_at, dy_at], gradients, workspace.pointer()).expect("runs") };
        let mut exact = vec![Exact::default(); draws.pitch];
        let scale = f64::from(deliver.scale);
        products(&mut |n, o, i| {
            let product = rounded(precision, x[n * inputs + i]) * rounded(precision, dy[n * outputs + o]);
            exact[o * inputs + i].add(scale * product);
        });
        if bias {
            for (at, g) in dy.iter().enumerate() {
                exact[weights + at % outputs].add(scale * f64::from(*g));
            }
        }
        if deliver.accumulate {
            exact.iter_mut().zip(&before).for_each(|(exact, b)| exact.add(f64::from(*b)));
        }
        let written = if bias { draws.pitch } else { weights };
        exact.truncate(written);
        let results = download(gpu, &gradient);
        compare(&what("weight gradient"), &results[..written], exact);
        assert_eq!(results[written..], before[written..draws.pitch], "{}: nothing else is written", what("weight gradient"));
    }
}

fn check_all(sizes: &[([usize; 4], bool)], busy: usize) {
    let gpu = gpu();
    for (sizes, bias) in sizes {
        for precision in precisions(&gpu) {
            check(&gpu, *sizes, *bias, *precision, busy);
        }
    }
}

#[test]
fn ragged_and_whole_sizes() {
    check_all(&[([3, 3, 7, 5], true), ([40, 40, 64, 10], true), ([33, 33, 130, 131], false), ([64, 64, 32, 128], true)], usize::MAX);
}

#[test]
fn draws_see_their_own_weights() {
    check_all(&[([7, 3, 20, 12], true), ([70, 35, 9, 6], true)], usize::MAX);
}

#[test]
fn long_sums_are_cut() {
    let linear = Linear::new(300, 12, true, Precision::F32);
    assert!(linear.workspace(6, Draws::one(6)) > 0, "this is a test of sums in parts");
    check_all(&[([6, 4, 300, 12], true), ([6, 6, 9, 400], true), ([300, 300, 8, 12], true)], usize::MAX);
}

#[test]
fn large_tiles() {
    check_all(&[([120, 120, 48, 40], true), ([100, 100, 36, 120], false)], 1);
}
