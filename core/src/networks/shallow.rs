use crate::layers::{BatchNorm, Conv2d, Dropout, Linear, MaxPool2d};
use crate::network::{BuildError, Layer, Network};
use crate::shape::Shape;

/// Layers of [`c1`] and [`c3`].
pub const SHALLOW_LAYERS: usize = 18;

/// C1 of Keskar et al. for CIFAR-10, as the authors' `models/cifar10_shallow.py`.
///
/// # Errors
/// `N` is less than [`SHALLOW_LAYERS`].
pub fn c1<const N: usize>() -> Result<Network<N>, BuildError> {
    shallow(10)
}

/// C3 of Keskar et al.: [`c1`] with 100 classes.
///
/// # Errors
/// `N` is less than [`SHALLOW_LAYERS`].
pub fn c3<const N: usize>() -> Result<Network<N>, BuildError> {
    shallow(100)
}

/// The pool stands before batch norm and ReLU, as in the authors' program (32 > 15 > 7 pixels).
fn shallow<const N: usize>(classes: usize) -> Result<Network<N>, BuildError> {
    let mut net = Network::new(Shape::new(3, 32, 32));
    for i in [0, 4] {
        net.push(format_args!("features.{i}"), Layer::Conv2d(Conv2d::new(64, 5).padding(2)))?;
        net.push(format_args!("features.{}", i + 1), Layer::MaxPool2d(MaxPool2d::new(3, 2)))?;
        net.push(format_args!("features.{}", i + 2), Layer::BatchNorm(BatchNorm::default()))?;
        net.push(format_args!("features.{}", i + 3), Layer::Relu)?;
    }
    net.push(format_args!("flatten"), Layer::Flatten)?;
    for (i, features) in [(0, 384), (4, 192)] {
        let linear = Linear::new(features).without_bias();
        net.push(format_args!("classifier.{i}"), Layer::Linear(linear))?;
        net.push(format_args!("classifier.{}", i + 1), Layer::BatchNorm(BatchNorm::default()))?;
        net.push(format_args!("classifier.{}", i + 2), Layer::Relu)?;
        net.push(format_args!("classifier.{}", i + 3), Layer::Dropout(Dropout { probability: 0.5 }))?;
    }
    net.push(format_args!("classifier.8"), Layer::Linear(Linear::new(classes)))?;
    Ok(net)
}
