//! A layer in the model's file: what is written, and what is read back from it.
//!
//! | part | content |
//! |---|---|
//! | byte 0 | kind, see [`Record::of`] |
//! | byte 1 | flags: 1 there is a bias, 2 the layer is frozen |
//! | byte 2 | length of the name |
//! | byte 3 | 0 |
//! | word 1 | where the input comes from: 0 the images, i + 1 layer i |
//! | words 2.. | the kind's numbers |
//! | rest | the name in UTF-8, zeros up to a whole word |

use super::ModelError;
use super::entry::padded;
use crate::layers::{AvgPool2d, BatchNorm, Conv2d, Dropout, Linear, MaxPool2d};
use crate::network::{Layer, NAME_CAPACITY, Source};
use heapless::Vec;

const BIAS: u8 = 1;
const FROZEN: u8 = 2;

/// One layer of the file.
#[derive(Clone, Copy, Debug, PartialEq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Record<'m> {
    /// Its name.
    pub name: &'m str,
    /// What it computes.
    pub layer: Layer,
    /// Where its (first) input comes from.
    pub input: Source,
    /// Whether its parameters are not to be trained.
    pub frozen: bool,
}

impl<'m> Record<'m> {
    /// Kind, whether there is a bias, and the numbers; `None` when a number does not fit 32 bits.
    fn of(layer: &Layer) -> Option<(u8, bool, Vec<u32, 8>)> {
        let sizes = |all: &[usize]| all.iter().map(|size| u32::try_from(*size).ok()).collect();
        let pool = |k: [usize; 2], s: [usize; 2], p: [usize; 2]| sizes(&[k[0], k[1], s[0], s[1], p[0], p[1]]);
        let (kind, bias, numbers): (u8, bool, Option<Vec<u32, 8>>) = match *layer {
            Layer::Conv2d(Conv2d { out_channels, kernel, stride, padding, groups, bias }) => {
                let [[kh, kw], [sh, sw], [ph, pw]] = [kernel, stride, padding];
                (1, bias, sizes(&[out_channels, kh, kw, sh, sw, ph, pw, groups]))
            }
            Layer::Linear(Linear { out_features, bias }) => (2, bias, sizes(&[out_features])),
            Layer::BatchNorm(BatchNorm { eps, momentum }) => {
                (3, true, Some([eps.to_bits(), momentum.to_bits()].into_iter().collect()))
            }
            Layer::Relu => (4, false, sizes(&[])),
            Layer::MaxPool2d(MaxPool2d { kernel, stride, padding }) => (5, false, pool(kernel, stride, padding)),
            Layer::AvgPool2d(AvgPool2d { kernel, stride, padding }) => (6, false, pool(kernel, stride, padding)),
            Layer::GlobalAvgPool => (7, false, sizes(&[])),
            Layer::Dropout(Dropout { probability }) => {
                (8, false, Some([probability.to_bits()].into_iter().collect()))
            }
            Layer::Flatten => (9, false, sizes(&[])),
            Layer::Add(source) => (10, false, source_word(source).map(|word| [word].into_iter().collect())),
        };
        numbers.map(|numbers| (kind, bias, numbers))
    }

    /// Hands the record's bytes to `out`, a word at a time; `None` when a number does not fit it.
    pub fn write(&self, mut out: impl FnMut([u8; 4])) -> Option<()> {
        let (kind, bias, numbers) = Self::of(&self.layer)?;
        let flags = if bias { BIAS } else { 0 } | if self.frozen { FROZEN } else { 0 };
        let len = u8::try_from(self.name.len()).ok().filter(|len| usize::from(*len) <= NAME_CAPACITY)?;
        out([kind, flags, len, 0]);
        out(source_word(self.input)?.to_le_bytes());
        numbers.iter().for_each(|number| out(number.to_le_bytes()));
        for part in self.name.as_bytes().chunks(4) {
            let mut word = [0; 4];
            word.iter_mut().zip(part).for_each(|(to, byte)| *to = *byte);
            out(word);
        }
        Some(())
    }

    /// Takes the record of layer `index` off the front of `table`.
    pub(super) fn read(index: usize, table: &mut &'m [u8]) -> Result<Self, ModelError> {
        let refuse = |what, value| ModelError::Layer { layer: index, what, value };
        let mut take = |bytes: usize| {
            let (taken, rest) = table.split_at_checked(bytes)?;
            *table = rest;
            Some(taken)
        };
        let mut word = || {
            let bytes = take(4).and_then(|bytes| bytes.first_chunk());
            bytes.copied().ok_or(refuse("the table of layers ends within it", 0))
        };
        let first = word()?;
        let [kind, flags, name_len, zero] = first;
        let count = match kind {
            1 => 8,
            5 | 6 => 6,
            3 => 2,
            2 | 8 | 10 => 1,
            4 | 7 | 9 => 0,
            _ => return Err(refuse("unknown kind", kind.into())),
        };
        if flags & !(BIAS | FROZEN) != 0 || zero != 0 {
            return Err(refuse("unknown flags", u32::from_le_bytes(first)));
        }
        let input = source(u32::from_le_bytes(word()?));
        let mut numbers = [0; 8];
        for number in numbers.iter_mut().take(count) {
            *number = u32::from_le_bytes(word()?);
        }
        let layer = layer(kind, flags & BIAS != 0, numbers);
        if (flags & BIAS != 0) != matches!(Self::of(&layer), Some((_, true, _))) {
            return Err(refuse("a bias flag that its kind has not", flags.into()));
        }
        let len = usize::from(name_len);
        let bytes = take(padded(len)).ok_or(refuse("the table of layers ends within its name", name_len.into()))?;
        let (name, padding) = bytes.split_at_checked(len).unwrap_or_default();
        if len > NAME_CAPACITY || padding.iter().any(|byte| *byte != 0) {
            return Err(refuse("a name that is too long or not padded, of length", name_len.into()));
        }
        let name = core::str::from_utf8(name)
            .map_err(|_| refuse("a name that is no text, of length", name_len.into()))?;
        Ok(Self { name, layer, input, frozen: flags & FROZEN != 0 })
    }

    /// Number of its parameter tensors.
    pub(super) const fn tensors(&self) -> usize {
        match self.layer {
            Layer::Conv2d(Conv2d { bias, .. }) | Layer::Linear(Linear { bias, .. }) => 1 + bias as usize,
            Layer::BatchNorm(_) => 2,
            _ => 0,
        }
    }
}

fn layer(kind: u8, bias: bool, numbers: [u32; 8]) -> Layer {
    let [a, b, c, d, e, f, g, h] = numbers.map(|number| number as usize);
    let real = numbers.map(f32::from_bits);
    match kind {
        1 => {
            let (kernel, stride, padding) = ([b, c], [d, e], [f, g]);
            Layer::Conv2d(Conv2d { out_channels: a, kernel, stride, padding, groups: h, bias })
        }
        2 => Layer::Linear(Linear { out_features: a, bias }),
        3 => Layer::BatchNorm(BatchNorm { eps: real[0], momentum: real[1] }),
        4 => Layer::Relu,
        5 => Layer::MaxPool2d(MaxPool2d { kernel: [a, b], stride: [c, d], padding: [e, f] }),
        6 => Layer::AvgPool2d(AvgPool2d { kernel: [a, b], stride: [c, d], padding: [e, f] }),
        7 => Layer::GlobalAvgPool,
        8 => Layer::Dropout(Dropout { probability: real[0] }),
        9 => Layer::Flatten,
        _ => Layer::Add(source(numbers[0])),
    }
}

fn source_word(source: Source) -> Option<u32> {
    match source {
        Source::Input => Some(0),
        Source::Layer(index) => u32::try_from(index).ok()?.checked_add(1),
    }
}

const fn source(word: u32) -> Source {
    match word {
        0 => Source::Input,
        n => Source::Layer(n as usize - 1),
    }
}
