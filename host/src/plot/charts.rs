//! The program's own pictures.

use super::{Panel, Picture, PlotError, Point, Series, lines};
use crate::run::MetricsRow;

/// Loss and accuracy over something, for [`loss_and_accuracy`].
#[derive(Debug, Clone, Default)]
pub struct Curve {
    /// Its name in the legend.
    pub label: String,
    /// Mean loss in nats, positive.
    pub loss: Vec<Point>,
    /// Accuracy, a fraction from 0 to 1.
    pub accuracy: Vec<Point>,
}

/// Draws loss, on a logarithmic axis, and accuracy side by side; `of` completes both headings.
///
/// # Errors
/// As [`lines`].
pub fn loss_and_accuracy(of: &str, x_title: &str, curves: &[Curve]) -> Result<Picture, PlotError> {
    let series = |points: fn(&Curve) -> Vec<Point>| {
        curves.iter().map(|c| Series { label: c.label.clone(), points: points(c) }).collect()
    };
    lines(&[
        Panel {
            title: format!("Loss {of}"),
            x_title: x_title.into(),
            y_title: "mean loss (nats)".into(),
            y_log: true,
            series: series(|c| c.loss.clone()),
            ..Panel::default()
        },
        Panel {
            title: format!("Accuracy {of}"),
            x_title: x_title.into(),
            y_title: "accuracy (%)".into(),
            series: series(|c| c.accuracy.iter().map(|p| percent(*p)).collect()),
            ..Panel::default()
        },
    ])
}

/// What a method reached, for [`method_comparison`].
#[derive(Debug, Clone)]
pub struct MethodResult {
    /// The method's name.
    pub name: String,
    /// Test accuracy, a fraction from 0 to 1, by epoch.
    pub accuracy: Vec<Point>,
    /// Test loss in nats by the strength of noise on the trained weights.
    pub loss_under_noise: Vec<Point>,
}

/// Draws methods against each other: test accuracy while training, and loss under noise after it.
///
/// # Errors
/// As [`lines`].
pub fn method_comparison(title: &str, methods: &[MethodResult]) -> Result<Picture, PlotError> {
    let series = |points: fn(&MethodResult) -> Vec<Point>| {
        methods
            .iter()
            .map(|m| Series {
                label: m.name.clone(),
                points: points(m),
            })
            .collect()
    };
    lines(&[
        Panel {
            title: format!("{title}: accuracy while training"),
            x_title: "epoch".into(),
            y_title: "test accuracy (%)".into(),
            series: series(|m| m.accuracy.iter().map(|p| percent(*p)).collect()),
            ..Panel::default()
        },
        Panel {
            title: format!("{title}: sensitivity to noise"),
            x_title: "strength of noise on the trained weights".into(),
            y_title: "test loss (nats)".into(),
            y_log: true,
            series: series(|m| m.loss_under_noise.clone()),
            ..Panel::default()
        },
    ])
}

/// Draws loss and accuracy by epoch from a run's metrics; what was never measured is left out.
///
/// # Errors
/// As [`lines`]; [`PlotError::NoPoints`] where no row has a finite loss and accuracy.
pub fn learning_curves(rows: &[MetricsRow]) -> Result<Picture, PlotError> {
    type Cell = fn(&MetricsRow) -> Option<f64>;
    let losses: [(&str, Cell); 3] = [
        ("training", |r| Some(r.train_loss)),
        ("validation", |r| r.validation_loss),
        ("test", |r| r.test_loss),
    ];
    let accuracies: [(&str, Cell); 3] = [
        ("training", |r| Some(r.train_accuracy)),
        ("validation", |r| r.validation_accuracy),
        ("test", |r| r.test_accuracy),
    ];
    let series = |cells: [(&str, Cell); 3], scale: f64| -> Vec<Series> {
        cells
            .into_iter()
            .map(|(label, cell)| Series {
                label: label.into(),
                points: rows
                    .iter()
                    .filter_map(|r| Some(Point::new(r.epoch, cell(r)? * scale)))
                    .collect(),
            })
            .filter(|s| !s.points.is_empty())
            .collect()
    };
    lines(&[
        Panel {
            title: "Loss".into(),
            x_title: "epoch".into(),
            y_title: "mean loss (nats)".into(),
            series: series(losses, 1.0),
            ..Panel::default()
        },
        Panel {
            title: "Accuracy".into(),
            x_title: "epoch".into(),
            y_title: "accuracy (%)".into(),
            series: series(accuracies, 100.0),
            ..Panel::default()
        },
    ])
}

fn percent(point: Point) -> Point {
    Point {
        x: point.x,
        y: 100.0 * point.y,
        band: point.band.map(|(low, high)| (100.0 * low, 100.0 * high)),
    }
}
