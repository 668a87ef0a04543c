//! What a configuration says of the data.

use super::TrainError;
use crate::data::{
    AugmentationSwitches, Data, Normalization, Options, PictureOptions, TrainCrop, Validation,
};
use crate::net::NetName;
use crate::options::{AugmentName, Config, NormalizationName, PictureCrop};
use smoothout::shape::Shape;

/// Opens the data of a configuration for a network of this input; pictures of class folders become as large.
///
/// # Errors
/// The data at fault.
pub fn open_data(config: &Config, input: Shape) -> Result<Data, TrainError> {
    let side = input.height as u32;
    let options = Options {
        root: config.data_root.clone(),
        normalization: match config.normalization {
            NormalizationName::Set => None,
            NormalizationName::Half => Some(Normalization::Half),
            NormalizationName::Imagenet => Some(Normalization::ImageNet),
            NormalizationName::Own => Some(Normalization::Own),
            NormalizationName::None => Some(Normalization::None),
        },
        augmentation: augmentation(config.augment),
        pictures: PictureOptions {
            train: match (config.picture_crop, config.net) {
                (PictureCrop::Window, _) | (PictureCrop::Net, NetName::Alexnet) => TrainCrop::Random,
                _ => TrainCrop::RandomSized,
            },
            // The network's input out of a picture whose shorter side is 8/7 of it: 224 out of 256.
            crop: side,
            resize: (side * 8).div_ceil(7),
        },
        validation: Validation::Fraction(config.validation),
        seed: config.seed,
    };
    Ok(Data::open(&config.data, &options)?)
}

const fn augmentation(name: AugmentName) -> AugmentationSwitches {
    let (crop, flip) = match name {
        AugmentName::Off => (Some(false), Some(false)),
        AugmentName::Set => (None, None),
        AugmentName::Crop => (Some(true), Some(false)),
        AugmentName::Flip => (Some(false), Some(true)),
        AugmentName::Both => (Some(true), Some(true)),
    };
    AugmentationSwitches { crop, flip }
}
