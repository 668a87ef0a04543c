//! Which layers become one operation: a batch norm with what alone reads it.

use smoothout::network::{Layer, Source};
use smoothout::plan::PlannedLayer;

/// A batch norm with what alone reads it: a sum, a ReLU, or a sum and the ReLU that alone reads that.
#[derive(Clone, Copy)]
pub(super) struct Fusion {
    pub(super) norm: usize,
    add: Option<usize>,
    pub(super) relu: Option<usize>,
}

impl Fusion {
    /// The fusion that layer `i` is part of, unless it is the last layer of it.
    pub(super) fn of(layers: &[PlannedLayer], i: usize) -> Option<Self> {
        let norm = match layers[i].layer {
            Layer::BatchNorm(_) => i,
            Layer::Add(_) => Self::norm_of(layers, i)?,
            _ => return None,
        };
        let fusion = Self::starting_at(layers, norm)?;
        (fusion.end() != i && (fusion.norm == i || fusion.add == Some(i))).then_some(fusion)
    }

    /// The fusion whose last layer is `i`.
    pub(super) fn ending_at(layers: &[PlannedLayer], i: usize) -> Option<Self> {
        let before = |source| if let Source::Layer(l) = source { Some(l) } else { None };
        let norm = match layers[i].layer {
            Layer::Add(_) => Self::norm_of(layers, i),
            Layer::Relu => before(layers[i].input).and_then(|l| match layers[l].layer {
                Layer::Add(_) => Self::norm_of(layers, l),
                _ => Some(l),
            }),
            _ => None,
        };
        norm.and_then(|norm| Self::starting_at(layers, norm)).filter(|fusion| fusion.end() == i)
    }

    fn starting_at(layers: &[PlannedLayer], norm: usize) -> Option<Self> {
        if !matches!(layers[norm].layer, Layer::BatchNorm(_)) {
            return None;
        }
        let reader = only_reader(layers, norm)?;
        match layers[reader].layer {
            Layer::Relu => Some(Self { norm, add: None, relu: Some(reader) }),
            Layer::Add(_) if Self::norm_of(layers, reader) == Some(norm) => {
                let relu = only_reader(layers, reader).filter(|&l| layers[l].layer == Layer::Relu);
                Some(Self { norm, add: Some(reader), relu })
            }
            _ => None,
        }
    }

    /// The batch norm that is fused with sum `add`: of its two inputs the first that only the sum reads.
    fn norm_of(layers: &[PlannedLayer], add: usize) -> Option<usize> {
        [Some(layers[add].input), layers[add].addend()].into_iter().flatten().find_map(|source| match source {
            Source::Layer(l) if matches!(layers[l].layer, Layer::BatchNorm(_)) => {
                (only_reader(layers, l) == Some(add)).then_some(l)
            }
            _ => None,
        })
    }

    fn end(&self) -> usize {
        self.relu.or(self.add).unwrap_or(self.norm)
    }

    /// What is added to the batch norm.
    pub(super) fn addend(&self, layers: &[PlannedLayer]) -> Option<Source> {
        let add = &layers[self.add?];
        if add.input == Source::Layer(self.norm) { add.addend() } else { Some(add.input) }
    }
}

/// The layer that reads layer `i`, if it is the only one and reads it once.
fn only_reader(layers: &[PlannedLayer], i: usize) -> Option<usize> {
    let mine = Source::Layer(i);
    let reads = |l: &PlannedLayer| usize::from(l.input == mine) + usize::from(l.addend() == Some(mine));
    let mut readers = layers.iter().enumerate().skip(i + 1).filter(|(_, l)| reads(l) > 0);
    let (reader, layer) = readers.next()?;
    (readers.next().is_none() && reads(layer) == 1).then_some(reader)
}
