//! The verdict on each run, its figures, and the states at 0, 25, 50, 75 and 100 per cent.

use super::Section;
use crate::moments::JUDGED;
use crate::number::{percent, short, whole};
use crate::run::RunData;
use crate::thin;
use crate::verdict::{self, Level};
use journal::collapse::{self, State};
use maud::{Markup, html};

/// See the module.
pub struct Summary;

impl Section for Summary {
    fn id(&self) -> &'static str {
        "summary"
    }

    fn title(&self) -> &'static str {
        "Summary and verdict"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        html! {
            @for run in runs {
                @let verdict = verdict::judge(run);
                p class={ "verdict " (class(verdict.level)) } {
                    strong { (run.name) ": " } (verdict.text)
                }
                @for note in &run.notes { p.note { (note) } }
            }
            div.wide { table {
                caption { "Figures at the last step, and the state at each moment of judgement" }
                thead { tr { th scope="col" { "run" } @for run in runs { th scope="col" { (run.name) } } } }
                tbody {
                    @for (name, figure) in FIGURES { tr {
                        th scope="row" { (name) }
                        @for run in runs { td { (figure(run).unwrap_or_else(|| "–".to_owned())) } }
                    } }
                    @for (index, moment) in JUDGED.iter().enumerate() { tr {
                        th scope="row" { "state at " (moment) " %" }
                        @for run in runs { td { (state(verdict::states(run)[index])) } }
                    } }
                }
            } }
            @for run in runs.iter().filter(|run| run.steps.len() > thin::LINES_MAX) {
                p.note {
                    (run.name) ": " (whole(thin::lines(&run.steps, thin::LINES_MAX).len() as u64)) " of "
                    (whole(run.steps.len() as u64))
                    " lines are drawn, among them all records, and the lowest and highest values of every stretch; figures are of \
                     all lines."
                }
            }
        }
    }
}

fn state(state: Option<State>) -> Markup {
    html! {
        @match state {
            Some(state) => span class={ "state " (state.name()) } { (state.name()) },
            None => "–",
        }
    }
}

fn class(level: Level) -> &'static str {
    match level {
        Level::Good => "good",
        Level::Open => "open",
        Level::Bad => "bad",
    }
}

type Figure = (&'static str, fn(&RunData) -> Option<String>);

const FIGURES: &[Figure] = &[
    ("steps", |run| {
        let done = whole(run.steps.last()?.step.saturating_add(1));
        Some(if run.knows_its_end() { format!("{done} of {}", whole(run.last_step())) } else { done })
    }),
    ("tokens", |run| Some(whole(run.steps.last()?.tokens))),
    ("parameters", |run| Some(whole(run.facts.get("parameters")?.as_u64()?))),
    ("loss (mean of 50)", |run| {
        Some(short(collapse::smoothed_loss(&run.steps, run.steps.len().checked_sub(1)?)?))
    }),
    ("validation loss", |run| Some(short(last(run, |step| step.record.validation_loss)?))),
    ("bits per byte", |run| Some(short(last(run, |step| step.record.validation_bits_per_byte)?))),
    ("unique tokens of 20", |run| Some(short(last(run, |step| step.record.unique_tokens.map(f64::from))?))),
    ("zero share", |run| {
        let shares = run.steps.iter().rev().find_map(|step| step.record.zero_share.as_ref())?;
        Some(percent(shares.iter().copied().map(f64::from).sum::<f64>() / shares.len().max(1) as f64))
    }),
    ("tokens/s (median)", |run| Some(short(median(run)?))),
];

fn last(run: &RunData, of: fn(&journal::metrics::Step) -> Option<f64>) -> Option<f64> {
    run.steps.iter().rev().find_map(of)
}

fn median(run: &RunData) -> Option<f64> {
    let mut speeds: Vec<f64> =
        run.steps.iter().map(|step| step.tokens_per_s).filter(|v| v.is_finite()).collect();
    speeds.sort_by(f64::total_cmp);
    speeds.get(speeds.len() / 2).copied()
}
