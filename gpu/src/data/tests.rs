//! Images are where the host's data puts them: pad, crop and mirror, pixel by pixel, with its generator.

use super::*;
use crate::device::Selector;
use rand_core::{Rng, SeedableRng};
use rand_xoshiro::{SplitMix64, Xoshiro256PlusPlus};

const SHAPE: [usize; 3] = [2, 5, 7];
const LEN: usize = 70;
const IMAGES: usize = 40;

fn hash(x: u64) -> u64 {
    SplitMix64::seed_from_u64(x).next_u64()
}

/// A number below n, as host/src/data/random.rs draws it.
fn below(rng: &mut Xoshiro256PlusPlus, n: usize) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

fn expected(pixels: &[u8], table: &[f32], index: usize, placement: Option<&Placement>) -> Vec<f32> {
    let [channels, rows, columns] = SHAPE;
    let (mut row, mut column, mut flip) = (0, 0, false);
    let (mut pad, mut fill) = (0, 0);
    if let Some(p) = placement {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(hash(p.base ^ index as u64));
        let drawn = [below(&mut rng, 2 * p.pad + 1), below(&mut rng, 2 * p.pad + 1)];
        flip = p.flip && rng.next_u64() >> 63 == 1;
        if p.crop {
            ([row, column], pad, fill) = (drawn, p.pad, p.fill);
        }
    }
    let mut out = Vec::new();
    for c in 0..channels {
        for y in 0..rows {
            for x in 0..columns {
                let x = if flip { columns - 1 - x } else { x };
                let (y, x) = ((y + row).wrapping_sub(pad), (x + column).wrapping_sub(pad));
                let inside = y < rows && x < columns;
                let at = index * LEN + (c * rows + y.min(rows - 1)) * columns + x.min(columns - 1);
                out.push(table[256 * c + usize::from(if inside { pixels[at] } else { fill })]);
            }
        }
    }
    out
}

#[test]
fn images_are_those_of_the_hosts_data() {
    let gpu = Gpu::open(&Selector::default()).expect("a device");
    let pixels: Vec<u8> = (0..IMAGES * LEN).map(|i| (i * 37 % 251) as u8).collect();
    let labels: Vec<u8> = (0..IMAGES).map(|i| (i % 10) as u8).collect();
    let table: Vec<f32> = (0..512).map(|i| (i as f32 / 255.0 - 0.3) / 0.7).collect();
    let mut set = DataSet::new(&gpu, SHAPE, &pixels, &labels, &table, 10).expect("memory");
    let order: Vec<u32> = (0..IMAGES as u32).map(|i| i * 7 % IMAGES as u32).collect();
    set.arrange(&gpu, &order).expect("fits");
    let full = Placement { crop: true, pad: 3, fill: 127, flip: true, base: 0x1234_5678_9abc_def0 };
    let images: Buffer<f32> = Buffer::zeroed(&gpu, IMAGES * LEN).expect("memory");
    let classes: Buffer<i32> = Buffer::zeroed(&gpu, IMAGES).expect("memory");
    let cases = [
        None,
        Some(full),
        Some(Placement { crop: false, ..full }),
        Some(Placement { flip: false, pad: 1, ..full }),
        Some(Placement { crop: false, flip: false, ..full }),
    ];
    for placement in cases {
        let (start, count) = (5, 33);
        let to = [images.pointer(), classes.pointer()];
        set.gather(&gpu, start, count, placement.as_ref(), to).expect("launches");
        let (got, of) = (images.to_vec(&gpu).expect("reads"), classes.to_vec(&gpu).expect("reads"));
        for (i, index) in order[start..start + count].iter().map(|index| *index as usize).enumerate() {
            let want = expected(&pixels, &table, index, placement.as_ref());
            assert!(got[i * LEN..][..LEN] == want, "{placement:?}, image {index}");
            assert_eq!(of[i], i32::from(labels[index]));
        }
    }
    assert!(set.gather(&gpu, 20, 21, None, [images.pointer(), classes.pointer()]).is_err());
    assert!(set.arrange(&gpu, &[IMAGES as u32]).is_err());
    let wrong = DataSet::new(&gpu, SHAPE, &pixels, &labels, &table, 9);
    assert!(matches!(wrong, Err(GpuError::Label(_))), "{wrong:?}");
}
