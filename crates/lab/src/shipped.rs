//! The experiments that come with the program: one TOML file in `experiments/`, one line in [`EXPERIMENTS`].

use crate::{Folder, LabError};
use std::path::Path;

/// Name and text.
pub static EXPERIMENTS: &[(&str, &str)] = &[
    ("collapse", include_str!("../experiments/collapse.toml")),
    ("diversity", include_str!("../experiments/diversity.toml")),
    ("evaluation", include_str!("../experiments/evaluation.toml")),
    ("lambda", include_str!("../experiments/lambda.toml")),
    ("rate", include_str!("../experiments/rate.toml")),
    ("scaling", include_str!("../experiments/scaling.toml")),
    ("separation", include_str!("../experiments/separation.toml")),
    ("stage1", include_str!("../experiments/stage1.toml")),
    ("wd2", include_str!("../experiments/wd2.toml")),
];

/// The text of an experiment: of a file, or of a shipped one by its name.
///
/// # Errors
/// It is neither.
pub fn text(name: &str) -> Result<String, LabError> {
    if let Some((_, text)) = EXPERIMENTS.iter().find(|(known, _)| *known == name) {
        return Ok((*text).to_owned());
    }
    let path = Path::new(name);
    if !path.exists() {
        let known: Vec<&str> = EXPERIMENTS.iter().map(|(name, _)| *name).collect();
        return Err(LabError::Unknown { name: name.to_owned(), known: known.join(", ") });
    }
    Folder::read_text(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Experiment;

    #[test]
    fn every_experiment_is_sound_in_both_sizes_and_every_file_is_listed() {
        for (name, text) in EXPERIMENTS {
            for quick in [false, true] {
                let experiment =
                    Experiment::parse(name, text, quick).unwrap_or_else(|error| panic!("{error}"));
                assert!(!experiment.claims.is_empty() && !experiment.tables.is_empty(), "{name}");
                assert!(!experiment.question.is_empty() && !experiment.source.is_empty(), "{name}");
                let points = crate::points::points(&experiment);
                assert!(points.len() <= if quick { 12 } else { 48 }, "{name}: {}", points.len());
            }
        }
        let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/experiments")).unwrap();
        assert_eq!(files.count(), EXPERIMENTS.len());
        assert!(text("no-such").unwrap_err().to_string().contains("scaling"));
    }
}
