//! The `smoothout` program.

use clap::Parser;
use smoothout_host::commands::Program;
use std::process::ExitCode;

fn main() -> ExitCode {
    Program::parse().run()
}
