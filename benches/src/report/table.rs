//! The results as Markdown.

use std::fmt::Write;

use anyhow::Result;

use super::{Results, Spread, short, short_time};
use crate::record::Record;
use crate::schedule::FOREIGN_CPU_MAX;

/// How the results came about, rates with ratios, then what they cost.
pub(super) fn markdown(results: &Results) -> Result<String> {
    let mut text = String::new();
    let header = &results.header;
    let scale = &header.scale;
    writeln!(text, "{}; {}; commit {}.", header.machine, header.system, header.commit)?;
    writeln!(
        text,
        "{} rows, keys `{}`, values of {} bytes, {}, {} rounds, cache {} MiB, write buffers {} MiB; compiled with `{}`.\n",
        short(scale.rows as f64),
        header.key_shape,
        scale.value_bytes,
        if scale.compression { "LZ4" } else { "no compression" },
        scale.rounds,
        scale.cache_bytes >> 20,
        scale.write_buffer_bytes >> 20,
        header.flags,
    )?;
    header.engines.iter().try_for_each(|(name, about)| writeln!(text, "- `{name}`: {about}"))?;
    rates(results, &mut text)?;
    costs(results, &mut text)?;
    remarks(results, &mut text)?;
    Ok(text)
}

fn head(text: &mut String, columns: impl IntoIterator<Item = String>) -> Result<()> {
    let columns: Vec<String> = columns.into_iter().collect();
    writeln!(text, "| {} |", columns.join(" | "))?;
    writeln!(text, "|---|{}", "---:|".repeat(columns.len() - 1))?;
    Ok(())
}

/// Medians; of the others the ratio to this store, paired by round, with its spread.
fn rates(results: &Results, text: &mut String) -> Result<()> {
    writeln!(
        text,
        "\n## Rates\n\nMedian over rounds; in brackets this store over the other one, paired by round (lowest to highest).\n"
    )?;
    let mut columns = vec!["scenario".to_owned()];
    columns.extend(results.engines().map(str::to_owned));
    columns.extend(results.has_baseline().then(|| "over the earlier run".to_owned()));
    head(text, columns)?;
    for scenario in results.scenarios() {
        write!(text, "| {} ({})", scenario.name, scenario.unit)?;
        for engine in results.engines() {
            cell(results, text, scenario.name, engine, Record::rate)?;
        }
        baseline(results, text, scenario.name)?;
        if ["fillrandom", "overwrite", "fillseq"].contains(&scenario.name) {
            write!(text, "| {}, settled", scenario.name)?;
            for engine in results.engines() {
                cell(results, text, scenario.name, engine, Record::settled_rate)?;
            }
            writeln!(text, " |{}", if results.has_baseline() { " |" } else { "" })?;
        }
    }
    Ok(())
}

fn baseline(results: &Results, text: &mut String, scenario: &str) -> Result<()> {
    if results.has_baseline() {
        let ratio = results.against_baseline(scenario).map_or("–".to_owned(), |ratio| format!("{ratio:.2}×"));
        write!(text, " | {ratio}")?;
    }
    Ok(writeln!(text, " |")?)
}

fn cell(
    results: &Results,
    text: &mut String,
    scenario: &str,
    engine: &str,
    figure: impl Fn(&Record) -> f64 + Copy,
) -> Result<()> {
    let Some(Spread { median, .. }) = results.spread(scenario, engine, figure) else {
        return Ok(write!(text, " | –")?);
    };
    write!(text, " | {}", short(median))?;
    if let Some(ratio) = results.ratio(scenario, engine, figure).filter(|_| engine != "lsm") {
        write!(text, " ({:.2}×, {:.2}–{:.2})", ratio.median, ratio.low, ratio.high)?;
    }
    Ok(())
}

/// Latencies and what the rates cost.
fn costs(results: &Results, text: &mut String) -> Result<()> {
    writeln!(
        text,
        "\n## Latency and cost\n\nMedians over rounds. CPU, and bytes read by system calls, per row or operation; bytes written to the disk per byte of the user's; space per byte that is live.\n"
    )?;
    let columns = [
        "scenario", "engine", "p50", "p99", "p99.9", "max", "CPU", "read", "written", "space", "memory", "settle",
        "pending",
    ];
    head(text, columns.map(str::to_owned))?;
    for scenario in results.scenarios() {
        for engine in results.engines().filter(|engine| !results.of(scenario.name, engine).is_empty()) {
            let median = |figure: &dyn Fn(&Record) -> f64| {
                results.spread(scenario.name, engine, figure).map_or(0.0, |spread| spread.median)
            };
            write!(text, "| {} | {engine}", scenario.name)?;
            let latencies: Vec<_> = results.of(scenario.name, engine).iter().filter_map(latencies).collect();
            for at in 0..QUANTILES.len() {
                let spread = Spread::of(latencies.iter().map(|times| times[at]));
                write!(text, " | {}", short_time(spread.map_or(0.0, |spread| spread.median)))?;
            }
            write!(text, " | {}", short_time(median(&Record::cpu_micros_per_unit) / 1e6))?;
            write!(text, " | {}", short(median(&Record::bytes_read_per_unit)))?;
            let optional = |figure: fn(&Record) -> Option<f64>| {
                let figures = results.of(scenario.name, engine).iter().filter_map(figure);
                Spread::of(figures).map_or("–".to_owned(), |spread| format!("{:.2}", spread.median))
            };
            write!(text, " | {} | {}", optional(Record::write_amplification), optional(Record::space_amplification))?;
            write!(text, " | {} MB", (median(&|record| record.peak_memory_bytes as f64) / 1e6).round())?;
            write!(text, " | {}", short_time(median(&|record| record.settle_seconds)))?;
            let pending = results.of(scenario.name, engine).iter().filter_map(|record| record.pending_bytes).max();
            writeln!(text, " | {} |", pending.map_or("–".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000)))?;
        }
    }
    Ok(())
}

const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];

/// Latencies of the scenario's figure at each quantile, in seconds.
fn latencies(record: &Record) -> Option<[f64; QUANTILES.len()]> {
    let histogram = record.parts.first()?.histogram().ok()?;
    Some(QUANTILES.map(|quantile| histogram.value_at_quantile(quantile) as f64 / 1e9))
}

/// What has to be known of single figures.
fn remarks(results: &Results, text: &mut String) -> Result<()> {
    let mut remarks = Vec::new();
    for scenario in results.scenarios() {
        for engine in results.engines() {
            let records = results.of(scenario.name, engine);
            let mut remark = |said: String| remarks.push(format!("- {} of {engine}: {said}", scenario.name));
            if let Some(lost) = records.iter().filter_map(|record| record.lost).max().filter(|lost| *lost > 0) {
                remark(format!("up to {lost} acknowledged rows were gone"));
            }
            if let Some(part) = records.iter().flat_map(|record| &record.parts).find(|part| part.is_cut) {
                remark(format!("the time was over after {} of the {}", short(part.units as f64), part.name));
            }
            let noisy = records.iter().filter(|record| record.foreign_cpu > FOREIGN_CPU_MAX).count();
            if noisy > 0 {
                remark(format!(
                    "others took more than {FOREIGN_CPU_MAX} of a core in {noisy} of {} rounds",
                    records.len()
                ));
            }
        }
    }
    if remarks.is_empty() {
        return Ok(());
    }
    Ok(writeln!(text, "\n## Remarks\n\n{}", remarks.join("\n"))?)
}
