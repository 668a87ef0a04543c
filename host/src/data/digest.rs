//! SHA-256 of bytes and files, as lower-case hexadecimal text.

use super::error::Error;
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::Read;
use std::path::Path;

fn hex(digest: impl AsRef<[u8]>) -> String {
    digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

/// Digest of bytes.
pub(crate) fn of_bytes(bytes: &[u8]) -> String {
    hex(Sha256::digest(bytes))
}

/// Digest of a file, read in pieces.
pub(crate) fn of_file(path: &Path) -> Result<String, Error> {
    let mut file = File::open(path).map_err(Error::io(path, "open the file"))?;
    let mut hasher = Sha256::new();
    let mut piece = vec![0; 1 << 16];
    loop {
        match file
            .read(&mut piece)
            .map_err(Error::io(path, "read the file"))?
        {
            0 => return Ok(hex(hasher.finalize())),
            n => hasher.update(&piece[..n]),
        }
    }
}

/// Checks the digest of a file.
pub(crate) fn expect(path: &Path, expected: &str) -> Result<(), Error> {
    let found = of_file(path)?;
    if found == expected {
        return Ok(());
    }
    Err(Error::Digest {
        path: path.to_owned(),
        expected: expected.to_owned(),
        found,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn digest_of_abc() {
        // FIPS 180-4, example "abc"
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of_bytes(b"abc"), abc);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x");
        std::fs::write(&path, b"abc").unwrap();
        assert!(expect(&path, abc).is_ok());
        std::fs::write(&path, b"abd").unwrap();
        assert!(matches!(expect(&path, abc), Err(Error::Digest { .. })));
    }
}
