//! From a network to the file's bytes.

use super::{Export, ExportError, ExportLayer};
use smoothout::layers::{Conv2d, Linear};
use smoothout::micro::ModelFile;
use smoothout::micro::crc::Crc32;
use smoothout::micro::model::{HEADER, MAGIC, Record, VERSION};
use smoothout::network::Layer;

/// A tensor's line in the table, but where its data begin, and its data.
struct Data {
    encoding: u32,
    rows: usize,
    row_len: usize,
    bytes: Vec<u8>,
}

impl Export {
    /// The file's bytes, with the weights of frozen convolutions and linear layers as int8 when asked for.
    /// They were read back and checked.
    ///
    /// # Errors
    /// Nothing is there to be int8, a size that does not fit 32 bits, or a value that is not finite.
    pub fn bytes(&self, int8: bool) -> Result<Vec<u8>, ExportError> {
        if int8 && !self.layers.iter().any(|layer| layer.frozen && layer.is_linear()) {
            return Err(ExportError::NothingToQuantize);
        }
        let mut records = Vec::new();
        for ExportLayer { node, frozen, .. } in &self.layers {
            let record = Record { name: &node.name, layer: node.layer, input: node.input, frozen: *frozen };
            record.write(|word| records.extend(word)).ok_or(ExportError::TooLarge)?;
        }
        let tensors: Vec<Data> = self.layers.iter().flat_map(|layer| layer.tensors(int8)).collect();
        let statistics: Vec<f32> = self.layers.iter().flat_map(|layer| &layer.statistics).copied().collect();
        let before_data = HEADER + records.len() + 16 * tensors.len();
        let data: usize = tensors.iter().map(|tensor| tensor.bytes.len()).sum();
        let total = before_data + data + 4 * statistics.len() + 4;

        let mut file = MAGIC.to_vec();
        let sizes = [total, self.layers.len(), tensors.len(), statistics.len()];
        let shape = [self.input.channels, self.input.height, self.input.width, records.len()];
        file.extend(VERSION.to_le_bytes());
        for size in sizes.into_iter().chain(shape) {
            file.extend(word(size)?);
        }
        file.extend(records);
        let mut start = before_data;
        for Data { encoding, rows, row_len, bytes } in &tensors {
            file.extend(encoding.to_le_bytes());
            for size in [*rows, *row_len, start] {
                file.extend(word(size)?);
            }
            start += bytes.len();
        }
        tensors.iter().for_each(|tensor| file.extend(&tensor.bytes));
        statistics.iter().for_each(|value| file.extend(value.to_le_bytes()));
        let words = file.as_chunks().0.iter().map(|word| u32::from_le_bytes(*word));
        let crc = words.fold(Crc32::new(), Crc32::word);
        file.extend(crc.value().to_le_bytes());
        ModelFile::new(&file)?;
        Ok(file)
    }
}

fn word(size: usize) -> Result<[u8; 4], ExportError> {
    u32::try_from(size).map(u32::to_le_bytes).map_err(|_| ExportError::TooLarge)
}

impl ExportLayer {
    fn tensors(&self, int8: bool) -> impl Iterator<Item = Data> {
        let rows = match self.node.layer {
            Layer::Conv2d(Conv2d { out_channels: rows, .. }) | Layer::Linear(Linear { out_features: rows, .. }) => rows,
            _ => self.weight.len(),
        };
        let int8 = int8 && self.frozen && self.is_linear();
        let encode = if int8 { quantized } else { plain };
        let weight = (!self.weight.is_empty()).then(|| encode(&self.weight, rows));
        let bias = (!self.bias.is_empty()).then(|| plain(&self.bias, rows));
        weight.into_iter().chain(bias)
    }
}

fn plain(values: &[f32], rows: usize) -> Data {
    let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    Data { encoding: 0, rows, row_len: values.len() / rows, bytes }
}

/// Each filter's values over its scale, which is its largest magnitude / 127, rounded: off by half a scale at most.
fn quantized(values: &[f32], rows: usize) -> Data {
    let row_len = values.len() / rows;
    let filters = values.chunks(row_len);
    let largest = |filter: &[f32]| filter.iter().fold(0.0, |m: f32, value| m.max(value.abs()));
    let scale = |filter: &[f32]| largest(filter) / 127.0;
    let mut bytes: Vec<u8> = filters.clone().flat_map(|filter| scale(filter).to_le_bytes()).collect();
    for filter in filters {
        let scale = scale(filter);
        // A filter of zeros has scale 0.
        let quantum = if scale > 0.0 { scale } else { 1.0 };
        bytes.extend(filter.iter().map(|value| (value / quantum).round() as i8 as u8));
    }
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    Data { encoding: 1, rows, row_len, bytes }
}
