//! Opens a data set by name or folder, whatever its format.

use super::augment::Augmentation;
use super::cifar::{self, Variant};
use super::error::Error;
use super::folder::ClassFolder;
use super::memory::Images;
use super::normalize::{self, Normalization, Statistics};
use super::split::{Source, Split, hold_out};
use super::{Data, Name, Options, digits, idx};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The format of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Embedded in the program.
    Digits,
    Idx,
    Cifar(Variant),
    ClassFolders,
}

impl Format {
    fn of(name: Name) -> Self {
        match name {
            Name::Digits => Self::Digits,
            Name::Mnist | Name::FashionMnist => Self::Idx,
            Name::Cifar10 => Self::Cifar(Variant::Cifar10),
            Name::Cifar100 => Self::Cifar(Variant::Cifar100),
            Name::ImageNet => Self::ClassFolders,
        }
    }

    /// Number of classes; of class folders the folders tell (0 here).
    pub(crate) fn classes(self) -> usize {
        match self {
            Self::Digits | Self::Idx => idx::CLASSES as usize,
            Self::Cifar(variant) => variant.classes() as usize,
            Self::ClassFolders => 0,
        }
    }
}

/// A set that was found.
pub(crate) struct Located {
    /// Its name, if it was asked for by name.
    pub name: Option<Name>,
    /// The folder with its files (of the digits: what stands for one).
    pub folder: PathBuf,
    pub format: Format,
}

/// Folders in which the official archives and torchvision put the files.
const USUAL_SUBFOLDERS: [&str; 4] = [
    "cifar-10-batches-bin",
    "cifar-100-binary",
    "raw",
    "MNIST/raw",
];

impl Data {
    /// Opens the set that `spec` names: a known name (its files below `options.root`), or else a folder, whose
    /// format is told by the files in it.
    ///
    /// Every file is checked whole: magic numbers, sizes, counts, labels. Sets in memory take their size in
    /// bytes; of class folders only the names are read.
    ///
    /// # Errors
    /// [`Error`] with the file or option at fault.
    pub fn open(spec: &str, options: &Options) -> Result<Self, Error> {
        let Located {
            name,
            folder,
            format,
        } = locate(spec, &options.root)?;
        let augmentation = match format {
            Format::ClassFolders => return class_folders(spec, &folder, options),
            Format::Digits => Augmentation::DIGITS,
            Format::Idx => Augmentation::MNIST,
            Format::Cifar(_) => Augmentation::CIFAR,
        };
        let [train, test] = load(&folder, format, name.is_some())?;
        if train.shape != test.shape {
            return Err(Error::Shapes {
                path: folder,
                train: train.shape,
                test: test.shape,
            });
        }
        let augmentation = augmentation.switched(options.augmentation);
        augmentation.check(train.shape)?;
        let channels = train.shape[0];
        let default = if channels == 3 {
            Normalization::ImageNet
        } else {
            Normalization::Half
        };
        let max = if format == Format::Digits {
            digits::MAX_PIXEL
        } else {
            255
        };
        let own = || normalize::statistics(&train, max);
        let tables = normalize::tables(
            options.normalization.unwrap_or(default),
            channels,
            max,
            Some(own),
        )?;
        let source = |images| Source::Memory {
            images,
            tables: tables.clone(),
            augmentation,
        };
        assemble(
            spec,
            format.classes(),
            [source(train), source(test)],
            options,
        )
    }
}

/// Finds the set that `spec` names, as [`Data::open`] describes.
pub(crate) fn locate(spec: &str, root: &Path) -> Result<Located, Error> {
    match spec.parse::<Name>() {
        Ok(Name::Digits) => Ok(Located {
            name: Some(Name::Digits),
            folder: "(embedded in the program)".into(),
            format: Format::Digits,
        }),
        Ok(name) => {
            let folder = root.join(name.as_str());
            if !folder.is_dir() {
                return Err(Error::NotFetched {
                    name: name.as_str(),
                    path: folder,
                });
            }
            let format = Format::of(name);
            // files of another format in a named folder: the named format's loader says what is missing
            let folder = find(&folder)
                .filter(|(_, found)| *found == format)
                .map_or(folder, |(inner, _)| inner);
            Ok(Located {
                name: Some(name),
                folder,
                format,
            })
        }
        Err(_) if Path::new(spec).is_dir() => {
            let folder = Path::new(spec);
            match find(folder) {
                Some((folder, format)) => Ok(Located {
                    name: None,
                    folder,
                    format,
                }),
                None => Err(Error::UnknownFormat {
                    path: folder.to_owned(),
                    found: listing(folder)?,
                }),
            }
        }
        Err(_) if spec.contains(['/', '\\']) => Err(Error::Missing {
            path: spec.into(),
            expected: "a folder with a data set".into(),
        }),
        Err(unknown) => Err(unknown),
    }
}

/// The folder and the format of the set in or below `folder`: one file of a format is enough, so that a missing
/// one is then named.
fn find(folder: &Path) -> Option<(PathBuf, Format)> {
    let inner = USUAL_SUBFOLDERS.iter().map(|sub| folder.join(sub));
    std::iter::once(folder.to_owned())
        .chain(inner)
        .find_map(|folder| {
            let idx = ["train-images", "train-labels", "t10k-images", "t10k-labels"];
            let has = |file: &str| folder.join(file).is_file();
            let format = if idx.iter().any(|part| {
                idx::find(&folder, part, "idx3")
                    .or_else(|| idx::find(&folder, part, "idx1"))
                    .is_some()
            }) {
                Format::Idx
            } else if Variant::Cifar10.train_files().iter().any(|f| has(f))
                || has(Variant::Cifar10.test_file())
            {
                Format::Cifar(Variant::Cifar10)
            } else if has("train.bin") || has("test.bin") {
                Format::Cifar(Variant::Cifar100)
            } else if folder.join("train").is_dir() {
                Format::ClassFolders
            } else {
                return None;
            };
            Some((folder, format))
        })
}

/// A few names of what is in a folder.
fn listing(folder: &Path) -> Result<String, Error> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .map_err(Error::io(folder, "read the folder"))?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let more = names.len().saturating_sub(5);
    names.truncate(5);
    Ok(match (names.is_empty(), more) {
        (true, _) => "nothing".into(),
        (false, 0) => names.join(", "),
        (false, more) => format!("{} and {more} more", names.join(", ")),
    })
}

/// Training and test images of a set that is held in memory; `official` also asks for the official number of images.
pub(crate) fn load(folder: &Path, format: Format, official: bool) -> Result<[Images; 2], Error> {
    let count = |images| official.then_some(images);
    match format {
        Format::Cifar(variant) => {
            let train = variant.train_files();
            Ok([
                cifar::load(folder, variant, train, count(50_000 / train.len()))?,
                cifar::load(folder, variant, &[variant.test_file()], count(10_000))?,
            ])
        }
        Format::Digits => digits::load().map(Into::into).map_err(|e| e.at(folder)),
        Format::Idx => Ok([
            idx::load(folder, "train", count(60_000))?,
            idx::load(folder, "t10k", count(10_000))?,
        ]),
        Format::ClassFolders => Err(Error::UnknownFormat {
            path: folder.to_owned(),
            found: "class folders".into(),
        }),
    }
}

fn class_folders(name: &str, folder: &Path, options: &Options) -> Result<Data, Error> {
    let pictures = options.pictures;
    if pictures.crop == 0 || pictures.resize < pictures.crop || pictures.resize > 4096 {
        let problem = format!(
            "a crop of {} out of a shorter side of {}: expected 1 <= crop <= resize <= 4096",
            pictures.crop, pictures.resize
        );
        return Err(Error::Option {
            option: "pictures",
            problem,
        });
    }
    let (train, test) = ClassFolder::scan_parts(folder)?;
    let classes = train.classes.len();
    let normalization = options.normalization.unwrap_or(Normalization::ImageNet);
    let tables = normalize::tables(normalization, 3, 255, None::<fn() -> Statistics>)?;
    let crop = options.augmentation.crop.unwrap_or(true);
    let flip = options.augmentation.flip.unwrap_or(true);
    let source = |folder| Source::Pictures {
        folder,
        tables: tables.clone(),
        options: pictures,
        crop,
        flip,
    };
    assemble(name, classes, [source(train), source(test)], options)
}

fn assemble(
    name: &str,
    classes: usize,
    [train, test]: [Source; 2],
    options: &Options,
) -> Result<Data, Error> {
    let (rest, held_out) = hold_out(train.len(), options.validation, options.seed)?;
    let all: Arc<[u32]> = (0..test.len() as u32).collect();
    let train = Arc::new(train);
    let train_split = Split::new(train.clone(), rest.into());
    Ok(Data {
        name: name.to_owned(),
        classes,
        shape: train_split.shape(),
        train: train_split,
        validation: Split::new(train, held_out.into()),
        test: Split::new(Arc::new(test), all),
    })
}
