//! One pair of axes in the words of the crate `kuva`.

use super::style::{MARKER, STROKE, colour, dash, marker};
use super::{Panel, PlotError, Point, Series};
use kuva::plot::{BandPlot, LinePlot, LineStyle, ScatterPlot};
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

/// More points than this in a series are drawn without markers, which would hide each other.
const MARKED: usize = 40;

/// Whether a series is drawn with markers.
pub(super) fn marked(series: &Series) -> bool {
    series.points.len() <= MARKED
}

/// Numbers beyond this cannot be told apart from infinity in a picture, and overflow in working out its axes.
const LARGEST: f64 = 1e100;

pub(super) fn draw(panel: &Panel) -> Result<(Vec<Plot>, Layout), PlotError> {
    let series: Vec<Vec<Point>> = panel.series.iter().map(|s| drawable(panel, s)).collect();
    let mut plots = Vec::new();
    // Bands first, so that no band lies on a line.
    for (index, points) in series.iter().enumerate() {
        plots.extend(band(points, index));
    }
    for (index, points) in series.iter().enumerate() {
        plots.extend(line(points, index, marked(&panel.series[index])));
    }
    if plots.is_empty() {
        return Err(PlotError::NoPoints(panel.title.clone()));
    }
    let layout = layout(panel, &plots, &series.concat());
    Ok((plots, layout))
}

/// The points that can be drawn, with bands that can be.
fn drawable(panel: &Panel, series: &Series) -> Vec<Point> {
    let fits = |v: f64, log: bool| v.abs() <= LARGEST && (!log || v >= 1.0 / LARGEST);
    series
        .points
        .iter()
        .filter(|p| fits(p.x, panel.x_log) && fits(p.y, panel.y_log))
        .map(|p| {
            let band = p.band.and_then(|(low, high)| {
                // A band that reaches down to 0 ends at a tenth of the line on a logarithmic axis.
                let low = if panel.y_log {
                    low.max(p.y / 10.0)
                } else {
                    low
                };
                // The axes are made for bands around their line: a point outside could overflow the picture.
                let around = low <= p.y && p.y <= high;
                (around && fits(low, panel.y_log) && fits(high, panel.y_log)).then_some((low, high))
            });
            Point { band, ..*p }
        })
        .collect()
}

fn band(points: &[Point], index: usize) -> Option<Plot> {
    let ends: Vec<(f64, f64, f64)> = points
        .iter()
        .filter_map(|p| p.band.map(|(low, high)| (p.x, low, high)))
        .collect();
    (ends.len() > 1).then(|| {
        Plot::Band(
            BandPlot::new(
                ends.iter().map(|e| e.0),
                ends.iter().map(|e| e.1),
                ends.iter().map(|e| e.2),
            )
            .with_color(colour(index))
            .with_opacity(0.18),
        )
    })
}

fn line(points: &[Point], index: usize, marked: bool) -> Vec<Plot> {
    let points: Vec<(f64, f64)> = points.iter().map(|p| (p.x, p.y)).collect();
    let mut plots = Vec::new();
    if points.is_empty() {
        return plots;
    }
    let style = dash(index).map_or(LineStyle::Solid, |d| LineStyle::Custom(d.into()));
    if marked {
        plots.push(Plot::Scatter(
            ScatterPlot::new()
                .with_data(points.clone())
                .with_color(colour(index))
                .with_marker(marker(index))
                .with_size(MARKER),
        ));
    }
    plots.push(Plot::Line(
        LinePlot::new()
            .with_data(points)
            .with_color(colour(index))
            .with_stroke_width(STROKE)
            .with_line_style(style),
    ));
    plots
}

fn layout(panel: &Panel, plots: &[Plot], points: &[Point]) -> Layout {
    let mut layout = Layout::auto_from_plots(plots)
        .with_title(&panel.title)
        .with_x_label(&panel.x_title)
        .with_y_label(&panel.y_title)
        .with_title_size(18)
        .with_label_size(16)
        .with_tick_size(14);
    if panel.x_log {
        let (low, high) = log_range(points.iter().map(|p| p.x));
        layout = layout
            .with_log_x()
            .with_x_axis_min(low)
            .with_x_axis_max(high);
    }
    if panel.y_log {
        let ends = points.iter().flat_map(|p| {
            let (low, high) = p.band.unwrap_or((p.y, p.y));
            [p.y, low, high]
        });
        let (low, high) = log_range(ends);
        layout = layout
            .with_log_y()
            .with_y_axis_min(low)
            .with_y_axis_max(high);
    }
    layout
}

/// The smallest range from 1, 2 or 5 times a power of ten to another that holds all values.
fn log_range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::INFINITY, 0.0f64), |(low, high), v| {
        (low.min(v), high.max(v))
    });
    // A millionth of slack takes up the rounding of the powers.
    let steps = |v: f64| {
        let power = 10f64.powf(v.log10().floor());
        [0.5, 1.0, 2.0, 5.0, 10.0, 20.0].map(|m| m * power)
    };
    let below = steps(low).into_iter().rfind(|s| *s <= low * (1.0 + 1e-6));
    let above = steps(high).into_iter().find(|s| *s >= high * (1.0 - 1e-6));
    match (below, above) {
        (Some(below), Some(above)) if below < above => (below, above),
        (Some(only), _) | (_, Some(only)) => (only / 2.0, only * 2.0),
        (None, None) => (0.1, 10.0),
    }
}
