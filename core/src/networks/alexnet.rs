use crate::layers::{BatchNorm, Conv2d, Dropout, Linear, MaxPool2d};
use crate::network::{BuildError, Layer, Network};
use crate::shape::Shape;

/// Layers of [`alexnet`].
pub const ALEXNET_LAYERS: usize = 28;

/// AlexNet with batch norm for 224x224 images, as the authors' `models/alexnet.py`, with their dropout of 0.5.
///
/// The authors' v2 has dropout 0.2, v3 and vlr none: see [`Network::set_dropout`].
/// Layer 1 has batch norm before ReLU, layers 2 to 5 after it.
///
/// # Errors
/// `N` is less than [`ALEXNET_LAYERS`].
pub fn alexnet<const N: usize>() -> Result<Network<N>, BuildError> {
    let mut net = Network::new(Shape::new(3, 224, 224));
    let norm = Layer::BatchNorm(BatchNorm::default());
    let pool = Layer::MaxPool2d(MaxPool2d::new(3, 2));
    let conv = |channels, kernel, padding| {
        Layer::Conv2d(Conv2d::new(channels, kernel).padding(padding))
    };
    let features = [
        Layer::Conv2d(Conv2d::new(64, 11).stride(4).padding(2)),
        pool,
        norm,
        Layer::Relu,
        conv(192, 5, 2),
        pool,
        Layer::Relu,
        norm,
        conv(384, 3, 1),
        Layer::Relu,
        norm,
        conv(256, 3, 1),
        Layer::Relu,
        norm,
        conv(256, 3, 1),
        pool,
        Layer::Relu,
        norm,
    ];
    for (i, layer) in features.into_iter().enumerate() {
        net.push(format_args!("features.{i}"), layer)?;
    }
    net.push(format_args!("flatten"), Layer::Flatten)?;
    for i in [0, 4] {
        let linear = Layer::Linear(Linear::new(4096).without_bias());
        net.push(format_args!("classifier.{i}"), linear)?;
        net.push(format_args!("classifier.{}", i + 1), norm)?;
        net.push(format_args!("classifier.{}", i + 2), Layer::Relu)?;
        net.push(format_args!("classifier.{}", i + 3), Layer::Dropout(Dropout { probability: 0.5 }))?;
    }
    net.push(format_args!("classifier.8"), Layer::Linear(Linear::new(1000)))?;
    Ok(net)
}
