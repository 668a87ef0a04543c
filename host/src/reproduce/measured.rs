//! The table that a measuring command wrote, as curves and surfaces.

use crate::commands::CommandError;
use crate::plot::{Curve, Point, Surface};
use csv::StringRecord;
use std::path::Path;

/// A network's measurement.
#[derive(Clone, Debug)]
pub(super) struct Measured {
    /// The network, as ROW COLUMN.
    pub(super) name: String,
    /// The same in words, for headings.
    pub(super) title: String,
    /// Names of the columns.
    pub(super) head: StringRecord,
    /// Cells.
    pub(super) rows: Vec<StringRecord>,
}

impl Measured {
    /// Reads a CSV file.
    pub(super) fn read(name: String, title: String, path: &Path) -> Result<Self, CommandError> {
        let failed = |e: csv::Error| CommandError::Failed(format!("{}: {e}", path.display()));
        let mut reader = csv::Reader::from_path(path).map_err(failed)?;
        let head = reader.headers().map_err(failed)?.clone();
        let rows = reader.records().collect::<Result<_, _>>().map_err(failed)?;
        Ok(Self { name, title, head, rows })
    }

    /// A cell; empty where the table has no such column.
    fn cell<'a>(&self, row: &'a StringRecord, column: &str) -> &'a str {
        let at = self.head.iter().position(|name| name == column);
        at.and_then(|at| row.get(at)).unwrap_or_default()
    }

    /// A number; NaN, which is not drawn, where there is none.
    fn number(&self, row: &StringRecord, column: &str) -> f64 {
        self.cell(row, column).parse().unwrap_or(f64::NAN)
    }

    /// The column `y` over the column `x`, with a band of its standard error where it has one.
    fn point(&self, row: &StringRecord, x: &str, y: &str) -> Point {
        let (x, error) = (self.number(row, x), self.number(row, &format!("{y}_error")));
        let y = self.number(row, y);
        if error.is_nan() { Point::new(x, y) } else { Point::with_spread(x, y, error) }
    }

    /// The splits with their rows, in the order of the table.
    fn splits(&self) -> Vec<(&str, Vec<&StringRecord>)> {
        let mut splits: Vec<(&str, Vec<&StringRecord>)> = Vec::new();
        for row in &self.rows {
            let name = self.cell(row, "split");
            match splits.iter_mut().find(|(known, _)| *known == name) {
                Some((_, rows)) => rows.push(row),
                None => splits.push((name, vec![row])),
            }
        }
        splits
    }

    /// Loss and accuracy over the column `x`, a curve for each split, labelled from its name.
    pub(super) fn curves(&self, x: &str, label: impl Fn(&str) -> String) -> Vec<Curve> {
        let curve = |(split, rows): (&str, Vec<&StringRecord>)| Curve {
            label: label(split),
            loss: rows.iter().map(|row| self.point(row, x, "loss")).collect(),
            accuracy: rows.iter().map(|row| self.point(row, x, "accuracy")).collect(),
        };
        self.splits().into_iter().map(curve).collect()
    }

    /// The loss over the columns `x` and `y`, a surface for each split.
    pub(super) fn surfaces(&self) -> Vec<Surface> {
        let surface = |(split, rows): (&str, Vec<&StringRecord>)| {
            let places = |column| rows.iter().map(|row| self.number(row, column)).collect::<Vec<f64>>();
            let (all_xs, mut ys, losses) = (places("x"), places("y"), places("loss"));
            // Row by row of the plane: y stays while x goes on.
            ys.dedup();
            let columns = all_xs.len().div_ceil(ys.len().max(1)).max(1);
            Surface {
                title: self.title.clone(),
                x_title: "distance along the first direction".into(),
                y_title: "along the second".into(),
                z_title: format!("mean {split} loss (nats)"),
                xs: all_xs.into_iter().take(columns).collect(),
                ys,
                rows: losses.chunks(columns).map(<[f64]>::to_vec).collect(),
                path: Vec::new(),
            }
        };
        self.splits().into_iter().map(surface).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(text: &str) -> Measured {
        let record = |line: &str| StringRecord::from(line.split(',').collect::<Vec<_>>());
        let mut lines = text.lines().map(record);
        Measured {
            name: "c1 sgd".into(),
            title: "C1, SGD".into(),
            head: lines.next().unwrap_or_default(),
            rows: lines.collect(),
        }
    }

    #[test]
    fn curves_have_the_bands_of_their_errors() {
        let m = measured(
            "split,strength,loss,loss_error,accuracy,accuracy_error\n\
             train,0,0.5,,0.9,\ntest,0,0.6,,0.8,\ntrain,0.1,0.7,0.25,0.75,0.125\ntest,0.1,0.8,0.1,0.7,0.1",
        );
        let curves = m.curves("strength", |split| format!("{}, {split}", m.name));
        assert_eq!(curves.len(), 2);
        assert_eq!(curves[0].label, "c1 sgd, train");
        assert_eq!(curves[0].loss, [Point::new(0.0, 0.5), Point::with_spread(0.1, 0.7, 0.25)]);
        assert_eq!(curves[0].accuracy[1].band, Some((0.625, 0.875)));
        assert_eq!(curves[1].loss[1], Point::with_spread(0.1, 0.8, 0.1));
    }

    #[test]
    fn surfaces_have_the_grid_of_the_plane() {
        let m = measured(
            "x,y,split,loss,accuracy\n-1,-1,train,1,0\n0,-1,train,2,0\n1,-1,train,3,0\n\
             -1,1,train,4,0\n0,1,train,5,0\n1,1,train,6,0",
        );
        let [surface] = &m.surfaces()[..] else { panic!("one split is one surface") };
        assert_eq!(surface.title, "C1, SGD");
        assert_eq!((&surface.xs[..], &surface.ys[..]), (&[-1.0, 0.0, 1.0][..], &[-1.0, 1.0][..]));
        assert_eq!(surface.rows, [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]);
    }
}
