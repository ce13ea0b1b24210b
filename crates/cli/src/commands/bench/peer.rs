//! Another program's speed: a shell command whose last line on stdout is a JSON object with `tokens_per_s`. `cargo xtask bench`
//! compiles this file, too, so that there is one such contract.

use anyhow::{Context, Result, bail};
use serde_json::{Map, Value, json};
use std::path::Path;
use std::process::{Command, Stdio};

/// The key that a command's JSON line must have.
pub const SPEED: &str = "tokens_per_s";

/// Runs a command in the shell, in `folder`, and returns the JSON object on the last line of its stdout.
///
/// # Errors
/// It fails, or prints no speed.
pub fn measure(folder: &Path, command: &str) -> Result<Map<String, Value>> {
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .context("cannot start sh")?;
    if !output.status.success() {
        bail!("'{command}' failed ({})", output.status);
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    let object = serde_json::from_str(last.unwrap_or_default())
        .with_context(|| format!("the last line of '{command}' on stdout is no JSON object"))?;
    speed(&object).with_context(|| format!("'{command}'"))?;
    Ok(object)
}

/// Tokens per second of what a command printed.
///
/// # Errors
/// There is no positive number.
pub fn speed(object: &Map<String, Value>) -> Result<f64> {
    match object.get(SPEED).and_then(Value::as_f64) {
        Some(speed) if speed > 0.0 => Ok(speed),
        _ => bail!("the JSON line has no positive '{SPEED}'"),
    }
}

/// Median, smallest and largest. `values` is not empty.
pub fn spread(mut values: Vec<f64>) -> Value {
    values.sort_by(f64::total_cmp);
    let half = values.len() / 2;
    let median = match values.len() % 2 {
        1 => values[half],
        _ => (values[half - 1] + values[half]) / 2.0,
    };
    json!({ "median": median, "min": values[0], "max": values[values.len() - 1] })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_spread_of_odd_and_even_counts() {
        assert_eq!(spread(vec![3.0, 1.0, 2.0]), json!({"median": 2.0, "min": 1.0, "max": 3.0}));
        assert_eq!(spread(vec![4.0, 1.0]), json!({"median": 2.5, "min": 1.0, "max": 4.0}));
    }

    #[test]
    fn the_last_line_of_a_command_is_its_result() {
        let root = Path::new(".");
        let object = measure(root, "echo chatter; echo '{\"tokens_per_s\": 12.5}'; echo").expect("a result");
        assert_eq!(speed(&object).expect("a speed"), 12.5);
        for sick in ["exit 3", "true", "echo '{}'", "echo '{\"tokens_per_s\": 0}'", "echo '[1]'"] {
            assert!(measure(root, sick).is_err(), "{sick}");
        }
    }
}
