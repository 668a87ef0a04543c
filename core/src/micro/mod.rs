//! The microcontroller backend: training over one arena, without allocator, in memory known before the program runs.
//!
//! A [`Session`] takes a [`Plan`](crate::plan::Plan), a [`Model`] (where the parameters lie: in memory, or in flash as a
//! [`ModelFile`]), a [`Config`] and one arena:
//!
//! ```
//! # use smoothout::layers::Linear;
//! # use smoothout::micro::{Config, Session, Slices};
//! # use smoothout::network::{Layer, Network};
//! # use smoothout::optimizer::Optimizer;
//! # use smoothout::plan::{Plan, Purpose};
//! # use smoothout::shape::Shape;
//! # use smoothout::step::{Method, SmoothOut};
//! # fn main() -> Result<(), Box<dyn core::error::Error>> {
//! let mut net: Network<3> = Network::new(Shape::flat(4));
//! net.push(format_args!("hidden"), Layer::Linear(Linear::new(8)))?;
//! net.push(format_args!("relu"), Layer::Relu)?;
//! net.push(format_args!("output"), Layer::Linear(Linear::new(3)))?;
//! let plan = Plan::new(&net, 2, Purpose::Training)?;
//!
//! let parameters = [0.1; 4 * 8 + 8 + 8 * 3 + 3];
//! let model = Slices { parameters: &parameters, statistics: &[] };
//! let config = Config {
//!     optimizer: Optimizer::sgd(0.9),
//!     ..Config::new(Method::SmoothOut(SmoothOut::adaptive()), 0.01)
//! };
//! let mut arena = [0.0; 256];
//! assert!(Session::required(&plan, &config)? <= arena.len());
//! let mut session = Session::<2>::new(&plan, &model, config, &mut arena)?;
//! let outcome = session.step(&[0.0, 1.0, 2.0, 3.0, 3.0, 2.0, 1.0, 0.0], &[0, 2])?;
//! assert!(outcome.loss > 0.0);
//! # Ok(()) }
//! ```
//!
//! # What happens in a step
//! Algorithm 1 of the paper, without memory for noise and, where one draw and no clipping allow it, for gradients. A filter
//! is perturbed at the moment when it is read, into a scratch buffer of one filter (of at most 256 weights of a linear
//! layer's): its noise comes from a stream that goes on from filter to filter, and is made again in the backward pass where
//! the gradient of the input needs the perturbed filter. **The weights in the arena are never perturbed**, so denoising is
//! exact, costs nothing, and a step that fails or is dropped leaves clean weights, to the bit. The noise's bits are those of
//! [`noise`](crate::noise) on every machine. The backward pass goes from the last stage to the first; each filter is updated
//! as soon as its gradient is there, after the input's gradient has used it; the biases of a linear layer follow its last
//! filter. It ends at the first stage that trains something; that stage computes no gradient of its input.
//!
//! All arithmetic is f32 + − × ÷ √ in one order, without fused multiply-add, so that every machine, the PC with
//! `--device micro` among them, computes the same bits. They are not those of the portable backend, whose sums go in
//! another order. Over 50 steps of every network below and every method both stay within a tolerance that is derived from the
//! roundings of one gradient, and use less than a twentieth of it (`tests/qemu/src/bin/portable.rs`).
//!
//! # What to size
//! [`Session::required`] is exact, in values of 4 bytes, and depends on the plan's batch and on the configuration:
//!
//! | part of the arena | values |
//! |---|---|
//! | trained weights | their number |
//! | momentum, Adam's moments | one or two times as many |
//! | gradient | as many, with several draws, accumulation or clipping; else none |
//! | running statistics | two a channel of each batch norm; four more for the present ones; two more to go back to |
//! | scales of noise | one a filter that the backward pass perturbs again |
//! | activations, gradients, scratch | by their lives: what is not needed at the same time shares memory. Scratch is one filter and its gradient or one channel; of linear layers at most 256 |
//! | ReLU | one bit a value where the output is not kept anyway |
//! | max pooling | one byte a window |
//!
//! Frozen layers ([`Trained`]) keep no activations and their weights stay where they are. The session itself takes some
//! 230 bytes and 112 for each of its `N` stages; stack of a step and of setting up: see the table below.
//!
//! # What it costs
//! Instructions of one step on a Cortex-M4F (`opt-level = 3`, counted in QEMU, not on a chip) with per-filter noise and
//! momentum 0.9; bytes beyond the weights with plain SGD. W1 is 64-32-10, W2 784-64-10; W3 a convolution of 8 channels,
//! pooling, one of 16, pooling and a linear layer on 8x8 pixels, W3b the same with batch norms; W4 LeNet's shape on 28x28.
//! The noise's share is what a step with noise of strength 0 takes more than one without noise, whose weights are the same.
//! `tests/qemu` counts again and fails where a figure has grown.
//!
#![doc = include_str!("costs.md")]
//!
//! # What to build in
//! Everything, unless the feature `micro-lean` leaves out most of it: then a session trains 3x3 convolutions with stride
//! 1 and linear layers, each with the ReLU and 2x2 max pooling behind it, with uniform noise that is constant or per filter,
//! by SGD with or without momentum. Each of these adds to that, and to the flash; a session that needs one which is
//! left out is refused by its name:
//!
//! | feature | what |
//! |---|---|
//! | `micro-batch-norm` | batch norm |
//! | `micro-elementwise` | sums, dropout, average pooling; ReLU and max pooling that stand alone |
//! | `micro-any-window` | other kernels, strides and paddings of convolutions and max pooling; groups |
//! | `micro-any-noise` | Gaussian and dropout noise; noise per weight |
//! | `micro-any-optimizer` | Adam, AdamW, Nesterov's momentum |
//! | `micro-gradient` | a stored gradient: several draws, accumulation, clipping, sharpness |
//! | `micro-wide` | nothing but speed: 4 or 8 pixels of a convolution, 4 images of a linear layer side by side |
//! | `micro-planes` | nothing but speed: gradients of convolutions without pooling behind them; padded rows of more than 8 pixels |
//!
//! # Time slices
//! [`begin`](Session::begin), then [`advance`](Session::advance) until it returns an outcome. One call does one filter or
//! channel of one stage over all images of a ghost batch, forward or backward: at most 3 × batch × weights of a filter ×
//! pixels of its output multiply-accumulates, and the noise of the filter twice. The first piece of a stage also makes its
//! biases and masks its gradient. [`abort`](Session::abort) ends it at any moment, with clean weights:
//! where gradients are stored, the step has happened whole or not at all; where they are not, filters that were updated
//! already, from the last layer on, stay so. There is nothing to go back to, as w - ηg has no inverse in f32.
//!
//! # What it does not do
//! SAM, and training without de-noising, need a second copy of the weights: [`SessionError::Unsupported`]. Max pooling has
//! windows of at most 254 pixels. Convolutions are fast with stride 1 and 3x3 or 5x5 kernels; others go pixel by pixel.
//!
//! # Porting
//! Nothing here knows the machine. Without floating-point unit the compiler's software floats are used. `sqrt` is
//! [`libm`]'s, in integers and correctly rounded: stable Rust gives a library no other way to a processor's instruction;
//! it takes 57 instructions on a Cortex-M4F, once or twice a filter. Nothing can panic: images can be linked so that a
//! reachable panic is an error of the linker, as those of `tests/qemu` are. An own backend for another machine implements
//! the traits of [`backend`](crate::backend) and is held to the same meaning by the conformance suite.

mod batch_norm;
mod built;
mod compile;
mod config;
mod conv;
pub mod crc;
mod dots;
mod elementwise;
mod error;
mod evaluation;
mod geometry;
mod layers;
mod layout;
mod linear;
mod log;
mod loss;
pub mod model;
mod parameters;
mod parts;
mod pass;
mod planes;
mod pool;
mod relu;
mod rows;
mod runs;
mod session;
mod sharpness;
mod slices;
#[cfg(feature = "embedded-storage")]
pub mod storage;
mod stage;
mod step;
mod update;
mod weights;
mod window;
mod work;

pub use config::{Config, Layers, Trained};
pub use error::SessionError;
pub use model::{ModelError, ModelFile};
pub use session::{Counters, Outcome, Session};
pub use sharpness::Sharpness;
pub use weights::{Model, Slices, Weights};

#[cfg(test)]
mod tests;
