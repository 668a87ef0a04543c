use super::*;
use crate::deliver::Deliver;
use crate::error::GpuError;
use crate::memory::Buffer;
use crate::packing::Packing;
use crate::product::testing::{Exact, compare, download, gpu, precisions, rounded, upload, values};
use smoothout::network::{Layer, Network};
use smoothout::plan::{Plan, Purpose, Tensor};

/// A convolution, its images and how many of them a draw has.
struct Case {
    layer: Conv2d,
    input: Shape,
    images: usize,
    draw_images: usize,
}

const fn case(layer: Conv2d, [channels, height, width]: [usize; 3], images: usize) -> Case {
    Case { layer, input: Shape::new(channels, height, width), images, draw_images: images }
}

/// One output's products: filter, channel, tap, input and output pixel.
fn products(conv: &Conv, images: usize, mut each: impl FnMut([usize; 3])) {
    let Conv { layer, input, output, .. } = *conv;
    let ([kh, kw], [sh, sw], [ph, pw]) = (layer.kernel, layer.stride, layer.padding);
    for n in 0..images {
        for o in 0..output.channels {
            let group = o / conv.group_filters();
            for pixel in 0..output.pixels() {
                let (oh, ow) = (pixel / output.width, pixel % output.width);
                for c in 0..conv.group_channels() {
                    for tap in 0..kh * kw {
                        let (h, w) = ((oh * sh + tap / kw).wrapping_sub(ph), (ow * sw + tap % kw).wrapping_sub(pw));
                        if h < input.height && w < input.width {
                            let channel = n * input.channels + group * conv.group_channels() + c;
                            let x = (channel * input.height + h) * input.width + w;
                            let weight = (o * conv.group_channels() + c) * kh * kw + tap;
                            each([x, weight, (n * output.channels + o) * output.pixels() + pixel]);
                        }
                    }
                }
            }
        }
    }
}

/// The plan's weight of a convolution.
fn weight(case: &Case) -> Tensor {
    let mut network: Network<4> = Network::new(case.input);
    network.push(format_args!("conv"), Layer::Conv2d(case.layer)).expect("fits");
    network.push(format_args!("flat"), Layer::Flatten).expect("fits");
    let plan = Plan::new(&network, case.images, Purpose::Inference).expect("a plan");
    plan.layers()[0].weight.expect("a weight")
}

/// All passes of a case in one precision, on tiles as large as `busy` allows.
fn check(gpu: &Gpu, case: &Case, precision: Precision, busy: usize) {
    let output = case.layer.output(case.input).expect("a convolution");
    let conv = Conv { busy, ..Conv::new(case.layer, case.input, output, precision) };
    let what = |pass: &str| format!("{pass} {precision:?} {:?} {:?} x {}", case.layer, case.input, case.images);
    let images = case.images;
    let draws = Draws { images: case.draw_images, pitch: conv.weights() + output.channels };
    let count = draws.count(images);
    let x = values(1, images * case.input.len());
    let parameters = values(2, count * draws.pitch);
    let dy = values(3, images * output.len());
    let before = values(4, x.len().max(draws.pitch));
    let of_draw = |y: usize| y / output.len() / case.draw_images * draws.pitch;
    let of_weight = |weight: usize, y: usize| rounded(precision, parameters[of_draw(y) + weight]);

    let buffers = [&x, &parameters, &dy].map(|values| upload(gpu, values));
    let [x_at, parameters_at, dy_at] = [0, 1, 2].map(|i: usize| buffers[i].pointer());
    let (packing, starts) = Packing::new(gpu, precision, &[weight(case)]).expect("a packing");
    let packed = Buffer::<f32>::zeroed(gpu, count * packing.len()).expect("device memory");
    let weights_at = (packed.pointer().at(starts[0]), packing.len());
    let bias = if case.layer.bias { parameters_at.at(conv.weights()) } else { Pointer::NULL };
    let y = Buffer::<f32>::zeroed(gpu, dy.len()).expect("device memory");
    // SAFETY: all buffers are made for these shapes.
    unsafe {
        packing.pack(gpu, (parameters_at, draws.pitch), count, packed.pointer()).expect("packs");
        conv.forward(gpu, (images, draws), x_at, weights_at, bias, y.pointer(), case.layer.bias).expect("runs");
    }
    let mut exact = vec![Exact::default(); dy.len()];
    products(&conv, images, |[i, w, o]| exact[o].add(rounded(precision, x[i]) * of_weight(w, o)));
    if case.layer.bias {
        for (o, exact) in exact.iter_mut().enumerate() {
            exact.add(f64::from(parameters[of_draw(o) + conv.weights() + o / output.pixels() % output.channels]));
            exact.sum = exact.sum.max(0.0);
        }
    }
    compare(&what("forward"), &download(gpu, &y), exact);

    for accumulate in [false, true] {
        let dx = upload(gpu, &before[..x.len()]);
        // SAFETY: all buffers are made for these shapes.
        unsafe { conv.input_gradient(gpu, (images, draws), dy_at, weights_at, dx.pointer(), accumulate).expect("runs") };
        let mut exact = vec![Exact::default(); x.len()];
        products(&conv, images, |[i, w, o]| exact[i].add(rounded(precision, dy[o]) * of_weight(w, o)));
        if accumulate {
            exact.iter_mut().zip(&before).for_each(|(exact, b)| exact.add(f64::from(*b)));
        }
        compare(&what("data gradient"), &download(gpu, &dx), exact);
    }

    let workspace = Buffer::<f32>::zeroed(gpu, conv.workspace(images)).expect("device memory");
    for deliver in [Deliver::OVERWRITE, Deliver { scale: 0.25, accumulate: true }] {
        let gradient = upload(gpu, &before[..draws.pitch]);
        let at = gradient.pointer();
        let bias = if case.layer.bias { at.at(conv.weights()) } else { Pointer::NULL };
        let gradients = Gradients { weight: at, bias, deliver };
        // SAFETY: all buffers are made for these shapes.
        unsafe { conv.weight_gradient(gpu, images, [x_at, dy_at], gradients, workspace.pointer()).expect("runs") };
        let mut exact = vec![Exact::default(); draws.pitch];
        let scale = f64::from(deliver.scale);
        products(&conv, images, |[i, w, o]| exact[w].add(scale * rounded(precision, x[i]) * rounded(precision, dy[o])));
        if case.layer.bias {
            for (o, g) in dy.iter().enumerate() {
                exact[conv.weights() + o / output.pixels() % output.channels].add(scale * f64::from(*g));
            }
        }
        if deliver.accumulate {
            exact.iter_mut().zip(&before).for_each(|(exact, b)| exact.add(f64::from(*b)));
        }
        let written = if case.layer.bias { draws.pitch } else { conv.weights() };
        exact.truncate(written);
        let results = download(gpu, &gradient);
        compare(&what("weight gradient"), &results[..written], exact);
        assert_eq!(results[written..], before[written..draws.pitch], "{}: nothing else is written", what("weight gradient"));
    }
}

/// On the small tiles that few blocks get, and on the large ones.
fn check_all(cases: &[Case]) {
    let gpu = gpu();
    for case in cases {
        for precision in precisions(&gpu) {
            check(&gpu, case, *precision, usize::MAX);
        }
    }
}

#[test]
fn every_kernel_size_stride_and_padding_of_the_networks() {
    check_all(&[
        case(Conv2d::new(16, 1), [8, 5, 5], 2),
        case(Conv2d::new(16, 3).padding(1), [3, 9, 7], 2),
        case(Conv2d::new(32, 1).stride(2), [16, 8, 8], 2),
        case(Conv2d::new(20, 3).stride(2).padding(1), [16, 9, 9], 1),
        case(Conv2d::new(8, 5).padding(2).with_bias(), [4, 8, 6], 1),
        case(Conv2d::new(10, 7).stride(2).padding(3), [3, 15, 13], 1),
        case(Conv2d::new(9, 11).stride(4).padding(2), [3, 27, 23], 1),
    ]);
}

#[test]
fn more_than_one_tile_in_every_direction() {
    // 70 rows: a second tile of 64 with 6 rows. 162 pixels: two tiles of columns. 17 channels: k's steps do not end with a tap.
    check_all(&[
        case(Conv2d::new(70, 3).padding(1), [17, 9, 9], 2),
        case(Conv2d::new(17, 3).padding(1).with_bias(), [70, 6, 6], 1),
        case(Conv2d::new(48, 3).padding(1), [48, 8, 8], 1),
    ]);
}

#[test]
fn groups_and_unequal_sides() {
    let odd = Conv2d { out_channels: 12, kernel: [2, 3], stride: [1, 3], padding: [2, 0], groups: 3, bias: true };
    let depthwise = Conv2d::new(6, 3).padding(1).groups(6);
    let wide = Conv2d { stride: [5, 2], ..Conv2d::new(4, 3) };
    check_all(&[case(odd, [6, 5, 10], 2), case(depthwise, [6, 6, 5], 2), case(wide, [2, 13, 9], 2)]);
}

#[test]
fn draws_see_their_own_weights() {
    let layer = Conv2d::new(12, 3).padding(1).with_bias();
    // Three draws, of which the last has fewer images; weights that start at no multiple of 16 bytes.
    check_all(&[
        Case { draw_images: 2, ..case(layer, [16, 4, 4], 5) },
        Case { draw_images: 1, ..case(Conv2d::new(5, 3), [3, 4, 4], 3) },
    ]);
}

#[test]
fn long_sums_are_cut() {
    let layer = Conv2d::new(5, 3).padding(1).with_bias();
    let case = case(layer, [2, 16, 16], 3);
    let conv = Conv::new(layer, case.input, layer.output(case.input).expect("a convolution"), Precision::F32);
    assert!(conv.workspace(case.images) > 0, "this is a test of sums in parts");
    check_all(&[case]);
}

#[test]
fn large_tiles() {
    let gpu = gpu();
    for precision in precisions(&gpu) {
        // 130 filters: a second tile of which two rows exist would be wasteful, so 64 is taken; 120 and 200 fit.
        check(&gpu, &case(Conv2d::new(120, 3).padding(1), [16, 6, 6], 1), *precision, 1);
        check(&gpu, &case(Conv2d::new(16, 3).stride(2).padding(1), [200, 7, 7], 1), *precision, 1);
    }
}

#[test]
fn sizes_that_kernels_cannot_count_are_refused() {
    let input = Shape::new(64, 1024, 1024);
    let layer = Conv2d::new(64, 1);
    let conv = Conv::new(layer, input, layer.output(input).expect("a convolution"), Precision::F32);
    assert!(conv.shape(31).is_ok());
    assert!(matches!(conv.shape(32), Err(GpuError::TooMany { .. })));
}
