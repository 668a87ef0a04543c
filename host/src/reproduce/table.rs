//! The result of an experiment: a table beside the paper's numbers, and a list of all runs.

use super::charts::mean_and_deviation;
use super::habits::Habit;
use super::queue::Outcome;
use super::spec::{Column, Row, Spec};
use crate::measure::Estimate;
use crate::options::{SelectName, listed};
use serde::Serialize;
use std::collections::BTreeMap;

/// Everything about an experiment that was run.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// Heading.
    pub title: String,
    /// What repeats it.
    pub command: String,
    /// Name of the scale.
    pub scale: String,
    /// The scale in words.
    pub about: String,
    /// By what epochs were selected.
    pub select: SelectName,
    /// Habits of the authors' program that were switched on.
    pub habits: Vec<Habit>,
    /// All trainings.
    pub runs: Vec<Run>,
    #[serde(skip)]
    rows: Vec<Row>,
    #[serde(skip)]
    columns: Vec<Column>,
}

/// One training.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    /// Name of its row.
    pub row: String,
    /// Name of its column.
    pub column: String,
    /// Its seed.
    pub seed: u64,
    /// Hash of its configuration.
    pub hash: String,
    /// Epochs trained.
    pub epochs: usize,
    /// The epoch that was selected.
    pub selected_epoch: Option<f64>,
    /// Test accuracy of that epoch, a fraction.
    pub test_accuracy: Option<f64>,
    /// Test loss of that epoch in nats.
    pub test_loss: Option<f64>,
    /// Test accuracy of the last epoch.
    pub last_test_accuracy: Option<f64>,
    /// Sharpness in percent.
    pub sharpness: Option<f64>,
    /// Strength of the noise.
    pub strength: Option<f32>,
    /// Why it did not come to its end.
    pub failed: Option<String>,
    /// SHA-256 of its metrics.csv.
    pub metrics_sha256: String,
    /// SHA-256 of its selected checkpoint.
    pub checkpoint_sha256: String,
    /// Its configuration.
    #[serde(skip)]
    pub config: BTreeMap<String, String>,
}

impl Report {
    /// Gathers the outcomes of an experiment.
    pub fn new(
        spec: &Spec,
        command: String,
        scale: (&str, &str),
        (select, habits): (SelectName, &[Habit]),
        outcomes: &[Outcome],
    ) -> Self {
        Self {
            title: spec.title.clone(),
            command,
            scale: scale.0.into(),
            about: scale.1.into(),
            select,
            habits: habits.to_vec(),
            runs: outcomes.iter().map(Run::new).collect(),
            rows: spec.row.clone(),
            columns: spec.column.clone(),
        }
    }

    /// The values of a cell's runs, by seed.
    fn values(&self, row: &Row, column: &Column, value: fn(&Run) -> Option<f64>) -> BTreeMap<u64, f64> {
        let mine = self.runs.iter().filter(|r| r.row == row.name && r.column == column.name);
        mine.filter_map(|run| Some((run.seed, value(run)?))).collect()
    }

    /// Means over seeds with their standard deviation beside the paper's numbers.
    fn section(
        &self,
        value: fn(&Run) -> Option<f64>,
        paper: fn(&Row) -> &BTreeMap<String, f64>,
        digits: usize,
    ) -> String {
        let has_paper = self.rows.iter().any(|row| !paper(row).is_empty());
        let mut head = "| |".to_owned();
        let mut line = "|---|".to_owned();
        for column in &self.columns {
            head += &format!(" {} |", column.label);
            line += "---|";
            if has_paper && self.rows.iter().any(|row| paper(row).contains_key(&column.name)) {
                head += " paper |";
                line += "---|";
            }
        }
        let mut text = format!("{head}\n{line}\n");
        for row in &self.rows {
            text += &format!("| {} |", row.label);
            for column in &self.columns {
                text += &format!(" {} |", self.cell(row, column, value, digits));
                if self.rows.iter().any(|row| paper(row).contains_key(&column.name)) {
                    let number = paper(row).get(&column.name).map_or(String::new(), |p| format!("{p:.digits$}"));
                    text += &format!(" {number} |");
                }
            }
            text.push('\n');
        }
        text
    }

    fn cell(&self, row: &Row, column: &Column, value: fn(&Run) -> Option<f64>, digits: usize) -> String {
        let of_cell = || self.runs.iter().filter(|r| r.row == row.name && r.column == column.name);
        let failed = of_cell().filter(|r| r.failed.is_some()).count();
        let values: Vec<f64> = self.values(row, column, value).into_values().collect();
        let n = values.len();
        let number = match mean_and_deviation(&values) {
            Some((mean, Some(deviation))) => format!("{mean:.digits$} ± {deviation:.digits$} ({n})"),
            Some((mean, None)) => format!("{mean:.digits$} (1)"),
            None if of_cell().next().is_none() => "not run".into(),
            None => String::new(),
        };
        if failed > 0 { format!("{number} {failed} diverged").trim().to_owned() } else { number }
    }

    /// Differences to the first column over the seeds that both have, with their standard error.
    fn gains(&self) -> String {
        let [first, others @ ..] = &self.columns[..] else { return String::new() };
        if others.is_empty() {
            return String::new();
        }
        let mut text = format!("\nGain over {} in points of test accuracy, mean over seeds ± standard error:\n\n| |", first.label);
        text += &others.iter().map(|c| format!(" {} | paper |", c.label)).collect::<String>();
        text += &format!("\n|---|{}\n", "---|---|".repeat(others.len()));
        for row in &self.rows {
            text += &format!("| {} |", row.label);
            let base = self.values(row, first, accuracy);
            for column in others {
                let with = self.values(row, column, accuracy);
                let pairs: Vec<f64> = with.iter().filter_map(|(seed, v)| Some(v - base.get(seed)?)).collect();
                let ours = match Estimate::of(&pairs) {
                    _ if pairs.is_empty() => String::new(),
                    Estimate { mean, error: Some(error) } => format!("{mean:+.2} ± {error:.2}"),
                    Estimate { mean, error: None } => format!("{mean:+.2}"),
                };
                let paper = row.paper.get(&column.name).zip(row.paper.get(&first.name));
                let theirs = paper.map_or(String::new(), |(a, b)| format!("{:+.2}", a - b));
                text += &format!(" {ours} | {theirs} |");
            }
            text.push('\n');
        }
        text
    }

    /// The whole report in Markdown; `figures` names files of further pictures.
    pub fn markdown(&self, figures: &[String]) -> String {
        let mut text = format!("# {}\n\n", self.title);
        text += &format!("Scale `{}`: {}. ", self.scale, self.about);
        let epochs: Vec<String> = self.rows.iter().filter_map(|row| Some(format!("{} {}", row.name, row.run.get(&self.scale)?.epochs))).collect();
        text += &format!("Epochs: {}. ", epochs.join(", "));
        text += match self.select {
            SelectName::Validation => "The epoch is selected on a tenth of the training images, which is held out.",
            SelectName::Test => "The epoch is selected on the test set, as the paper's authors do; nothing is held out.",
            SelectName::Last => "The last epoch counts.",
        };
        let habits: Vec<String> = self.habits.iter().map(|h| format!("{h:?}")).collect();
        if !habits.is_empty() {
            text += &format!(" Habits of the authors' program: {}.", habits.join(", "));
        }
        text += &format!("\n\n```\n{}\n```\n", self.command);
        text += "\nTest accuracy in percent, mean ± standard deviation over seeds (number of seeds):\n\n";
        text += &self.section(accuracy, |row| &row.paper, 2);
        text += &self.gains();
        if self.runs.iter().any(|run| run.sharpness.is_some()) {
            text += "\n(C_eps, A)-sharpness in percent, each the maximum of its starts:\n\n";
            text += &self.section(|run| run.sharpness, |row| &row.paper_sharpness, 2);
        }
        let found: Vec<String> = self
            .runs
            .iter()
            .filter(|run| run.config.get("strength").is_some_and(|s| s.contains("auto")))
            .filter_map(|run| Some(format!("{} {} seed {}: {:.4}", run.row, run.column, run.seed, run.strength?)))
            .collect();
        if !found.is_empty() {
            text += &format!("\nStrengths that pilots found: {}.\n", found.join("; "));
        }
        text += &figures.iter().map(|name| format!("\n![{name}]({name}.png)\n")).collect::<String>();
        text += "\n`runs.csv` lists every run with the hashes of its configuration, metrics and checkpoint.\n";
        text
    }
}

fn accuracy(run: &Run) -> Option<f64> {
    run.test_accuracy.map(|a| 100.0 * a)
}

impl Run {
    fn new(outcome: &Outcome) -> Self {
        let selected = outcome.selected();
        let [metrics_sha256, checkpoint_sha256] = outcome.digests.clone();
        Self {
            row: outcome.job.row.clone(),
            column: outcome.job.column.clone(),
            seed: outcome.job.seed,
            hash: outcome.job.hash(),
            epochs: outcome.rows.len(),
            selected_epoch: selected.map(|row| row.epoch),
            test_accuracy: selected.and_then(|row| row.test_accuracy),
            test_loss: selected.and_then(|row| row.test_loss),
            last_test_accuracy: outcome.rows.last().and_then(|row| row.test_accuracy),
            sharpness: outcome.sharpness,
            strength: outcome.strength,
            failed: outcome.failed.clone(),
            metrics_sha256,
            checkpoint_sha256,
            config: listed(&outcome.job.config).unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::reproduce::{Switches, jobs};
    use crate::run::MetricsRow;

    fn outcome(job: crate::reproduce::Job, accuracies: &[f64], failed: bool) -> Outcome {
        let row = |(i, a): (usize, &f64)| MetricsRow {
            epoch: (i + 1) as f64,
            validation_accuracy: Some(a - 0.01),
            test_accuracy: Some(*a),
            ..MetricsRow::default()
        };
        Outcome {
            job,
            folder: "run".into(),
            rows: accuracies.iter().enumerate().map(row).collect(),
            strength: None,
            sharpness: (!failed).then_some(12.5),
            failed: failed.then(|| "update 3: the loss is NaN".into()),
            digests: ["a".into(), "b".into()],
        }
    }

    #[test]
    fn a_table_has_means_spreads_gains_and_the_papers_numbers() {
        let mut spec = Spec::load("table1", false).unwrap();
        spec.restrict(&["f1-6000".into(), "c3-256".into()], &[]).unwrap();
        let outcomes: Vec<Outcome> = jobs(&spec, "quick", &Switches::default())
            .unwrap()
            .into_iter()
            .map(|job| match (job.column.as_str(), job.seed) {
                ("baseline", 1) => outcome(job, &[0.97, 0.98, 0.96], false),
                ("baseline", _) => outcome(job, &[0.96], false),
                ("smoothout", seed) => outcome(job, &[0.97 + 0.01 * seed as f64], false),
                (_, seed) => outcome(job, &[0.1], seed == 2),
            })
            .collect();
        let report = Report::new(&spec, "smoothout reproduce table1".into(), ("quick", "little"), (SelectName::Validation, &[]), &outcomes);
        let text = report.markdown(&["f1-6000".into()]);
        let row = text.lines().find(|line| line.starts_with("| F1")).unwrap();
        assert_eq!(row, "| F1, MNIST, batch 6000, Adam | 97.00 ± 1.41 (2) | 98.01 | 98.50 ± 0.71 (2) | 98.42 | 10.00 (1) 1 diverged |");
        assert!(text.contains("| C3, CIFAR-100, batch 256 | not run | 47.99 | not run | 51.17 | not run |"), "{text}");
        // Paired by seed: 98 - 98 and 99 - 96.
        assert!(text.contains("| F1, MNIST, batch 6000, Adam | +1.50 ± 1.50 | +0.41 |"), "{text}");
        assert!(text.contains("| 12.50 ± 0.00 (2) | 57.82 | 12.50 ± 0.00 (2) | 5.41 |"), "{text}");
        assert!(text.contains("![f1-6000](f1-6000.png)"));
        assert_eq!(report.runs[0].selected_epoch, Some(2.0));
        assert_eq!(report.runs[0].last_test_accuracy, Some(0.96));
    }
}
