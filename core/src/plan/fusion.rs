//! Which layers a backend may run as one operation: a batch norm with what alone reads it.

use super::PlannedLayer;
use crate::network::{Layer, Source};

/// A batch norm with what alone reads it: a sum, a ReLU, or a sum and the ReLU that alone reads that. Its parts are numbers
/// of layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Fusion {
    /// The batch norm.
    pub norm: usize,
    /// The sum of the batch norm and another layer.
    pub add: Option<usize>,
    /// The ReLU.
    pub relu: Option<usize>,
}

impl Fusion {
    /// The fusion that layer `i` of a plan's layers is part of, unless it is the last layer of it.
    pub fn of(layers: &[PlannedLayer], i: usize) -> Option<Self> {
        let norm = match layers.get(i)?.layer {
            Layer::BatchNorm(_) => i,
            Layer::Add(_) => Self::norm_of(layers, i)?,
            _ => return None,
        };
        let fusion = Self::starting_at(layers, norm)?;
        (fusion.end() != i && (fusion.norm == i || fusion.add == Some(i))).then_some(fusion)
    }

    /// The fusion whose last layer is `i`.
    pub fn ending_at(layers: &[PlannedLayer], i: usize) -> Option<Self> {
        let before = |source| if let Source::Layer(l) = source { Some(l) } else { None };
        let layer = layers.get(i)?;
        let norm = match layer.layer {
            Layer::Add(_) => Self::norm_of(layers, i),
            Layer::Relu => before(layer.input).and_then(|l| match layers[l].layer {
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

    /// What is added to the batch norm, in the plan of whose layers the fusion is.
    pub fn addend(&self, layers: &[PlannedLayer]) -> Option<Source> {
        let add = layers.get(self.add?)?;
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::layers::{BatchNorm, Linear};
    use crate::network::Network;
    use crate::plan::{Plan, Purpose};
    use crate::shape::Shape;

    #[test]
    fn a_batch_norm_takes_the_sum_and_the_relu_that_alone_read_it() {
        let mut net: Network<8> = Network::new(Shape::flat(4));
        let mut push = |layer| net.push(format_args!("l"), layer).unwrap();
        let first = push(Layer::Linear(Linear::new(4)));
        push(Layer::BatchNorm(BatchNorm::default()));
        push(Layer::Relu);
        push(Layer::Linear(Linear::new(4)));
        push(Layer::BatchNorm(BatchNorm::default()));
        push(Layer::Add(first));
        push(Layer::Relu);
        let plan = Plan::new(&net, 2, Purpose::Training).unwrap();
        let layers = plan.layers();
        let [plain, residual] = [Fusion { norm: 1, add: None, relu: Some(2) }, Fusion { norm: 4, add: Some(5), relu: Some(6) }];
        let ending = |i| Fusion::ending_at(layers, i);
        let parts = |i| Fusion::of(layers, i);
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 99].map(ending), [None, None, Some(plain), None, None, None, Some(residual), None]);
        assert_eq!([0, 1, 2, 3, 4, 5, 6, 99].map(parts), [None, Some(plain), None, None, Some(residual), Some(residual), None, None]);
        assert_eq!((plain.addend(layers), residual.addend(layers)), (None, Some(first)));
    }
}
