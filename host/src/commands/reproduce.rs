use super::output::OutputFolder;
use super::{CommandError, STOP, catch_interrupts, execute, start_threads};
use crate::checkpoint::atomic::write_atomically;
use crate::data::Name;
use crate::options::{DeviceName, Options, SelectName};
use crate::plot::{Picture, PlotError};
use crate::progress::Progress;
use crate::reproduce::{
    BUILT_IN, Habit, Job, Report, Scale, Spec, SpecError, Switches, drawings, illustration, jobs, row_picture, work,
};
use crate::train::TrainError;
use clap::Args;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Run an experiment of the paper: trainings, measurements, a table beside the paper's numbers, and pictures.
///
/// Without NAME: lists the experiments. What was trained and measured before is taken from --runs, so an experiment that
/// was stopped goes on with the same command, and several processes may work on one experiment.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout reproduce table1 --scale quick       a small part of Table I in minutes
  smoothout reproduce table1 --scale small --extra     with SAM, SWA, more draws and found strengths
  smoothout reproduce table1 --scale cpu --habits reset-optimizer,flipped-digits --select test
  smoothout reproduce figure2 --scale cpu
  smoothout reproduce mine.toml --dry-run

A file of your own looks like those in host/src/reproduce/specs.")]
pub struct ReproduceCommand {
    /// table1 to table5, figure1, figure2, figure4 to figure9, surfaces, habits, or a TOML file
    name: Option<String>,
    /// Size of the experiment: full is the paper's
    #[arg(long, default_value = "full")]
    scale: String,
    /// Rows, with commas; all unless given
    #[arg(long, value_delimiter = ',')]
    rows: Vec<String>,
    /// Columns, with commas; all unless given
    #[arg(long, value_delimiter = ',')]
    columns: Vec<String>,
    /// Columns that the paper lacks: SAM, SWA, two draws, antithetic pairs, annealed and found strengths
    #[arg(long)]
    extra: bool,
    /// Seeds of each row instead of the scale's
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Habits of the authors' program that the paper does not mention, with commas
    #[arg(long, value_enum, value_delimiter = ',')]
    habits: Vec<Habit>,
    /// By what the epoch that counts is chosen
    #[arg(long, value_enum, default_value = "validation")]
    select: SelectName,
    /// Show the trainings without running them
    #[arg(long)]
    dry_run: bool,
    /// Folder for trainings and measurements, shared by all experiments
    #[arg(long, default_value = "runs/reproduce")]
    runs: PathBuf,
    /// Folder for the table and pictures; results/NAME-SCALE unless given
    #[arg(long)]
    out: Option<PathBuf>,
    /// Folder of the data sets
    #[arg(long)]
    data_root: Option<PathBuf>,
    /// Where it runs: cpu, portable, micro, cuda, cuda:NUMBER or cuda:GPU-UUID; products of cuda,f32 cuda,tf32 or cuda,bf16
    #[arg(long)]
    device: Option<DeviceName>,
    /// Threads; 0 for one a core
    #[arg(long, default_value_t = 0)]
    threads: usize,
}

impl From<SpecError> for CommandError {
    fn from(error: SpecError) -> Self {
        CommandError::Request(error.to_string())
    }
}

impl ReproduceCommand {
    pub(super) fn run(self, progress: &mut Progress) -> Result<(), CommandError> {
        let Some(name) = &self.name else { return list(progress) };
        catch_interrupts()?;
        if name == "figure1" {
            return self.figure1(progress);
        }
        let mut spec = Spec::load(name, self.extra)?;
        spec.restrict(&self.rows, &self.columns)?;
        spec.label_rows(&self.scale);
        let jobs = jobs(&spec, &self.scale, &self.switches())?;
        if jobs.is_empty() {
            return Err(CommandError::Request(format!("none of these rows is run at scale {}", self.scale)));
        }
        if self.dry_run {
            return Ok(progress.result("jobs", &described(&jobs), &described(&jobs).join("\n"))?);
        }
        start_threads(self.threads)?;
        let tried = OutputFolder::open(&self.folder())?;
        self.fetch(&jobs, progress)?;
        let scale = spec.scale(&self.scale)?.clone();
        let outcomes = work(&jobs, &scale, &self.runs, progress, &STOP).map_err(kept)?;
        // Another process of this experiment, which was interrupted, may have removed it.
        let folder = OutputFolder::open(tried.path())?;
        let out = folder.path();
        let mut pictures = Vec::new();
        for row in &spec.row {
            match row_picture(row, &spec.column, &outcomes) {
                Ok(picture) => pictures.push((row.name.clone(), picture)),
                Err(PlotError::NoPoints(_)) => {}
                Err(error) => return Err(TrainError::from(error).into()),
            }
        }
        for drawing in drawings(&spec, &outcomes, &scale, &self.runs, progress).map_err(kept)? {
            let name = format!("figure-{}", drawing.name);
            write(&out.join(format!("{name}.csv")), &drawing.table)?;
            pictures.push((name, drawing.picture));
        }
        let report = self.report(&spec, &scale, &outcomes);
        self.write(out, &report, &pictures)?;
        let text = report.markdown(&[]);
        let text = format!("{}\nin {}", text.trim_end(), out.display());
        Ok(progress.result("reproduction", &report, &text)?)
    }

    fn switches(&self) -> Switches {
        let machine = Options {
            data_root: self.data_root.clone(),
            threads: Some(self.threads),
            device: self.device,
            ..Options::default()
        };
        Switches { habits: self.habits.clone(), select: self.select, seeds: self.seeds, machine }
    }

    fn folder(&self) -> PathBuf {
        let stem = self.name.as_deref().and_then(|name| Path::new(name).file_stem()).unwrap_or_default();
        let name = format!("{}-{}", stem.to_string_lossy(), self.scale);
        self.out.clone().unwrap_or_else(|| Path::new("results").join(name))
    }

    /// Fetches the known sets that are not there.
    fn fetch(&self, jobs: &[Job], progress: &mut Progress) -> Result<(), CommandError> {
        let sets: BTreeSet<(&str, &Path)> =
            jobs.iter().map(|job| (job.config.data.as_str(), job.config.data_root.as_path())).collect();
        for (set, root) in sets {
            let fetched = matches!(set.parse(), Ok(Name::Mnist | Name::FashionMnist | Name::Cifar10 | Name::Cifar100));
            if fetched && !root.join(set).exists() {
                let root = root.to_string_lossy().into_owned();
                let line = ["smoothout", "data", "get", set, "--data-root", &root].map(String::from);
                execute(&line, progress)?;
            }
        }
        Ok(())
    }

    fn report(&self, spec: &Spec, scale: &Scale, outcomes: &[crate::reproduce::Outcome]) -> Report {
        let chosen = (self.select, &self.habits[..]);
        Report::new(spec, self.command(), (&self.scale, &scale.about), chosen, outcomes)
    }

    /// What was asked for, without where it lies and what trains.
    fn command(&self) -> String {
        let mut line = format!("smoothout reproduce {} --scale {}", self.name.as_deref().unwrap_or_default(), self.scale);
        let mut list = |name: &str, values: Vec<String>| {
            if !values.is_empty() {
                line += &format!(" --{name} {}", values.join(","));
            }
        };
        let named = |value: &dyn Fn() -> Option<clap::builder::PossibleValue>| {
            value().map_or(String::new(), |v| v.get_name().to_owned())
        };
        use clap::ValueEnum;
        list("rows", self.rows.clone());
        list("columns", self.columns.clone());
        list("habits", self.habits.iter().map(|h| named(&|| h.to_possible_value())).collect());
        list("seeds", self.seeds.iter().map(u64::to_string).collect());
        if self.select != SelectName::Validation {
            list("select", vec![named(&|| self.select.to_possible_value())]);
        }
        if self.extra {
            line += " --extra";
        }
        line
    }

    fn write(&self, out: &Path, report: &Report, pictures: &[(String, Picture)]) -> Result<(), CommandError> {
        let names: Vec<String> = pictures.iter().map(|(name, _)| name.clone()).collect();
        write(&out.join("README.md"), report.markdown(&names).as_bytes())?;
        write(&out.join("report.json"), &serde_json::to_vec_pretty(report).map_err(std::io::Error::from)?)?;
        let mut table = csv::Writer::from_writer(Vec::new());
        for run in &report.runs {
            table.serialize(run).map_err(|e| CommandError::Failed(e.to_string()))?;
        }
        write(&out.join("runs.csv"), &table.into_inner().map_err(|e| CommandError::Failed(e.to_string()))?)?;
        for (name, picture) in pictures {
            write_picture(out, name, picture)?;
        }
        Ok(())
    }

    fn figure1(&self, progress: &mut Progress) -> Result<(), CommandError> {
        let (picture, minima) = illustration(1).map_err(TrainError::from)?;
        let folder = OutputFolder::open(&self.out.clone().unwrap_or_else(|| "results/figure1".into()))?;
        let out = folder.path();
        write_picture(out, "figure1", &picture)?;
        let document = serde_json::json!({
            "command": ["smoothout", "reproduce", "figure1"], "complete": true, "minima": minima,
        });
        write(&out.join("figure1.json"), &serde_json::to_vec_pretty(&document).map_err(std::io::Error::from)?)?;
        let text = format!(
            "the loss is lowest at {:.2} (sharp), the mean of 1024 shifted losses at {:.2} (flat)\nin {}",
            minima.of_loss,
            minima.of_mean,
            out.display()
        );
        Ok(progress.result("figure1", &minima, &text)?)
    }
}

/// A measurement that Ctrl-C ended too early to write anything leaves what was trained and measured before it.
fn kept(error: CommandError) -> CommandError {
    if matches!(error, CommandError::NothingFound) { CommandError::Interrupted } else { error }
}

fn list(progress: &mut Progress) -> Result<(), CommandError> {
    let mut names = vec!["figure1: a flat and a sharp minimum, and what averaging makes of them".to_owned()];
    for (name, _) in BUILT_IN {
        let spec = Spec::load(name, false)?;
        let scales: Vec<&str> = spec.scale.keys().map(String::as_str).collect();
        names.push(format!("{name}: {} (scales {})", spec.title, scales.join(", ")));
    }
    Ok(progress.result("experiments", &names, &names.join("\n"))?)
}

fn described(jobs: &[Job]) -> Vec<String> {
    let line = |job: &Job| {
        let Job { row, column, seed, config } = job;
        format!("{}  {row} {column} seed {seed}, {} epochs", job.folder(), config.epochs)
    };
    jobs.iter().map(line).collect()
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), CommandError> {
    Ok(write_atomically(path, |w| w.write_all(bytes))?)
}

fn write_picture(out: &Path, name: &str, picture: &Picture) -> Result<(), CommandError> {
    write(&out.join(format!("{name}.svg")), picture.svg.as_bytes())?;
    write(&out.join(format!("{name}.png")), &picture.png)
}
