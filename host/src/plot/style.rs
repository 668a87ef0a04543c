//! What distinguishes the n-th series: colour, dash and marker.

use kuva::plot::scatter::MarkerShape;

/// Width of a series' line in pixels.
pub(super) const STROKE: f64 = 2.5;

/// Half the size of a marker in pixels.
pub(super) const MARKER: f64 = 4.5;

/// Okabe and Ito's colours that show on white, blue and vermilion first because they differ most.
const COLOURS: [&str; 7] = [
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
];

/// Lengths of dashes and gaps; a number of them that has no factor in common with that of the colours, so that seven
/// times five series differ.
const DASHES: [&str; 5] = ["", "10 5", "3 4", "12 4 3 4", "18 6"];

const MARKERS: [MarkerShape; 5] = [
    MarkerShape::Circle,
    MarkerShape::Square,
    MarkerShape::Triangle,
    MarkerShape::Diamond,
    MarkerShape::TriangleDown,
];

pub(super) fn colour(index: usize) -> &'static str {
    COLOURS[index % COLOURS.len()]
}

/// The dash in SVG's words; none for a solid line.
pub(super) fn dash(index: usize) -> Option<&'static str> {
    Some(DASHES[index % DASHES.len()]).filter(|d| !d.is_empty())
}

pub(super) fn marker(index: usize) -> MarkerShape {
    MARKERS[index % MARKERS.len()]
}
