use crate::layers::{BatchNorm, Conv2d, Linear, MaxPool2d};
use crate::network::{BuildError, Layer, Network};
use crate::shape::Shape;

/// Layers of [`digits`].
pub const DIGITS_LAYERS: usize = 10;

/// A small convolutional network for 1x8x8 images and 10 classes:
/// conv 3x3/8 - BN - ReLU - pool 2 - conv 3x3/16 - BN - ReLU - pool 2 - linear 10.
///
/// # Errors
/// `N` is less than [`DIGITS_LAYERS`].
pub fn digits<const N: usize>() -> Result<Network<N>, BuildError> {
    let mut net = Network::new(Shape::new(1, 8, 8));
    for (i, channels) in [8, 16].into_iter().enumerate() {
        let at = 4 * i;
        net.push(format_args!("features.{at}"), Layer::Conv2d(Conv2d::new(channels, 3).padding(1)))?;
        net.push(format_args!("features.{}", at + 1), Layer::BatchNorm(BatchNorm::default()))?;
        net.push(format_args!("features.{}", at + 2), Layer::Relu)?;
        net.push(format_args!("features.{}", at + 3), Layer::MaxPool2d(MaxPool2d::new(2, 2)))?;
    }
    net.push(format_args!("flatten"), Layer::Flatten)?;
    net.push(format_args!("classifier"), Layer::Linear(Linear::new(10)))?;
    Ok(net)
}
