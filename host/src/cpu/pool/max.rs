//! Maximum pooling.

use super::super::layout::{Blocked, IMAGES};
use super::super::simd::{Isa, Kernel, Simd};
use super::{Windows, plane, planes_per_task};
use rayon::prelude::*;

/// Maximum of each window, and its place in the window, row by row; of equal values the first counts. Padding is never
/// the maximum. A window with NaN gives NaN.
///
/// # Panics
/// A buffer does not fit the shapes, or the windows do not (see [`Windows::output`]).
pub fn max_forward(
    isa: Isa,
    input_shape: &Blocked,
    windows: &Windows,
    input: &[f32],
    output: &mut [f32],
    places: &mut [u8],
) {
    let output_shape = windows.output(input_shape);
    assert_eq!(input.len(), input_shape.len());
    assert_eq!([output.len(), places.len()], [output_shape.len(); 2]);
    if output_shape.is_empty() {
        return;
    }
    let planes = (
        input.par_chunks(plane(input_shape)),
        output.par_chunks_mut(plane(&output_shape)),
        places.par_chunks_mut(plane(&output_shape)),
    );
    let planes = planes
        .into_par_iter()
        .with_min_len(planes_per_task(input_shape));
    planes.for_each(|(input, output, places)| {
        let shapes = [*input_shape, output_shape];
        isa.run(Forward {
            shapes,
            windows: *windows,
            input,
            output,
            places,
        });
    });
}

/// Sends the gradient of each window's maximum to its place; `accumulate` adds it to what is in `input_gradient`.
///
/// # Panics
/// A buffer does not fit the shapes, or the windows do not (see [`Windows::output`]).
pub fn max_backward(
    isa: Isa,
    input_shape: &Blocked,
    windows: &Windows,
    output_gradient: &[f32],
    places: &[u8],
    input_gradient: &mut [f32],
    accumulate: bool,
) {
    let output_shape = windows.output(input_shape);
    assert_eq!(input_gradient.len(), input_shape.len());
    assert_eq!(
        [output_gradient.len(), places.len()],
        [output_shape.len(); 2]
    );
    if output_shape.is_empty() {
        return;
    }
    let planes = (
        output_gradient.par_chunks(plane(&output_shape)),
        places.par_chunks(plane(&output_shape)),
        input_gradient.par_chunks_mut(plane(input_shape)),
    );
    let planes = planes
        .into_par_iter()
        .with_min_len(planes_per_task(input_shape));
    planes.for_each(|(output_gradient, places, input_gradient)| {
        let shapes = [*input_shape, output_shape];
        let windows = *windows;
        isa.run(Backward {
            shapes,
            windows,
            output_gradient,
            places,
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
    places: &'a mut [u8],
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
            places,
        } = self;
        for oy in 0..to.height {
            let (rows, first_row) = windows.pixels(0, oy, from.height);
            for ox in 0..to.width {
                let (columns, first_column) = windows.pixels(1, ox, from.width);
                let start = (first_row * windows.kernel[1] + first_column) as u32;
                for lane in (0..IMAGES).step_by(S::LANES) {
                    // SAFETY: the window's pixels lie in the input plane, and (oy, ox) in the output's.
                    unsafe {
                        let row = |y: usize| input.as_ptr().add(y * from.width * IMAGES + lane);
                        let mut top = s.load(row(rows.start).add(columns.start * IMAGES));
                        let mut place = s.splat_i(start);
                        // The sum tells whether a value is NaN, which comparisons pass over.
                        let mut sum = s.splat(0.0);
                        for (i, y) in rows.clone().enumerate() {
                            let row = row(y);
                            let row_start = start + (i * windows.kernel[1]) as u32;
                            for (j, x) in columns.clone().enumerate() {
                                let value = s.load(row.add(x * IMAGES));
                                let larger = s.gt(value, top);
                                top = s.select(larger, value, top);
                                place = s.select_i(larger, s.splat_i(row_start + j as u32), place);
                                sum = s.add(sum, value);
                            }
                        }
                        let magnitude = s.and_i(s.bits(sum), s.splat_i(0x7fff_ffff));
                        let nan = s.gt_i(magnitude, s.splat_i(0x7f80_0000));
                        let at = (oy * to.width + ox) * IMAGES + lane;
                        s.store(output.as_mut_ptr().add(at), s.select(nan, sum, top));
                        s.store_bytes(places.as_mut_ptr().add(at), place);
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
    places: &'a [u8],
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
            places,
            input_gradient,
            accumulate,
        } = self;
        for y in 0..to.height {
            let rows = windows.around(0, y, from.height);
            for x in 0..to.width {
                let columns = windows.around(1, x, from.width);
                for lane in (0..IMAGES).step_by(S::LANES) {
                    // SAFETY: windows around a pixel lie in the output plane, and (y, x) in the input's.
                    unsafe {
                        let target = input_gradient
                            .as_mut_ptr()
                            .add((y * to.width + x) * IMAGES + lane);
                        let mut sum = s.splat(0.0);
                        if accumulate {
                            sum = s.load(target);
                        }
                        for oy in rows.clone() {
                            let row = windows.place(0, y, oy) * windows.kernel[1];
                            for ox in columns.clone() {
                                let at = (oy * from.width + ox) * IMAGES + lane;
                                let place = s.load_bytes(places.as_ptr().add(at));
                                let here = s.splat_i((row + windows.place(1, x, ox)) as u32);
                                let gradient = s.load(output_gradient.as_ptr().add(at));
                                let sent = s.select(s.eq_i(place, here), gradient, s.splat(0.0));
                                sum = s.add(sum, sent);
                            }
                        }
                        s.store(target, sum);
                    }
                }
            }
        }
    }
}
