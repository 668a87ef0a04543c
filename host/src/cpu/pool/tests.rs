use super::super::testing::{blocked, distance, image_of, values, with_threads};
use super::*;
use crate::cpu::simd::Isa;

const WINDOWS: [Windows; 6] = [
    Windows {
        kernel: [3, 3],
        stride: [2, 2],
        padding: [0, 0],
    },
    Windows {
        kernel: [3, 3],
        stride: [2, 2],
        padding: [1, 1],
    },
    Windows {
        kernel: [2, 2],
        stride: [2, 2],
        padding: [0, 0],
    },
    Windows {
        kernel: [1, 1],
        stride: [3, 2],
        padding: [0, 0],
    },
    Windows {
        kernel: [5, 2],
        stride: [1, 3],
        padding: [2, 1],
    },
    Windows {
        kernel: [2, 3],
        stride: [4, 5],
        padding: [1, 0],
    },
];

fn shapes() -> Vec<Blocked> {
    let mut shapes = Vec::new();
    for (images, channels) in [(1, 1), (5, 3), (16, 10), (17, 2), (33, 64)] {
        for (height, width) in [(5, 5), (7, 15), (15, 7), (33, 32)] {
            if channels < 64 || height == 7 {
                shapes.push(Blocked {
                    images,
                    channels,
                    height,
                    width,
                });
            }
        }
    }
    shapes
}

/// All (output, input, place) of the windows of one plane, in the order of the output and of the window's rows.
fn links(shape: &Blocked, windows: &Windows) -> Vec<(usize, usize, u8)> {
    let output = windows.output(shape);
    let mut links = Vec::new();
    for oy in 0..output.height {
        for ox in 0..output.width {
            for place in 0..windows.kernel[0] * windows.kernel[1] {
                let y = (oy * windows.stride[0] + place / windows.kernel[1])
                    .wrapping_sub(windows.padding[0]);
                let x = (ox * windows.stride[1] + place % windows.kernel[1])
                    .wrapping_sub(windows.padding[1]);
                if y < shape.height && x < shape.width {
                    links.push((oy * output.width + ox, y * shape.width + x, place as u8));
                }
            }
        }
    }
    links
}

/// Index of the pixel of a plane in the blocked layout.
fn at(shape: &Blocked, plane: usize, pixel: usize, lane: usize) -> usize {
    (plane * shape.pixels() + pixel) * 16 + lane
}

/// Coarse values, so that windows have equal maxima.
fn input(shape: &Blocked) -> Vec<f32> {
    let exact = values(shape.images * shape.image_len(), 1, 0.0);
    let coarse: Vec<f32> = exact.iter().map(|x| (x * 2.0).round()).collect();
    blocked(shape, &coarse, 9.0)
}

#[test]
fn first_maximum_of_each_window_is_found_and_gets_the_gradient() {
    for shape in shapes() {
        for windows in WINDOWS {
            let to = windows.output(&shape);
            let (x, links) = (input(&shape), links(&shape, &windows));
            let dy = blocked(&to, &values(to.images * to.image_len(), 2, 0.0), 0.0);
            let mut y = vec![f32::NEG_INFINITY; to.len()];
            let mut winner = vec![(0, 0); to.len()];
            for plane in 0..shape.blocks() * shape.channels {
                for &(output, input, place) in &links {
                    for lane in 0..16 {
                        let (o, i) = (at(&to, plane, output, lane), at(&shape, plane, input, lane));
                        if x[i] > y[o] {
                            (y[o], winner[o]) = (x[i], (i, place));
                        }
                    }
                }
            }
            let mut dx = vec![0.0; shape.len()];
            for (o, &(i, _)) in winner.iter().enumerate() {
                dx[i] += f64::from(dy[o]);
            }
            for isa in Isa::available() {
                for threads in 1..=3 {
                    let mut output = vec![f32::NAN; to.len()];
                    let mut places = vec![255; to.len()];
                    let mut gradient = vec![f32::NAN; shape.len()];
                    let mut added = vec![2.0; shape.len()];
                    with_threads(threads, || {
                        max_forward(isa, &shape, &windows, &x, &mut output, &mut places);
                        max_backward(isa, &shape, &windows, &dy, &places, &mut gradient, false);
                        max_backward(isa, &shape, &windows, &dy, &places, &mut added, true);
                    });
                    assert_eq!(output, y, "{shape:?} {windows:?} {}", isa.name());
                    assert!(
                        places
                            .iter()
                            .zip(&winner)
                            .all(|(&place, &(_, want))| place == want)
                    );
                    assert!(distance(&gradient, &dx) < 1e-6);
                    let plus: Vec<f64> = dx.iter().map(|g| g + 2.0).collect();
                    assert!(distance(&added, &plus) < 1e-6);
                    let mut unused =
                        (0..shape.len()).filter(|&k| image_of(&shape, k) >= shape.images);
                    assert!(unused.all(|k| gradient[k] == 0.0));
                }
            }
        }
    }
}

#[test]
fn nan_and_infinities_pass_the_maximum() {
    let shape = Blocked {
        images: 16,
        channels: 1,
        height: 3,
        width: 3,
    };
    let windows = WINDOWS[0];
    for isa in Isa::available() {
        let run = |special: f32| {
            let mut x = vec![-1.0; shape.len()];
            x[4 * 16 + 3] = special;
            let (mut y, mut places) = (vec![0.0; 16], vec![0; 16]);
            max_forward(isa, &shape, &windows, &x, &mut y, &mut places);
            assert!(
                y.iter()
                    .enumerate()
                    .all(|(lane, &y)| lane == 3 || y == -1.0)
            );
            (y[3], places[3])
        };
        assert!(run(f32::NAN).0.is_nan());
        assert_eq!(run(f32::INFINITY), (f32::INFINITY, 4));
        assert_eq!(run(f32::NEG_INFINITY), (-1.0, 0));
    }
    let everywhere = vec![f32::NEG_INFINITY; shape.len()];
    let (mut y, mut places) = (vec![0.0; 16], vec![9; 16]);
    max_forward(
        Isa::detect(),
        &shape,
        &windows,
        &everywhere,
        &mut y,
        &mut places,
    );
    assert_eq!((y[0], places[0]), (f32::NEG_INFINITY, 0));
}

#[test]
fn averages_and_their_gradients_are_those_of_float64() {
    for shape in shapes() {
        let x = blocked(
            &shape,
            &values(shape.images * shape.image_len(), 1, 0.3),
            9.0,
        );
        let planes = shape.blocks() * shape.channels;
        for windows in WINDOWS {
            let (to, links) = (windows.output(&shape), links(&shape, &windows));
            let dy = blocked(&to, &values(to.images * to.image_len(), 2, 0.0), 0.0);
            let size = (windows.kernel[0] * windows.kernel[1]) as f64;
            let (mut y, mut dx) = (vec![0.0; to.len()], vec![0.0; shape.len()]);
            for plane in 0..planes {
                for &(output, input, _) in &links {
                    for lane in 0..16 {
                        let (o, i) = (at(&to, plane, output, lane), at(&shape, plane, input, lane));
                        y[o] += f64::from(x[i]) / size;
                        dx[i] += f64::from(dy[o]) / size;
                    }
                }
            }
            for isa in Isa::available() {
                let run = |threads, accumulate, before| {
                    let mut output = vec![f32::NAN; to.len()];
                    let mut gradient = vec![before; shape.len()];
                    with_threads(threads, || {
                        average_forward(isa, &shape, &windows, &x, &mut output);
                        average_backward(isa, &shape, &windows, &dy, &mut gradient, accumulate);
                    });
                    (output, gradient)
                };
                let (output, gradient) = run(1, false, 7.0);
                assert!(
                    distance(&output, &y) < 2e-6,
                    "{shape:?} {windows:?} {}",
                    isa.name()
                );
                assert!(distance(&gradient, &dx) < 2e-6);
                assert!(run(2, false, 5.0) == (output.clone(), gradient.clone()));
                assert!(run(3, false, 5.0) == (output, gradient));
                let plus: Vec<f64> = dx.iter().map(|g| g + 2.0).collect();
                assert!(distance(&run(1, true, 2.0).1, &plus) < 2e-6);
            }
        }
        let to = Blocked {
            height: 1,
            width: 1,
            ..shape
        };
        let dy = blocked(&to, &values(to.images * to.image_len(), 2, 0.0), 0.0);
        let count = shape.pixels() as f64;
        let plane_of = |k: usize| k / (16 * shape.pixels()) * 16 + k % 16;
        let mut y = vec![0.0; to.len()];
        x.iter()
            .enumerate()
            .for_each(|(k, &x)| y[plane_of(k)] += f64::from(x) / count);
        let dx = |plus: f64| -> Vec<f64> {
            (0..x.len())
                .map(|k| f64::from(dy[plane_of(k)]) / count + plus)
                .collect()
        };
        for isa in Isa::available() {
            for threads in 1..=3 {
                let mut output = vec![f32::NAN; to.len()];
                let mut gradient = vec![f32::NAN; shape.len()];
                let mut added = vec![2.0; shape.len()];
                with_threads(threads, || {
                    global_average_forward(isa, &shape, &x, &mut output);
                    global_average_backward(isa, &shape, &dy, &mut gradient, false);
                    global_average_backward(isa, &shape, &dy, &mut added, true);
                });
                assert!(distance(&output, &y) < 2e-6, "{shape:?} {}", isa.name());
                assert!(distance(&gradient, &dx(0.0)) < 2e-6);
                assert!(distance(&added, &dx(2.0)) < 2e-6);
            }
        }
    }
}
