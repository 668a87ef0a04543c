//! From a file's bytes to a network in memory.

use super::ExportError;
use crate::net::{LAYERS, Net, NetPlan};
use smoothout::micro::{Model, ModelFile};
use smoothout::plan::Purpose;

/// A network as a microcontroller sees it: int8 weights are values times scales.
#[derive(Debug)]
pub struct Loaded {
    /// The network.
    pub net: Box<Net>,
    /// Its parameters, in its plan's order.
    pub parameters: Vec<f32>,
    /// Its running statistics.
    pub statistics: Vec<f32>,
    /// Layers with parameters that are not frozen.
    pub trained: Vec<usize>,
}

impl Loaded {
    /// Whether these are the first bytes of a model.
    pub fn is_model(bytes: &[u8]) -> bool {
        bytes.starts_with(&smoothout::micro::model::MAGIC)
    }

    /// Reads a whole file.
    ///
    /// # Errors
    /// See [`ModelError`](smoothout::micro::ModelError).
    pub fn new(bytes: &[u8]) -> Result<Self, ExportError> {
        let file = ModelFile::new(bytes)?;
        let plan: Box<NetPlan> = Box::new(file.plan(1, Purpose::Inference)?);
        let mut parameters = vec![0.0; plan.parameters()];
        for tensor in plan.tensors() {
            for (row, values) in parameters[tensor.range()].chunks_mut(tensor.row_len).enumerate() {
                file.tensor(tensor).read(row, row * tensor.row_len, values);
            }
        }
        let mut statistics = vec![0.0; plan.statistics()];
        file.statistics().read(0, 0, &mut statistics);
        let trained = file.trained::<LAYERS>()?.to_vec();
        Ok(Self { net: Box::new(file.network()?), parameters, statistics, trained })
    }
}
