//! What happened: phases, guards, checkpoints, stops.

use super::Section;
use crate::run::RunData;
use journal::events::{Event, Kind};
use maud::{Markup, html};

/// Most events of a run that are listed, the newest.
const EVENTS_MAX: usize = 200;

/// See the module.
pub struct Events;

impl Section for Events {
    fn id(&self) -> &'static str {
        "events"
    }

    fn title(&self) -> &'static str {
        "Events"
    }

    fn draw(&self, runs: &[RunData]) -> Markup {
        html! {
            @for run in runs {
                @if runs.len() > 1 { h3 { (run.name) } }
                @let told: Vec<&Event> = run.events.iter().filter(|event| event.kind != Kind::Checkpoint).collect();
                @if told.is_empty() { p.none { "No events are recorded." } }
                @if told.len() > EVENTS_MAX { p.note { "The last " (EVENTS_MAX) " of " (told.len()) " events." } }
                ol.events { @for event in &told[told.len().saturating_sub(EVENTS_MAX)..] {
                    li class=(name(event.kind)) { b { "step " (event.step) ", " (name(event.kind)) ": " } (event.message) }
                } }
            }
        }
    }
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Start => "start",
        Kind::Resume => "resume",
        Kind::Checkpoint => "checkpoint",
        Kind::Phase => "phase",
        Kind::Guard => "guard",
        Kind::Interrupt => "interrupt",
        Kind::Finish => "finish",
    }
}
