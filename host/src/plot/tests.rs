//! Tests of pictures.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::run::MetricsRow;
use proptest::prelude::*;

fn panel(points: Vec<Point>) -> Panel {
    Panel {
        title: "a title".into(),
        x_title: "time (s)".into(),
        y_title: "loss (nats)".into(),
        series: vec![Series {
            label: "one".into(),
            points,
        }],
        ..Panel::default()
    }
}

fn decode(png: &[u8]) -> image::RgbImage {
    image::load_from_memory_with_format(png, image::ImageFormat::Png)
        .unwrap()
        .to_rgb8()
}

/// The number of pixels of this colour.
fn count(picture: &image::RgbImage, rgb: [u8; 3]) -> usize {
    picture.pixels().filter(|pixel| pixel.0 == rgb).count()
}

fn methods() -> Vec<MethodResult> {
    ["SGD", "SmoothOut", "AdaSmoothOut"]
        .iter()
        .enumerate()
        .map(|(k, name)| MethodResult {
            name: (*name).into(),
            accuracy: (1..=5)
                .map(|e| Point::with_spread(e as f64, 0.5 + 0.1 * e as f64 - 0.02 * k as f64, 0.01))
                .collect(),
            loss_under_noise: (0..5)
                .map(|i| Point::new(i as f64, 0.1 + 0.4 * i as f64 / (k + 1) as f64))
                .collect(),
        })
        .collect()
}

#[test]
fn the_comparison_of_methods_has_its_words_lines_and_size() {
    let picture = method_comparison("digits", &methods()).unwrap();
    for word in [
        "digits: accuracy while training",
        "epoch",
        "test accuracy (%)",
        "digits: sensitivity to noise",
        "strength of noise on the trained weights",
        "test loss (nats)",
        ">SGD<",
        ">SmoothOut<",
        ">AdaSmoothOut<",
        // A logarithmic axis, with labels as on the other one.
        ">0.1<",
        ">0.5<",
        "stroke-dasharray=\"10 5\"",
    ] {
        assert!(picture.svg.contains(word), "{word}");
    }
    let pixels = decode(&picture.png);
    let (width, height) = pixels.dimensions();
    assert!((2400..2600).contains(&width), "{width}");
    assert!((900..1200).contains(&height), "{height}");
    // Each series' colour is in the PNG: line, markers and legend of two panels.
    for rgb in [[0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00], [0x00, 0x9E, 0x73]] {
        assert!(count(&pixels, rgb) > 2000, "{rgb:?}");
    }
    // So is text, which needs a font, in black or nearly.
    assert!(count(&pixels, [0, 0, 0]) > 5000);
}

#[test]
fn equal_data_are_equal_files() {
    let a = method_comparison("digits", &methods()).unwrap();
    let b = method_comparison("digits", &methods()).unwrap();
    assert!(a.svg == b.svg, "SVG");
    assert!(a.png == b.png, "PNG");
    assert!(!a.svg.contains("clip"), "points on an axis show whole");
}

#[test]
fn learning_curves_leave_out_what_was_not_measured() {
    let row = |epoch: f64, validation: Option<f64>| MetricsRow {
        epoch,
        train_loss: 1.0 / epoch,
        train_accuracy: 0.9,
        validation_loss: validation,
        validation_accuracy: validation,
        ..MetricsRow::default()
    };
    let both = learning_curves(&[row(1.0, Some(0.5)), row(2.0, None), row(3.0, Some(0.4))]);
    let both = both.unwrap();
    assert!(both.svg.contains(">training<") && both.svg.contains(">validation<"));
    assert!(!both.svg.contains(">test<"));
    let only = learning_curves(&[row(1.0, None), row(2.0, None)]).unwrap();
    assert!(!only.svg.contains(">validation<"));
    // One row is a picture; no row is none.
    learning_curves(&[row(1.0, None)]).unwrap();
    assert!(matches!(learning_curves(&[]), Err(PlotError::NoPoints(_))));
    // Numbers of a run that diverged: the finite ones are drawn.
    let diverged = MetricsRow {
        train_loss: f64::NAN,
        ..row(4.0, None)
    };
    learning_curves(&[row(1.0, None), diverged]).unwrap();
    assert!(matches!(
        learning_curves(&[diverged]),
        Err(PlotError::NoPoints(title)) if title == "Loss"
    ));
}

#[test]
fn nothing_to_draw_is_an_error() {
    assert!(matches!(lines(&[]), Err(PlotError::NoPanels)));
    assert!(matches!(
        lines(&[panel(vec![Point::new(1.0, f64::INFINITY)])]),
        Err(PlotError::NoPoints(_))
    ));
    let mut logarithmic = panel(vec![Point::new(1.0, 0.0), Point::new(2.0, -1.0)]);
    logarithmic.y_log = true;
    assert!(matches!(lines(&[logarithmic]), Err(PlotError::NoPoints(_))));
}

#[test]
fn labels_are_escaped() {
    let mut p = panel(vec![Point::new(0.0, 1.0)]);
    p.series.push(p.series[0].clone());
    p.series[0].label = "<script>&\"".into();
    p.title = "</svg>".into();
    let svg = lines(&[p]).unwrap().svg;
    assert!(!svg.contains("<script>"));
    assert_eq!(svg.matches("</svg>").count(), 1);
}

#[test]
fn many_series_get_a_legend_of_several_rows() {
    let mut one = panel(vec![Point::new(0.0, 1.0), Point::new(1.0, 2.0)]);
    let single = decode(&lines(std::slice::from_ref(&one)).unwrap().png);
    one.series = (0..9)
        .map(|i| Series {
            label: format!("a rather long name of series {i}"),
            points: vec![Point::new(0.0, i as f64), Point::new(1.0, 2.0)],
        })
        .collect();
    let picture = lines(&[one]).unwrap();
    let several = decode(&picture.png);
    assert_eq!(several.width(), single.width());
    assert!(several.height() > single.height() + 200);
    assert!(picture.svg.contains(">a rather long name of series 8<"));
}

#[test]
fn the_legend_shows_markers_where_the_lines_have_them() {
    let circles = |points: usize| {
        let mut p = panel((0..points).map(|i| Point::new(i as f64, 1.0)).collect());
        p.series.push(Series { label: "another".into(), points: vec![] });
        lines(&[p]).unwrap().svg.matches("<circle").count()
    };
    assert_eq!(circles(3), 4);
    assert_eq!(circles(400), 0);
}

#[test]
fn surfaces_of_a_picture_have_one_scale() {
    let surface = |title: &str, rows: [[f64; 3]; 3]| Surface {
        title: title.into(),
        xs: vec![-1.0, 0.0, 1.0],
        ys: vec![-1.0, 0.0, 1.0],
        rows: rows.map(Vec::from).into(),
        ..Surface::default()
    };
    let flat = [[1.0, 0.9, 1.0], [0.9, 0.8, 0.9], [1.0, 0.9, 1.0]];
    let sharp = [[9.0, 5.0, 9.0], [5.0, 1e-3, 5.0], [9.0, 5.0, 9.0]];
    let colours = |picture: Picture, shares: [f64; 2]| {
        let pixels = decode(&picture.png);
        let (width, height) = pixels.dimensions();
        let column = |share: f64| (f64::from(width) * share) as u32;
        let inside = (column(shares[0])..column(shares[1])).flat_map(|x| (height / 4..height / 2).map(move |y| (x, y)));
        let hues = inside.map(|(x, y)| pixels.get_pixel(x, y).0).filter(|[r, g, b]| r != g || g != b);
        hues.collect::<std::collections::BTreeSet<_>>().len()
    };
    let alone = contours(&[surface("flat", flat)]).unwrap();
    let both = contours(&[surface("flat", flat), surface("sharp", sharp)]).unwrap();
    assert!(both.svg.contains(">flat<") && both.svg.contains(">sharp<"));
    // By itself a flat basin takes all colours; beside a sharp one it has one or two, and the sharp one has all.
    let (all, few, sharp) = (colours(alone, [0.2, 0.7]), colours(both.clone(), [0.1, 0.35]), colours(both, [0.6, 0.85]));
    assert!(few < 8 && all > 10 && sharp > 10, "{all} {few} {sharp}");
    // A plain is a picture too.
    contours(&[surface("plain", [[0.5; 3]; 3])]).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Any numbers, however wild, give a picture or an error.
    #[test]
    fn wild_numbers_do_no_harm(
        points in prop::collection::vec(
            (any::<f64>(), any::<f64>(), prop::option::of((any::<f64>(), any::<f64>()))),
            0..12,
        ),
        tame in prop::collection::vec((-1e3..1e3, -1e-3..1e-3), 0..6),
        x_log: bool,
        y_log: bool,
    ) {
        let mut all: Vec<Point> = points
            .into_iter()
            .map(|(x, y, band)| Point { x, y, band })
            .collect();
        all.extend(tame.into_iter().map(|(x, y)| Point::with_spread(x, y, 0.1)));
        let picture = lines(&[Panel { x_log, y_log, ..panel(all) }]);
        if let Ok(picture) = picture {
            prop_assert!(decode(&picture.png).width() > 1000);
        }
    }
}
