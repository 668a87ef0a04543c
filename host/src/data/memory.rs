//! Images held in memory as bytes, and how one becomes the normalised f32 input of a network.

use super::augment::Placement;

/// The network input of every byte of one channel.
pub(crate) type Table = [f32; 256];

/// Images of one size as bytes, with their labels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Images {
    /// Channels, rows, columns.
    pub shape: [usize; 3],
    /// One image after the other; in an image channel after channel, row after row.
    pub pixels: Vec<u8>,
    /// One label an image.
    pub labels: Vec<u8>,
}

impl Images {
    /// Number of images.
    #[must_use]
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// Writes image `index`, placed, normalised by one table a channel, to `out` (channels x rows x columns).
    pub(crate) fn write(
        &self,
        index: usize,
        placement: Placement,
        tables: &[Table],
        out: &mut [f32],
    ) {
        let [_, rows, columns] = self.shape;
        let plane = rows * columns;
        let image = &self.pixels[index * self.shape[0] * plane..][..self.shape[0] * plane];
        let channels = image
            .chunks_exact(plane)
            .zip(out.chunks_exact_mut(plane))
            .zip(tables);
        for ((source, target), table) in channels {
            if placement.is_identity() {
                convert(source, table, target);
            } else {
                place(source, columns, placement, table, target);
            }
        }
    }
}

fn convert(source: &[u8], table: &Table, target: &mut [f32]) {
    for (&pixel, value) in source.iter().zip(target) {
        *value = table[usize::from(pixel)];
    }
}

/// One channel: the window at (`placement.row`, `placement.column`) of the image padded by `placement.pad`,
/// mirrored if asked.
fn place(source: &[u8], columns: usize, placement: Placement, table: &Table, target: &mut [f32]) {
    let Placement {
        pad,
        fill,
        row,
        column,
        flip,
    } = placement;
    let rows = source.len() / columns;
    let fill = table[usize::from(fill)];
    // columns of the window that lie on the image: target column x shows source column x + column - pad
    let first = pad.saturating_sub(column);
    let last = (columns + pad).saturating_sub(column).min(columns);
    for (y, target) in target.chunks_exact_mut(columns).enumerate() {
        let y = y + row;
        if y < pad || y >= rows + pad {
            target.fill(fill);
            continue;
        }
        let source = &source[(y - pad) * columns..][..columns];
        let source = &source[first + column - pad..last + column - pad];
        if flip {
            let (first, last) = (columns - last, columns - first);
            target[..first].fill(fill);
            for (&pixel, value) in source.iter().rev().zip(&mut target[first..last]) {
                *value = table[usize::from(pixel)];
            }
            target[last..].fill(fill);
        } else {
            target[..first].fill(fill);
            convert(source, table, &mut target[first..last]);
            target[last..].fill(fill);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> Table {
        std::array::from_fn(|v| v as f32)
    }

    /// The slow meaning: pad, crop, then mirror, pixel by pixel.
    fn expected(images: &Images, index: usize, p: Placement) -> Vec<f32> {
        let [channels, rows, columns] = images.shape;
        let mut out = Vec::new();
        for c in 0..channels {
            for y in 0..rows {
                for x in 0..columns {
                    let x = if p.flip { columns - 1 - x } else { x };
                    let (sy, sx) = (
                        (y + p.row).wrapping_sub(p.pad),
                        (x + p.column).wrapping_sub(p.pad),
                    );
                    let inside = sy < rows && sx < columns;
                    let at =
                        ((index * channels + c) * rows + sy.min(rows)) * columns + sx.min(columns);
                    out.push(f32::from(if inside { images.pixels[at] } else { p.fill }));
                }
            }
        }
        out
    }

    #[test]
    fn every_placement_equals_pad_crop_mirror() {
        let images = Images {
            shape: [2, 3, 4],
            pixels: (0..48).collect(),
            labels: vec![0, 1],
        };
        let tables = [table(), table()];
        for pad in 0..4 {
            for (row, column) in (0..=2 * pad).flat_map(|r| (0..=2 * pad).map(move |c| (r, c))) {
                for flip in [false, true] {
                    let placement = Placement {
                        pad,
                        fill: 99,
                        row,
                        column,
                        flip,
                    };
                    let mut out = vec![f32::NAN; 24];
                    images.write(1, placement, &tables, &mut out);
                    assert_eq!(out, expected(&images, 1, placement), "{placement:?}");
                }
            }
        }
    }
}
