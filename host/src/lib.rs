//! The library behind the `smoothout` program: data, the CPU backend, training runs and their folders.

pub mod checkpoint;
pub mod commands;
pub mod cpu;
pub mod data;
pub mod device;
pub mod export;
pub mod measure;
pub mod net;
pub mod options;
pub mod plot;
pub mod progress;
pub mod report;
pub mod reproduce;
pub mod run;
pub mod train;
