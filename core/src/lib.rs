//! SmoothOut and AdaSmoothOut: one training algorithm, written once.
#![no_std]
#![forbid(unsafe_code)]
