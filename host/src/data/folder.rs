//! Class folders: `train/CLASS/*.jpg`, `val/CLASS/*.jpg` (ImageNet's layout). Only the file names are kept in memory.

use super::error::{Error, FormatError};
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The pictures below one folder of class folders.
#[derive(Debug, Clone)]
pub struct ClassFolder {
    root: PathBuf,
    /// Class names; the label of a class is its place here. Sorted by bytes, as torchvision does.
    pub classes: Vec<String>,
    /// Label and file name, sorted.
    files: Vec<(u32, OsString)>,
}

/// No larger picture file is read.
const MAX_BYTES: u64 = 256 << 20;
const EXTENSIONS: [&str; 3] = ["jpg", "jpeg", "png"];

fn entries(folder: &Path) -> Result<Vec<(OsString, fs::Metadata)>, Error> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).map_err(Error::io(folder, "read the folder"))? {
        let entry = entry.map_err(Error::io(folder, "read the folder"))?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = folder.join(&name);
        // follows links: sets are often linked together
        let metadata = fs::metadata(&path).map_err(Error::io(&path, "look at the file"))?;
        found.push((name, metadata));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    Ok(found)
}

impl ClassFolder {
    /// Lists the pictures. With `classes` (those of the training set) a folder of another name is refused, and
    /// a missing one has no pictures; without, the folders found are the classes. Hidden files are passed over.
    ///
    /// # Errors
    /// [`Error::Io`], [`Error::NoClass`], [`Error::UnknownClass`], [`Error::Format`] for a class without
    /// pictures or a file that is neither `.jpg`, `.jpeg` nor `.png`, [`Error::Missing`] without any class.
    pub fn scan(root: &Path, classes: Option<&[String]>) -> Result<Self, Error> {
        let mut found = Vec::new();
        for (name, metadata) in entries(root)? {
            match name.into_string() {
                Ok(name) if metadata.is_dir() => found.push(name),
                Ok(name) => {
                    return Err(Error::NoClass {
                        path: root.join(name),
                        problem: "a file",
                    });
                }
                Err(name) => {
                    return Err(Error::NoClass {
                        path: root.join(name),
                        problem: "a name that is not UTF-8",
                    });
                }
            }
        }
        if found.is_empty() {
            return Err(Error::Missing {
                path: root.join("CLASS"),
                expected: "one folder of pictures a class".into(),
            });
        }
        let mut set = Self {
            root: root.to_owned(),
            classes: classes.map_or_else(|| found.clone(), <[_]>::to_vec),
            files: Vec::new(),
        };
        for name in found {
            let Ok(label) = set.classes.binary_search(&name) else {
                return Err(Error::UnknownClass {
                    path: root.join(&name),
                    class: name,
                    classes: set.classes.len(),
                });
            };
            set.add_class(label as u32, &root.join(name))?;
        }
        Ok(set)
    }

    /// The training set `train/` and the test set `val/` (or, without that, `test/`) of a folder.
    ///
    /// # Errors
    /// As [`ClassFolder::scan`]; [`Error::Missing`] without a test set.
    pub fn scan_parts(folder: &Path) -> Result<(Self, Self), Error> {
        let test = ["val", "test"]
            .into_iter()
            .map(|part| folder.join(part))
            .find(|part| part.is_dir())
            .ok_or_else(|| Error::Missing {
                path: folder.join("val"),
                expected: "the class folders of the test images (val/ or test/)".into(),
            })?;
        let train = Self::scan(&folder.join("train"), None)?;
        let test = Self::scan(&test, Some(&train.classes))?;
        Ok((train, test))
    }

    fn add_class(&mut self, label: u32, folder: &Path) -> Result<(), Error> {
        let before = self.files.len();
        for (name, metadata) in entries(folder)? {
            let path = folder.join(&name);
            let extension = path
                .extension()
                .unwrap_or_default()
                .to_string_lossy()
                .to_lowercase();
            if !metadata.is_file() || !EXTENSIONS.contains(&extension.as_str()) {
                return Err(
                    FormatError::Picture("expected a .jpg, .jpeg or .png file".into()).at(&path),
                );
            }
            self.files.push((label, name));
        }
        if self.files.len() == before {
            return Err(FormatError::Empty.at(folder));
        }
        Ok(())
    }

    /// Number of pictures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// Label of picture `index`.
    pub(crate) fn label(&self, index: u32) -> u32 {
        self.files[index as usize].0
    }

    /// The file of picture `index` and its bytes.
    pub(crate) fn read(&self, index: u32) -> Result<(PathBuf, Vec<u8>), Error> {
        let (label, name) = &self.files[index as usize];
        let path = self.root.join(&self.classes[*label as usize]).join(name);
        let size = fs::metadata(&path)
            .map_err(Error::io(&path, "open the picture"))?
            .len();
        if size > MAX_BYTES {
            return Err(FormatError::TooLarge { limit: MAX_BYTES }.at(&path));
        }
        let bytes = fs::read(&path).map_err(Error::io(&path, "read the picture"))?;
        Ok((path, bytes))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn touch(root: &Path, files: &[&str]) {
        for file in files {
            let path = root.join(file);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, b"x").unwrap();
        }
    }

    #[test]
    fn classes_and_files_are_sorted_and_labels_follow_the_training_set() {
        let folder = tempfile::tempdir().unwrap();
        touch(
            folder.path(),
            &[
                "train/n02/b.JPEG",
                "train/n02/a.png",
                "train/n01/z.jpg",
                "train/n03/q.jpg",
                "train/.hidden",
                "val/n03/v.jpg",
            ],
        );
        let train = ClassFolder::scan(&folder.path().join("train"), None).unwrap();
        assert_eq!(train.classes, ["n01", "n02", "n03"]);
        let files: Vec<_> = train
            .files
            .iter()
            .map(|(l, n)| (*l, n.to_str().unwrap()))
            .collect();
        assert_eq!(
            files,
            [(0, "z.jpg"), (1, "a.png"), (1, "b.JPEG"), (2, "q.jpg")]
        );
        assert_eq!(train.read(2).unwrap().1, b"x");
        let val = ClassFolder::scan(&folder.path().join("val"), Some(&train.classes)).unwrap();
        assert_eq!((val.label(0), val.len()), (2, 1));
    }

    #[test]
    fn strange_files_classes_and_empty_folders_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let scan = |part: &str, classes: Option<&[String]>| {
            ClassFolder::scan(&folder.path().join(part), classes)
                .map(|_| ())
                .map_err(|e| e.to_string())
                .unwrap_err()
        };
        touch(
            folder.path(),
            &["a/n01/x.gif", "b/readme.txt", "c/other/x.jpg"],
        );
        fs::create_dir_all(folder.path().join("d/n01")).unwrap();
        fs::create_dir_all(folder.path().join("e")).unwrap();
        assert!(scan("a", None).contains("x.gif"));
        assert!(scan("b", None).contains("readme.txt"));
        assert!(
            scan("c", Some(&["n01".into()])).contains("class \"other\" is not among the 1 classes")
        );
        assert!(scan("d", None).contains("n01: holds no images"));
        assert!(scan("e", None).contains("one folder of pictures a class"));
        assert!(scan("nowhere", None).contains("cannot read the folder"));
    }
}
