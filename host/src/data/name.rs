//! The known data sets by name.

use super::error::Error;
use std::fmt;
use std::str::FromStr;

/// A data set that the program knows by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Name {
    /// 1,797 handwritten digits of 8x8 pixels, embedded in the program.
    Digits,
    /// 70,000 handwritten digits of 28x28 pixels.
    Mnist,
    /// 70,000 pieces of clothing of 28x28 pixels.
    FashionMnist,
    /// 60,000 colour images of 32x32 pixels in 10 classes.
    Cifar10,
    /// 60,000 colour images of 32x32 pixels in 100 classes.
    Cifar100,
    /// ILSVRC-2012: class folders of pictures.
    ImageNet,
}

impl Name {
    /// Every name.
    pub const ALL: [Self; 6] = [
        Self::Digits,
        Self::Mnist,
        Self::FashionMnist,
        Self::Cifar10,
        Self::Cifar100,
        Self::ImageNet,
    ];

    /// As written on the command line; also the name of its folder under the data root.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Digits => "digits",
            Self::Mnist => "mnist",
            Self::FashionMnist => "fashion-mnist",
            Self::Cifar10 => "cifar10",
            Self::Cifar100 => "cifar100",
            Self::ImageNet => "imagenet",
        }
    }

    /// The known name most like `text`.
    #[must_use]
    pub fn nearest(text: &str) -> Self {
        let text = text.to_lowercase();
        let likeness = |name: &Self| strsim::jaro_winkler(&text, name.as_str());
        Self::ALL
            .into_iter()
            .max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
            .unwrap_or(Self::Digits)
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Name {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|name| name.as_str() == text)
            .ok_or_else(|| Error::UnknownName {
                name: text.to_owned(),
                nearest: Self::nearest(text).as_str(),
                known: Self::ALL.map(Self::as_str).join(", "),
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_parse_and_typos_get_the_nearest() {
        for name in Name::ALL {
            assert_eq!(name.as_str().parse::<Name>().ok(), Some(name));
        }
        assert_eq!(Name::nearest("mnsit"), Name::Mnist);
        assert_eq!(Name::nearest("CIFAR-10"), Name::Cifar10);
        assert_eq!(Name::nearest("fashion"), Name::FashionMnist);
        let message = "cifar-100".parse::<Name>().map_err(|e| e.to_string());
        assert!(message.is_err_and(|m| m.contains("cifar-100") && m.contains("\"cifar100\"")));
    }
}
