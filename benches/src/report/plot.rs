//! Plots as SVG.

use std::collections::BTreeMap;

use anyhow::Result;
use plotters::prelude::*;

use super::Spread;

/// Colours that differ in lightness, too.
const COLOURS: [RGBColor; 9] = [
    RGBColor(213, 73, 36),
    RGBColor(52, 101, 164),
    RGBColor(115, 168, 57),
    RGBColor(140, 90, 160),
    RGBColor(30, 140, 140),
    RGBColor(110, 110, 110),
    RGBColor(200, 150, 20),
    RGBColor(90, 60, 40),
    RGBColor(235, 160, 140),
];

/// Each engine's colour, the same in all plots.
pub(super) fn colours<'a>(engines: impl Iterator<Item = &'a str>) -> BTreeMap<String, RGBColor> {
    engines.enumerate().map(|(index, name)| (name.to_owned(), COLOURS[index % COLOURS.len()])).collect()
}

fn as_error<E: std::error::Error>(error: E) -> anyhow::Error {
    anyhow::anyhow!("plot: {error}")
}

/// Horizontal bars with their spread, the longest as wide as the plot.
pub(super) fn bars(rows: &[(&str, Spread, RGBColor)], show: impl Fn(f64) -> String) -> Result<String> {
    let (width, row, left) = (430, 22, 104);
    let mut svg = String::new();
    {
        let height = row * rows.len() as u32 + 6;
        let area = SVGBackend::with_string(&mut svg, (width, height)).into_drawing_area();
        let longest = rows.iter().map(|(_, spread, _)| spread.high).fold(f64::MIN_POSITIVE, f64::max);
        let at = |figure: f64| left + (figure / longest * f64::from(width as i32 - left - 90)) as i32;
        for (index, (name, spread, colour)) in rows.iter().enumerate() {
            let y = index as i32 * row as i32 + 4;
            let font = ("sans-serif", 13).into_font().color(&BLACK);
            area.draw(&Text::new((*name).to_owned(), (2, y + 2), font.clone())).map_err(as_error)?;
            let bar = Rectangle::new([(left, y), (at(spread.median), y + 15)], colour.filled());
            area.draw(&bar).map_err(as_error)?;
            let whisker = PathElement::new([(at(spread.low), y + 8), (at(spread.high), y + 8)], BLACK.stroke_width(1));
            area.draw(&whisker).map_err(as_error)?;
            let text = Text::new(show(spread.median), (at(spread.high) + 5, y + 2), font);
            area.draw(&text).map_err(as_error)?;
        }
        area.present().map_err(as_error)?;
    }
    Ok(svg)
}

/// Ratios from the first to the last that a plot of them has room for.
const RATIOS: (f64, f64) = (0.1, 40.0);

/// A row for each scenario with a dot for each engine, at this store's figure over the engine's, on a logarithmic scale.
pub(super) fn ratios(engines: &[(&str, RGBColor)], rows: &[(&str, Vec<(f64, RGBColor)>)]) -> Result<String> {
    let (width, row, left, top) = (860, 17, 150, 30);
    let bottom = top + row * rows.len() as i32;
    let at = |ratio: f64| {
        let share = (ratio.clamp(RATIOS.0, RATIOS.1) / RATIOS.0).ln() / (RATIOS.1 / RATIOS.0).ln();
        left + (share * f64::from(width - left - 20)) as i32
    };
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (width as u32, bottom as u32 + 24)).into_drawing_area();
        area.fill(&WHITE).map_err(as_error)?;
        let font = || ("sans-serif", 13).into_font().color(&BLACK);
        let text = |text: String, at: (i32, i32)| area.draw(&Text::new(text, at, font())).map_err(as_error);
        let apart = ((width - 14) / engines.len().max(1) as i32).min(120);
        for (index, (name, colour)) in engines.iter().enumerate() {
            let x = 14 + apart * index as i32;
            area.draw(&Circle::new((x, 13), 5, colour.filled())).map_err(as_error)?;
            text((*name).to_owned(), (x + 9, 7))?;
        }
        for ratio in [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 40.0] {
            let colour = if ratio == 1.0 { BLACK } else { RGBColor(220, 220, 220) };
            let line = PathElement::new([(at(ratio), top), (at(ratio), bottom)], colour.stroke_width(1));
            area.draw(&line).map_err(as_error)?;
            text(format!("{ratio}×"), (at(ratio) - 10, bottom + 6))?;
        }
        for (index, (name, dots)) in rows.iter().enumerate() {
            let y = top + row * index as i32 + row / 2;
            text((*name).to_owned(), (4, y - 7))?;
            for (ratio, colour) in dots {
                let is_inside = (RATIOS.0..=RATIOS.1).contains(ratio);
                let style = if is_inside { colour.filled() } else { colour.stroke_width(2) };
                area.draw(&Circle::new((at(*ratio), y), 5, style)).map_err(as_error)?;
            }
        }
        area.present().map_err(as_error)?;
    }
    Ok(svg)
}

/// A line of a plot: what it stands for, its points, its colour.
pub(super) type Line<'a> = (&'a str, Vec<(f64, f64)>, RGBColor);

/// Lines over a common x axis; both axes are logarithmic if `logarithmic`.
pub(super) fn lines(
    lines: &[Line<'_>],
    logarithmic: bool,
    x_label: impl Fn(f64) -> String,
    y_label: impl Fn(f64) -> String,
) -> Result<String> {
    let points = || lines.iter().flat_map(|(_, points, _)| points);
    let limit = |figures: &mut dyn Iterator<Item = f64>| {
        figures.fold((f64::MAX, f64::MIN), |(low, high), figure| (low.min(figure), high.max(figure)))
    };
    let (x_low, x_high) = limit(&mut points().map(|(x, _)| *x));
    let (y_low, y_high) = limit(&mut points().map(|(_, y)| *y));
    let mut svg = String::new();
    if lines.is_empty() || x_high <= x_low {
        return Ok(svg);
    }
    {
        let area = SVGBackend::with_string(&mut svg, (430, 210)).into_drawing_area();
        let mut builder = ChartBuilder::on(&area);
        builder.margin(6).x_label_area_size(24).y_label_area_size(58);
        let styles = lines.iter().map(|(_, points, colour)| (points.clone(), colour.stroke_width(2)));
        macro_rules! draw {
            ($x:expr, $y:expr) => {{
                let mut chart = builder.build_cartesian_2d($x, $y).map_err(as_error)?;
                let mut mesh = chart.configure_mesh();
                mesh.light_line_style(TRANSPARENT).x_labels(6).y_labels(6);
                mesh.x_label_formatter(&|x| x_label(*x))
                    .y_label_formatter(&|y| y_label(*y))
                    .draw()
                    .map_err(as_error)?;
                for (points, style) in styles {
                    chart.draw_series(LineSeries::new(points, style)).map_err(as_error)?;
                }
            }};
        }
        match logarithmic {
            true => draw!((x_low..x_high).log_scale(), (y_low.max(1e-9) * 0.9..y_high * 1.2).log_scale()),
            false => draw!(0.0..x_high, 0.0..y_high * 1.05),
        }
        area.present().map_err(as_error)?;
    }
    Ok(svg)
}
