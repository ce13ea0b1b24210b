//! What an experiment has come to: tables, claims with their evidence; as Markdown, CSV and JSON.

use crate::claim::{Judged, judge};
use crate::experiment::Rows;
use crate::expr::{self, Value};
use crate::measure::Measured;
use crate::points::Point;
use crate::scope::Group;
use crate::{Folder, LabError};
use serde::Serialize;
use std::fmt::Write;

/// A table with its cells.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// above it
    pub title: String,
    /// headings: the axes, then the columns
    pub headings: Vec<String>,
    /// a value for each heading
    pub rows: Vec<Vec<String>>,
}

/// How far a point is.
#[derive(Clone, Debug, Serialize)]
pub struct PointState {
    /// its folder's name
    pub label: String,
    /// axis and label
    pub values: Vec<(String, String)>,
    /// of `train.seed`
    pub seed: u64,
    /// steps that are done
    pub done: u64,
    /// steps of the run; 0 where it has not begun, or does not say
    pub total: u64,
    /// prompts and how the newest checkpoint went on, where the runs write samples
    pub samples: Vec<(String, String)>,
}

/// Everything, computed anew from the runs.
#[derive(Clone, Debug, Serialize)]
pub struct Results {
    /// of the experiment
    pub title: String,
    /// what it asks
    pub question: String,
    /// the study it repeats
    pub source: String,
    /// in the quick size
    pub quick: bool,
    /// in order
    pub points: Vec<PointState>,
    /// in order
    pub tables: Vec<Table>,
    /// in order
    pub claims: Vec<Judged>,
}

/// What was measured of every point.
///
/// # Errors
/// A run is damaged.
pub fn measured(folder: &Folder) -> Result<Vec<(Point, Option<Measured>)>, LabError> {
    let read = |point: &Point| Ok((point.clone(), Measured::read(&folder.point_dir(point))?));
    folder.points.iter().map(read).collect()
}

impl Results {
    /// Reads all runs and judges.
    ///
    /// # Errors
    /// A run is damaged.
    pub fn of(folder: &Folder) -> Result<Self, LabError> {
        let measured = measured(folder)?;
        let experiment = &folder.experiment;
        let state = |(point, measured): &(Point, Option<Measured>)| PointState {
            label: point.label.clone(),
            values: point.values.clone(),
            seed: point.seed,
            done: measured
                .as_ref()
                .and_then(|m| m.run.steps.last())
                .map_or(0, |step| step.step.saturating_add(1)),
            total: measured.as_ref().filter(|m| m.run.knows_its_end()).map_or(0, |m| m.run.last_step()),
            samples: measured.as_ref().map_or(Vec::new(), Measured::newest_samples),
        };
        Ok(Self {
            title: experiment.title.clone(),
            question: experiment.question.clone(),
            source: experiment.source.clone(),
            quick: folder.facts.quick,
            points: measured.iter().map(state).collect(),
            tables: experiment.tables.iter().map(|rows| table(folder, &measured, rows)).collect(),
            claims: experiment
                .claims
                .iter()
                .map(|(text, claim)| judge(experiment, &measured, text, claim))
                .collect(),
        })
    }

    /// Whether every point is done.
    pub fn is_complete(&self) -> bool {
        self.points.iter().all(|point| point.total > 0 && point.done >= point.total)
    }

    /// For people, and for documents.
    pub fn markdown(&self) -> String {
        let mut text = format!("# {}{}\n\n", self.title, if self.quick { " (quick size)" } else { "" });
        for paragraph in [&self.question, &self.source].into_iter().filter(|text| !text.is_empty()) {
            let _ = writeln!(text, "{}\n", paragraph.trim());
        }
        let done = self.points.iter().filter(|point| point.total > 0 && point.done >= point.total).count();
        let _ = writeln!(text, "{done} of {} runs are done.\n", self.points.len());
        for table in &self.tables {
            let _ = writeln!(text, "## {}\n", table.title);
            let _ = writeln!(
                text,
                "| {} |",
                table.headings.iter().map(|h| cell(h)).collect::<Vec<_>>().join(" | ")
            );
            let _ = writeln!(text, "|{}", "---|".repeat(table.headings.len()));
            for row in &table.rows {
                let _ = writeln!(
                    text,
                    "| {} |",
                    row.iter().map(|value| cell(value)).collect::<Vec<_>>().join(" | ")
                );
            }
            text.push('\n');
        }
        if !self.claims.is_empty() {
            text.push_str("## Claims\n\n| claim | verdict | evidence |\n|---|---|---|\n");
        }
        for judged in &self.claims {
            let evidence = judged.evidence.iter().map(evidence_text).collect::<Vec<_>>().join("; ");
            let _ = writeln!(
                text,
                "| `{}` | **{}** | {} |",
                cell(&judged.claim),
                judged.verdict.name(),
                cell(&evidence)
            );
        }
        text.push_str(&self.samples());
        text
    }

    /// What the newest checkpoints say.
    fn samples(&self) -> String {
        let rows = self
            .points
            .iter()
            .flat_map(|point| point.samples.iter().map(move |sample| (&point.label, sample)));
        let lines: String = rows
            .map(|(label, (prompt, answer))| {
                format!("| {} | {} | {} |\n", cell(label), cell(prompt), cell(answer))
            })
            .collect();
        match lines.is_empty() {
            true => lines,
            false => format!("\n## Samples\n\n| run | prompt | goes on |\n|---|---|---|\n{lines}"),
        }
    }

    /// All tables, each under a line with its title.
    pub fn csv(&self) -> String {
        let mut text = String::new();
        let line = |cells: &[String]| cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",");
        for table in &self.tables {
            let _ = writeln!(text, "{}", quoted(&table.title));
            let _ = writeln!(text, "{}", line(&table.headings));
            table.rows.iter().for_each(|row| {
                let _ = writeln!(text, "{}", line(row));
            });
            text.push('\n');
        }
        let _ = writeln!(text, "claim,verdict");
        for judged in &self.claims {
            let _ = writeln!(text, "{},{}", quoted(&judged.claim), judged.verdict.name());
        }
        text
    }

    /// One JSON object.
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("plain data becomes JSON")
    }
}

fn evidence_text(evidence: &crate::claim::Evidence) -> String {
    let holds = match evidence.holds {
        Some(true) => "holds",
        Some(false) => "fails",
        None => "open",
    };
    let values: Vec<String> = evidence.values.iter().map(|(path, value)| format!("{path} {value}")).collect();
    let group = if evidence.group.is_empty() { String::new() } else { format!("{}, ", evidence.group) };
    format!("{group}seed {}: {holds} ({})", evidence.seed, values.join(", "))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

fn quoted(text: &str) -> String {
    match text.contains([',', '"', '\n']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    }
}

fn table(folder: &Folder, measured: &[(Point, Option<Measured>)], rows: &Rows) -> Table {
    let mut groups: Vec<Vec<(String, String)>> = Vec::new();
    for (point, _) in measured {
        let value = |axis: &String| Some((axis.clone(), point.value(axis)?.to_owned()));
        let group: Vec<(String, String)> = rows.rows.iter().filter_map(value).collect();
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    let row = |values: &Vec<(String, String)>| {
        let labels = values.iter().map(|(_, label)| label.clone());
        let cells = rows.columns.iter().map(|(_, expr)| {
            let seeds = folder.experiment.seeds.iter();
            let values = seeds.map(|seed| {
                let group =
                    Group { experiment: &folder.experiment, measured, values: values.clone(), seed: *seed };
                expr::evaluate(expr, &group).ok()
            });
            over_seeds(&values.collect::<Vec<_>>())
        });
        labels.chain(cells).collect()
    };
    Table {
        title: rows.title.clone(),
        headings: rows
            .rows
            .iter()
            .cloned()
            .chain(rows.columns.iter().map(|(name, _)| name.clone()))
            .collect(),
        rows: groups.iter().map(row).collect(),
    }
}

/// The mean of the seeds' numbers with their range, or their texts; a dash where there is none.
fn over_seeds(values: &[Option<Value>]) -> String {
    let known: Vec<&Value> = values.iter().flatten().collect();
    let numbers: Vec<f64> = known
        .iter()
        .filter_map(|value| match value {
            Value::Number(number) => Some(*number),
            _ => None,
        })
        .collect();
    let short = report::number::short;
    if known.is_empty() {
        "–".to_owned()
    } else if numbers.len() < known.len() {
        let mut texts: Vec<String> = known.iter().map(|value| value.to_string()).collect();
        texts.dedup();
        texts.join(", ")
    } else if let [only] = numbers[..] {
        short(only)
    } else {
        let mean = numbers.iter().sum::<f64>() / numbers.len() as f64;
        let (low, high) =
            numbers.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(*v), h.max(*v)));
        format!("{} ({} to {})", short(mean), short(low), short(high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_are_brought_together() {
        let number = |value| Some(Value::Number(value));
        let text = |value: &str| Some(Value::Text(value.into()));
        assert_eq!(over_seeds(&[None]), "–");
        assert_eq!(over_seeds(&[number(10.825)]), "10.82");
        assert_eq!(over_seeds(&[number(10.0), None, number(14.0)]), "12 (10 to 14)");
        assert_eq!(over_seeds(&[text("unigram"), text("unigram")]), "unigram");
        assert_eq!(over_seeds(&[text("unigram"), text("uniform")]), "unigram, uniform");
        assert_eq!((cell("a|b\nc"), quoted("a,\"b\"")), ("a\\|b c".into(), "\"a,\"\"b\"\"\"".into()));
    }
}
