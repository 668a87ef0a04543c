//! PTX text to a module of functions with resolved registers and labels.

mod body;
pub mod inline;
pub mod lexer;
pub mod module;
pub mod parser;

use std::fmt;

/// What is wrong with a PTX text, and where.
#[derive(Clone, Debug)]
pub struct PtxError {
    /// Line of the text, from 1.
    pub line: u32,
    /// What is wrong with it.
    pub what: String,
}

impl PtxError {
    pub(crate) fn new(line: u32, what: impl Into<String>) -> Self {
        PtxError { line, what: what.into() }
    }
}

impl fmt::Display for PtxError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PTX line {}: {}", self.line, self.what)
    }
}
