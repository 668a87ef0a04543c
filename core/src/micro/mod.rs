//! The microcontroller backend: training over one arena, without allocator, in memory known before the program runs.
//!
//! A [`Session`] takes a [`Plan`](crate::plan::Plan), a [`Model`] (where the parameters lie, in flash or in memory), a
//! [`Config`] and one arena. [`Session::required`] tells the arena's exact length before.

mod config;
pub mod crc;
mod error;
mod session;
#[cfg(feature = "embedded-storage")]
pub mod storage;
mod weights;

pub use config::{Config, Layers, Trained};
pub use error::SessionError;
pub use session::{Counters, Outcome, Session};
pub use weights::{Model, Slices, Weights};

#[cfg(test)]
mod tests;
