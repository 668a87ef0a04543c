//! Average pooling; padding counts as zeros, as in PyTorch.

use super::super::layout::{Blocked, IMAGES};
use super::super::simd::{Isa, Kernel, Simd};
use super::{Windows, plane, planes_per_task};
use rayon::prelude::*;

/// Mean of each window.
///
/// # Panics
/// A buffer does not fit the shapes, or the windows do not (see [`Windows::output`]).
pub fn average_forward(
    isa: Isa,
    input_shape: &Blocked,
    windows: &Windows,
    input: &[f32],
    output: &mut [f32],
) {
    let output_shape = windows.output(input_shape);
    assert_eq!(input.len(), input_shape.len());
    assert_eq!(output.len(), output_shape.len());
    if output_shape.is_empty() {
        return;
    }
    let planes = (
        input.par_chunks(plane(input_shape)),
        output.par_chunks_mut(plane(&output_shape)),
    );
    let planes = planes
        .into_par_iter()
        .with_min_len(planes_per_task(input_shape));
    planes.for_each(|(input, output)| {
        let shapes = [*input_shape, output_shape];
        isa.run(Forward {
            shapes,
            windows: *windows,
            input,
            output,
        });
    });
}

/// Spreads the gradient of each mean over its window; `accumulate` adds it to what is in `input_gradient`.
///
/// # Panics
/// A buffer does not fit the shapes, or the windows do not (see [`Windows::output`]).
pub fn average_backward(
    isa: Isa,
    input_shape: &Blocked,
    windows: &Windows,
    output_gradient: &[f32],
    input_gradient: &mut [f32],
    accumulate: bool,
) {
    let output_shape = windows.output(input_shape);
    assert_eq!(input_gradient.len(), input_shape.len());
    assert_eq!(output_gradient.len(), output_shape.len());
    if output_shape.is_empty() {
        return;
    }
    let planes = (
        output_gradient.par_chunks(plane(&output_shape)),
        input_gradient.par_chunks_mut(plane(input_shape)),
    );
    let planes = planes
        .into_par_iter()
        .with_min_len(planes_per_task(input_shape));
    planes.for_each(|(output_gradient, input_gradient)| {
        let shapes = [*input_shape, output_shape];
        isa.run(Backward {
            shapes,
            windows: *windows,
            output_gradient,
            input_gradient,
            accumulate,
        });
    });
}

/// Mean of each channel; `output` has one pixel a channel.
///
/// # Panics
/// A buffer does not fit the shape.
pub fn global_average_forward(isa: Isa, input_shape: &Blocked, input: &[f32], output: &mut [f32]) {
    assert_eq!(input.len(), input_shape.len());
    assert_eq!(output.len() * input_shape.pixels(), input.len());
    if input.is_empty() {
        return;
    }
    let planes = (
        input.par_chunks(plane(input_shape)),
        output.par_chunks_mut(IMAGES),
    );
    let planes = planes
        .into_par_iter()
        .with_min_len(planes_per_task(input_shape));
    planes.for_each(|(input, output)| isa.run(Mean { input, output }));
}

/// Spreads the gradient of each mean over its channel; `accumulate` adds it to what is in `input_gradient`.
///
/// # Panics
/// A buffer does not fit the shape.
pub fn global_average_backward(
    isa: Isa,
    input_shape: &Blocked,
    output_gradient: &[f32],
    input_gradient: &mut [f32],
    accumulate: bool,
) {
    assert_eq!(input_gradient.len(), input_shape.len());
    assert_eq!(
        output_gradient.len() * input_shape.pixels(),
        input_gradient.len()
    );
    if input_gradient.is_empty() {
        return;
    }
    let planes = (
        output_gradient.par_chunks(IMAGES),
        input_gradient.par_chunks_mut(plane(input_shape)),
    );
    let planes = planes
        .into_par_iter()
        .with_min_len(planes_per_task(input_shape));
    planes.for_each(|(output_gradient, input_gradient)| {
        isa.run(Spread {
            output_gradient,
            input_gradient,
            accumulate,
        });
    });
}

struct Forward<'a> {
    shapes: [Blocked; 2],
    windows: Windows,
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            shapes: [from, to],
            windows,
            input,
            output,
        } = self;
        let share = s.splat(1.0 / (windows.kernel[0] * windows.kernel[1]) as f32);
        for oy in 0..to.height {
            let (rows, _) = windows.pixels(0, oy, from.height);
            for ox in 0..to.width {
                let (columns, _) = windows.pixels(1, ox, from.width);
                for lane in (0..IMAGES).step_by(S::LANES) {
                    // SAFETY: the window's pixels lie in the input plane, and (oy, ox) in the output's.
                    unsafe {
                        let mut sum = s.splat(0.0);
                        for y in rows.clone() {
                            for x in columns.clone() {
                                let at = (y * from.width + x) * IMAGES + lane;
                                sum = s.add(sum, s.load(input.as_ptr().add(at)));
                            }
                        }
                        let at = (oy * to.width + ox) * IMAGES + lane;
                        s.store(output.as_mut_ptr().add(at), s.mul(sum, share));
                    }
                }
            }
        }
    }
}

struct Backward<'a> {
    shapes: [Blocked; 2],
    windows: Windows,
    output_gradient: &'a [f32],
    input_gradient: &'a mut [f32],
    accumulate: bool,
}

impl Kernel for Backward<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            shapes: [to, from],
            windows,
            output_gradient,
            input_gradient,
            accumulate,
        } = self;
        let share = s.splat(1.0 / (windows.kernel[0] * windows.kernel[1]) as f32);
        for y in 0..to.height {
            let rows = windows.around(0, y, from.height);
            for x in 0..to.width {
                let columns = windows.around(1, x, from.width);
                for lane in (0..IMAGES).step_by(S::LANES) {
                    // SAFETY: windows around a pixel lie in the output plane, and (y, x) in the input's.
                    unsafe {
                        let mut sum = s.splat(0.0);
                        for oy in rows.clone() {
                            for ox in columns.clone() {
                                let at = (oy * from.width + ox) * IMAGES + lane;
                                sum = s.add(sum, s.load(output_gradient.as_ptr().add(at)));
                            }
                        }
                        let mut gradient = s.mul(sum, share);
                        let target = input_gradient
                            .as_mut_ptr()
                            .add((y * to.width + x) * IMAGES + lane);
                        if accumulate {
                            gradient = s.add(gradient, s.load(target));
                        }
                        s.store(target, gradient);
                    }
                }
            }
        }
    }
}

/// Pixels in one chain of additions, to keep rounding errors few.
const CHAIN: usize = 32;

/// Mean of a plane.
struct Mean<'a> {
    input: &'a [f32],
    output: &'a mut [f32],
}

impl Kernel for Mean<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self { input, output } = self;
        let count = (input.len() / IMAGES) as f32;
        for lane in (0..IMAGES).step_by(S::LANES) {
            let mut total = s.splat(0.0);
            for chain in input.chunks(CHAIN * IMAGES) {
                let mut sum = s.splat(0.0);
                for pixel in chain.chunks_exact(IMAGES) {
                    // SAFETY: a pixel has 16 lanes; LANES divides 16.
                    sum = s.add(sum, unsafe { s.load(pixel.as_ptr().add(lane)) });
                }
                total = s.add(total, sum);
            }
            // SAFETY: the output has one pixel of 16 lanes.
            unsafe { s.store(output.as_mut_ptr().add(lane), s.div(total, s.splat(count))) };
        }
    }
}

/// The gradient of a plane's mean.
struct Spread<'a> {
    output_gradient: &'a [f32],
    input_gradient: &'a mut [f32],
    accumulate: bool,
}

impl Kernel for Spread<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Self {
            output_gradient,
            input_gradient,
            accumulate,
        } = self;
        let count = s.splat((input_gradient.len() / IMAGES) as f32);
        for lane in (0..IMAGES).step_by(S::LANES) {
            // SAFETY: the gradient of the mean has 16 lanes; LANES divides 16.
            let gradient = s.div(unsafe { s.load(output_gradient.as_ptr().add(lane)) }, count);
            for pixel in input_gradient.chunks_exact_mut(IMAGES) {
                // SAFETY: a pixel has 16 lanes.
                unsafe {
                    let target = pixel.as_mut_ptr().add(lane);
                    let before = if accumulate {
                        s.load(target)
                    } else {
                        s.splat(0.0)
                    };
                    s.store(target, s.add(before, gradient));
                }
            }
        }
    }
}
