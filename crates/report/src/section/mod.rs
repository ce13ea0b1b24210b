//! The parts of the page. One section is one file here and one line in [`SECTIONS`].

mod collapse;
mod config;
mod environment;
mod events;
mod findings;
mod gradient;
mod layers;
mod loss;
mod samples;
mod schedule;
mod summary;
mod throughput;
mod weights;

use crate::chart::{Band, Chart, Series, Style};
use crate::columns;
use crate::run::RunData;
use maud::Markup;

/// One part of the page.
pub trait Section: Sync {
    /// Of the element and in links: the name of its file.
    fn id(&self) -> &'static str;

    /// Its heading.
    fn title(&self) -> &'static str;

    /// What stands under the heading. Where a run lacks what is needed, a sentence says so.
    fn draw(&self, runs: &[RunData]) -> Markup;
}

/// All sections, in the order of the page.
pub static SECTIONS: &[&dyn Section] = &[
    &summary::Summary,
    &findings::Findings,
    &loss::Loss,
    &collapse::Collapse,
    &schedule::Schedule,
    &gradient::Gradient,
    &throughput::Throughput,
    &layers::Layers,
    &weights::Weights,
    &samples::Samples,
    &events::Events,
    &environment::Environment,
    &config::Config,
];

/// What a quantity of a run is called where there are several runs.
fn label(runs: &[RunData], run: &RunData, what: &str) -> String {
    match (runs.len(), what) {
        (1, what) => what.to_owned(),
        (_, "") => run.name.clone(),
        (_, what) => format!("{}, {what}", run.name),
    }
}

/// A column of each run, as it is recorded.
fn series(runs: &[RunData], key: &'static str, style: Style) -> Vec<Series> {
    let of = |(index, run): (usize, &RunData)| Series {
        name: if runs.len() > 1 { run.name.clone() } else { columns::column(key).title.to_owned() },
        colour: index,
        style,
        points: columns::points(&run.steps, key),
        source: Some((index, key)),
    };
    runs.iter().enumerate().map(of).collect()
}

/// A chart of one column of all runs.
fn chart_of(runs: &[RunData], key: &'static str, title: &str, style: Style) -> Chart {
    Chart {
        id: format!("chart-{}", key.replace('_', "-")),
        title: title.to_owned(),
        series: series(runs, key, style),
        bands: bands(runs),
        ..Chart::default()
    }
}

/// The phases of the first run; of several runs only where all have the same.
fn bands(runs: &[RunData]) -> Vec<Band> {
    let Some(first) = runs.first() else { return Vec::new() };
    let phases = first.phases();
    if runs.iter().any(|run| run.phases() != phases) {
        return Vec::new();
    }
    let end = first.steps.last().map_or(0, |step| step.step) as f64;
    let next = phases.iter().skip(1).map(|phase| phase.from as f64).chain([end]);
    let mut bands: Vec<Band> = phases
        .iter()
        .zip(next)
        .map(|(phase, to)| Band { from: phase.from as f64, to, label: phase.name.clone() })
        .collect();
    if let Some(step) = first.quantised_from() {
        bands.push(Band { from: step as f64, to: step as f64, label: "λ = 1".to_owned() });
    }
    bands
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_section_has_its_file_and_is_drawn_for_runs_that_have_nothing() {
        let mut files: Vec<String> = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/section"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().trim_end_matches(".rs").to_owned())
            .filter(|name| name != "mod")
            .collect();
        files.sort();
        let mut ids: Vec<&str> = SECTIONS.iter().map(|section| section.id()).collect();
        ids.sort_unstable();
        assert_eq!(files, ids);
        for section in SECTIONS {
            assert!(!section.title().is_empty());
            for count in 0..3 {
                let runs: Vec<RunData> = (0..count).map(|_| RunData::default()).collect();
                let drawn = section.draw(&runs).into_string();
                assert!(!drawn.contains("NaN"), "{}: {drawn}", section.id());
            }
        }
    }
}
