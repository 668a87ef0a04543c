//! The microcontroller backend: training over one arena, without allocator, in memory known before the program runs.
//!
//! A [`Session`] takes a [`Plan`](crate::plan::Plan), a [`Model`] (where the parameters lie, in flash or in memory), a
//! [`Config`] and one arena. [`Session::required`] tells the arena's exact length before.

mod batch_norm;
mod config;
mod conv;
pub mod crc;
mod elementwise;
mod error;
mod layout;
mod linear;
mod loss;
pub mod model;
mod pass;
mod pool;
mod relu;
mod rows;
mod session;
#[cfg(feature = "embedded-storage")]
pub mod storage;
mod stage;
mod update;
mod weights;
mod work;

pub use config::{Config, Layers, Trained};
pub use error::SessionError;
pub use model::{ModelError, ModelFile};
pub use session::{Counters, Outcome, Session};
pub use weights::{Model, Slices, Weights};

#[cfg(test)]
mod tests;
