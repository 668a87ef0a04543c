use super::CommandError;
use crate::progress::Progress;
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
        let _ = (progress, self.action, self.data_root);
        Err(CommandError::Request("not yet".into()))
    }
}
