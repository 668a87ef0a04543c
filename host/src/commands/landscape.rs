use super::CommandError;
use super::measuring::{Measuring, SplitName, called, checkpoint_file, complete, drawn, load, mark};
use crate::checkpoint::Checkpoint;
use crate::device::Part;
use crate::measure::landscape::{at, direction};
use crate::measure::trajectory::{Trajectory, trajectory};
use crate::measure::{Range, parse_selection};
use crate::options::DistributionName;
use crate::plot::{Curve, Picture, PlotError, Point, Surface, contours, loss_and_accuracy};
use crate::progress::Progress;
use crate::run::epoch_checkpoints;
use crate::train::{self, TrainError};
use clap::Args;
use serde::Serialize;
use smoothout::backend::Selection;
use std::path::PathBuf;

/// Measure the loss around a network along one or two random filter-normalised directions.
///
/// Each filter of a direction has the norm of the weights' filter (Li et al. 2018), so that a distance of 1 is a change
/// as large as the weights themselves.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  smoothout landscape --checkpoint runs/f1
  smoothout landscape --checkpoint runs/f1 --dimensions 2 --distances -1:1:0.2 --images 2000
  smoothout landscape --checkpoint runs/c1 --distribution uniform --include all     the authors' curves
  smoothout landscape --checkpoint runs/f1 --trajectory runs/f1 --distances -1.2:1.2:0.2
  smoothout landscape --checkpoint c3.safetensors --net c3 --data cifar100 --trajectory c1.safetensors,c2.safetensors

With --trajectory the surface lies over the plane in which those checkpoints lie best (principal components) about the
network, whose running statistics are used throughout; a distance of 1 is that of the farthest checkpoint. The folder of
a run stands for the epochs that it kept up to the network's: with --checkpoint RUN/last.safetensors it is the whole
training. Biases and batch norms are left where they are, as Li et al. do. Included, each of them moves by its own
magnitude, up or down, as in the authors' program.")]
pub struct LandscapeCommand {
    /// Weights and running statistics under PyTorch's names, or the folder of a run
    #[arg(long)]
    checkpoint: PathBuf,
    /// Directions: 1 for curves, 2 for a surface
    #[arg(long, default_value = "1", value_parser = clap::value_parser!(u8).range(1..=2))]
    dimensions: u8,
    /// Distances along each direction, FROM:TO:STEP
    #[arg(long, default_value = "-1:1:0.1", allow_hyphen_values = true)]
    distances: Range,
    /// Distribution of the directions: gaussian (Li et al.) or uniform (the authors' program)
    #[arg(long, value_enum, default_value = "gaussian")]
    distribution: DistributionName,
    /// What moves: weights, biases, norms (with commas), or all
    #[arg(long, default_value = "weights", value_parser = parse_selection)]
    include: Selection,
    /// Checkpoints of the training on the way to the network, with commas, or the folder of a run with --keep-every,
    /// for a surface over their plane
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["include", "distribution"])]
    trajectory: Vec<PathBuf>,
    /// Images [default: train,test for a curve, train for a surface]
    #[arg(long, value_enum, value_delimiter = ',')]
    splits: Vec<SplitName>,
    #[command(flatten)]
    pub(super) measuring: Measuring,
}

#[derive(Clone, Serialize)]
struct Row {
    x: f64,
    y: f64,
    split: SplitName,
    loss: f64,
    accuracy: f64,
}

#[derive(Serialize)]
struct Summary {
    distribution: DistributionName,
    dimensions: u8,
    seed: u64,
    images: Vec<usize>,
    /// Checkpoints in the plane, with --trajectory.
    path: Vec<(f64, f64)>,
    /// Share of their squared distances along each direction.
    shares: Option<[f64; 2]>,
    rows: Vec<Row>,
}

impl LandscapeCommand {
    pub(super) fn run(mut self, progress: &mut Progress) -> Result<(), CommandError> {
        let plane = self.dimensions == 2 || !self.trajectory.is_empty();
        if self.splits.is_empty() {
            self.splits = if plane { vec![SplitName::Train] } else { vec![SplitName::Train, SplitName::Test] };
        }
        let mut bench = self.measuring.open("landscape", &self.checkpoint)?;
        let splits = self.splits.iter().map(|s| bench.split(*s)).collect::<Result<Vec<_>, _>>()?;
        let trajectory = self.trajectory(&mut *bench.device)?;
        let xs = self.distances.values();
        let ys = if plane { xs.clone() } else { vec![0.0] };
        let images: usize = splits.iter().map(crate::data::Split::len).sum();
        let distribution = train::distribution(self.distribution);
        let mut rows = Vec::new();
        let result = bench.measure(progress, images * (1 + xs.len() * ys.len()), |subject| {
            for split in &splits {
                subject.clean(split)?;
            }
            let mut along =
                |number| direction(subject, self.include, distribution, self.measuring.seed, number);
            let [first, second] = match &trajectory {
                Some(trajectory) => trajectory.directions.clone(),
                None => [along(0)?, along(1)?],
            };
            for y in &ys {
                for x in &xs {
                    for (name, split) in self.splits.iter().zip(&splits) {
                        let mean = at(subject, split, &[(*x, &first), (*y, &second)])?;
                        let (loss, accuracy) = (mean.loss, mean.accuracy);
                        rows.push(Row { x: *x, y: *y, split: *name, loss, accuracy });
                    }
                }
            }
            Ok(())
        })?;
        let complete = complete(result, !rows.is_empty())?;
        let (path, shares) = trajectory.map_or((Vec::new(), None), |t| (t.path, Some(t.shares)));
        let called = format!("{}{}", called(&self.checkpoint), mark(complete));
        // An unfinished surface has rows of unequal length, which no contour goes through.
        let picture = match (plane, complete) {
            (false, _) => drawn(progress, curves(&called, &self.splits, &rows))?,
            (true, true) => drawn(progress, surface(&called, &self.splits, &xs, &rows, &path))?,
            (true, false) => None,
        };
        let text = table(&rows, plane);
        let images = splits.iter().map(crate::data::Split::len).collect();
        let (distribution, seed) = (self.distribution, self.measuring.seed);
        let dimensions = 1 + u8::from(plane);
        let summary = Summary { distribution, dimensions, seed, images, path, shares, rows: rows.clone() };
        bench.finish(progress, &summary, &rows, picture.as_ref(), complete, &text)
    }
}

impl LandscapeCommand {
    /// The plane of --trajectory; the device keeps its network.
    fn trajectory(&self, device: &mut dyn crate::device::Device) -> Result<Option<Trajectory>, CommandError> {
        if self.trajectory.is_empty() {
            return Ok(None);
        }
        let read = |device: &dyn crate::device::Device, part| device.read(part).map_err(TrainError::from);
        let (network, statistics) = (read(device, Part::Weights)?, read(device, Part::Statistics)?);
        let mut checkpoints = Vec::new();
        for path in &self.checkpoints()? {
            load(device, path)?;
            checkpoints.push(read(device, Part::Weights)?);
        }
        device.write(Part::Weights, &network).map_err(TrainError::from)?;
        device.write(Part::Statistics, &statistics).map_err(TrainError::from)?;
        Ok(Some(trajectory(&checkpoints, &network)?))
    }
}

impl LandscapeCommand {
    /// The files of --trajectory: a run's folder stands for those that --keep-every kept, up to the network's epoch.
    fn checkpoints(&self) -> Result<Vec<PathBuf>, CommandError> {
        let mut files = Vec::new();
        let network = Checkpoint::load(&checkpoint_file(&self.checkpoint))?;
        let epoch: Option<u32> = network.metadata().get("epoch").and_then(|epoch| epoch.parse().ok());
        for path in &self.trajectory {
            if !path.is_dir() {
                files.push(path.clone());
                continue;
            }
            let mut kept = epoch_checkpoints(path).map_err(TrainError::from)?;
            if kept.is_empty() {
                let message = format!("--trajectory: {} has no checkpoints of epochs; train with --keep-every 1", path.display());
                return Err(CommandError::Request(message));
            }
            // Later ones do not lie on the way to the network.
            if let Some(epoch) = epoch {
                let own = path.join(format!("epoch-{epoch:05}.safetensors"));
                kept.retain(|file| *file <= own);
            }
            files.extend(kept);
        }
        Ok(files)
    }
}

fn table(rows: &[Row], plane: bool) -> String {
    if plane {
        let low = rows.iter().map(|r| r.loss).fold(f64::INFINITY, f64::min);
        let high = rows.iter().map(|r| r.loss).fold(f64::NEG_INFINITY, f64::max);
        return format!("{} points, loss from {low:.6} to {high:.6}", rows.len());
    }
    let mut text = format!("{:>9}{:>12}{:>14}{:>12}\n", "distance", "images", "loss", "accuracy");
    for r in rows {
        text += &format!("{:>9}{:>12}{:>14.6}{:>10.2} %\n", r.x, r.split.name(), r.loss, 100.0 * r.accuracy);
    }
    text
}

fn curves(called: &str, splits: &[SplitName], rows: &[Row]) -> Result<Picture, PlotError> {
    let curve = |split: &SplitName| {
        let of_split = || rows.iter().filter(|r| r.split == *split);
        Curve {
            label: split.name().into(),
            loss: of_split().map(|r| Point::new(r.x, r.loss)).collect(),
            accuracy: of_split().map(|r| Point::new(r.x, r.accuracy)).collect(),
        }
    };
    let curves: Vec<Curve> = splits.iter().map(curve).collect();
    let x_title = "distance along the direction (share of each filter's norm)";
    loss_and_accuracy(&format!("around {called}"), x_title, &curves)
}

/// A way that is there ends at the network, which its last checkpoint may be.
fn way(path: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let away = path.last().is_some_and(|(x, y)| x.hypot(*y) > 1e-6);
    path.iter().copied().chain(away.then_some((0.0, 0.0))).collect()
}

fn surface(
    called: &str,
    splits: &[SplitName],
    xs: &[f64],
    rows: &[Row],
    path: &[(f64, f64)],
) -> Result<Picture, PlotError> {
    let way = way(path);
    let of_split = |split: &SplitName| {
        let values: Vec<f64> = rows.iter().filter(|r| r.split == *split).map(|r| r.loss).collect();
        Surface {
            title: format!("Loss around {called}"),
            x_title: "distance along the first direction".into(),
            y_title: "along the second".into(),
            z_title: format!("mean {} loss (nats)", split.name()),
            xs: xs.to_vec(),
            ys: xs.to_vec(),
            rows: values.chunks(xs.len()).map(<[f64]>::to_vec).collect(),
            path: way.clone(),
        }
    };
    let surfaces: Vec<Surface> = splits.iter().map(of_split).collect();
    contours(&surfaces)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_way_ends_at_the_network_once() {
        assert_eq!(way(&[]), []);
        assert_eq!(way(&[(1.0, 0.5), (0.2, 0.1)]), [(1.0, 0.5), (0.2, 0.1), (0.0, 0.0)]);
        assert_eq!(way(&[(1.0, 0.5), (1e-9, 0.0)]), [(1.0, 0.5), (1e-9, 0.0)]);
    }
}
