//! Surfaces over a plane, as filled contours of the logarithm.

use super::style::{MARKER, STROKE, colour};
use super::{PlotError, Picture, finish, render};
use kuva::plot::colormap::ColorMap;
use kuva::plot::{ContourPlot, LinePlot, ScatterPlot};
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;

/// Contours of a surface; a number of them at which lines can still be told apart.
const LEVELS: usize = 14;

/// Positive values over a grid, with a path through the plane.
#[derive(Debug, Clone, Default)]
pub struct Surface {
    /// Heading.
    pub title: String,
    /// Name of the horizontal axis.
    pub x_title: String,
    /// Name of the vertical axis.
    pub y_title: String,
    /// Name of the values with their unit.
    pub z_title: String,
    /// Ascending places of the columns, at least two.
    pub xs: Vec<f64>,
    /// Ascending places of the rows, at least two.
    pub ys: Vec<f64>,
    /// Values, row by row: rows.len() = ys.len(), each as long as xs. Those that are not finite and positive are drawn
    /// as the nearest that is.
    pub rows: Vec<Vec<f64>>,
    /// Points to connect, such as a training's checkpoints; may be empty.
    pub path: Vec<(f64, f64)>,
}

/// Draws surfaces side by side, each with a scale of its own: contours at equal steps of log10 of the values, in
/// colours (cividis) that look alike to all eyes.
///
/// # Errors
/// [`PlotError::NoPanels`], [`PlotError::NoPoints`] for a surface that is no grid of at least 2 x 2 or has no positive
/// value, or [`PlotError::Png`].
pub fn contours(surfaces: &[Surface]) -> Result<Picture, PlotError> {
    if surfaces.is_empty() {
        return Err(PlotError::NoPanels);
    }
    let drawn = surfaces.iter().map(draw).collect::<Result<Vec<_>, _>>()?;
    let (plots, layouts) = drawn.into_iter().unzip();
    let mut scene = render(surfaces.len(), plots, layouts);
    finish::unclip(&mut scene);
    finish::picture(scene)
}

fn draw(surface: &Surface) -> Result<(Vec<Plot>, Layout), PlotError> {
    let no_points = || PlotError::NoPoints(surface.title.clone());
    let (columns, lines) = (surface.xs.len(), surface.ys.len());
    if columns < 2 || lines < 2 || surface.rows.len() != lines || surface.rows.iter().any(|r| r.len() != columns) {
        return Err(no_points());
    }
    let fits = |v: &&f64| v.is_finite() && **v > 0.0;
    let low = surface.rows.iter().flatten().filter(fits).copied().reduce(f64::min).ok_or_else(no_points)?;
    let high = surface.rows.iter().flatten().filter(fits).copied().fold(low, f64::max);
    // NaN and infinity are as high as anything; 0 and below as low.
    let log = |v: &f64| if v.is_nan() { high } else { v.clamp(low, high) }.log10();
    let z: Vec<Vec<f64>> = surface.rows.iter().map(|row| row.iter().map(log).collect()).collect();
    let contour = ContourPlot::new()
        .with_grid(z, surface.xs.clone(), surface.ys.clone())
        .with_n_levels(LEVELS)
        .with_filled()
        .with_colormap(ColorMap::Cividis)
        .with_line_width(0.4)
        .with_legend(format!("log10 of {}", surface.z_title));
    let mut plots = vec![Plot::Contour(contour)];
    if !surface.path.is_empty() {
        let line = LinePlot::new().with_data(surface.path.clone()).with_color(colour(1)).with_stroke_width(STROKE);
        let points = ScatterPlot::new().with_data(surface.path.clone()).with_color(colour(1)).with_size(MARKER);
        plots.extend([Plot::Line(line), Plot::Scatter(points)]);
    }
    let layout = Layout::auto_from_plots(&plots)
        .with_title(&surface.title)
        .with_x_label(&surface.x_title)
        .with_y_label(&surface.y_title)
        .with_title_size(18)
        .with_label_size(16)
        .with_tick_size(14)
        .with_x_axis_min(surface.xs[0])
        .with_x_axis_max(surface.xs[columns - 1])
        .with_y_axis_min(surface.ys[0])
        .with_y_axis_max(surface.ys[lines - 1]);
    Ok((plots, layout))
}
