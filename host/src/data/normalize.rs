//! Pixel bytes to network inputs: ((v / max) - mean) / sd in f32, each operation rounded, as torchvision does
//! it; tabled, since a byte has 256 values.

use super::error::Error;
use super::memory::{Images, Table};
use std::str::FromStr;

/// Which mean and standard deviation the pixels (scaled to 0..1) are brought to 0 and 1 with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Normalization {
    /// Mean 0.5 and standard deviation 0.5: inputs of -1 to 1. Default of the sets with one channel.
    Half,
    /// ImageNet's statistics: mean .485 .456 .406, standard deviation .229 .224 .225. Default of the colour
    /// sets, CIFAR included, as in the authors' program.
    ImageNet,
    /// The statistics of the set's own training images (validation images included). Not for class folders,
    /// whose pixels are never all read.
    Own,
    /// None: inputs of 0 to 1.
    None,
}

impl Normalization {
    /// As written on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Half => "half",
            Self::ImageNet => "imagenet",
            Self::Own => "own",
            Self::None => "none",
        }
    }
}

impl FromStr for Normalization {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        [Self::Half, Self::ImageNet, Self::Own, Self::None]
            .into_iter()
            .find(|n| n.as_str() == text)
            .ok_or_else(|| {
                invalid(format!(
                    "{text:?} is unknown; known: half, imagenet, own, none"
                ))
            })
    }
}

fn invalid(problem: String) -> Error {
    Error::Option {
        option: "normalization",
        problem,
    }
}

/// Mean and standard deviation of each channel, pixels scaled to 0..1.
#[derive(Debug, Clone, PartialEq)]
pub struct Statistics {
    /// One mean a channel.
    pub mean: Vec<f64>,
    /// One (population) standard deviation a channel.
    pub sd: Vec<f64>,
}

/// Statistics of all pixels of `images`, where `max` is the byte that means 1.
#[must_use]
pub fn statistics(images: &Images, max: u8) -> Statistics {
    let [channels, rows, columns] = images.shape;
    let plane = rows * columns;
    let mut sums = vec![(0u64, 0u64); channels];
    for (index, pixels) in images.pixels.chunks_exact(plane).enumerate() {
        let (sum, squares) = pixels.iter().fold((0u64, 0u64), |(s, q), &v| {
            (s + u64::from(v), q + u64::from(v) * u64::from(v))
        });
        let channel = &mut sums[index % channels];
        *channel = (channel.0 + sum, channel.1 + squares);
    }
    let count = images.len() * plane;
    let scale = count as f64 * f64::from(max);
    let mean = sums.iter().map(|s| s.0 as f64 / scale).collect();
    // count^2 times the variance, exact: a constant channel has exactly 0
    let variance =
        |s: &(u64, u64)| count as u128 * u128::from(s.1) - u128::from(s.0) * u128::from(s.0);
    let sd = sums
        .iter()
        .map(|s| (variance(s) as f64).sqrt() / scale)
        .collect();
    Statistics { mean, sd }
}

/// The tables of `channels` channels; `own` makes the set's own statistics where they can be had.
pub(crate) fn tables(
    which: Normalization,
    channels: usize,
    max: u8,
    own: Option<impl FnOnce() -> Statistics>,
) -> Result<Vec<Table>, Error> {
    let same = |mean: f64, sd: f64| Statistics {
        mean: vec![mean; channels],
        sd: vec![sd; channels],
    };
    let Statistics { mean, sd } = match which {
        Normalization::Half => same(0.5, 0.5),
        Normalization::None => same(0.0, 1.0),
        Normalization::ImageNet if channels == 3 => Statistics {
            mean: vec![0.485, 0.456, 0.406],
            sd: vec![0.229, 0.224, 0.225],
        },
        Normalization::ImageNet => {
            return Err(invalid(format!(
                "imagenet has 3 channels, the images have {channels}"
            )));
        }
        Normalization::Own => own.ok_or_else(|| {
            invalid("own needs a set that is read into memory, not class folders".into())
        })?(),
    };
    if let Some(channel) = sd.iter().position(|&sd| sd <= 0.0) {
        return Err(invalid(format!(
            "own: all pixels of channel {channel} are equal"
        )));
    }
    Ok(mean
        .iter()
        .zip(&sd)
        .map(|(&mean, &sd)| table(mean as f32, sd as f32, max))
        .collect())
}

fn table(mean: f32, sd: f32, max: u8) -> Table {
    std::array::from_fn(|v| (v as f32 / f32::from(max) - mean) / sd)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    type Own = fn() -> Statistics;

    #[test]
    fn tables_hold_the_formula() {
        let half = tables(Normalization::Half, 1, 255, None::<Own>).unwrap();
        assert_eq!((half[0][0], half[0][255]), (-1.0, 1.0));
        let digits = tables(Normalization::Half, 1, 16, None::<Own>).unwrap();
        assert_eq!(
            (digits[0][0], digits[0][8], digits[0][16]),
            (-1.0, 0.0, 1.0)
        );
        let none = tables(Normalization::None, 2, 255, None::<Own>).unwrap();
        assert_eq!((none[1][0], none[1][255]), (0.0, 1.0));
        // torch: (torch.tensor(127.) / 255 - 0.456) / 0.224
        let imagenet = tables(Normalization::ImageNet, 3, 255, None::<Own>).unwrap();
        assert!((f64::from(imagenet[1][127]) - (127.0 / 255.0 - 0.456) / 0.224).abs() < 1e-6);
    }

    #[test]
    fn own_statistics() {
        let images = Images {
            shape: [2, 1, 2],
            pixels: vec![0, 255, 51, 51, 255, 0, 102, 102],
            labels: vec![0, 0],
        };
        let found = statistics(&images, 255);
        let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
        assert!(
            near(found.mean[0], 0.5) && near(found.sd[0], 0.5),
            "{found:?}"
        );
        assert!(
            near(found.mean[1], 0.3) && near(found.sd[1], 0.1),
            "{found:?}"
        );
        let constant = Images {
            shape: [1, 1, 1],
            pixels: vec![3, 3],
            labels: vec![0, 0],
        };
        let error = tables(
            Normalization::Own,
            1,
            255,
            Some(|| statistics(&constant, 255)),
        )
        .unwrap_err();
        assert!(error.to_string().contains("channel 0"), "{error}");
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(tables(Normalization::ImageNet, 1, 255, None::<Own>).is_err());
        assert!(tables(Normalization::Own, 3, 255, None::<Own>).is_err());
        assert!("imgnet".parse::<Normalization>().is_err());
        assert_eq!("own".parse::<Normalization>().unwrap(), Normalization::Own);
    }
}
