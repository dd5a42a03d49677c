//! The results as one HTML file: plots above, the tables below, nothing from elsewhere.

use std::collections::BTreeMap;
use std::fmt::Write;

use anyhow::Result;
use plotters::style::RGBColor;

use super::{Results, Spread, plot, short, short_time};
use crate::record::Record;

const STYLE: &str = "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:1400px;padding:0 1em;color:#222}\
h1{font-size:1.6em}h2{margin-top:2em;border-bottom:1px solid #ddd}\
.grid{display:grid;grid-template-columns:repeat(auto-fill,minmax(440px,1fr));gap:18px}\
.card{border:1px solid #e4e4e4;border-radius:8px;padding:10px 12px}.card h3{margin:0;font-size:1em}\
.card p{margin:2px 0 8px;color:#666;font-size:.86em}svg{max-width:100%;height:auto}\
table{border-collapse:collapse;font-size:.86em}td,th{padding:3px 9px;border-bottom:1px solid #eee;text-align:right}\
td:first-child,th:first-child{text-align:left}.key span{display:inline-block;margin-right:1.2em}\
.key i{display:inline-block;width:.9em;height:.9em;border-radius:2px;margin-right:.35em;vertical-align:-1px}\
.over{color:#1a7a2e;font-weight:600}.under{color:#b3261e;font-weight:600}pre{white-space:pre-wrap;font-size:.84em}";

/// The page.
pub(super) fn page(results: &Results, ratios: &str, table: &str) -> Result<String> {
    let colours = plot::colours(results.engines());
    let mut page = String::from("<!doctype html><html lang=en><meta charset=utf-8><title>Bench</title>");
    write!(page, "<style>{STYLE}</style><h1>This store beside others</h1>")?;
    introduction(results, &colours, &mut page)?;
    section(
        &mut page,
        "At a glance",
        "This store's rate over the other one's, paired by round: above 1 it is faster. A hollow dot lies further out than the plot goes.",
    )?;
    page.push_str(ratios);
    summary(results, &mut page)?;
    section(&mut page, "Throughput", "Median over rounds; the line shows the lowest and the highest round.")?;
    each(results, &mut page, |scenario| bars(results, &colours, scenario, Record::rate, short))?;
    section(&mut page, "Latency", "Time of an operation over the share of operations that took longer.")?;
    each(results, &mut page, |scenario| latencies(results, &colours, scenario))?;
    section(&mut page, "Throughput over time", "First round, per 50 ms: a stall is a gap.")?;
    each(results, &mut page, |scenario| timelines(results, &colours, scenario))?;
    section(&mut page, "Processor time", "Per row or operation, all threads together.")?;
    each(results, &mut page, |scenario| {
        bars(results, &colours, scenario, |record| record.cpu_micros_per_unit() / 1e6, short_time)
    })?;
    section(
        &mut page,
        "Bytes written to the disk per byte of the user's",
        "From the first write until the store is closed.",
    )?;
    each(results, &mut page, |scenario| {
        bars(results, &colours, scenario, |record| record.write_amplification().unwrap_or(0.0), short)
    })?;
    section(
        &mut page,
        "Bytes read per row or operation",
        "By system calls, mostly from the system's cache; who maps its files makes none.",
    )?;
    each(results, &mut page, |scenario| bars(results, &colours, scenario, Record::bytes_read_per_unit, short))?;
    section(&mut page, "Space per live byte", "On disk, after the store was closed.")?;
    each(results, &mut page, |scenario| {
        bars(results, &colours, scenario, |record| record.space_amplification().unwrap_or(0.0), short)
    })?;
    section(&mut page, "Peak memory", "Of the process, pages of mapped files that are in memory included.")?;
    each(results, &mut page, |scenario| {
        bars(
            results,
            &colours,
            scenario,
            |record| record.peak_memory_bytes as f64,
            |bytes| format!("{}B", short(bytes)),
        )
    })?;
    write!(page, "<h2>Tables</h2><pre>{}</pre></html>", escaped(table))?;
    Ok(page)
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}

fn introduction(results: &Results, colours: &BTreeMap<String, RGBColor>, page: &mut String) -> Result<()> {
    let header = &results.header;
    write!(
        page,
        "<p>{}; {}; commit {}. {} rows, keys <code>{}</code>, values of {} bytes, {} rounds.<br>Command: <code>cargo xtask bench {}</code></p><p class=key>",
        escaped(&header.machine),
        escaped(&header.system),
        escaped(&header.commit),
        short(header.scale.rows as f64),
        header.key_shape,
        header.scale.value_bytes,
        header.scale.rounds,
        escaped(&header.command),
    )?;
    for (name, about) in &header.engines {
        let RGBColor(red, green, blue) = colours[name];
        write!(
            page,
            "<span title=\"{}\"><i style=\"background:rgb({red},{green},{blue})\"></i>{name}</span>",
            escaped(about)
        )?;
    }
    Ok(write!(page, "</p>")?)
}

/// The plot of what the table below it says.
pub(super) fn ratios(results: &Results) -> Result<String> {
    let colours = plot::colours(results.engines());
    let others: Vec<_> =
        results.engines().filter(|engine| *engine != "lsm").map(|name| (name, colours[name])).collect();
    let median = |scenario, engine| Some(results.ratio(scenario, engine, Record::rate)?.median);
    let dots = |scenario| others.iter().filter_map(|&(name, colour)| Some((median(scenario, name)?, colour))).collect();
    let rows: Vec<_> = results.scenarios().map(|scenario| (scenario.name, dots(scenario.name))).collect();
    plot::ratios(&others, &rows)
}

/// This store over each other one, at a glance.
fn summary(results: &Results, page: &mut String) -> Result<()> {
    let others: Vec<&str> = results.engines().filter(|engine| *engine != "lsm").collect();
    write!(page, "<table><tr><th>scenario<th>this store")?;
    others.iter().try_for_each(|engine| write!(page, "<th>{engine}"))?;
    for scenario in results.scenarios() {
        let ours = results.spread(scenario.name, "lsm", Record::rate);
        let ours = ours.map_or("–".to_owned(), |spread| short(spread.median));
        write!(page, "<tr><td title=\"{}\">{}<td>{ours} {}", escaped(scenario.about), scenario.name, scenario.unit)?;
        for engine in &others {
            match results.ratio(scenario.name, engine, Record::rate) {
                Some(Spread { median, low, high }) => {
                    let class = if low > 1.0 {
                        "over"
                    } else if high < 1.0 {
                        "under"
                    } else {
                        ""
                    };
                    write!(page, "<td class=\"{class}\" title=\"{low:.2} to {high:.2}\">{median:.2}×")?;
                }
                None => write!(page, "<td>–")?,
            }
        }
    }
    Ok(write!(page, "</table>")?)
}

fn section(page: &mut String, title: &str, about: &str) -> Result<()> {
    Ok(write!(page, "<h2>{title}</h2><p>{about}</p>")?)
}

/// A card per scenario for which there is a plot.
fn each(results: &Results, page: &mut String, plot: impl Fn(&str) -> Result<String>) -> Result<()> {
    write!(page, "<div class=grid>")?;
    for scenario in results.scenarios() {
        let svg = plot(scenario.name)?;
        if !svg.is_empty() {
            let about = escaped(scenario.about);
            write!(page, "<div class=card><h3>{} ({})</h3><p>{about}</p>{svg}</div>", scenario.name, scenario.unit)?;
        }
    }
    Ok(write!(page, "</div>")?)
}

fn bars(
    results: &Results,
    colours: &BTreeMap<String, RGBColor>,
    scenario: &str,
    figure: impl Fn(&Record) -> f64,
    show: impl Fn(f64) -> String,
) -> Result<String> {
    let rows: Vec<_> = results
        .engines()
        .filter_map(|engine| Some((engine, results.spread(scenario, engine, &figure)?, colours[engine])))
        .collect();
    if rows.iter().all(|(_, spread, _)| spread.high <= 0.0) { Ok(String::new()) } else { plot::bars(&rows, show) }
}

/// Quantiles, from half of all operations to one in a hundred thousand.
fn latencies(results: &Results, colours: &BTreeMap<String, RGBColor>, scenario: &str) -> Result<String> {
    let mut lines = Vec::new();
    for engine in results.engines() {
        let histograms =
            results.of(scenario, engine).iter().filter_map(|record| record.parts.first()?.histogram().ok());
        let Some(all) = histograms.reduce(|mut sum, histogram| {
            let _ = sum.add(&histogram);
            sum
        }) else {
            continue;
        };
        if all.len() < 100 {
            continue;
        }
        let shares = (2..=34).map(|step| 10f64.powf(f64::from(step) / 7.0)).filter(|slower| *slower < all.len() as f64);
        let points = shares.map(|slower| (slower, all.value_at_quantile(1.0 - 1.0 / slower) as f64 / 1e9));
        lines.push((engine, points.collect(), colours[engine]));
    }
    plot::lines(&lines, true, |slower| format!("1 in {}", whole(slower)), short_time)
}

fn timelines(results: &Results, colours: &BTreeMap<String, RGBColor>, scenario: &str) -> Result<String> {
    let mut lines = Vec::new();
    for engine in results.engines() {
        let Some(part) = results.of(scenario, engine).first().and_then(|record| record.parts.first()) else { continue };
        if part.timeline.len() < 5 {
            continue;
        }
        let step = part.timeline_step_seconds;
        // The last step is cut short by the end.
        let whole = &part.timeline[..part.timeline.len() - 1];
        let points = whole.iter().enumerate().map(|(at, units)| (at as f64 * step, *units as f64 / step));
        lines.push((engine, points.collect(), colours[engine]));
    }
    plot::lines(&lines, false, |seconds| format!("{seconds:.1} s"), short)
}

/// A power of ten in few characters.
fn whole(number: f64) -> String {
    match number {
        ..1e3 => format!("{number:.0}"),
        ..1e6 => format!("{:.0} k", number / 1e3),
        _ => format!("{:.0} M", number / 1e6),
    }
}
