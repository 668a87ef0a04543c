//! The part of an image that a convolution reads for some output rows, copied to where it is quick
//! to read: zeros around it, rows and channels close together. In the images themselves channels
//! often lie a multiple of 4 KB apart, which is the same place of the cache for all of them.

use super::layout::IMAGES;
use std::ops::Range;

/// One axis (rows or columns) of what a convolution, or its gradient, reads.
///
/// Outputs are divided into phases; all outputs of a phase read by the same taps. The j-th outputs
/// of all phases read packed points from `j * step` on, which are the source's points
/// `j * stride + first` on.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    /// Points of the source.
    pub(super) len: usize,
    /// Packed points from an output to the next of its phase.
    pub(super) step: usize,
    /// Packed points that J outputs of a phase read, less `J * step`.
    extra: usize,
    /// Source points from an output to the next of its phase.
    stride: usize,
    /// Source point that the first output's first packed point is; may lie before the source.
    first: isize,
    /// Outputs of the axis; phase k has outputs `k, k + phases, ...`.
    pub(super) outputs: usize,
    /// For each phase its taps: kernel index and packed point.
    pub(super) phases: Vec<Vec<(usize, usize)>>,
}

impl Axis {
    /// What the outputs of a convolution read of its input: `kernel` points from
    /// `output * stride - padding` on.
    pub(super) fn input(
        len: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Self {
        // Where the stride leaves points out, they are not packed.
        let step = stride.min(kernel);
        Self {
            len,
            step,
            extra: kernel - step,
            stride,
            first: -(padding as isize),
            outputs,
            phases: vec![(0..kernel).map(|k| (k, k)).collect()],
        }
    }

    /// What the gradient of an input point i reads of the output's gradient: kernel index k stands
    /// over output `(i + padding - k) / stride` where that is a whole number. Input points whose
    /// numbers differ by a multiple of the stride are a phase.
    pub(super) fn output_gradient(
        len: usize,
        inputs: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
    ) -> Self {
        let shifts = |phase: usize| {
            (0..kernel).filter_map(move |k| {
                let distance = (phase + padding) as isize - k as isize;
                let stride = stride as isize;
                (distance.rem_euclid(stride) == 0).then_some((k, distance.div_euclid(stride)))
            })
        };
        let all = || (0..stride).flat_map(shifts).map(|(_, shift)| shift);
        let first = all().min().unwrap_or(0);
        let last = all().max().unwrap_or(0);
        let taps = |phase| {
            shifts(phase)
                .map(|(k, shift)| (k, (shift - first) as usize))
                .collect()
        };
        Self {
            len,
            step: 1,
            extra: (last - first) as usize,
            stride: 1,
            first,
            outputs: inputs,
            phases: (0..stride).map(taps).collect(),
        }
    }

    /// Outputs of the longest phase.
    pub(super) fn longest(&self) -> usize {
        self.outputs.div_ceil(self.phases.len())
    }

    /// Outputs of a phase among its outputs `range`.
    pub(super) fn of_phase(&self, phase: usize, range: &Range<usize>) -> Range<usize> {
        let all = (self.outputs + self.phases.len() - 1 - phase) / self.phases.len();
        range.start.min(all)..range.end.min(all)
    }

    /// Packed points that `outputs` outputs of a phase read.
    pub(super) fn packed(&self, outputs: usize) -> usize {
        outputs * self.step + self.extra
    }

    /// The source's point that is packed as point `q` for the outputs from `start` on, or `None`
    /// for a point of the border.
    #[inline(always)]
    fn source(&self, start: usize, q: usize) -> Option<usize> {
        let offset = ((start + q / self.step) * self.stride + q % self.step) as isize;
        let at = offset + self.first;
        (at >= 0 && at < self.len as isize).then_some(at as usize)
    }

    /// Whether neighbours in the source are packed as neighbours.
    fn is_dense(&self) -> bool {
        self.step == self.stride
    }
}

/// Packs what the j-th output rows of all phases read, for j in `rows`, of the channels in
/// `image`, to `[channel][packed rows][packed columns][16]`; a channel takes `channel_len` floats.
pub(super) fn pack(
    (row, col): (&Axis, &Axis),
    rows: &Range<usize>,
    image: &[f32],
    packed: &mut [f32],
    channel_len: usize,
) {
    let width = col.packed(col.longest());
    let height = row.packed(rows.len());
    let channels = image.chunks_exact(row.len * col.len * IMAGES);
    for (channel, packed) in channels.zip(packed.chunks_exact_mut(channel_len)) {
        let lines = packed.chunks_exact_mut(width * IMAGES).take(height);
        for (q, line) in lines.enumerate() {
            match row.source(rows.start, q) {
                Some(at) => pack_line(
                    col,
                    &channel[at * col.len * IMAGES..][..col.len * IMAGES],
                    line,
                ),
                None => line.fill(0.0),
            }
        }
    }
}

/// Packs one row of pixels.
fn pack_line(col: &Axis, pixels: &[f32], line: &mut [f32]) {
    if col.is_dense() {
        let before = (-col.first).max(0) as usize * IMAGES;
        let skipped = col.first.max(0) as usize * IMAGES;
        let before = before.min(line.len());
        let (left, line) = line.split_at_mut(before);
        let pixels = pixels.get(skipped..).unwrap_or_default();
        let (middle, right) = line.split_at_mut(pixels.len().min(line.len()));
        left.fill(0.0);
        middle.copy_from_slice(&pixels[..middle.len()]);
        right.fill(0.0);
        return;
    }
    for (q, point) in line.chunks_exact_mut(IMAGES).enumerate() {
        match col.source(0, q) {
            Some(at) => point.copy_from_slice(&pixels[at * IMAGES..][..IMAGES]),
            None => point.fill(0.0),
        }
    }
}
