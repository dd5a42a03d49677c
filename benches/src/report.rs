//! Results as a table for the terminal and for Markdown, and as one HTML file with plots.

mod html;
mod plot;
mod table;

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};

use crate::record::{Header, Record};
use crate::scenarios::{SCENARIOS, Scenario};

/// Results, by scenario and engine in rounds.
pub(crate) struct Results {
    pub(crate) header: Header,
    records: BTreeMap<(String, String), Vec<Record>>,
    /// Medians of an earlier run of this store, by scenario.
    baseline: BTreeMap<String, f64>,
}

/// A figure over rounds.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Spread {
    pub(crate) low: f64,
    pub(crate) median: f64,
    pub(crate) high: f64,
}

impl Spread {
    pub(crate) fn of(figures: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut figures: Vec<f64> = figures.into_iter().collect();
        figures.sort_by(f64::total_cmp);
        let (low, high) = (*figures.first()?, *figures.last()?);
        let middle = figures.len() / 2;
        let median =
            if figures.len() % 2 == 1 { figures[middle] } else { (figures[middle - 1] + figures[middle]) / 2.0 };
        Some(Spread { low, median, high })
    }
}

impl Results {
    fn read(directory: &Path, baseline: Option<&Path>) -> Result<Results> {
        let (header, records) = read_lines(&directory.join("results.jsonl"))?;
        let mut results = Results { header, records: BTreeMap::new(), baseline: BTreeMap::new() };
        for record in records {
            results.records.entry((record.scenario.clone(), record.engine.clone())).or_default().push(record);
        }
        let earlier = baseline.map(read_lines).transpose()?.map_or(Vec::new(), |(_, records)| records);
        let mut rates: BTreeMap<String, Vec<f64>> = BTreeMap::new();
        for record in earlier.into_iter().filter(|record| record.engine == "lsm") {
            rates.entry(record.scenario.clone()).or_default().push(record.rate());
        }
        let medians = rates.into_iter().filter_map(|(scenario, rates)| Some((scenario, Spread::of(rates)?.median)));
        results.baseline = medians.collect();
        Ok(results)
    }

    pub(crate) fn engines(&self) -> impl Iterator<Item = &str> {
        self.header.engines.iter().map(|(name, _)| name.as_str())
    }

    pub(crate) fn of(&self, scenario: &str, engine: &str) -> &[Record] {
        self.records.get(&(scenario.to_owned(), engine.to_owned())).map_or(&[], Vec::as_slice)
    }

    /// Scenarios with results.
    pub(crate) fn scenarios(&self) -> impl Iterator<Item = &'static Scenario> {
        SCENARIOS.iter().filter(|scenario| self.engines().any(|engine| !self.of(scenario.name, engine).is_empty()))
    }

    pub(crate) fn spread(&self, scenario: &str, engine: &str, figure: impl Fn(&Record) -> f64) -> Option<Spread> {
        Spread::of(self.of(scenario, engine).iter().map(figure))
    }

    /// This store's figure over another engine's, paired by round.
    pub(crate) fn ratio(&self, scenario: &str, engine: &str, figure: impl Fn(&Record) -> f64) -> Option<Spread> {
        let others = self.of(scenario, engine);
        let ratios = self.of(scenario, "lsm").iter().filter_map(|ours| {
            let other = others.iter().find(|other| other.round == ours.round)?;
            Some(figure(ours) / figure(other))
        });
        Spread::of(ratios)
    }

    /// This store's median over that of the earlier run.
    pub(crate) fn against_baseline(&self, scenario: &str) -> Option<f64> {
        Some(self.spread(scenario, "lsm", Record::rate)?.median / self.baseline.get(scenario)?)
    }

    pub(crate) fn has_baseline(&self) -> bool {
        !self.baseline.is_empty()
    }
}

fn read_lines(path: &Path) -> Result<(Header, Vec<Record>)> {
    let text = std::fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
    let mut lines = text.lines();
    let header = serde_json::from_str(lines.next().context("no results")?)?;
    let records = lines.map(|line| Ok(serde_json::from_str(line)?)).collect::<Result<_>>()?;
    Ok((header, records))
}

/// Writes `report.md`, `report.html` and its first plot beside the results, and prints the table.
pub(crate) fn write(directory: &Path, baseline: Option<&Path>) -> Result<()> {
    let results = Results::read(directory, baseline)?;
    let table = table::markdown(&results)?;
    print!("{table}");
    std::fs::write(directory.join("report.md"), &table)?;
    let ratios = html::ratios(&results)?;
    std::fs::write(directory.join("ratios.svg"), &ratios)?;
    let html = directory.join("report.html");
    std::fs::write(&html, html::page(&results, &ratios, &table)?)?;
    println!("\nreport: {}", html.display());
    Ok(())
}

/// A number with three digits that count.
pub(crate) fn short(number: f64) -> String {
    let (scaled, suffix) = match number.abs() {
        0.0..1e3 => (number, ""),
        1e3..1e6 => (number / 1e3, " k"),
        1e6..1e9 => (number / 1e6, " M"),
        _ => (number / 1e9, " G"),
    };
    let digits = match scaled.abs() {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{scaled:.digits$}{suffix}")
}

/// A time in seconds, in the unit that fits.
pub(crate) fn short_time(seconds: f64) -> String {
    match seconds {
        ..1e-6 => format!("{:.0} ns", seconds * 1e9),
        ..1e-3 => format!("{} µs", short(seconds * 1e6)),
        ..1.0 => format!("{} ms", short(seconds * 1e3)),
        _ => format!("{} s", short(seconds)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_has_the_median_in_the_middle() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { low: 1.0, median: 2.0, high: 3.0 }));
        assert_eq!(Spread::of([4.0, 1.0]).unwrap().median, 2.5);
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!([1.234, 12.34, 123.4, 1234.0, 2_345_678.0].map(short), ["1.23", "12.3", "123", "1.23 k", "2.35 M"]);
        assert_eq!([2e-7, 2.5e-6, 0.02, 3.0].map(short_time), ["200 ns", "2.50 µs", "20.0 ms", "3.00 s"]);
    }
}
