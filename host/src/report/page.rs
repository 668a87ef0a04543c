//! The page: no scripts, nothing from elsewhere, pictures inside.

use super::gather::{Measurement, Section, Table, Training};
use crate::plot::{Panel, PlotError, Point, Series, lines};
use crate::run::MetricsRow;
use crate::train;

/// Rows of a table that are shown at once; longer ones are folded.
const SHORT: usize = 12;

/// The page of these folders.
///
/// # Errors
/// A picture cannot be drawn.
pub fn page(title: &str, sections: &[Section]) -> Result<String, PlotError> {
    let mut body = format!("<h1>{}</h1>\n", escaped(title));
    let trainings: Vec<(&str, &Training)> =
        sections.iter().filter_map(|s| Some((s.title.as_str(), s.training.as_ref()?))).collect();
    if trainings.len() > 1 {
        body += &comparison(&trainings)?;
    }
    for section in sections {
        body += &format!("<h2>{}</h2>\n", escaped(&section.title));
        if let Some(training) = &section.training {
            body += &of_training(training)?;
        }
        for measurement in &section.measurements {
            body += &of_measurement(measurement);
        }
    }
    let style = include_str!("style.css");
    let title = escaped(title);
    Ok(format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>\n{style}</style>\n\
         </head>\n<body>\n{body}</body>\n</html>\n"
    ))
}

/// All trainings in a table and a picture.
fn comparison(trainings: &[(&str, &Training)]) -> Result<String, PlotError> {
    let head = ["run", "network", "data", "method", "a", "batch", "seed", "epochs", "selected", "validation", "test", "test loss"];
    let percent = |a: Option<f64>| a.map_or(String::new(), |a| format!("{:.2}\u{a0}%", 100.0 * a));
    let row = |(title, t): &(&str, &Training)| {
        let option = |name: &str| {
            let found = t.options.iter().find(|(option, ..)| option == name);
            found.map_or(String::new(), |(_, value, _)| value.trim_matches('"').to_owned())
        };
        let best = train::selected(t.config.select, &t.rows).copied().unwrap_or_default();
        let mut cells = vec![(*title).to_owned()];
        cells.extend(["net", "data", "method", "strength", "batch", "seed"].map(option));
        cells.push(t.rows.len().to_string());
        cells.push(format!("{}", best.epoch));
        cells.extend([percent(best.validation_accuracy), percent(best.test_accuracy)]);
        cells.push(best.test_loss.map_or(String::new(), |loss| loss.to_string()));
        cells
    };
    let table = Table { head: head.map(String::from).into(), rows: trainings.iter().map(row).collect() };
    let mut text = format!("<h2>All runs</h2>\n{}", of_table(&table));
    let series = |value: fn(&MetricsRow) -> Option<f64>| -> Vec<Series> {
        let of_run = |(title, t): &(&str, &Training)| Series {
            label: (*title).into(),
            points: t.rows.iter().filter_map(|r| Some(Point::new(r.epoch, value(r)?))).collect(),
        };
        trainings.iter().map(of_run).collect()
    };
    let panel = |title: &str, y_title: &str, series| Panel {
        title: title.into(),
        x_title: "epoch".into(),
        y_title: y_title.into(),
        series,
        ..Panel::default()
    };
    let panels = [
        panel("Test accuracy", "accuracy (%)", series(|r| Some(100.0 * r.test_accuracy?))),
        panel("Test loss", "mean loss (nats)", series(|r| r.test_loss)),
    ];
    match lines(&panels) {
        Ok(picture) => text += &image("Test accuracy and loss of all runs by epoch", &picture.svg),
        Err(PlotError::NoPoints(_)) => {}
        Err(error) => return Err(error),
    }
    Ok(text)
}

fn of_training(training: &Training) -> Result<String, PlotError> {
    let mut text = format!("<pre>{}</pre>\n", escaped(&training.command));
    if let Some(best) = train::selected(training.config.select, &training.rows) {
        let accuracy = best.test_accuracy.map_or(String::new(), |a| format!("test accuracy {:.2} %", 100.0 * a));
        text += &format!("<p>Epoch {} of {} is the selected one: {accuracy}.</p>\n", best.epoch, training.rows.len());
    }
    match crate::plot::learning_curves(&training.rows) {
        Ok(picture) => text += &image("Learning curves", &picture.svg),
        Err(PlotError::NoPoints(_)) => {}
        Err(error) => return Err(error),
    }
    text += &format!("<details><summary>Metrics of {} epochs</summary>\n", training.rows.len());
    text += &rows_of(&metrics(&training.rows));
    text += "</details>\n<details><summary>Configuration (bold: not the default)</summary>\n<table>\n";
    for (name, value, changed) in &training.options {
        let class = if *changed { " class=\"changed\"" } else { "" };
        text += &format!("<tr{class}><td>{}</td><td>{}</td></tr>\n", escaped(name), escaped(value));
    }
    Ok(text + "</table>\n</details>\n")
}

fn metrics(rows: &[MetricsRow]) -> Table {
    let cell = |v: Option<f64>| v.map_or(String::new(), |v| v.to_string());
    let row = |r: &MetricsRow| {
        let numbers = [
            Some(r.epoch), Some(r.train_loss), Some(r.train_accuracy), r.validation_loss, r.validation_accuracy,
            r.test_loss, r.test_accuracy, Some(r.learning_rate), Some(r.strength),
        ];
        numbers.map(cell).into()
    };
    let head = [
        "epoch", "train loss", "train accuracy", "validation loss", "validation accuracy", "test loss", "test accuracy",
        "learning rate", "strength",
    ];
    Table { head: head.map(String::from).into(), rows: rows.iter().map(row).collect() }
}

fn of_measurement(measurement: &Measurement) -> String {
    let mut text = format!("<h3>{}</h3>\n<pre>{}</pre>\n", escaped(&measurement.name), escaped(&measurement.command));
    if !measurement.complete {
        text += "<p class=\"warning\">Interrupted: the best so far.</p>\n";
    }
    for (about, table) in &measurement.summaries {
        text += &format!("<p>{}</p>\n{}", escaped(about), of_table(table));
    }
    for (name, svg) in &measurement.pictures {
        text += &image(&format!("{}: {name}", measurement.name), svg);
    }
    text + &of_table(&measurement.table)
}

/// A table, folded if it is long.
fn of_table(table: &Table) -> String {
    if table.rows.len() <= SHORT {
        return rows_of(table);
    }
    format!("<details><summary>{} rows</summary>\n{}</details>\n", table.rows.len(), rows_of(table))
}

fn rows_of(table: &Table) -> String {
    if table.head.is_empty() {
        return String::new();
    }
    let heads: String = table.head.iter().map(|name| format!("<th>{}</th>", escaped(name))).collect();
    let mut text = format!("<div class=\"scroll\"><table>\n<tr>{heads}</tr>\n");
    for row in &table.rows {
        let cells: String = row.iter().map(|cell| of_cell(cell)).collect();
        text += &format!("<tr>{cells}</tr>\n");
    }
    text + "</table></div>\n"
}

/// Numbers on the right, and those that were not rounded to six significant digits.
fn of_cell(cell: &str) -> String {
    match cell.parse::<f64>() {
        Ok(number) if number.is_finite() && number.fract() != 0.0 && cell.len() > 8 => {
            let digits = (5 - number.abs().log10().floor() as i32).clamp(0, 12) as usize;
            let text = format!("{number:.digits$}");
            format!("<td class=\"number\">{}</td>", text.trim_end_matches('0').trim_end_matches('.'))
        }
        Ok(_) => format!("<td class=\"number\">{}</td>", escaped(cell)),
        Err(_) => format!("<td>{}</td>", escaped(cell)),
    }
}

/// A picture inside the page. As an image of its own its identifiers cannot meet those of another.
fn image(about: &str, svg: &str) -> String {
    let mut data = String::with_capacity(svg.len() * 5 / 4);
    for byte in svg.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' | b'/' | b':' | b'=' | b';' | b',' | b'(' | b')' => {
                data.push(char::from(byte));
            }
            b' ' => data.push(' '),
            _ => data += &format!("%{byte:02X}"),
        }
    }
    format!("<img alt=\"{}\" src=\"data:image/svg+xml,{data}\">\n", escaped(about))
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::options::Options;

    fn section(title: &str) -> Section {
        let rows = (1..=3).map(|epoch| MetricsRow {
            epoch: f64::from(epoch),
            train_loss: 1.0 / f64::from(epoch),
            validation_accuracy: Some(0.5 + 0.1 * f64::from(epoch % 3)),
            test_loss: Some(0.7),
            test_accuracy: Some(0.25 * f64::from(epoch)),
            ..MetricsRow::default()
        });
        let training = Training {
            config: Options::default().resolve(),
            options: vec![("net".into(), "\"f1\"".into(), true), ("seed".into(), "1".into(), false)],
            rows: rows.collect(),
            command: "smoothout train --net f1".into(),
        };
        let measurement = Measurement {
            name: "sharpness".into(),
            command: "smoothout sharpness --checkpoint <x>".into(),
            complete: false,
            summaries: vec![("Means:".into(), Table { head: vec!["paper".into()], rows: vec![vec!["98.01".into()]] })],
            table: Table { head: vec!["run".into(), "loss".into()], rows: vec![vec!["1".into(), "0.123456789".into()]] },
            pictures: vec![("sharpness".into(), "<svg id=\"#a\"/>".into())],
        };
        Section { title: title.into(), training: Some(training), measurements: vec![measurement] }
    }

    #[test]
    fn a_page_holds_everything_and_needs_nothing() {
        let text = page("A & B", &[section("runs/1"), section("runs/<2>")]).unwrap();
        assert!(text.starts_with("<!DOCTYPE html>") && text.contains("<title>A &amp; B</title>"));
        // Epoch 2 has the highest validation accuracy.
        assert!(text.contains("Epoch 2 of 3 is the selected one: test accuracy 50.00 %."));
        assert!(text.contains("<td>runs/&lt;2&gt;</td><td>f1</td>"), "{text}");
        assert!(text.contains("smoothout sharpness --checkpoint &lt;x&gt;") && text.contains("Interrupted"));
        assert!(text.contains("<td class=\"number\">0.123457</td>"));
        assert!(text.contains("<p>Means:</p>") && text.contains("<th>paper</th>"));
        assert!(text.contains("data:image/svg+xml,%3Csvg id=%22%23a%22/%3E"));
        assert!(!text.contains("<script") && !text.contains("src=\"http") && !text.contains("href"));
        // The comparison, learning curves of both and a picture of each measurement.
        assert_eq!(text.matches("<img ").count(), 5);
    }
}
