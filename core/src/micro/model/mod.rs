//! The model's file (`.smo`): a network and its weights, read where it lies in flash, without a copy.
//!
//! `smoothout export` writes it. A firmware embeds it by `include_bytes!`, or by the Rust source that `export --rust`
//! writes, or points to the flash where a boot loader put it. [`ModelFile::new`] checks all of it once, and
//! [`ModelFile::plan`] gives the plan of its network:
//!
//! ```no_run
//! # use smoothout::micro::{Config, ModelFile, Session};
//! # use smoothout::plan::Purpose;
//! # use smoothout::step::{Method, SmoothOut};
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! # static MODEL: &[u8] = &[];
//! let model = ModelFile::new(MODEL)?;
//! let plan = model.plan::<16>(8, Purpose::Training)?;
//! let config = Config::new(Method::SmoothOut(SmoothOut::adaptive()), 0.01);
//! let mut arena = [0.0; 4096];
//! let mut session = Session::<16>::new(&plan, &model, config, &mut arena)?;
//! # Ok(()) }
//! ```
//!
//! # The format
//! All numbers are little-endian; every part begins at a multiple of four bytes.
//!
//! | bytes | content |
//! |---|---|
//! | 0..4 | `.SMO` |
//! | 4..8 | version, 1 |
//! | 8..12 | bytes of the file |
//! | 12..16 | number of layers |
//! | 16..20 | number of parameter tensors |
//! | 20..24 | number of running statistics |
//! | 24..36 | channels, height and width of an image |
//! | 36..40 | bytes of the table of layers |
//! | 40.. | the table of layers, see [`Record`] |
//! | then | for each tensor: encoding (0 f32, 1 int8), rows, values of a row, where its data begin in the file |
//! | then | data of each tensor in order: f32 values; or an f32 scale for each row, and one byte for each value |
//! | then | running statistics of all batch norms in order, f32: means, then variances of each |
//! | last 4 | CRC-32 ([`crc`](super::crc)) of everything before |
//!
//! An int8 value v of row r is the weight v * scale r. Only weights of frozen convolutions and linear layers may be
//! int8.

mod entry;
mod error;
mod record;

pub use error::ModelError;
pub use record::Record;

use super::crc::Crc32;
use super::{Model, Weights};
use crate::network::{Layer, Name, Network, Node};
use crate::plan::{Plan, Purpose, Tensor};
use crate::shape::Shape;
use entry::{ENTRY, Entry, finite, words};
use heapless::Vec;

/// The first four bytes of a model.
pub const MAGIC: [u8; 4] = *b".SMO";
/// The version that is written and read here.
pub const VERSION: u32 = 1;
/// Bytes of the header.
pub const HEADER: usize = 40;

const CRC: usize = 4;

/// A checked model in flash or memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ModelFile<'m> {
    input: Shape,
    layers: usize,
    checksum: u32,
    records: &'m [u8],
    entries: &'m [[u8; ENTRY]],
    bytes: &'m [u8],
    statistics: &'m [u8],
}

impl<'m> ModelFile<'m> {
    /// Bytes of the model that begins with `header`: how much of a flash partition is the model.
    ///
    /// # Errors
    /// Fewer bytes than [`HEADER`], no model, or one of an unknown version.
    pub fn file_len(header: &[u8]) -> Result<usize, ModelError> {
        let Some([magic, version, bytes, ..]) = header_words(header) else {
            let given = header.len();
            return Err(match header.first_chunk() {
                Some(magic) if *magic != MAGIC => ModelError::Magic { found: u32::from_le_bytes(*magic) },
                _ => ModelError::Length { stated: HEADER, given },
            });
        };
        if magic != u32::from_le_bytes(MAGIC) {
            return Err(ModelError::Magic { found: magic });
        }
        if version != VERSION {
            return Err(ModelError::Version { found: version, known: VERSION });
        }
        Ok(bytes as usize)
    }

    /// Checks a whole file once: some 9 instructions a byte on a Cortex-M4.
    ///
    /// # Errors
    /// Whatever is wrong with it; see [`ModelError`].
    pub fn new(bytes: &'m [u8]) -> Result<Self, ModelError> {
        let (stated, given) = (Self::file_len(bytes)?, bytes.len());
        let whole = stated == given && given >= HEADER + CRC && given.is_multiple_of(4);
        let (Some((contents, crc)), true) = (bytes.split_last_chunk(), whole) else {
            return Err(ModelError::Length { stated: stated.max(HEADER + CRC), given });
        };
        let stated = u32::from_le_bytes(*crc);
        let checksum = words(contents).fold(Crc32::new(), |crc, word| crc.word(word)).value();
        if checksum != stated {
            return Err(ModelError::Checksum { stated, computed: checksum });
        }
        let [_, _, _, layers, tensors, statistics, channels, height, width, records] =
            header_words(bytes).unwrap_or_default();
        let header = |what, value| ModelError::Header { what, value };
        let rest = bytes.get(HEADER..).unwrap_or_default();
        let (records, rest) = rest
            .split_at_checked(records as usize)
            .filter(|(records, _)| records.len().is_multiple_of(4))
            .ok_or(header("the length of the table of layers", records))?;
        let (entries, _) = (tensors as usize)
            .checked_mul(ENTRY)
            .and_then(|len| rest.split_at_checked(len))
            .ok_or(header("the number of tensors", tensors))?;
        let input = Shape::new(channels as usize, height as usize, width as usize);
        let (entries, layers) = (entries.as_chunks().0, layers as usize);
        let mut file = Self { input, layers, checksum, records, entries, bytes: contents, statistics: &[] };
        let end = file.check_tables()?;
        file.statistics = contents
            .get(end..)
            .filter(|all| all.len() as u64 == 4 * u64::from(statistics))
            .ok_or(header("the number of running statistics", statistics))?;
        finite(file.entries.len(), file.statistics)?;
        Ok(file)
    }

    /// Checks both tables and the tensors' data; returns where the data end.
    fn check_tables(&self) -> Result<usize, ModelError> {
        let header = |what, value: usize| ModelError::Header { what, value: value as u32 };
        let mut table = self.records;
        let mut tensors = 0usize;
        let mut end = HEADER + self.records.len() + ENTRY * self.entries.len();
        for index in 0..self.layers {
            let record = Record::read(index, &mut table)?;
            for position in 0..record.tensors() {
                let entry = self.entries.get(tensors).ok_or(header("the number of tensors", self.entries.len()))?;
                let quantized = record.frozen && position == 0 && !matches!(record.layer, Layer::BatchNorm(_));
                end = self.check_entry(tensors, Entry::read(entry), end, quantized)?;
                tensors += 1;
            }
        }
        if !table.is_empty() {
            return Err(header("the number of layers", self.layers));
        }
        if tensors != self.entries.len() {
            return Err(header("the number of tensors", self.entries.len()));
        }
        Ok(end)
    }

    /// Checks one tensor, whose data have to begin at `start`; returns where they end.
    fn check_entry(&self, tensor: usize, entry: Entry, start: usize, quantized: bool) -> Result<usize, ModelError> {
        let refuse = |what, value| ModelError::Tensor { tensor, what, value };
        if entry.encoding > 1 || (entry.encoding == 1 && !quantized) {
            return Err(refuse("encoding", entry.encoding));
        }
        if entry.start as usize != start {
            return Err(refuse("its data begin at", entry.start));
        }
        if entry.encoding == 1 && entry.rows > u32::from(u16::MAX) {
            return Err(refuse("more than 65,535 int8 rows", entry.rows));
        }
        let (data, padding) =
            entry.data(self.bytes).ok_or(refuse("more data than there are, rows", entry.rows))?;
        if padding.iter().any(|byte| *byte != 0) {
            return Err(refuse("data that are not padded, rows", entry.rows));
        }
        let scales = entry.scales().filter(|_| entry.encoding == 1);
        finite(tensor, data.get(..scales.unwrap_or(data.len())).unwrap_or_default())?;
        Ok(start + data.len() + padding.len())
    }

    /// The checksum of the file: tells models apart.
    pub const fn checksum(&self) -> u32 {
        self.checksum
    }

    /// Number of layers: the least capacity `N` of its network.
    pub const fn layers(&self) -> usize {
        self.layers
    }

    /// Number of parameter tensors.
    pub const fn tensors(&self) -> usize {
        self.entries.len()
    }

    /// Shape of one image.
    pub const fn input(&self) -> Shape {
        self.input
    }

    /// The layers as they stand in the file.
    pub fn records(&self) -> impl Iterator<Item = Record<'m>> {
        let mut table = self.records;
        // The table was checked: every record can be read.
        (0..self.layers).map_while(move |index| Record::read(index, &mut table).ok())
    }

    /// Indices of the layers that have parameters and are not frozen, for
    /// [`Layers::Only`](super::Layers::Only).
    ///
    /// # Errors
    /// More layers than `N`.
    pub fn trained<const N: usize>(&self) -> Result<Vec<usize, N>, ModelError> {
        self.fits::<N>()?;
        let layers = self.records().enumerate();
        Ok(layers.filter(|(_, r)| !r.frozen && r.tensors() > 0).map(|(index, _)| index).collect())
    }

    /// The network.
    ///
    /// # Errors
    /// More layers than `N`.
    pub fn network<const N: usize>(&self) -> Result<Network<N>, ModelError> {
        self.fits::<N>()?;
        let mut network = Network::new(self.input);
        let full = ModelError::Capacity { layers: self.layers, capacity: N };
        for Record { name, layer, input, .. } in self.records() {
            // The records were checked: their names are short enough.
            let name = Name::try_from(name).unwrap_or_default();
            network.push_node(Node { name, layer, input }).map_err(|_| full.clone())?;
        }
        Ok(network)
    }

    fn fits<const N: usize>(&self) -> Result<(), ModelError> {
        if self.layers > N { Err(ModelError::Capacity { layers: self.layers, capacity: N }) } else { Ok(()) }
    }

    /// The plan of its network for batches of at most `batch` images, of which every tensor has the shape that the
    /// file gives it.
    ///
    /// # Errors
    /// More layers than `N`, a network that has no plan, tensors of other shapes, or a negative running variance.
    pub fn plan<const N: usize>(&self, batch: usize, purpose: Purpose) -> Result<Plan<N>, ModelError> {
        let plan = Plan::new(&self.network::<N>()?, batch, purpose).map_err(ModelError::Plan)?;
        for (tensor, entry) in plan.tensors().zip(self.entries) {
            let entry = Entry::read(entry);
            let refuse = |what, value| ModelError::Tensor { tensor: tensor.index as usize, what, value };
            if entry.rows as usize != tensor.rows {
                return Err(refuse("its layer needs other rows than", entry.rows));
            }
            if entry.row_len as usize != tensor.row_len {
                return Err(refuse("its layer needs other values of a row than", entry.row_len));
            }
        }
        if plan.statistics() != self.statistics.len() / 4 {
            let value = (self.statistics.len() / 4) as u32;
            return Err(ModelError::Header { what: "the number of running statistics", value });
        }
        for layer in plan.layers() {
            let channels = layer.output_shape.channels;
            let first = layer.statistics.map_or(plan.statistics(), |at| at + channels);
            let variances = words(self.statistics).enumerate().skip(first).take(channels);
            for (index, value) in variances.map(|(index, word)| (index, f32::from_bits(word))) {
                if value < 0.0 {
                    return Err(ModelError::Value { tensor: self.entries.len(), index, value });
                }
            }
        }
        Ok(plan)
    }
}

impl<'m> Model<'m> for ModelFile<'m> {
    fn tensor(&self, tensor: &Tensor) -> Weights<'m> {
        let entry = self.entries.get(tensor.index as usize).map(Entry::read);
        match entry.and_then(|entry| Some((entry.encoding, entry.rows, entry.data(self.bytes)?))) {
            Some((0, _, (bytes, _))) => Weights::Bytes(bytes),
            Some((_, rows, (bytes, _))) => Weights::Int8 { filters: rows as u16, bytes },
            None => Weights::F32(&[]),
        }
    }

    fn statistics(&self) -> Weights<'m> {
        Weights::Bytes(self.statistics)
    }
}

fn header_words(bytes: &[u8]) -> Option<[u32; HEADER / 4]> {
    let (words, _) = bytes.first_chunk::<HEADER>()?.as_chunks();
    words.first_chunk().map(|words| words.map(u32::from_le_bytes))
}
