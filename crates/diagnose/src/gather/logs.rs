//! Logs of other trainers: `trainer_state.json`, CSV and JSON lines as WandB and TensorBoard export them.

use crate::gather::parse;
use crate::keys::{self, normal};
use crate::subject::Point;
use formats::{FileError, Kind, bounded};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;

/// Longest log that is read, bytes.
const LOG_BYTES_MAX: u64 = 1 << 28;
/// Most lines of a log.
const LINES_MAX: usize = 4_000_000;

/// Sets one number of a line.
type Put = fn(&mut Point, f64);

/// What the columns are called, without what stands before a last dot where that says nothing.
const COLUMNS: &[(&[&str], Put)] = &[
    (&["loss", "train_loss", "train.loss", "training_loss", "lm_loss"], |point, x| point.loss = Some(x)),
    (&["lr", "learning_rate", "train.learning_rate", "train.lr", "train_lr"], |point, x| point.lr = Some(x)),
    (&["weight_decay", "wd", "train.weight_decay", "train.wd"], |point, x| point.weight_decay = Some(x)),
    (&["lambda", "train.lambda", "lambda_val", "quantization_lambda"], |point, x| point.lambda = Some(x)),
    (&["grad_norm", "train.grad_norm", "gradient_norm", "train_grad_norm"], |point, x| {
        point.grad_norm = Some(x)
    }),
    (
        &[
            "eval_loss",
            "eval.loss",
            "val_loss",
            "val.loss",
            "valid_loss",
            "validation_loss",
            "validation.loss",
        ],
        |point, x| {
            point.validation_loss = Some(x);
        },
    ),
    (&["unique_tokens", "unique", "train.unique_tokens", "eval.unique_tokens"], |point, x| {
        point.unique_tokens = Some(x)
    }),
    (&["repetition", "eval.repetition"], |point, x| point.repetition = Some(x)),
    (&["flip_rate", "train.flip_rate"], |point, x| point.flip_rate = Some(x)),
];
const STEPS: &[&str] =
    &["step", "_step", "global_step", "train.global_step", "iteration", "iter", "train.step"];

/// Reads the log `path` by its ending.
///
/// # Errors
/// It is too long, or no such log.
pub fn read(path: &Path) -> Result<Vec<Point>, FileError> {
    let text = bounded::read_text(path, LOG_BYTES_MAX)?;
    // Spreadsheets begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let is = |ending: &str| path.extension().is_some_and(|found| found.eq_ignore_ascii_case(ending));
    let rows = match is("csv") {
        true => csv(text, path),
        false if is("jsonl") || is("ndjson") => lines(text),
        false => match parse::json(text) {
            Some(state) => history(&state),
            None => lines(text),
        },
    };
    let points = points(rows);
    match points.is_empty() {
        false => Ok(points),
        true => {
            let what = "it has no line with a step and a known column (loss, learning_rate, eval_loss, …)";
            Err(FileError::new(path, Kind::Unfit, what, "name a metrics file, or rename its columns"))
        }
    }
}

/// A line: normalised names and numbers.
type Row = Vec<(String, f64)>;

/// The `log_history` of a `trainer_state.json`, or a list of objects.
pub(super) fn history(state: &Value) -> Vec<Row> {
    let list = state.get("log_history").unwrap_or(state).as_array();
    list.into_iter().flatten().take(LINES_MAX).map(row).collect()
}

/// The summary that Hugging Face's trainer ends with is about the whole run, and no line of it.
const SUMMARY: &str = "train_runtime";

fn row(object: &Value) -> Row {
    let table = object.as_object().filter(|table| !table.contains_key(SUMMARY));
    let numbers = table.into_iter().flatten();
    numbers.filter_map(|(key, value)| Some((normal(key), keys::number(value)?))).collect()
}

fn lines(text: &str) -> Vec<Row> {
    text.lines().take(LINES_MAX).filter_map(parse::json).map(|object| row(&object)).collect()
}

/// A header and rows of numbers. TensorBoard's `Value` is called by its file: `run-…-tag-train_loss.csv`.
fn csv(text: &str, path: &Path) -> Vec<Row> {
    let mut lines = text.lines().take(LINES_MAX);
    let tag = path.file_stem().unwrap_or_default().to_string_lossy();
    let tag = tag.rsplit("tag-").next().unwrap_or(&tag);
    let name = |cell: &str| match normal(cell) {
        name if name == "value" => normal(tag),
        // WandB: "run name - train/loss"
        name => name.rsplit_once("___").map_or(name.clone(), |(_, last)| last.trim_matches('_').to_owned()),
    };
    let header: Vec<String> = lines.next().map(|line| cells(line).map(name).collect()).unwrap_or_default();
    let row = |line: &str| -> Row {
        let numbers = cells(line).map(str::parse::<f64>);
        header.iter().zip(numbers).filter_map(|(name, number)| Some((name.clone(), number.ok()?))).collect()
    };
    lines.map(row).collect()
}

/// The cells of a line without their quotes; a comma within quotes belongs to its cell.
fn cells(line: &str) -> impl Iterator<Item = &str> {
    let mut inside = false;
    let cells = line.split(move |letter: char| {
        inside ^= letter == '"';
        letter == ',' && !inside
    });
    cells.map(|cell| cell.trim().trim_matches('"'))
}

/// Rows of one step become one point, in the order in which steps were first seen; where the step goes back, the order of the
/// file stays, so that rules see it.
pub(super) fn points(rows: Vec<Row>) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for row in rows {
        let table: BTreeMap<&str, f64> = row.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        let Some(step) = STEPS.iter().find_map(|name| table.get(name)).filter(|step| **step >= 0.0) else {
            continue;
        };
        let mut point = Point { step: *step as u64, ..Point::default() };
        let mut any = false;
        for (names, put) in COLUMNS {
            if let Some(value) = names.iter().find_map(|name| table.get(name)) {
                put(&mut point, *value);
                any = true;
            }
        }
        match points.last_mut() {
            Some(last) if last.step == point.step => merge(last, &point),
            _ if any => points.push(point),
            _ => (),
        }
    }
    points
}

/// Two logs of one run (TensorBoard exports a file for each curve), by step. Where one of them goes back in time they are not joined:
/// the longer stays.
pub(super) fn join(a: Vec<Point>, b: Vec<Point>) -> Vec<Point> {
    let is_ordered = |points: &[Point]| points.windows(2).all(|pair| pair[0].step < pair[1].step);
    if !is_ordered(&a) || !is_ordered(&b) {
        return if a.len() >= b.len() { a } else { b };
    }
    let mut steps: BTreeMap<u64, Point> = a.into_iter().map(|point| (point.step, point)).collect();
    for point in b {
        merge(steps.entry(point.step).or_insert(Point { step: point.step, ..Point::default() }), &point);
    }
    steps.into_values().collect()
}

fn merge(into: &mut Point, other: &Point) {
    into.loss = into.loss.or(other.loss);
    into.lr = into.lr.or(other.lr);
    into.weight_decay = into.weight_decay.or(other.weight_decay);
    into.lambda = into.lambda.or(other.lambda);
    into.grad_norm = into.grad_norm.or(other.grad_norm);
    into.validation_loss = into.validation_loss.or(other.validation_loss);
    into.unique_tokens = into.unique_tokens.or(other.unique_tokens);
    into.repetition = into.repetition.or(other.repetition);
    into.flip_rate = into.flip_rate.or(other.flip_rate);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(name: &str, text: &str) -> Result<Vec<Point>, FileError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn a_trainers_state_a_table_and_lines_are_read() {
        let state = r#"{"global_step": 20, "best_metric": Infinity, "log_history": [
            {"step": 10, "loss": 5.5, "learning_rate": 1e-4, "epoch": 0.1}, {"step": 10, "eval_loss": NaN}, {"step": 20, "loss": 5.0}]}"#;
        let points = read_as("trainer_state.json", state).unwrap();
        assert_eq!(points.len(), 2);
        assert_eq!((points[0].step, points[0].loss, points[0].lr), (10, Some(5.5), Some(1e-4)));
        assert!(points[0].validation_loss.unwrap().is_nan());
        let state =
            state.replace("5.0}]", "5.0}, {\"step\": 25, \"train_loss\": 6.0, \"train_runtime\": 9.5}]");
        assert_eq!(read_as("trainer_state.json", &state).unwrap().last().unwrap().step, 20);
        let points = read_as("w.csv", "_step,train/loss,train/grad_norm\n1,2.5,0.5\n2,,0.25\n").unwrap();
        assert_eq!((points[1].loss, points[1].grad_norm), (None, Some(0.25)));
        let points = read_as("run-a-tag-train_loss.csv", "Wall time,Step,Value\n1.5,3,9.25\n").unwrap();
        assert_eq!((points[0].step, points[0].loss), (3, Some(9.25)));
        let points =
            read_as("m.jsonl", "{\"step\": 1, \"loss\": 3}\nnoise\n{\"step\": 2, \"wd\": 0.1}\n").unwrap();
        assert_eq!((points.len(), points[1].weight_decay), (2, Some(0.1)));
    }

    #[test]
    fn tables_of_spreadsheets_are_read() {
        let text = "\u{feff}step,\"note, in words\",\"train/loss\"\n1,\"a, b\",\"2.5\"\n2,\"\"\"c\"\", d\",2.25\n3,,2\n";
        let points = read_as("LOG.CSV", text).unwrap();
        let shown: Vec<_> = points.iter().map(|point| (point.step, point.loss)).collect();
        assert_eq!(shown, [(1, Some(2.5)), (2, Some(2.25)), (3, Some(2.0))]);
        assert_eq!(read_as("M.JSONL", "\u{feff}{\"step\": 1, \"loss\": 3}\n").unwrap().len(), 1);
    }

    #[test]
    fn curves_in_files_of_their_own_become_one_log() {
        let curve = |put: Put, steps: &[u64]| -> Vec<Point> {
            let point = |step: &u64| {
                let mut point = Point { step: *step, ..Point::default() };
                put(&mut point, *step as f64);
                point
            };
            steps.iter().map(point).collect()
        };
        let losses = curve(|point, x| point.loss = Some(x), &[1, 2, 4]);
        let rates = curve(|point, x| point.lr = Some(x), &[2, 3]);
        let both = join(losses.clone(), rates.clone());
        let shown: Vec<_> = both.iter().map(|point| (point.step, point.loss, point.lr)).collect();
        let (two, three) = (Some(2.0), Some(3.0));
        assert_eq!(shown, [(1, Some(1.0), None), (2, two, two), (3, None, three), (4, Some(4.0), None)]);
        let back = curve(|point, x| point.lr = Some(x), &[3, 2]);
        assert_eq!(join(losses.clone(), back), losses);
    }

    #[test]
    fn hostile_bytes_are_no_log_and_no_panic() {
        let mut seed = 7u64;
        for length in 0..400 {
            let letters = b"step,loss\n\"{}[]:-1e9.NaNInfinity \\";
            let text: String = (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    char::from(letters[(seed >> 33) as usize % letters.len()])
                })
                .collect();
            for name in ["a.csv", "a.jsonl", "a.json"] {
                let _ = read_as(name, &text);
            }
        }
    }

    #[test]
    fn what_is_no_log_is_named() {
        for (name, text) in
            [("a.csv", "x,y\n1,2\n"), ("a.jsonl", "hello\n"), ("a.json", "{\"a\": 1}"), ("b.csv", "")]
        {
            assert!(read_as(name, text).unwrap_err().to_string().contains("no line with a step"), "{name}");
        }
    }
}
