//! A self-contained HTML page about one run or several: charts, tables, findings; no network, no build step.
//!
//! [`run::RunData`] is what is known of a run, [`page::page`] makes the page of it, section by section
//! ([`section::SECTIONS`]), [`live::Server`] serves it while the run goes on, [`terminal::summary`] is the page for a terminal.
#![forbid(unsafe_code)]

pub mod chart;
pub mod columns;
pub mod live;
pub mod moments;
pub mod number;
pub mod page;
pub mod run;
pub mod section;
pub mod terminal;
pub mod thin;
pub mod verdict;
pub mod weights;

pub use page::page;
pub use run::RunData;
