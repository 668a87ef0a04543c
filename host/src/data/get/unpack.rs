//! Unpacks archives to files, only those asked for and never more bytes than asked for.

use crate::data::error::{Error, FormatError};
use crate::data::file;
use flate2::read::MultiGzDecoder;
use std::fs::{self, File};
use std::io::{self, BufReader, Read};
use std::path::Path;
use tar::Archive;

/// Unpacks `X.gz` to `X` in `target`.
///
/// # Errors
/// [`Error::Format`] for a broken stream, [`Error::Io`].
pub fn gz(archive: &Path, target: &Path) -> Result<(), Error> {
    let bytes = file::read(archive)?;
    let path = target.join(archive.file_stem().unwrap_or_default());
    fs::write(&path, bytes).map_err(Error::io(&path, "write the file"))
}

/// Size that a file in an archive must have, in bytes.
#[derive(Debug, Clone, Copy)]
pub enum Size {
    /// This many.
    Exact(u64),
    /// This many or fewer.
    AtMost(u64),
}

/// Unpacks the files of these names (whatever folder of the archive they are in) and sizes to `target`.
///
/// # Errors
/// [`Error::Format`] for a broken archive or another size, [`Error::Missing`] for a file that is not in it,
/// [`Error::Io`].
pub fn tar_gz<'a>(
    archive: &Path,
    wanted: impl Iterator<Item = (&'a str, Size)>,
    target: &Path,
) -> Result<(), Error> {
    let mut wanted: Vec<_> = wanted.collect();
    let opened = File::open(archive).map_err(Error::io(archive, "open the file"))?;
    let broken = |e: io::Error| FormatError::Gzip(e.to_string()).at(archive);
    let mut tar = Archive::new(MultiGzDecoder::new(BufReader::new(opened)));
    for entry in tar.entries().map_err(broken)? {
        let entry = entry.map_err(broken)?;
        let path = entry.path().map_err(broken)?;
        let Some(at) = path
            .file_name()
            .and_then(|name| wanted.iter().position(|(w, _)| name == *w))
        else {
            continue;
        };
        let (name, size) = wanted.swap_remove(at);
        let bytes = entry.size();
        match size {
            Size::Exact(expected) if bytes != expected => {
                return Err(FormatError::Size {
                    expected,
                    found: bytes,
                    why: "as the official file",
                }
                .at(&archive.join(name)));
            }
            Size::AtMost(limit) if bytes > limit => {
                return Err(FormatError::TooLarge { limit }.at(&archive.join(name)));
            }
            _ => (),
        }
        let path = target.join(name);
        let mut file = File::create(&path).map_err(Error::io(&path, "create the file"))?;
        io::copy(&mut entry.take(bytes), &mut file).map_err(Error::io(&path, "unpack the file"))?;
    }
    match wanted.first() {
        Some((missing, _)) => Err(Error::Missing {
            path: archive.join(missing),
            expected: "this file in the archive".into(),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use flate2::{Compression, write::GzEncoder};
    use std::path::PathBuf;

    fn archive(folder: &Path, files: &[(&str, &[u8])]) -> PathBuf {
        let path = folder.join("a.tar.gz");
        let mut builder = tar::Builder::new(GzEncoder::new(
            File::create(&path).unwrap(),
            Compression::fast(),
        ));
        for (name, bytes) in files {
            let mut header = tar::Header::new_gnu();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap().finish().unwrap();
        path
    }

    #[test]
    fn takes_only_what_is_wanted_from_any_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = archive(
            folder.path(),
            &[
                ("inner/a.bin", b"aaa"),
                ("inner/readme", b"no"),
                ("b.bin", b"bb"),
            ],
        );
        let target = folder.path().join("out");
        fs::create_dir(&target).unwrap();
        tar_gz(
            &path,
            [("a.bin", Size::Exact(3)), ("b.bin", Size::AtMost(2))].into_iter(),
            &target,
        )
        .unwrap();
        assert_eq!(fs::read(target.join("a.bin")).unwrap(), b"aaa");
        assert_eq!(fs::read_dir(&target).unwrap().count(), 2);
        let size = tar_gz(&path, [("a.bin", Size::Exact(4))].into_iter(), &target)
            .unwrap_err()
            .to_string();
        assert!(size.contains("truncated: 3 bytes, expected 4"), "{size}");
        let large = tar_gz(&path, [("a.bin", Size::AtMost(2))].into_iter(), &target)
            .unwrap_err()
            .to_string();
        assert!(large.contains("larger than the 2 bytes"), "{large}");
        let missing = tar_gz(&path, [("c.bin", Size::Exact(4))].into_iter(), &target)
            .unwrap_err()
            .to_string();
        assert!(missing.contains("c.bin: missing"), "{missing}");
    }

    #[test]
    fn a_cut_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let noise: Vec<u8> = (0..9000u32)
            .map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8)
            .collect();
        let path = archive(folder.path(), &[("a.bin", &noise)]);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        assert!(
            tar_gz(
                &path,
                [("a.bin", Size::AtMost(9000))].into_iter(),
                folder.path()
            )
            .is_err()
        );
    }
}
