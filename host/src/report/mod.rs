//! One self-contained HTML page of runs: configuration, learning curves, tables, pictures, and the commands to repeat
//! it all.

mod gather;
mod page;

pub use gather::{Measurement, ReportError, Section, Table, Training, gather};
pub use page::page;
