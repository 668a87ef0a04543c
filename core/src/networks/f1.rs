use crate::layers::{BatchNorm, Linear};
use crate::network::{BuildError, Layer, Network};
use crate::shape::Shape;

/// Layers of [`f1`].
pub const F1_LAYERS: usize = 17;

/// F1 of Keskar et al., as the authors' `models/mnist_f1.py`: 784-512x5-10, batch norm and ReLU after each hidden layer.
///
/// # Errors
/// `N` is less than [`F1_LAYERS`].
pub fn f1<const N: usize>() -> Result<Network<N>, BuildError> {
    let mut net = Network::new(Shape::new(1, 28, 28));
    net.push(format_args!("flatten"), Layer::Flatten)?;
    for i in 0..5 {
        net.push(format_args!("layers.{}", 3 * i), Layer::Linear(Linear::new(512)))?;
        net.push(format_args!("layers.{}", 3 * i + 1), Layer::BatchNorm(BatchNorm::default()))?;
        net.push(format_args!("layers.{}", 3 * i + 2), Layer::Relu)?;
    }
    net.push(format_args!("layers.15"), Layer::Linear(Linear::new(10)))?;
    Ok(net)
}
