//! The `[start]` table: a run that begins with a model as it is; and the `[sft]` table: conversations to learn answers from.

use super::ConfigError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The `[start]` table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StartConfig {
    /// any MODEL; ternary it stays ternary, dense it stays dense
    pub from: PathBuf,
}

/// The `[sft]` table, in place of `[[data]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SftConfig {
    /// `.jsonl` files of conversations, also compressed
    pub files: Vec<PathBuf>,
    /// chat template: Jinja, a Jinja file, or a built-in name; the model's own where left out
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// share of the tokens that is held out, whole conversations
    #[serde(default = "valid_share")]
    pub valid_share: f64,
}

fn valid_share() -> f64 {
    0.02
}

/// What a run that begins with a model sets where nothing else does.
pub(super) const VALUES: &str = r#"
[train]
steps = 1000
batch = 8
weight_decay = 0.0
record_every = 50
[schedule]
kind = "cosine"
peak = 1e-4
warmup = 20
"#;
/// Positions of a window, where the model can read as many.
const SEQUENCE: usize = 512;

impl StartConfig {
    /// TOML of `[model]` and `[start]`.
    pub(super) fn layer(&self, source: &model::Config) -> Result<String, ConfigError> {
        let sequence = toml::Value::try_from(SEQUENCE.min(source.context))?;
        let train = toml::Table::from_iter([("sequence".to_owned(), sequence)]);
        let tables = [
            ("model".to_owned(), toml::Value::try_from(source)?),
            ("start".to_owned(), toml::Value::try_from(self)?),
            ("train".to_owned(), toml::Value::Table(train)),
        ];
        Ok(toml::to_string(&toml::Table::from_iter(tables))?)
    }
}
