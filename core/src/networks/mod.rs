//! The networks of the paper and a small one, with the names and shapes of the authors' PyTorch modules.

mod alexnet;
mod digits;
mod f1;
mod resnet;
mod shallow;

pub use alexnet::{ALEXNET_LAYERS, alexnet};
pub use digits::{DIGITS_LAYERS, digits};
pub use f1::{F1_LAYERS, f1};
pub use resnet::{RESNET18_LAYERS, RESNET34_LAYERS, cifar_resnet, resnet18, resnet34, resnet_layers};
pub use shallow::{SHALLOW_LAYERS, c1, c3};

#[cfg(test)]
mod tests;
