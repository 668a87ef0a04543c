//! SmoothOut and AdaSmoothOut: one training algorithm, written once, for a microcontroller as for a GPU.
//!
//! SmoothOut (arXiv 1805.07898) minimises the loss averaged over noise on the weights, E[C(w + θ)], so that training ends in
//! flat minima. Each step perturbs the weights by θ, back-propagates at w + θ, takes θ away, and updates w. AdaSmoothOut
//! scales θ to the norm of each filter. This crate needs no operating system, no allocator and no `unsafe`.
//!
//! # Where to begin
//! - **Firmware that fine-tunes on the device**: [`micro`]. What to size, what it costs in RAM, flash and instructions, what to
//!   build in, time slices, loss of power.
//! - **A network**: [`Network`] is a list of [`Layer`]s; [`Plan`] works out shapes, parameters and memory, and names what is
//!   wrong with it before there is any data. [`networks`] has those of the paper.
//! - **The algorithm**: [`step::Stepper`] over any [`backend::Backend`]; [`step::SmoothOut`] has the distribution, scaling and
//!   draws of the noise, [`optimizer`] the updates, [`schedule`] and [`learning_rate`] what changes with time.
//! - **The noise**: [`noise`], whose bits are a public contract.
//! - **The meaning of every layer**: [`layers`] and [`portable`], plain loops.
//!
//! # Porting to another processor
//! There is nothing to port: all arithmetic is f32 and integers in one stated order. Build for the target, and let it run the
//! images of `tests/qemu` (one line in its table of boards, and a memory map): noise, conformance and whole trainings must print
//! the committed lines, to the bit. Without a floating-point unit that costs 10 to 26 times the instructions.
//!
//! # An own backend
//! For a machine with kernels of its own:
//! 1. Implement [`backend::Backend`], the operations on parameter slices, and an [objective](backend::Objective), the loss and
//!    gradients at a point. [`portable::Parameters`] and [`portable::NetworkObjective`] are what both mean, in a few hundred
//!    lines. A backend is given the whole [`Plan`], so that it can fuse and lay out as its machine likes.
//! 2. State its strategy: a shadow copy of the weights that is perturbed, or noise that is added in place and made again to be
//!    taken away; see [`portable::Strategy`].
//! 3. Hold it to the meaning: turn on the feature `conformance` for its tests, implement the suite's two small traits (its
//!    `Micro` is an example of 60 lines), and run it. It compares every layer and every method with a reference in f64, which is
//!    itself held to PyTorch, within derived tolerances.
//!
//! # Features
//! | feature | what |
//! |---|---|
//! | `micro-lean` | sessions on a microcontroller with what a small network needs alone, for less flash; see [`micro`] for what can be added |
//! | `embedded-storage` | states of a training in NOR flash, safe against a loss of power |
//! | `conformance` | the suite for own backends |
//! | `defmt` | `Format` on public types, and messages of sessions: each step's loss (debug), and what was refused (warn); defmt builds in errors alone unless `DEFMT_LOG` says so |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod averaging;
pub mod backend;
#[cfg(any(feature = "conformance", test))]
pub mod conformance;
pub mod dropout_mask;
pub mod dual;
pub mod ghost;
pub mod layers;
pub mod learning_rate;
pub mod micro;
pub mod network;
pub mod networks;
pub mod noise;
pub mod optimizer;
pub mod plan;
pub mod portable;
pub mod real;
pub mod schedule;
pub mod shape;
pub mod step;

pub use network::{Layer, Network, Source};
pub use plan::Plan;
pub use shape::Shape;
