//! The safetensors format: 8 bytes little-endian length of the header, the header in JSON, then the tensors' bytes
//! without gaps.
//!
//! The crate `safetensors` gives the words of the format and the checks of a layout. The header is written and read
//! here, because the crate keeps metadata in a hash map, whose order changes from run to run, and takes the last of two
//! tensors of one name.
//!
//! A file saved here has a checksum among its text entries, under [`CHECKSUM`]: CRC-32C of the other entries as JSON and
//! of the tensors' bytes. Files of other programs have none and are taken as they are.

use super::atomic::{Disk, write_atomically_on};
use super::{Checkpoint, CheckpointCause, Elements, Tensor};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

/// The header's key for text entries.
pub(super) const METADATA: &str = "__metadata__";

/// The text entry with the checksum, as eight hexadecimal digits.
const CHECKSUM: &str = "crc32c";

/// The longest header that the format allows, in bytes.
const HEADER_LIMIT: u64 = 100_000_000;

/// Bytes of the header's length.
const LENGTH: u64 = 8;

/// Elements converted at a time.
const CHUNK: usize = 16 * 1024;

pub(super) fn save<D: Disk>(
    disk: &D,
    path: &Path,
    checkpoint: &Checkpoint,
) -> Result<(), CheckpointCause> {
    let mut tensors: Vec<(&str, &Tensor)> = checkpoint
        .tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor))
        .collect();
    // The widest elements first, as the format's own library does, keeps every tensor aligned to its element.
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(dtype(&tensor.elements)));

    let mut sum = Sum::of(&checkpoint.metadata).map_err(CheckpointCause::Header)?;
    let mut bytes = Vec::new();
    for (_, tensor) in &tensors {
        // Adding to a sum cannot fail.
        let _ = write_elements(&mut sum, &tensor.elements, &mut bytes);
    }
    let mut metadata = checkpoint.metadata.clone();
    metadata.insert(CHECKSUM.into(), sum.text());
    let mut header = serde_json::to_vec(&Header {
        metadata: &metadata,
        tensors: &tensors,
    })
    .map_err(CheckpointCause::Header)?;
    header.resize(header.len().next_multiple_of(LENGTH as usize), b' ');
    let length = header.len() as u64;
    if length > HEADER_LIMIT {
        return Err(CheckpointCause::HeaderTooLong {
            length,
            limit: HEADER_LIMIT,
        });
    }
    write_atomically_on(disk, path, |w| {
        w.write_all(&length.to_le_bytes())?;
        w.write_all(&header)?;
        for (_, tensor) in &tensors {
            write_elements(w, &tensor.elements, &mut bytes)?;
        }
        Ok(())
    })
    .map_err(CheckpointCause::Write)
}

pub(super) fn load(path: &Path) -> Result<Checkpoint, CheckpointCause> {
    let file = File::open(path).map_err(CheckpointCause::Read)?;
    let information = file.metadata().map_err(CheckpointCause::Read)?;
    if !information.is_file() {
        return Err(CheckpointCause::NotAFile);
    }
    let found = information.len();
    let mut reader = BufReader::with_capacity(1 << 20, file);
    let mut checkpoint = read(&mut reader, found)?;
    checkpoint.path = Some(path.to_path_buf());
    Ok(checkpoint)
}

/// Reads a file of `found` bytes. Takes no memory for anything that the file's length does not bear out.
fn read(reader: &mut impl Read, found: u64) -> Result<Checkpoint, CheckpointCause> {
    let truncated = |expected| CheckpointCause::Truncated { expected, found };
    if found < LENGTH {
        return Err(truncated(LENGTH));
    }
    let mut length = [0; LENGTH as usize];
    reader
        .read_exact(&mut length)
        .map_err(CheckpointCause::Read)?;
    let length = u64::from_le_bytes(length);
    if length > HEADER_LIMIT {
        return Err(CheckpointCause::HeaderTooLong {
            length,
            limit: HEADER_LIMIT,
        });
    }
    if LENGTH + length > found {
        return Err(truncated(LENGTH + length));
    }
    let mut header = vec![0; length as usize];
    reader
        .read_exact(&mut header)
        .map_err(CheckpointCause::Read)?;
    let ParsedHeader {
        mut metadata,
        mut tensors,
    } = serde_json::from_slice(&header).map_err(CheckpointCause::Header)?;
    drop(header);
    // Where elements lie; a tensor without any sorts before the one that starts at the same place.
    tensors.sort_by_key(|(_, info)| info.data_offsets);

    // The crate checks that the tensors fill the data without gaps and that shapes, types and offsets agree.
    let layout = Metadata::new(None, tensors.clone()).map_err(CheckpointCause::Layout)?;
    let expected = (layout.data_len() as u64).saturating_add(LENGTH + length);
    if expected > found {
        return Err(truncated(expected));
    }
    if expected < found {
        return Err(CheckpointCause::Oversized { expected, found });
    }

    let expected = metadata.remove(CHECKSUM);
    let mut sum = Sum::of(&metadata).map_err(CheckpointCause::Header)?;
    let mut checkpoint = Checkpoint {
        metadata,
        ..Checkpoint::default()
    };
    for (name, info) in tensors {
        let bytes = info.data_offsets.1 - info.data_offsets.0;
        let elements = read_elements(reader, &mut sum, &name, info.dtype, bytes)?;
        let shape = info.shape;
        checkpoint.tensors.insert(name, Tensor { shape, elements });
    }
    let found = sum.text();
    match expected.filter(|expected| *expected != found) {
        Some(expected) => Err(CheckpointCause::Checksum { expected, found }),
        None => Ok(checkpoint),
    }
}

/// A running checksum.
struct Sum(u32);

impl Sum {
    fn of(metadata: &BTreeMap<String, String>) -> Result<Self, serde_json::Error> {
        Ok(Sum(crc32c::crc32c(&serde_json::to_vec(metadata)?)))
    }

    fn text(&self) -> String {
        format!("{:08x}", self.0)
    }
}

impl Write for Sum {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 = crc32c::crc32c_append(self.0, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn dtype(elements: &Elements) -> Dtype {
    match elements {
        Elements::F32(_) => Dtype::F32,
        Elements::F64(_) => Dtype::F64,
        Elements::I32(_) => Dtype::I32,
        Elements::I64(_) => Dtype::I64,
        Elements::U64(_) => Dtype::U64,
        Elements::U8(_) => Dtype::U8,
    }
}

fn write_elements(w: &mut dyn Write, elements: &Elements, bytes: &mut Vec<u8>) -> io::Result<()> {
    macro_rules! write {
        ($values:expr) => {
            for chunk in $values.chunks(CHUNK) {
                bytes.clear();
                bytes.extend(chunk.iter().flat_map(|v| v.to_le_bytes()));
                w.write_all(bytes)?;
            }
        };
    }
    match elements {
        Elements::F32(values) => write!(values),
        Elements::F64(values) => write!(values),
        Elements::I32(values) => write!(values),
        Elements::I64(values) => write!(values),
        Elements::U64(values) => write!(values),
        Elements::U8(values) => w.write_all(values)?,
    }
    Ok(())
}

/// Reads the next `bytes` bytes, a multiple of the element's size, and adds them to the checksum.
fn read_elements(
    reader: &mut impl Read,
    sum: &mut Sum,
    name: &str,
    dtype: Dtype,
    bytes: usize,
) -> Result<Elements, CheckpointCause> {
    let mut buffer = [0; 8 * 1024];
    macro_rules! read {
        ($variant:path, $element:ty) => {{
            const SIZE: usize = size_of::<$element>();
            let mut values: Vec<$element> = Vec::new();
            values
                .try_reserve_exact(bytes / SIZE)
                .map_err(|_| CheckpointCause::OutOfMemory {
                    name: name.into(),
                    bytes,
                })?;
            let mut left = bytes;
            while left > 0 {
                let part = &mut buffer[..left.min(8 * 1024)];
                reader.read_exact(part).map_err(CheckpointCause::Read)?;
                sum.0 = crc32c::crc32c_append(sum.0, part);
                let (elements, _) = part.as_chunks::<SIZE>();
                values.extend(elements.iter().map(|e| <$element>::from_le_bytes(*e)));
                left -= part.len();
            }
            $variant(values)
        }};
    }
    Ok(match dtype {
        Dtype::F32 => read!(Elements::F32, f32),
        Dtype::F64 => read!(Elements::F64, f64),
        Dtype::I32 => read!(Elements::I32, i32),
        Dtype::I64 => read!(Elements::I64, i64),
        Dtype::U64 => read!(Elements::U64, u64),
        Dtype::U8 => read!(Elements::U8, u8),
        other => {
            return Err(CheckpointCause::UnsupportedType {
                name: name.into(),
                dtype: other.to_string(),
            });
        }
    })
}

/// The header as it is written: text entries, then tensors with their offsets.
struct Header<'a> {
    metadata: &'a BTreeMap<String, String>,
    tensors: &'a [(&'a str, &'a Tensor)],
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA, self.metadata)?;
        }
        let mut start = 0;
        for (name, tensor) in self.tensors {
            let dtype = dtype(&tensor.elements);
            let end = start + tensor.elements.len() * dtype.bitsize() / 8;
            let info = TensorInfo {
                dtype,
                shape: tensor.shape.clone(),
                data_offsets: (start, end),
            };
            map.serialize_entry(name, &info)?;
            start = end;
        }
        map.end()
    }
}

/// The header as it is read: every key once.
#[derive(Default)]
struct ParsedHeader {
    metadata: BTreeMap<String, String>,
    tensors: Vec<(String, TensorInfo)>,
}

impl<'de> Deserialize<'de> for ParsedHeader {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct HeaderVisitor;
        impl<'de> Visitor<'de> for HeaderVisitor {
            type Value = ParsedHeader;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of tensors")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<ParsedHeader, A::Error> {
                let mut header = ParsedHeader::default();
                let mut seen = BTreeSet::new();
                while let Some(name) = map.next_key::<String>()? {
                    if !seen.insert(name.clone()) {
                        return Err(A::Error::custom(format_args!("'{name}' appears twice")));
                    }
                    if name == METADATA {
                        // Some writers put null there.
                        if let Some(Texts(texts)) = map.next_value()? {
                            header.metadata = texts;
                        }
                    } else {
                        header.tensors.push((name, map.next_value()?));
                    }
                }
                Ok(header)
            }
        }
        deserializer.deserialize_map(HeaderVisitor)
    }
}

/// Text entries, every key once.
struct Texts(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextsVisitor;
        impl<'de> Visitor<'de> for TextsVisitor {
            type Value = Texts;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object of texts")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts, A::Error> {
                let mut texts = BTreeMap::new();
                while let Some((key, text)) = map.next_entry::<String, String>()? {
                    if let Some(_earlier) = texts.insert(key.clone(), text) {
                        return Err(A::Error::custom(format_args!(
                            "metadata entry '{key}' appears twice"
                        )));
                    }
                }
                Ok(Texts(texts))
            }
        }
        deserializer.deserialize_map(TextsVisitor)
    }
}
