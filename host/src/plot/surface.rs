//! Surfaces over a plane, as filled contours of the logarithm.

use super::style::{MARKER, STROKE, colour};
use super::{PlotError, Picture, finish, render};
use kuva::plot::colormap::ColorMap;
use kuva::plot::{ContourPlot, LinePlot, ScatterPlot};
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;
use std::sync::Arc;

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

/// Draws surfaces side by side, all on the scale of the lowest and the highest value: contours at equal steps of log10
/// of the values, in colours (cividis) that look alike to all eyes. Each bar shows the part that its surface takes.
///
/// # Errors
/// [`PlotError::NoPanels`], [`PlotError::NoPoints`] for a surface that is no grid of at least 2 x 2 or has no positive
/// value, or [`PlotError::Png`].
pub fn contours(surfaces: &[Surface]) -> Result<Picture, PlotError> {
    if surfaces.is_empty() {
        return Err(PlotError::NoPanels);
    }
    let scales = surfaces.iter().map(Scale::of).collect::<Result<Vec<_>, _>>()?;
    let low = scales.iter().map(|s| s.low).fold(f64::INFINITY, f64::min);
    let high = scales.iter().map(|s| s.high).fold(f64::NEG_INFINITY, f64::max);
    let common = Scale { low, high };
    let (plots, layouts) = surfaces.iter().zip(scales).map(|(surface, own)| draw(surface, own, common)).unzip();
    let mut scene = render(surfaces.len(), plots, layouts);
    finish::unclip(&mut scene);
    finish::picture(scene)
}

/// The lowest and the highest value that can be drawn, as log10.
#[derive(Clone, Copy)]
struct Scale {
    low: f64,
    high: f64,
}

impl Scale {
    fn of(surface: &Surface) -> Result<Self, PlotError> {
        let (columns, lines) = (surface.xs.len(), surface.ys.len());
        let grid = columns > 1 && lines > 1 && surface.rows.len() == lines;
        let values = surface.rows.iter().flatten().filter(|v| v.is_finite() && **v > 0.0).map(|v| v.log10());
        let ends = values.fold(None, |ends: Option<Self>, v| match ends {
            Some(Self { low, high }) => Some(Self { low: low.min(v), high: high.max(v) }),
            None => Some(Self { low: v, high: v }),
        });
        let whole = grid && surface.rows.iter().all(|r| r.len() == columns);
        ends.filter(|_| whole).ok_or_else(|| PlotError::NoPoints(surface.title.clone()))
    }

    /// The values at which contours lie: equal steps between the ends.
    fn levels(self) -> Vec<f64> {
        let step = (self.high - self.low) / (LEVELS + 1) as f64;
        (1..=LEVELS).map(|i| self.low + step * i as f64).collect()
    }

    /// The colour of the band in which a value lies, the lowest one's being cividis' first.
    fn colour(self, value: f64) -> String {
        let step = (self.high - self.low) / (LEVELS + 1) as f64;
        // A contour belongs to the band above it, also when it was rounded.
        let band = if step > 0.0 { ((value - self.low) / step + 1e-6).floor() } else { 0.0 };
        ColorMap::Cividis.map((band / LEVELS as f64).clamp(0.0, 1.0))
    }
}

/// A surface whose values are on its `own` scale, in the colours of the `common` one.
fn draw(surface: &Surface, own: Scale, common: Scale) -> (Vec<Plot>, Layout) {
    let (columns, lines) = (surface.xs.len(), surface.ys.len());
    // NaN and infinity are as high as anything; 0 and below as low.
    let log = |v: &f64| {
        let log = if v.is_nan() { own.high } else { v.max(0.0).log10() };
        log.clamp(own.low, own.high)
    };
    let z: Vec<Vec<f64>> = surface.rows.iter().map(|row| row.iter().map(log).collect()).collect();
    let contour = ContourPlot::new()
        .with_grid(z, surface.xs.clone(), surface.ys.clone())
        .with_levels(&common.levels())
        .with_filled()
        .with_colormap(ColorMap::Custom(Arc::new(move |share| common.colour(own.low + share * (own.high - own.low)))))
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
    (plots, layout)
}
