//! Products of a neuron's weights with its inputs.

use super::built;
use super::runs::runs_mut;
use super::slices::take;

/// Images whose sums are formed side by side.
const SIDE: usize = 4;

/// y[image][row] += the product of a part of a neuron's weights with that part of each image.
pub(super) fn add_dots(
    filter: &[f32],
    start: usize,
    x: &[f32],
    inputs: usize,
    row: usize,
    y: &mut [f32],
    outputs: usize,
) {
    let mut ys = runs_mut(y, outputs).filter_map(|y| y.get_mut(row));
    let part = |x, image| take(x, image * inputs + start, filter.len()).unwrap_or_default();
    let mut rest = x;
    while built::WIDE
        && let Some((group, later)) = rest.split_at_checked(SIDE * inputs)
        && inputs > 0
    {
        let sums = dots(filter, core::array::from_fn(|image| part(group, image)));
        sums.iter().zip(&mut ys).for_each(|(sum, y)| *y += sum);
        rest = later;
    }
    ys.enumerate().for_each(|(image, y)| *y += dot(filter, part(rest, image)));
}

/// Sum of products in four partial sums.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0f32; 4];
    let (fours, rest) = a.as_chunks::<4>();
    let (b_fours, b) = b.as_chunks::<4>();
    // Two fours at a time halve the cost of the loop.
    let (pairs, odd) = if built::WIDE { fours.as_chunks::<2>() } else { (&[][..], fours) };
    let (b_pairs, b_odd) = if built::WIDE { b_fours.as_chunks::<2>() } else { (&[][..], b_fours) };
    for ([a, c], [b, d]) in pairs.iter().zip(b_pairs) {
        multiply_add(&mut lanes, a, b);
        multiply_add(&mut lanes, c, d);
    }
    odd.iter().zip(b_odd).for_each(|(a, b)| multiply_add(&mut lanes, a, b));
    if rest.is_empty() { total(lanes) } else { add_rest(total(lanes), rest, b) }
}

/// The same products of `a` with four others, which are at least as long.
fn dots(a: &[f32], [b, c, d, e]: [&[f32]; SIDE]) -> [f32; SIDE] {
    let len = a.len();
    let (Some(b), Some(c), Some(d), Some(e)) = (b.get(..len), c.get(..len), d.get(..len), e.get(..len)) else {
        return [0.0; SIDE];
    };
    let mut lanes = [[0.0f32; 4]; SIDE];
    let (fours, rest) = a.as_chunks::<4>();
    let ((bs, b), (cs, c), (ds, d), (es, e)) =
        (b.as_chunks::<4>(), c.as_chunks::<4>(), d.as_chunks::<4>(), e.as_chunks::<4>());
    for ((((a, b), c), d), e) in fours.iter().zip(bs).zip(cs).zip(ds).zip(es) {
        let [of_b, of_c, of_d, of_e] = &mut lanes;
        multiply_add(of_b, a, b);
        multiply_add(of_c, a, c);
        multiply_add(of_d, a, d);
        multiply_add(of_e, a, e);
    }
    let mut sums = lanes.map(total);
    if !rest.is_empty() {
        sums.iter_mut().zip([b, c, d, e]).for_each(|(sum, b)| *sum = add_rest(*sum, rest, b));
    }
    sums
}

#[inline(always)]
fn multiply_add(lanes: &mut [f32; 4], a: &[f32; 4], b: &[f32; 4]) {
    lanes.iter_mut().zip(a.iter().zip(b)).for_each(|(lane, (a, b))| *lane += a * b);
}

fn total(lanes: [f32; 4]) -> f32 {
    (lanes[0] + lanes[2]) + (lanes[1] + lanes[3])
}

/// The products of what does not fill four lanes.
#[inline(never)]
fn add_rest(sum: f32, a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).fold(sum, |sum, (a, b)| sum + a * b)
}
