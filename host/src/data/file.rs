//! Reads a whole file, plain or gzip, never more than a stated number of bytes.

use super::error::{Error, FormatError};
use flate2::bufread::GzDecoder;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

/// Largest file that is read into memory: 2 GiB (the largest official one, MNIST's training images, has 47 MB;
/// CIFAR-100's 154 MB).
pub const MAX_BYTES: u64 = 2 << 30;

/// Reads a file, unpacking it if its name ends in `.gz`.
///
/// # Errors
/// [`Error::Io`], or [`Error::Format`] for a file above [`MAX_BYTES`] or a broken gzip stream.
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let mut file = File::open(path).map_err(Error::io(path, "open the file"))?;
    let length = file
        .metadata()
        .map_err(Error::io(path, "read the file's size"))?
        .len();
    if length > MAX_BYTES {
        return Err(FormatError::TooLarge { limit: MAX_BYTES }.at(path));
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(Error::io(path, "read the file"))?;
    if path.extension().is_some_and(|extension| extension == "gz") {
        return gunzip(&bytes, MAX_BYTES).map_err(|e| e.at(path));
    }
    Ok(bytes)
}

/// Unpacks one gzip member that fills `bytes` wholly.
///
/// # Errors
/// [`FormatError::Gzip`] for a broken or cut stream or bytes after its end, [`FormatError::TooLarge`] when more
/// than `limit` bytes come out.
pub fn gunzip(bytes: &[u8], limit: u64) -> Result<Vec<u8>, FormatError> {
    let mut rest = bytes;
    let mut unpacked = Vec::new();
    // grows with what is really unpacked, up to one byte past the limit
    match GzDecoder::new(&mut rest)
        .take(limit + 1)
        .read_to_end(&mut unpacked)
    {
        Ok(_) if unpacked.len() as u64 > limit => Err(FormatError::TooLarge { limit }),
        Ok(_) if !rest.is_empty() => Err(FormatError::Gzip(format!(
            "{} bytes after its end",
            rest.len()
        ))),
        Ok(_) => Ok(unpacked),
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
            Err(FormatError::Gzip("truncated".into()))
        }
        Err(e) => Err(FormatError::Gzip(e.to_string())),
    }
}

/// The file at `path`, or `path.gz`, if either exists (plain first).
pub(crate) fn plain_or_gz(path: &Path) -> Option<std::path::PathBuf> {
    let mut gz = path.as_os_str().to_owned();
    gz.push(".gz");
    [path.to_owned(), gz.into()]
        .into_iter()
        .find(|p| fs::metadata(p).is_ok_and(|m| m.is_file()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gunzip_checks_ends_and_limit() {
        let packed = gzip(&[7; 1000]);
        assert_eq!(gunzip(&packed, 1000).unwrap(), [7; 1000]);
        assert_eq!(
            gunzip(&packed, 999),
            Err(FormatError::TooLarge { limit: 999 })
        );
        assert_eq!(
            gunzip(&packed[..packed.len() - 3], 1000),
            Err(FormatError::Gzip("truncated".into()))
        );
        let longer = [packed.as_slice(), b"x"].concat();
        assert_eq!(
            gunzip(&longer, 1000),
            Err(FormatError::Gzip("1 bytes after its end".into()))
        );
        assert!(matches!(
            gunzip(b"no gzip at all", 1000),
            Err(FormatError::Gzip(_))
        ));
        let mut wrong_sum = packed.clone();
        let at = wrong_sum.len() - 6;
        wrong_sum[at] ^= 1;
        assert!(matches!(
            gunzip(&wrong_sum, 1000),
            Err(FormatError::Gzip(_))
        ));
    }

    #[test]
    fn read_unpacks_gz_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.gz");
        fs::write(&path, gzip(b"hello")).unwrap();
        assert_eq!(read(&path).unwrap(), b"hello");
        assert_eq!(plain_or_gz(&folder.path().join("a")), Some(path));
        let missing = read(&folder.path().join("b")).unwrap_err();
        assert!(
            missing.to_string().contains("cannot open the file"),
            "{missing}"
        );
    }
}
