//! From PTX to programs: operands, order, registers.

pub mod defined;
pub mod flow;
pub mod kernel;
pub mod operands;
pub mod registers;
