//! TensorBoard event files: scalars over steps.
//!
//! The crates that write them have not been kept up for years, and the part needed here is small: records framed as
//! TFRecords (`tensorflow/core/lib/io/record_writer.h`) that hold `Event` messages
//! (`tensorflow/core/util/event.proto`, `framework/summary.proto`) in the protocol-buffer encoding.

use super::RunError;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Writes scalars into a new event file.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Creates an event file in `folder`. A resumed run gives the first step that it will write as `from_step`:
    /// TensorBoard then forgets what earlier files of the folder say about that step and later ones.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn create(folder: &Path, from_step: Option<u64>) -> Result<Self, RunError> {
        // TensorBoard reads a folder's files in the order of their names, so a later file must have a greater one.
        let (path, file) = loop {
            let now = since_epoch();
            let name = format!(
                "events.out.tfevents.{:010}.{:06}.smoothout",
                now.as_secs(),
                now.subsec_micros()
            );
            let path = folder.join(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => break (path, file),
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => continue,
                Err(e) => return Err(super::io_error(&path, "create")(e)),
            }
        };
        let mut writer = EventWriter { path, file };
        // Event.file_version = 3.
        let mut version = Message::event(0);
        version.bytes(3, b"brain.Event:2");
        writer.record(&version.0)?;
        if let Some(step) = from_step {
            // Event.session_log = 7 with SessionLog.status = 1: START (1).
            let mut start = Message::event(step);
            start.bytes(7, &[1 << 3, 1]);
            writer.record(&start.0)?;
        }
        Ok(writer)
    }

    /// Adds scalars at a step with one write.
    ///
    /// # Errors
    /// [`RunError::Io`].
    pub fn scalars(&mut self, step: u64, values: &[(&str, f64)]) -> Result<(), RunError> {
        // Summary.value = 1 (repeated): Value.tag = 1, Value.simple_value = 2 (float).
        let mut summary = Message(Vec::new());
        for (tag, value) in values {
            let mut entry = Message(Vec::new());
            entry.bytes(1, tag.as_bytes());
            entry.key(2, 5);
            entry.0.extend((*value as f32).to_le_bytes());
            summary.bytes(1, &entry.0);
        }
        // Event.summary = 5.
        let mut event = Message::event(step);
        event.bytes(5, &summary.0);
        self.record(&event.0)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Length (u64), its masked checksum, content, its masked checksum; all little-endian.
    fn record(&mut self, content: &[u8]) -> Result<(), RunError> {
        let length = (content.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(content.len() + 16);
        record.extend(length);
        record.extend(masked_crc32c(&length).to_le_bytes());
        record.extend(content);
        record.extend(masked_crc32c(content).to_le_bytes());
        self.file
            .write_all(&record)
            .map_err(super::io_error(&self.path, "write"))
    }
}

fn since_epoch() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
}

/// The checksum of the TFRecord format: rotated and offset, so that a checksum of checksums is none.
fn masked_crc32c(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
        .rotate_right(15)
        .wrapping_add(0xa282_ead8)
}

/// A message in the protocol-buffer encoding.
struct Message(Vec<u8>);

impl Message {
    /// An `Event` with wall_time = 1 (double) and step = 2.
    fn event(step: u64) -> Self {
        let mut event = Message(Vec::with_capacity(64));
        event.key(1, 1);
        event.0.extend(since_epoch().as_secs_f64().to_le_bytes());
        event.key(2, 0);
        event.varint(step);
        event
    }

    /// A field's number and wire type: 0 varint, 1 eight bytes, 2 length and bytes, 5 four bytes.
    fn key(&mut self, field: u64, wire_type: u64) {
        self.varint(field << 3 | wire_type);
    }

    fn bytes(&mut self, field: u64, bytes: &[u8]) {
        self.key(field, 2);
        self.varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    /// Seven bits a byte, lowest first; the top bit says that more follow.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;
    use tempfile::TempDir;

    /// The contents of a file's records, their checksums checked.
    fn records(path: &Path) -> Vec<Vec<u8>> {
        let bytes = fs::read(path).unwrap();
        let mut rest = bytes.as_slice();
        let mut found = Vec::new();
        while !rest.is_empty() {
            let (head, after) = rest.split_at(12);
            let length = u64::from_le_bytes(head[..8].try_into().unwrap()) as usize;
            assert_eq!(head[8..], masked_crc32c(&head[..8]).to_le_bytes());
            let (content, after) = after.split_at(length);
            assert_eq!(after[..4], masked_crc32c(content).to_le_bytes());
            found.push(content.to_vec());
            rest = &after[4..];
        }
        found
    }

    /// An event without its wall time.
    fn timeless(event: &[u8]) -> &[u8] {
        assert_eq!(event[0], 0x09);
        &event[9..]
    }

    #[test]
    fn the_checksum_is_that_of_the_format() {
        // CRC-32C of "123456789" is the catalogue's check value e3069283.
        assert_eq!(crc32c::crc32c(b"123456789"), 0xe306_9283);
        // By TensorFlow's masked_crc32c: rotated right by 15 bits, plus a282ead8.
        assert_eq!(masked_crc32c(b"123456789"), 0xc78a_b0e5);
    }

    #[test]
    fn scalars_are_encoded_as_protocol_buffers() {
        let folder = TempDir::new().unwrap();
        let mut writer = EventWriter::create(folder.path(), None).unwrap();
        writer
            .scalars(300, &[("a", 1.0), ("loss/x", -2.5)])
            .unwrap();
        let records = records(writer.path());
        assert_eq!(records.len(), 2);
        assert_eq!(timeless(&records[0]), b"\x10\x00\x1a\x0dbrain.Event:2");
        assert_eq!(
            timeless(&records[1]),
            [
                &b"\x10\xac\x02\x2a\x19"[..],
                b"\x0a\x08\x0a\x01a\x15\x00\x00\x80\x3f",
                b"\x0a\x0d\x0a\x06loss/x\x15\x00\x00\x20\xc0",
            ]
            .concat()
        );
    }

    #[test]
    fn a_resumed_run_says_from_where_in_a_later_file() {
        let folder = TempDir::new().unwrap();
        let first = EventWriter::create(folder.path(), None).unwrap();
        let second = EventWriter::create(folder.path(), Some(7)).unwrap();
        assert!(second.path() > first.path());
        assert_eq!(
            timeless(&records(second.path())[1]),
            b"\x10\x07\x3a\x02\x08\x01"
        );
    }
}
