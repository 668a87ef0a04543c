//! Trainings of a row against each other.

use super::queue::Outcome;
use super::spec::{Column, Row};
use crate::plot::{Panel, Picture, PlotError, Point, Series, lines};
use crate::run::MetricsRow;

/// Test accuracy and training loss of a row's columns by epoch, each the mean over seeds with a band of one standard
/// deviation.
///
/// # Errors
/// As [`lines`]: no training of the row has two epochs, say.
pub fn row_picture(row: &Row, columns: &[Column], outcomes: &[Outcome]) -> Result<Picture, PlotError> {
    let series = |value: fn(&MetricsRow) -> Option<f64>| -> Vec<Series> {
        let of_column = |column: &Column| {
            let mine: Vec<&Outcome> =
                outcomes.iter().filter(|o| o.job.row == row.name && o.job.column == column.name).collect();
            let epochs = mine.iter().map(|o| o.rows.len()).max().unwrap_or(0);
            let points = (0..epochs).filter_map(|epoch| {
                let rows = mine.iter().filter_map(|o| o.rows.get(epoch));
                let values: Vec<f64> = rows.filter_map(value).collect();
                mean_and_deviation(&values).map(|(mean, deviation)| match deviation {
                    Some(deviation) => Point::with_spread((epoch + 1) as f64, mean, deviation),
                    None => Point::new((epoch + 1) as f64, mean),
                })
            });
            Series { label: column.label.clone(), points: points.collect() }
        };
        columns.iter().map(of_column).filter(|s| !s.points.is_empty()).collect()
    };
    lines(&[
        Panel {
            title: row.label.clone(),
            x_title: "epoch".into(),
            y_title: "test accuracy (%)".into(),
            series: series(|row| Some(100.0 * row.test_accuracy?)),
            ..Panel::default()
        },
        Panel {
            title: "Training loss, under the method's noise".into(),
            x_title: "epoch".into(),
            y_title: "mean loss (nats)".into(),
            y_log: true,
            series: series(|row| Some(row.train_loss)),
            ..Panel::default()
        },
    ])
}

/// Mean and, of at least two values, standard deviation; nothing of none.
pub(super) fn mean_and_deviation(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    let deviation = (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt());
    (!values.is_empty()).then_some((mean, deviation))
}
