use super::CommandError;
use crate::checkpoint::atomic::write_atomically;
use crate::progress::Progress;
use crate::report::{gather, page};
use crate::train::TrainError;
use clap::Args;
use serde::Serialize;
use std::path::PathBuf;

/// Gather runs and measurements into one self-contained HTML page.
///
/// Of a run's folder: its configuration, learning curves, metrics, and the measurements in the folders right below it.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout report runs/f1 runs/f1-ada
  smoothout report runs/f1 measurements/landscape-1 results/table1-small --title 'F1 on MNIST' --out f1.html")]
pub struct ReportCommand {
    /// Folders of runs, of measurements, and of reproductions
    #[arg(required = true)]
    folders: Vec<PathBuf>,
    /// Heading
    #[arg(long, default_value = "smoothout")]
    title: String,
    /// The page
    #[arg(long, default_value = "report.html")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Written<'a> {
    page: &'a PathBuf,
    folders: usize,
    measurements: usize,
    bytes: usize,
}

impl ReportCommand {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let sections = self.folders.iter().map(|folder| gather(folder)).collect::<Result<Vec<_>, _>>();
        let sections = sections.map_err(|e| CommandError::Failed(e.to_string()))?;
        let text = page(&self.title, &sections).map_err(TrainError::from)?;
        write_atomically(&self.out, |w| w.write_all(text.as_bytes()))?;
        let measurements = sections.iter().map(|s| s.measurements.len()).sum();
        let written = Written { page: &self.out, folders: sections.len(), measurements, bytes: text.len() };
        let told = format!("{} folders and {measurements} measurements in {}", sections.len(), self.out.display());
        Ok(progress.result("report", &written, &told)?)
    }
}
