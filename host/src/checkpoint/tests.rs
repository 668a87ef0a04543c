//! Tests of checkpoints and of atomic writing.
#![allow(clippy::unwrap_used)]

use super::atomic::{Disk, RealDisk, WriteStep};
use super::*;
use proptest::prelude::*;
use std::cell::Cell;
use std::fs::{self, File};
use std::io::{self, Write};
use std::rc::Rc;
use tempfile::TempDir;

fn sample(scale: f32) -> Checkpoint {
    let mut c = Checkpoint::new();
    let weights: Vec<f32> = (0..50_000).map(|i| i as f32 * scale).collect();
    c.insert_f32("layer1.0.conv1.weight", &[50, 1000], &weights)
        .unwrap();
    c.insert_f32("bn1.running_mean", &[3], &[f32::MIN_POSITIVE, -0.0, 1e30])
        .unwrap();
    c.insert_f32("empty", &[0, 4], &[]).unwrap();
    c.insert(
        "bn1.num_batches_tracked",
        &[],
        Elements::I64(vec![i64::MIN]),
    )
    .unwrap();
    c.insert("labels", &[2], Elements::I32(vec![-1, 7]))
        .unwrap();
    c.insert("state", &[3], Elements::U8(vec![0, 128, 255]))
        .unwrap();
    c.insert("sum", &[1], Elements::F64(vec![0.1])).unwrap();
    c.insert("words", &[2], Elements::U64(vec![u64::MAX, 1]))
        .unwrap();
    c.set_u64("seed", u64::MAX);
    c.set_f64("best", 0.1 + 0.2);
    c.set_text("net", "résumé \"f1\"\n");
    c
}

fn file_names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// A file of this header (padded by nothing) and this many zero bytes of data.
fn raw(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

fn load_bytes(bytes: &[u8]) -> Result<Checkpoint, CheckpointError> {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("x.safetensors");
    fs::write(&path, bytes).unwrap();
    Checkpoint::load(&path)
}

fn cause(bytes: &[u8]) -> CheckpointCause {
    load_bytes(bytes).unwrap_err().cause
}

#[test]
fn everything_comes_back() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("last.safetensors");
    let saved = sample(0.37);
    saved.save(&path).unwrap();
    let loaded = Checkpoint::load(&path).unwrap();
    assert_eq!(loaded, saved);
    let mean = loaded.f32("bn1.running_mean", &[3]).unwrap();
    assert_eq!(mean[1].to_bits(), (-0.0f32).to_bits());
    assert_eq!(loaded.number_u64("seed").unwrap(), u64::MAX);
    assert_eq!(
        loaded.number_f64("best").unwrap().to_bits(),
        (0.1f64 + 0.2).to_bits()
    );
    assert_eq!(loaded.text("net").unwrap(), "résumé \"f1\"\n");
    assert_eq!(
        loaded.i64("bn1.num_batches_tracked", &[]).unwrap(),
        [i64::MIN]
    );
    assert_eq!(file_names(folder.path()), ["last.safetensors"]);
}

#[test]
fn equal_checkpoints_are_equal_files_and_the_formats_own_library_reads_them() {
    let folder = TempDir::new().unwrap();
    let (a, b) = (folder.path().join("a"), folder.path().join("b"));
    sample(0.5).save(&a).unwrap();
    sample(0.5).save(&b).unwrap();
    let bytes = fs::read(&a).unwrap();
    assert_eq!(bytes, fs::read(&b).unwrap());

    let read = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.len(), 8);
    let weight = read.tensor("layer1.0.conv1.weight").unwrap();
    assert_eq!(weight.shape(), [50, 1000]);
    assert_eq!(weight.data()[4..8], 0.5f32.to_le_bytes());
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&bytes).unwrap();
    let texts = metadata.metadata().as_ref().unwrap();
    assert_eq!(texts["seed"], u64::MAX.to_string());
    // Every tensor starts at a multiple of its element's size.
    for (name, tensor) in read.tensors() {
        let offset = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
        assert_eq!(offset % (tensor.dtype().bitsize() / 8), 0, "{name}");
    }
}

#[test]
fn numbers_survive_exactly() {
    let mut c = Checkpoint::new();
    for value in [
        0.0,
        -0.0,
        f64::MIN_POSITIVE / 3.0,
        f64::MAX,
        f64::INFINITY,
        1.0 / 3.0,
    ] {
        c.set_f64("x", value);
        assert_eq!(c.number_f64("x").unwrap().to_bits(), value.to_bits());
    }
    c.set_f64("x", f64::NAN);
    assert!(c.number_f64("x").unwrap().is_nan());
}

#[test]
fn accessors_name_what_is_wrong() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("w.safetensors");
    sample(1.0).save(&path).unwrap();
    let c = Checkpoint::load(&path).unwrap();
    let message = |e: CheckpointError| e.to_string();
    let prefix = format!("checkpoint {}: ", path.display());
    assert_eq!(
        message(c.f32("fc.weight", &[1]).unwrap_err()),
        format!("{prefix}tensor 'fc.weight' is missing")
    );
    assert_eq!(
        message(c.f32("sum", &[1]).unwrap_err()),
        format!("{prefix}tensor 'sum' has elements of type F64, F32 expected")
    );
    assert_eq!(
        message(c.f32("bn1.running_mean", &[4]).unwrap_err()),
        format!("{prefix}tensor 'bn1.running_mean' has shape [3], [4] expected")
    );
    assert_eq!(
        message(c.text("epoch").unwrap_err()),
        format!("{prefix}metadata entry 'epoch' is missing")
    );
    assert!(matches!(
        c.number_u64("net").unwrap_err().cause,
        CheckpointCause::BadMetadata { .. }
    ));
    let mut c = Checkpoint::new();
    assert_eq!(
        message(c.insert_f32("w", &[2, 3], &[0.0; 5]).unwrap_err()),
        "checkpoint (in memory): tensor 'w' of shape [2, 3] was given 5 elements"
    );
    assert!(c.insert_f32("w", &[usize::MAX, 2], &[]).is_err());
    assert!(matches!(
        c.insert_f32("__metadata__", &[0], &[]).unwrap_err().cause,
        CheckpointCause::ReservedName(_)
    ));
}

#[test]
fn bad_files_are_refused() {
    use CheckpointCause as C;
    let good = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}"#;
    assert!(load_bytes(&raw(good, 8)).is_ok());
    assert!(matches!(
        cause(b""),
        C::Truncated {
            expected: 8,
            found: 0
        }
    ));
    assert!(matches!(cause(b"1234567"), C::Truncated { .. }));
    assert!(matches!(
        cause(&u64::MAX.to_le_bytes()),
        C::HeaderTooLong { .. }
    ));
    assert!(matches!(
        cause(&50u64.to_le_bytes()),
        C::Truncated {
            expected: 58,
            found: 8
        }
    ));
    assert!(matches!(cause(&raw(good, 7)), C::Truncated { .. }));
    assert!(matches!(cause(&raw(good, 9)), C::Oversized { .. }));
    assert!(matches!(cause(&raw("", 0)), C::Header(_)));
    assert!(matches!(cause(&raw("[]", 0)), C::Header(_)));
    assert!(matches!(cause(&raw("{} x", 0)), C::Header(_)));
    let twice = r#"{"w":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"w":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#;
    let error = cause(&raw(twice, 2));
    assert!(error.to_string().contains("'w' appears twice"), "{error}");
    let twice = r#"{"__metadata__":{"a":"1","a":"2"}}"#;
    assert!(matches!(cause(&raw(twice, 0)), C::Header(_)));
    let null = r#"{"__metadata__":null}"#;
    assert!(load_bytes(&raw(null, 0)).unwrap().metadata().is_empty());

    // Unknown type, type that is known to the format but not read here.
    let unknown = good.replace("F32", "F99");
    assert!(matches!(cause(&raw(&unknown, 8)), C::Header(_)));
    let half = good.replace("F32", "F16").replace("[2]", "[4]");
    assert!(matches!(cause(&raw(&half, 8)), C::UnsupportedType { .. }));
    // Overflowing product, wrong product, negative, gap, overlap, backward offsets.
    for (from, to) in [
        ("[2]", "[4294967296,4294967296]"),
        ("[2]", "[9223372036854775807,2]"),
        ("[2]", "[4611686018427387905]"),
        ("[2]", "[3]"),
        ("[0,8]", "[8,0]"),
        ("[0,8]", "[1,9]"),
    ] {
        let bad = good.replace(from, to);
        assert!(matches!(cause(&raw(&bad, 8)), C::Layout(_)), "{bad}");
    }
    let negative = good.replace("[2]", "[-2]");
    assert!(matches!(cause(&raw(&negative, 8)), C::Header(_)));
    // A petabyte promised by a hundred bytes: refused before any memory is asked for.
    let huge =
        r#"{"w":{"dtype":"U8","shape":[1125899906842624],"data_offsets":[0,1125899906842624]}}"#;
    assert!(matches!(cause(&raw(huge, 8)), C::Truncated { .. }));
}

#[test]
fn folders_and_missing_files_are_refused() {
    let folder = TempDir::new().unwrap();
    let error = Checkpoint::load(folder.path()).unwrap_err();
    assert!(matches!(error.cause, CheckpointCause::NotAFile));
    let error = Checkpoint::load(&folder.path().join("none")).unwrap_err();
    assert!(matches!(error.cause, CheckpointCause::Read(_)));
    let error = sample(1.0)
        .save(&folder.path().join("no/such/folder.safetensors"))
        .unwrap_err();
    assert!(error.to_string().contains("cannot create a temporary file"));
    // A folder in the file's place stays, and no temporary file does.
    let taken = folder.path().join("taken");
    fs::create_dir(&taken).unwrap();
    assert!(sample(1.0).save(&taken).is_err());
    assert_eq!(file_names(folder.path()), ["taken"]);
}

/// The real disk, whose `allowed`-th call fails as a full disk does; a failing write first writes a part.
struct FailingDisk {
    left: Rc<Cell<u32>>,
}

impl FailingDisk {
    fn new(allowed: u32) -> Self {
        FailingDisk {
            left: Rc::new(Cell::new(allowed)),
        }
    }
}

fn count(left: &Cell<u32>) -> io::Result<()> {
    match left.get() {
        0 => Err(io::ErrorKind::StorageFull.into()),
        n => {
            left.set(n - 1);
            Ok(())
        }
    }
}

struct FailingFile {
    file: File,
    left: Rc<Cell<u32>>,
}

impl Write for FailingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Err(full) = count(&self.left) {
            self.file.write_all(&bytes[..bytes.len() / 2])?;
            return Err(full);
        }
        // Small pieces, so that there are many calls to fail at.
        self.file.write(&bytes[..bytes.len().min(20_000)])
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Disk for FailingDisk {
    type File = FailingFile;

    fn create(&self, path: &Path) -> io::Result<FailingFile> {
        count(&self.left)?;
        let left = self.left.clone();
        RealDisk.create(path).map(|file| FailingFile { file, left })
    }

    fn sync(&self, file: &FailingFile) -> io::Result<()> {
        count(&self.left)?;
        file.file.sync_all()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        count(&self.left)?;
        RealDisk.rename(from, to)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        count(&self.left)?;
        RealDisk.sync_folder(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        RealDisk.remove(path)
    }
}

#[test]
fn whatever_fails_while_saving_the_old_checkpoint_stays_whole() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("last.safetensors");
    let (old, new) = (sample(1.0), sample(2.0));
    let mut steps = Vec::new();
    for allowed in 0.. {
        old.save(&path).unwrap();
        let disk = FailingDisk::new(allowed);
        let result = new.save_on(&disk, &path);
        assert_eq!(
            file_names(folder.path()),
            ["last.safetensors"],
            "failure at call {allowed}"
        );
        let found = Checkpoint::load(&path).unwrap();
        let Err(error) = result else {
            assert_eq!(found, new);
            break;
        };
        let CheckpointCause::Write(error) = error.cause else {
            panic!("another error: {error}");
        };
        assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
        // Only after the rename is the new one there.
        let expected = if error.step == WriteStep::SyncFolder {
            &new
        } else {
            &old
        };
        assert_eq!(&found, expected, "failure at call {allowed}");
        steps.push(error.step);
    }
    let writes = steps.iter().filter(|s| **s == WriteStep::Write).count();
    assert!(writes >= 10, "{writes} writes failed");
    steps.dedup();
    use WriteStep as S;
    assert_eq!(
        steps,
        [S::Create, S::Write, S::Sync, S::Rename, S::SyncFolder]
    );
}

/// A file system of 256 KiB that really fills up. Mounting one needs to be root.
#[cfg(target_os = "linux")]
#[test]
fn a_full_disk_leaves_the_old_checkpoint_whole() {
    use std::process::Command;
    let folder = TempDir::new().unwrap();
    let mounted = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(folder.path())
        .output()
        .is_ok_and(|o| o.status.success());
    if !mounted {
        println!(
            "note: not allowed to mount a small tmpfs; the injected failures cover a full disk"
        );
        return;
    }
    let path = folder.path().join("last.safetensors");
    let old = sample(1.0);
    let result = old.save(&path).and_then(|()| sample(2.0).save(&path));
    let names = file_names(folder.path());
    let found = Checkpoint::load(&path);
    Command::new("umount").arg(folder.path()).status().unwrap();
    let CheckpointCause::Write(error) = result.unwrap_err().cause else {
        panic!("another error");
    };
    assert_eq!(error.step, WriteStep::Write);
    assert_eq!(error.source.kind(), io::ErrorKind::StorageFull);
    assert_eq!(names, ["last.safetensors"]);
    assert_eq!(found.unwrap(), old);
}

proptest! {
    #[test]
    fn any_checkpoint_comes_back(
        tensors in prop::collection::btree_map(
            "[a-zA-Z0-9._ \\\\\"é]{0,12}",
            prop::collection::vec(any::<u32>(), 0..40),
            0..6,
        ),
        texts in prop::collection::btree_map(".{0,8}", ".{0,20}", 0..4),
    ) {
        let mut saved = Checkpoint::new();
        for (name, bits) in &tensors {
            // As integers, because a NaN would not equal itself.
            let values = bits.iter().map(|b| *b as i32).collect();
            saved.insert(name.as_str(), &[1, bits.len()], Elements::I32(values)).unwrap();
        }
        for (key, value) in &texts {
            saved.set_text(key.as_str(), value.as_str());
        }
        let folder = TempDir::new().unwrap();
        let path = folder.path().join("c");
        saved.save(&path).unwrap();
        prop_assert_eq!(Checkpoint::load(&path).unwrap(), saved);
    }
}
