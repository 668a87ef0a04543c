//! What is done to a drawn scene: a legend, uniform tick labels, and dashes that PNG shows as SVG does.

use super::style::{MARKER, STROKE, colour, dash, marker};
use super::{Picture, PlotError};
use kuva::backend::raster::RasterBackend;
use kuva::backend::svg::SvgBackend;
use kuva::plot::scatter::MarkerShape;
use kuva::render::render::{PathData, Primitive, Scene, TextAnchor};

/// Size of the legend's text in pixels.
const TEXT: u32 = 15;

/// Height of a row of the legend, length of its line samples, and gap after sample and text, in pixels.
const ROW: f64 = 26.0;
const SAMPLE: f64 = 52.0;
const GAP: f64 = 10.0;

/// Pixels of the PNG for one of the SVG, each way.
const PNG_SCALE: f32 = 2.0;

/// The scene in both formats.
pub(super) fn picture(mut scene: Scene) -> Result<Picture, PlotError> {
    let svg = SvgBackend.render_scene(&scene);
    split_dashes(&mut scene);
    let png = RasterBackend::new().with_scale(PNG_SCALE).render_scene(&scene).map_err(PlotError::Png)?;
    Ok(Picture { svg, png })
}

/// Takes the clipping to the axes away: all points lie within them, a marker on an axis shows whole, and the numbers
/// that clipped regions bear would differ between two drawings of the same data.
pub(super) fn unclip(scene: &mut Scene) {
    scene.defs.retain(|d| !d.starts_with("<clipPath"));
    scene
        .elements
        .retain(|e| !matches!(e, Primitive::ClipStart { .. } | Primitive::ClipEnd));
}

/// Adds a legend below the scene, in as many rows as it needs: of every series its label and whether it has markers.
pub(super) fn add_legend(scene: &mut Scene, labels: &[(&str, bool)]) {
    let widths: Vec<f64> = labels.iter().map(|(label, _)| entry_width(label)).collect();
    let mut start = 0;
    while start < labels.len() {
        let mut end = start + 1;
        let mut width = widths[start];
        while end < labels.len() && width + widths[end] <= scene.width {
            width += widths[end];
            end += 1;
        }
        let mut x = ((scene.width - width) / 2.0).max(0.0);
        let y = scene.height + ROW / 2.0;
        for index in start..end {
            add_entry(scene, x, y, labels[index], index);
            x += widths[index];
        }
        scene.height += ROW;
        start = end;
    }
    scene.height += ROW / 2.0;
}

/// An upper estimate: the mean advance of a character in DejaVu Sans is 0.6 of the size.
fn entry_width(label: &str) -> f64 {
    SAMPLE + 3.0 * GAP + 0.62 * f64::from(TEXT) * label.chars().count() as f64
}

fn add_entry(scene: &mut Scene, x: f64, y: f64, (label, marked): (&str, bool), index: usize) {
    scene.elements.push(Primitive::PolyLine {
        points: vec![(x, y), (x + SAMPLE, y)],
        stroke: colour(index).into(),
        stroke_width: STROKE,
        stroke_dasharray: dash(index).map(String::from),
    });
    if marked {
        scene.elements.push(marker_at(x + SAMPLE / 2.0, y, index));
    }
    scene.elements.push(Primitive::Text {
        x: x + SAMPLE + GAP,
        y: y + 0.35 * f64::from(TEXT),
        content: label.into(),
        size: TEXT,
        anchor: TextAnchor::Start,
        rotate: None,
        bold: false,
        color: None,
    });
}

/// A marker of the shape that a series' points have.
fn marker_at(x: f64, y: f64, index: usize) -> Primitive {
    let corners: &[(f64, f64)] = match marker(index) {
        MarkerShape::Square => &[(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)],
        MarkerShape::Triangle => &[(0.0, -1.0), (1.0, 0.7), (-1.0, 0.7)],
        MarkerShape::TriangleDown => &[(0.0, 1.0), (1.0, -0.7), (-1.0, -0.7)],
        MarkerShape::Diamond => &[(0.0, -1.3), (1.3, 0.0), (0.0, 1.3), (-1.3, 0.0)],
        _ => {
            return Primitive::Circle {
                cx: x,
                cy: y,
                r: MARKER,
                fill: colour(index).into(),
                fill_opacity: None,
                stroke: None,
                stroke_width: None,
            };
        }
    };
    let mut d = String::new();
    for (i, (dx, dy)) in corners.iter().enumerate() {
        let command = if i == 0 { 'M' } else { 'L' };
        d += &format!("{command}{:.2},{:.2} ", x + dx * MARKER, y + dy * MARKER);
    }
    d.push('Z');
    Primitive::Path(Box::new(PathData {
        d,
        fill: Some(colour(index).into()),
        stroke: colour(index).into(),
        stroke_width: 0.5,
        opacity: None,
        stroke_dasharray: None,
    }))
}

/// Writes numbers between a thousandth and a million as decimals: a logarithmic axis comes with 0.50 beside 1e-1.
pub(super) fn tidy_tick_labels(scene: &mut Scene) {
    for element in &mut scene.elements {
        if let Primitive::Text { content, .. } = element
            && let Ok(value) = content.parse::<f64>()
            && (1e-3..=1e6).contains(&value.abs())
        {
            *content = value.to_string();
        }
    }
}

/// Replaces dashed lines by their dashes: the PNG renderer begins its pattern anew at every point and rounds the ends
/// of dashes into the gaps.
fn split_dashes(scene: &mut Scene) {
    let mut elements = Vec::with_capacity(scene.elements.len());
    for element in scene.elements.drain(..) {
        match element {
            Primitive::PolyLine {
                points,
                stroke,
                stroke_width,
                stroke_dasharray: Some(pattern),
            } => {
                let pattern: Vec<f64> = pattern
                    .split_whitespace()
                    .filter_map(|p| p.parse().ok())
                    .collect();
                for points in dashes(&points, &pattern, stroke_width) {
                    elements.push(Primitive::PolyLine {
                        points,
                        stroke: stroke.clone(),
                        stroke_width,
                        stroke_dasharray: None,
                    });
                }
            }
            other => elements.push(other),
        }
    }
    scene.elements = elements;
}

/// The dashes of a line: `pattern` is lengths of dash and gap in turn. Round ends add half a `width` to each end of a
/// dash, so every dash is shorter by that.
fn dashes(points: &[(f64, f64)], pattern: &[f64], width: f64) -> Vec<Vec<(f64, f64)>> {
    let mut dashes = Vec::new();
    let mut dash: Vec<(f64, f64)> = Vec::new();
    let (mut index, mut drawing) = (0, true);
    let adjusted = |index: usize| {
        let length = pattern[index % pattern.len()];
        let drawn = index.is_multiple_of(2);
        let rounded = if drawn {
            length - width
        } else {
            length + width
        };
        rounded.max(0.5)
    };
    if pattern.is_empty() {
        return vec![points.to_vec()];
    }
    let mut left = adjusted(0);
    for pair in points.windows(2) {
        let ((x0, y0), (x1, y1)) = (pair[0], pair[1]);
        let length = (x1 - x0).hypot(y1 - y0);
        let at = |d: f64| (x0 + (x1 - x0) * d / length, y0 + (y1 - y0) * d / length);
        let mut done = 0.0;
        if drawing && dash.is_empty() {
            dash.push((x0, y0));
        }
        while length - done > left {
            done += left;
            if drawing {
                dash.push(at(done));
                dashes.push(std::mem::take(&mut dash));
            } else {
                dash.push(at(done));
            }
            drawing = !drawing;
            index += 1;
            left = adjusted(index);
        }
        left -= length - done;
        if drawing {
            dash.push((x1, y1));
        }
    }
    if dash.len() > 1 {
        dashes.push(dash);
    }
    dashes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_goes_on_across_the_corners_of_a_line() {
        // Dashes of 10 and gaps of 5 with a width of 0, along 40 pixels with a corner at 20.
        let found = dashes(&[(0.0, 0.0), (20.0, 0.0), (20.0, 20.0)], &[10.0, 5.0], 0.0);
        assert_eq!(
            found,
            [
                vec![(0.0, 0.0), (10.0, 0.0)],
                vec![(15.0, 0.0), (20.0, 0.0), (20.0, 5.0)],
                vec![(20.0, 10.0), (20.0, 20.0)],
            ]
        );
    }

    #[test]
    fn round_ends_are_taken_off_a_dash() {
        let found = dashes(&[(0.0, 0.0), (20.0, 0.0)], &[10.0, 5.0], 2.0);
        assert_eq!(found[0], [(0.0, 0.0), (8.0, 0.0)]);
        assert_eq!(found[1][0], (15.0, 0.0));
    }
}
