use crate::layers::{BatchNorm, Conv2d, Linear, MaxPool2d};
use crate::network::{BuildError, Layer, Network, Source};
use crate::shape::Shape;

/// Layers of CIFAR's residual network of this depth (6n+2): the capacity that [`cifar_resnet`] needs.
pub const fn resnet_layers(depth: usize) -> usize {
    // stem 3, a block 7, a projection 2 in each of two stages, then pool and linear
    3 + 7 * (depth.saturating_sub(2) / 2) + 2 * 2 + 2
}

/// Layers of [`resnet18`].
pub const RESNET18_LAYERS: usize = 4 + 7 * 8 + 2 * 3 + 2;

/// Layers of [`resnet34`].
pub const RESNET34_LAYERS: usize = 4 + 7 * 16 + 2 * 3 + 2;

/// Residual network for 3x32x32 images as the authors' `models/resnet.py`: depth 6n+2, widths 16, 32, 64,
/// a 1x1 convolution with batch norm as shortcut of the two strided blocks.
///
/// # Errors
/// The depth is not 6n+2 with n at least 1, or `N` is less than [`resnet_layers`].
pub fn cifar_resnet<const N: usize>(depth: usize, classes: usize) -> Result<Network<N>, BuildError> {
    if depth < 8 || depth % 6 != 2 {
        return Err(BuildError::Depth { depth });
    }
    let n = (depth - 2) / 6;
    let mut net = Network::new(Shape::new(3, 32, 32));
    net.push(format_args!("conv1"), Layer::Conv2d(Conv2d::new(16, 3).padding(1)))?;
    norm_relu(&mut net, "")?;
    stages(&mut net, 16, &[(16, n), (32, n), (64, n)])?;
    head(&mut net, classes)?;
    Ok(net)
}

/// ResNet-18 for 3x224x224 images and 1000 classes.
///
/// # Errors
/// `N` is less than [`RESNET18_LAYERS`].
pub fn resnet18<const N: usize>() -> Result<Network<N>, BuildError> {
    imagenet([2, 2, 2, 2])
}

/// ResNet-34 for 3x224x224 images and 1000 classes.
///
/// # Errors
/// `N` is less than [`RESNET34_LAYERS`].
pub fn resnet34<const N: usize>() -> Result<Network<N>, BuildError> {
    imagenet([3, 4, 6, 3])
}

fn imagenet<const N: usize>(blocks: [usize; 4]) -> Result<Network<N>, BuildError> {
    let mut net = Network::new(Shape::new(3, 224, 224));
    let stem = Conv2d::new(64, 7).stride(2).padding(3);
    net.push(format_args!("conv1"), Layer::Conv2d(stem))?;
    norm_relu(&mut net, "")?;
    net.push(format_args!("maxpool"), Layer::MaxPool2d(MaxPool2d::new(3, 2).padding(1)))?;
    let [a, b, c, d] = blocks;
    stages(&mut net, 64, &[(64, a), (128, b), (256, c), (512, d)])?;
    head(&mut net, 1000)?;
    Ok(net)
}

fn norm_relu<const N: usize>(net: &mut Network<N>, prefix: &str) -> Result<(), BuildError> {
    net.push(format_args!("{prefix}bn1"), Layer::BatchNorm(BatchNorm::default()))?;
    net.push(format_args!("{prefix}relu"), Layer::Relu)?;
    Ok(())
}

fn head<const N: usize>(net: &mut Network<N>, classes: usize) -> Result<(), BuildError> {
    net.push(format_args!("avgpool"), Layer::GlobalAvgPool)?;
    net.push(format_args!("fc"), Layer::Linear(Linear::new(classes)))?;
    Ok(())
}

/// Stages of basic blocks, each (width, number of blocks); every stage but the first halves the picture.
fn stages<const N: usize>(
    net: &mut Network<N>,
    stem: usize,
    stages: &[(usize, usize)],
) -> Result<(), BuildError> {
    let mut channels = stem;
    for (stage, &(width, blocks)) in stages.iter().enumerate() {
        for block in 0..blocks {
            let stride = if stage > 0 && block == 0 { 2 } else { 1 };
            basic_block(net, (stage + 1, block), channels, width, stride)?;
            channels = width;
        }
    }
    Ok(())
}

/// conv - BN - ReLU - conv - BN, plus the shortcut, then ReLU.
fn basic_block<const N: usize>(
    net: &mut Network<N>,
    (stage, block): (usize, usize),
    channels: usize,
    width: usize,
    stride: usize,
) -> Result<(), BuildError> {
    let norm = Layer::BatchNorm(BatchNorm::default());
    let input = net.last();
    let name = |part: &'static str| BlockPart { stage, block, part };
    let first = Conv2d::new(width, 3).stride(stride).padding(1);
    net.push(format_args!("{}", name("conv1")), Layer::Conv2d(first))?;
    net.push(format_args!("{}", name("bn1")), norm)?;
    net.push(format_args!("{}", name("relu1")), Layer::Relu)?;
    net.push(format_args!("{}", name("conv2")), Layer::Conv2d(Conv2d::new(width, 3).padding(1)))?;
    let residual = net.push(format_args!("{}", name("bn2")), norm)?;
    let shortcut: Source = if stride != 1 || channels != width {
        let projection = Layer::Conv2d(Conv2d::new(width, 1).stride(stride));
        net.push_from(format_args!("{}", name("downsample.0")), projection, input)?;
        net.push(format_args!("{}", name("downsample.1")), norm)?
    } else {
        input
    };
    net.push_from(format_args!("{}", name("add")), Layer::Add(shortcut), residual)?;
    net.push(format_args!("{}", name("relu2")), Layer::Relu)?;
    Ok(())
}

struct BlockPart {
    stage: usize,
    block: usize,
    part: &'static str,
}

impl core::fmt::Display for BlockPart {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "layer{}.{}.{}", self.stage, self.block, self.part)
    }
}
