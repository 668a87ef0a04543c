use super::CommandError;
use crate::data::{self, Name};
use crate::progress::Progress;
use crate::train::TrainError;
use clap::{Args, Subcommand};
use std::path::PathBuf;

/// Fetch data sets and check them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  smoothout data get mnist\n  smoothout data check cifar10")]
pub struct DataCommand {
    #[command(subcommand)]
    action: Action,
    /// Folder of the data sets; SMOOTHOUT_DATA, or data, unless given
    #[arg(long, global = true)]
    data_root: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Fetch a data set: mnist, fashion-mnist, cifar10 or cifar100
    Get {
        /// Name of the set
        name: String,
    },
    /// Verify what is there
    Check {
        /// Name of the set
        name: String,
    },
}

impl DataCommand {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let root = self.data_root.unwrap_or_else(data::default_root);
        let name = match self.action {
            Action::Get { name } => {
                let set: Name = name.parse().map_err(TrainError::Data)?;
                let mut file = String::new();
                let outcome = data::get::get(set, &root, &mut |state| told(progress, &mut file, state))
                    .map_err(TrainError::Data)?;
                progress.finish();
                progress.message(&match outcome {
                    data::Outcome::AlreadyThere => format!("{name} is there already"),
                    data::Outcome::Fetched { from } => format!("{name} was fetched from {from}"),
                });
                name
            }
            Action::Check { name } => name,
        };
        let report = data::check(&name, &root).map_err(TrainError::Data)?;
        let text = report.to_string();
        progress.result("data", &text, &text)?;
        if report.is_ok() {
            Ok(())
        } else {
            Err(CommandError::Failed(format!("{name} is not as it should be")))
        }
    }
}

/// Shows one step of fetching after the other.
fn told(progress: &mut Progress, step: &mut String, state: &data::get::Progress) {
    if *step != state.step {
        step.clone_from(&state.step);
        progress.start(step, state.total.unwrap_or(0), state.done);
    }
    progress.update(state.done, &[]);
}
