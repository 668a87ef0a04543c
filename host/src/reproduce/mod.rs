//! The paper's tables and figures as specifications, and what turns one into runs, a table and pictures.
//!
//! A specification (`specs/*.toml`, or a file of the user's) has rows, columns and scales; every row, column and seed is
//! one training with one configuration. Trainings and their measurements lie in a folder named by the hash of the
//! configuration, so that experiments share them, and one that was stopped goes on where it was.

mod charts;
mod figure1;
mod figures;
mod habits;
mod job;
mod measured;
mod queue;
mod spec;
mod table;

pub use charts::row_picture;
pub use figure1::illustration;
pub use figures::{Drawing, drawings};
pub use habits::Habit;
pub use job::{Job, Switches, jobs};
pub use queue::{Outcome, work};
pub use spec::{BUILT_IN, Kind, Scale, Spec, SpecError};
pub use table::{Report, Run};
