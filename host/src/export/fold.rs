//! Batch norm folded into the layer before it.

use super::{Export, ExportError, ExportLayer};
use smoothout::layers::BatchNorm;
use smoothout::network::{Layer, Source};

impl Export {
    /// Folds every frozen batch norm into the frozen convolution or linear layer that it alone reads, and returns their
    /// number: the filter's weights times scale / sqrt(variance + eps), and a bias that does the rest. The weights are
    /// rounded once, so that logits change as by a rounding of each weight.
    ///
    /// # Errors
    /// There is nothing to fold.
    pub fn fold(&mut self) -> Result<usize, ExportError> {
        let mut folded = 0;
        let mut index = 0;
        while index < self.layers.len() {
            match self.foldable(index) {
                Some((before, norm)) => {
                    self.fold_one(before, index, norm);
                    folded += 1;
                }
                None => index += 1,
            }
        }
        if folded == 0 { Err(ExportError::NothingToFold) } else { Ok(folded) }
    }

    /// The layer that batch norm `index` can be folded into.
    fn foldable(&self, index: usize) -> Option<(usize, BatchNorm)> {
        let layer = &self.layers[index];
        let (Layer::BatchNorm(norm), Source::Layer(before)) = (layer.node.layer, layer.node.input) else {
            return None;
        };
        let reads = |layer: &&ExportLayer| {
            let source = Source::Layer(before);
            layer.node.input == source || layer.node.layer == Layer::Add(source)
        };
        let alone = self.layers.iter().filter(reads).count() == 1;
        let fits = self.layers[before].is_linear() && self.layers[before].frozen && layer.frozen;
        (alone && fits).then_some((before, norm))
    }

    fn fold_one(&mut self, before: usize, index: usize, norm: BatchNorm) {
        let ExportLayer { weight: scale, bias: shift, statistics, .. } = self.layers.remove(index);
        let target = &mut self.layers[before];
        let rows = scale.len();
        let row_len = target.weight.len() / rows;
        target.bias.resize(rows, 0.0);
        for (row, weights) in target.weight.chunks_mut(row_len).enumerate() {
            let [scale, shift, bias] = [scale[row], shift[row], target.bias[row]].map(f64::from);
            let [mean, variance, eps] = [statistics[row], statistics[rows + row], norm.eps].map(f64::from);
            let factor = scale / (variance + eps).sqrt();
            weights.iter_mut().for_each(|w| *w = (f64::from(*w) * factor) as f32);
            target.bias[row] = ((bias - mean) * factor + shift) as f32;
        }
        match &mut target.node.layer {
            Layer::Conv2d(conv) => conv.bias = true,
            Layer::Linear(linear) => linear.bias = true,
            _ => {}
        }
        // What read the batch norm reads the layer before it; what stood behind it moves up.
        let moved = |source: &mut Source| {
            if let Source::Layer(at) = source {
                *at = if *at == index { before } else { *at - usize::from(*at > index) };
            }
        };
        for layer in &mut self.layers {
            moved(&mut layer.node.input);
            if let Layer::Add(source) = &mut layer.node.layer {
                moved(source);
            }
        }
    }
}
