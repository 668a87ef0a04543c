//! Line charts and surfaces as SVG and PNG.
//!
//! Drawn by the crate `kuva`, which needs no library of the system and brings its own font for PNG text. Series differ
//! in colour (the palette of Okabe and Ito, made for colour-blind readers), in dash and in marker.

mod charts;
mod finish;
mod panel;
mod style;
mod surface;
#[cfg(test)]
mod tests;

pub use charts::{Curve, MethodResult, learning_curves, loss_and_accuracy, method_comparison};
pub use surface::{Surface, contours};

use kuva::render::figure::Figure;
use kuva::render::layout::Layout;
use kuva::render::plots::Plot;
use kuva::render::render::Scene;

/// The size of one panel in pixels of the SVG.
const PANEL: (f64, f64) = (600.0, 450.0);

/// A picture in both formats.
#[derive(Debug, Clone)]
pub struct Picture {
    /// The SVG document.
    pub svg: String,
    /// The PNG file.
    pub png: Vec<u8>,
}

/// A point of a series with the ends of its error band.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Place on the horizontal axis.
    pub x: f64,
    /// Place on the vertical axis.
    pub y: f64,
    /// Lower and upper end of the band at x.
    pub band: Option<(f64, f64)>,
}

impl Point {
    /// A point without a band.
    pub fn new(x: f64, y: f64) -> Self {
        Point { x, y, band: None }
    }

    /// A mean with a band of one `spread` (a standard deviation, say) to either side.
    pub fn with_spread(x: f64, mean: f64, spread: f64) -> Self {
        Point {
            x,
            y: mean,
            band: Some((mean - spread, mean + spread)),
        }
    }
}

/// A labelled line through points.
#[derive(Debug, Clone)]
pub struct Series {
    /// The name in the legend.
    pub label: String,
    /// The points in the order in which the line connects them. Those that cannot be drawn (not finite, or not positive
    /// on a logarithmic axis) are left out.
    pub points: Vec<Point>,
}

/// One pair of axes with its series.
#[derive(Debug, Clone, Default)]
pub struct Panel {
    /// Heading.
    pub title: String,
    /// Name of the horizontal axis with its unit.
    pub x_title: String,
    /// Name of the vertical axis with its unit.
    pub y_title: String,
    /// Logarithmic horizontal axis.
    pub x_log: bool,
    /// Logarithmic vertical axis.
    pub y_log: bool,
    /// Series; the n-th of every panel of a picture looks the same.
    pub series: Vec<Series>,
}

/// A picture that cannot be drawn.
#[derive(Debug, thiserror::Error)]
pub enum PlotError {
    /// There are no panels.
    #[error("a picture needs at least one panel")]
    NoPanels,
    /// Nothing of a panel can be drawn.
    #[error("the panel '{0}' has no point that can be drawn")]
    NoPoints(String),
    /// The PNG cannot be made.
    #[error("cannot draw the picture: {0}")]
    Png(String),
}

/// Draws panels side by side above one legend, which names every series once: the n-th series of every panel has the
/// n-th look, so equal labels belong at equal places.
///
/// # Errors
/// [`PlotError::NoPanels`], [`PlotError::NoPoints`] or [`PlotError::Png`].
pub fn lines(panels: &[Panel]) -> Result<Picture, PlotError> {
    let longest = panels
        .iter()
        .max_by_key(|p| p.series.len())
        .ok_or(PlotError::NoPanels)?;
    let drawn = panels
        .iter()
        .map(panel::draw)
        .collect::<Result<Vec<_>, _>>()?;
    let (plots, layouts) = drawn.into_iter().unzip();
    let mut scene = render(panels.len(), plots, layouts);
    finish::unclip(&mut scene);
    finish::tidy_tick_labels(&mut scene);
    let marked = |index| panels.iter().filter_map(|p: &Panel| p.series.get(index)).any(panel::marked);
    let labels: Vec<(&str, bool)> =
        longest.series.iter().enumerate().map(|(index, s)| (s.label.as_str(), marked(index))).collect();
    if labels.len() > 1 {
        finish::add_legend(&mut scene, &labels);
    }
    finish::picture(scene)
}

/// Panels in a row.
fn render(panels: usize, plots: Vec<Vec<Plot>>, layouts: Vec<Layout>) -> Scene {
    Figure::new(1, panels)
        .with_cell_size(PANEL.0, PANEL.1)
        .with_padding(8.0)
        .with_spacing(16.0)
        .with_plots(plots)
        .with_layouts(layouts)
        .render()
}
